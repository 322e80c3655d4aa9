"""Checkpoints of a training: resume where it stopped, keep the best epoch, stop when it no longer improves."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras
import numpy as np

LAST, BEST = "last.npz", "best_{}.npz"
STATE = "state"


class TrainingCheckpoint(keras.callbacks.Callback):
    """Writes all that a training is made of after each epoch: weights, optimizer, history, and what is best so far.

    The best epoch is chosen by a validation figure, larger being better unless it is `lower`. Files are written under a
    temporary name and renamed: first the weights of a new best epoch, under the epoch's number, then the state that
    names it. A crash at any moment leaves a checkpoint that can be resumed. Variables are stored one by one, as they
    are: nothing is merged. Those that the model names as its `tables` are left out: a new model has them too, and
    training leaves them alone.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        monitor: str = "val_ndcg@10",
        patience: int | None = None,
        lower: bool = False,
        writes: bool = True,
        cure: str = "Lower training.learning_rate, or set training.clip_norm (lower it, if it is set)",
    ) -> None:
        """Choose the folder and the rule.

        Args:
            folder: where the checkpoints lie; made when it is not there.
            monitor: name of the figure in the epoch's logs.
            patience: epochs without a better figure before training stops; None = never.
            lower: whether less is better, as of a loss.
            writes: whether epochs are stored. Of several workers one does; the others decide as it does.
            cure: what a user may do where the training diverges, in words.

        Raises:
            ValueError: `patience` is below 1.
        """
        super().__init__()
        if patience is not None and patience < 1:
            raise ValueError(f"`patience` must be 1 epoch or more, or None for never; received {patience}.")
        self.folder, self.monitor, self.patience, self.cure = Path(folder), monitor, patience, cure
        self.writes = writes
        self.history: list[dict[str, float]] = []
        self.sign = -1.0 if lower else 1.0
        self.best_epoch, self.best_value, self.stopped = -1, -np.inf * self.sign, False

    def restore(self, model: keras.Model) -> int:
        """Bring `model` (compiled) to the last checkpoint; the epoch to go on with, 0 where there is none.

        Raises:
            ValueError: the file is damaged, or another model's.
        """
        path = self.folder / LAST
        if not path.exists():
            return 0
        state, values = _read(path)
        _assign(_variables(model, optimizer=True), values, path)
        self.history, self.best_epoch, self.best_value = (state[key] for key in ("history", "best_epoch", "best_value"))
        self.stopped = self._over(len(self.history) - 1, self.best_epoch)
        return len(self.history)

    def overshoots(self, epochs: int) -> bool:
        """Whether the stored training is longer than one of at most `epochs` with this patience would have been.

        Raises:
            ValueError: the file is damaged.
        """
        path = self.folder / LAST
        history = _read(path)[0]["history"] if path.exists() else []
        best, best_value = -1, -np.inf * self.sign
        for epoch, logs in enumerate(history[:-1]):
            if self._better(logs[self.monitor], best_value):
                best, best_value = epoch, logs[self.monitor]
            if self._over(epoch, best):
                return True
        return len(history) > epochs

    def _better(self, value: float, other: float) -> bool:
        return value * self.sign > other * self.sign

    def _over(self, epoch: int, best: int) -> bool:
        """Whether patience is at its end after an epoch, the best so far being `best`; -1 = none."""
        return self.patience is not None and epoch - best >= self.patience

    def restore_best(self, model: keras.Model) -> None:
        """Bring `model` to the best epoch's weights; it stays as it is where none has been better, or none is written.

        Raises:
            ValueError: the file is missing, damaged, or another model's.
        """
        if self.best_epoch >= 0 and self.writes:
            path = self._best(self.best_epoch)
            _assign(_variables(model, optimizer=False), _read(path)[1], path)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Store the epoch.

        Raises:
            ValueError: the figure to monitor is missing, or the training has diverged; then nothing is stored.
        """
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if self.monitor not in logs:
            raise ValueError(f"`monitor` {self.monitor!r} is not in the epoch's figures: {', '.join(sorted(logs))}.")
        self._refuse_diverged(epoch, logs)
        self.history.append(logs)
        better = self._better(logs[self.monitor], self.best_value)
        if better:
            self.best_epoch, self.best_value = epoch, logs[self.monitor]
        self.stopped = self._over(epoch, self.best_epoch)
        if self.writes:
            self._store(epoch, better=better)
        if self.stopped:
            self.model.stop_training = True

    def _store(self, epoch: int, *, better: bool) -> None:
        """Write the epoch's files: the weights first, where it is the best so far, then the state that names it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if better:
            _write(self._best(epoch), _variables(self.model, optimizer=False), {"epoch": epoch})
        state = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
        }
        _write(self.folder / LAST, _variables(self.model, optimizer=True), state)
        for path in self.folder.glob("best_*"):
            if path != self._best(self.best_epoch):
                path.unlink()

    def _refuse_diverged(self, epoch: int, logs: dict[str, float]) -> None:
        """A loss that is no number is stopped; so is a weight, from which every later loss would be none."""
        found = f"its loss is {logs['loss']}" if not np.isfinite(logs.get("loss", 0.0)) else ""
        if not found and not all(np.isfinite(_value(weight)).all() for weight in self.model.trainable_variables):
            found = "a weight is not finite"
        if found:
            raise ValueError(
                f"the training diverged in epoch {epoch + 1}: {found}. {self.cure}. The epochs before this one stay "
                "stored."
            )

    def _best(self, epoch: int) -> Path:
        return self.folder / BEST.format(epoch + 1)


def stored_history(folder: str | Path) -> list[dict[str, float]]:
    """The figures of each epoch that the checkpoint in a folder holds; none where there is no checkpoint.

    Raises:
        ValueError: the file is damaged.
    """
    path = Path(folder) / LAST
    return _read(path, values=False)[0]["history"] if path.exists() else []


def _variables(model: keras.Model, *, optimizer: bool) -> dict[str, Any]:
    """Place and name -> variable.

    Names alone are not different. Paths, and the optimizer's names, which are made of them, hold counters that go on
    from model to model of a process: there the place has to do.
    """
    tables = {id(table) for table in getattr(model, "tables", ())}
    changing = [variable for variable in model.variables if id(variable) not in tables]
    variables = {f"{place}:{variable.name}": variable for place, variable in enumerate(changing)}
    if optimizer:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables |= {f"optimizer:{place}": variable for place, variable in enumerate(model.optimizer.variables)}
    return variables


def _read(path: Path, *, values: bool = True) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """State and values, where wanted, of a checkpoint; what is none, or half of one, is a ValueError that says more."""
    try:
        with np.load(path) as stored:
            found = {name: stored[name] for name in stored.files if values and name != STATE}
            return json.loads(str(stored[STATE])), found
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path} is damaged ({reason}). Remove the folder {path.parent} to train anew.") from error


def _assign(variables: dict[str, Any], values: dict[str, np.ndarray], path: Path) -> None:
    there = {name: value.shape for name, value in values.items()}
    here = {name: tuple(variable.shape) for name, variable in variables.items()}
    if there != here:
        name = min(set(there.items()) ^ set(here.items()))[0]
        raise ValueError(
            f"{path} is a checkpoint of another model: {name!r} has the shape {there.get(name)} there and "
            f"{here.get(name)} here. Remove the folder {path.parent} to train anew."
        )
    for name, variable in variables.items():
        variable.assign(values[name])


def _value(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable.value)


def _write(path: Path, variables: dict[str, Any], state: dict[str, Any]) -> None:
    temporary = path.with_name(f".writing-{path.name}")
    values: dict[str, Any] = {name: _value(variable) for name, variable in variables.items()}
    try:
        with open(temporary, "wb") as file:
            np.savez(file, **{STATE: np.array(json.dumps(state)), **values})
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
