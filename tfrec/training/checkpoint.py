"""Checkpoints of a training: resume where it stopped, keep the best epoch, stop when it no longer improves."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import keras
import numpy as np

LAST, BEST = "last.npz", "best.npz"


class TrainingCheckpoint(keras.callbacks.Callback):
    """Writes all that a training is made of after each epoch: weights, optimizer, history, and what is best so far.

    The best epoch is chosen by a validation figure, larger being better. Files are written under a temporary name and
    renamed, the best weights before the state that names them, so that a crash at any moment leaves a checkpoint that
    can be resumed. Variables are stored one by one, as they are: nothing is merged.
    """

    def __init__(self, folder: str | Path, *, monitor: str = "val_ndcg@10", patience: int | None = None) -> None:
        """Choose the folder and the rule.

        Args:
            folder: where the checkpoints lie; made when it is not there.
            monitor: name of the figure in the epoch's logs.
            patience: epochs without a better figure before training stops; None = never.
        """
        super().__init__()
        self.folder, self.monitor, self.patience = Path(folder), monitor, patience
        self.history: list[dict[str, float]] = []
        self.best_epoch, self.best_value, self.stopped = -1, -np.inf, False

    def restore(self, model: keras.Model) -> int:
        """Bring `model` (compiled) to the last checkpoint; the epoch to go on with, 0 where there is none."""
        path = self.folder / LAST
        if not path.exists():
            return 0
        with np.load(path) as stored:
            state = json.loads(str(stored["state"]))
            _assign(_variables(model, optimizer=True), stored, path)
        self.history, self.stopped = state["history"], state["stopped"]
        self.best_epoch, self.best_value = state["best_epoch"], state["best_value"]
        return len(self.history)

    def restore_best(self, model: keras.Model) -> None:
        """Bring `model` to the best epoch's weights; it stays as it is where there was none."""
        path = self.folder / BEST
        if path.exists():
            with np.load(path) as stored:
                _assign(_variables(model, optimizer=False), stored, path)

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Store the epoch."""
        logs = {name: float(value) for name, value in (logs or {}).items()}
        if self.monitor not in logs:
            raise ValueError(f"`monitor` {self.monitor!r} is not in the epoch's figures: {', '.join(sorted(logs))}.")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.history.append(logs)
        if logs[self.monitor] > self.best_value:
            self.best_epoch, self.best_value = epoch, logs[self.monitor]
            _write(self.folder / BEST, _variables(self.model, optimizer=False), {"epoch": epoch})
        self.stopped = self.patience is not None and epoch - self.best_epoch >= self.patience
        state = {
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "stopped": self.stopped,
        }
        _write(self.folder / LAST, _variables(self.model, optimizer=True), state)
        if self.stopped:
            self.model.stop_training = True


def _variables(model: keras.Model, *, optimizer: bool) -> dict[str, Any]:
    """Number and path -> variable; the number keeps apart what has the same path."""
    variables = list(model.variables)
    if optimizer:
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        variables += model.optimizer.variables
    return {f"{number}:{variable.path}": variable for number, variable in enumerate(variables)}


def _assign(variables: dict[str, Any], stored: Any, path: Path) -> None:
    missing = set(variables) - set(stored.files)
    if missing:
        raise ValueError(
            f"{path}: a checkpoint of another model; it lacks {sorted(missing)[0]!r}. Remove the folder to train anew."
        )
    for name, variable in variables.items():
        variable.assign(stored[name])


def _write(path: Path, variables: dict[str, Any], state: dict[str, Any]) -> None:
    temporary = path.with_suffix(".tmp")
    values = {name: keras.ops.convert_to_numpy(variable.value) for name, variable in variables.items()}
    with open(temporary, "wb") as file:
        np.savez(file, state=np.array(json.dumps(state)), **values)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
