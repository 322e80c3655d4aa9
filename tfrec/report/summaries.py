"""What TensorBoard shows beyond Keras's own callback: item vectors with titles, throughput, the final test figures.

The last module of `report` in the flow, and the only one that needs TensorFlow; `tfrec.report` does not import it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfrec.evaluation.metrics import HALF_WIDTH
from tfrec.report.results import write_text

_CHECKPOINT = "vectors"
_TENSOR = "vectors/.ATTRIBUTES/VARIABLE_VALUE"
_METADATA = "metadata.tsv"


class ProjectorWriter:
    """Writes item vectors for the Projector tab, each point labelled with its title.

    The files form a run of their own below the log folder, because TensorBoard would offer a checkpoint of the log
    folder itself under every other run too, without titles. All paths are relative: the log folder may be moved.

    Args:
        log_dir: TensorBoard's log folder.
        run: name of the run below it.
        limit: most items written, the first ones; TensorBoard's page takes no more than 100,000.

    Raises:
        ValueError: limit is below 1.
    """

    def __init__(self, log_dir: str | os.PathLike[str], *, run: str = "item_vectors", limit: int = 100_000) -> None:
        if limit < 1:
            raise ValueError(f"limit must be at least 1 item, got {limit}")
        self.folder = os.path.join(log_dir, run)
        self._limit = limit

    def write(
        self,
        vectors: np.ndarray,
        item_ids: Sequence[str] | np.ndarray,
        titles: Sequence[str] | np.ndarray,
        columns: Mapping[str, Sequence[Any] | np.ndarray] | None = None,
    ) -> str:
        """Replace what was written before.

        Args:
            vectors: float [I, D].
            item_ids: [I]; rows with an empty id are padding and left out.
            titles: [I]; where empty, the id is shown instead.
            columns: more values to colour or search by, name -> [I].

        Returns:
            The folder.

        Raises:
            ValueError: the lengths differ, or no item is left.
        """
        values = {"title": titles, "item_id": item_ids, **(columns or {})}
        lengths = {name: len(value) for name, value in values.items()}
        if np.ndim(vectors) != 2 or set(lengths.values()) != {len(vectors)}:
            raise ValueError(f"vectors must have shape [I, D] with I as in {lengths}, got {np.shape(vectors)}")
        kept = np.flatnonzero(np.asarray([str(item) != "" for item in item_ids]))[: self._limit]
        if not len(kept):
            raise ValueError("item_ids must hold an id that is not empty, got none")
        titled = [_one_line(titles[row]) or _one_line(item_ids[row]) for row in kept]
        rest = [[_one_line(value[row]) for row in kept] for name, value in values.items() if name != "title"]
        lines = ["\t".join(_one_line(name) for name in values), *map("\t".join, zip(titled, *rest, strict=True))]
        os.makedirs(self.folder, exist_ok=True)
        write_text(os.path.join(self.folder, _METADATA), "\n".join(lines) + "\n")
        _write_checkpoint(self.folder, np.asarray(vectors, np.float32)[kept])
        text = f"{len(kept):,} items, {np.shape(vectors)[1]} wide: see the Projector tab"
        write_summary_text(self.folder, "item_vectors", text)
        return self.folder


class ThroughputSummary(keras.callbacks.Callback):
    """Seconds an epoch and events a second, as scalars of the run `throughput`.

    They also enter the epoch's logs, for the callbacks that come later. An epoch lasts from its begin to the end of its
    last training batch; validation and other callbacks are not counted.

    Args:
        log_dir: TensorBoard's log folder.
        events_per_epoch: training events that an epoch passes.

    Attributes:
        epoch_seconds: one number an epoch since `fit` began, the first with the compilation in it.

    Raises:
        ValueError: events_per_epoch is below 1.
    """

    def __init__(self, log_dir: str | os.PathLike[str], events_per_epoch: int) -> None:
        super().__init__()
        if events_per_epoch < 1:
            raise ValueError(f"events_per_epoch must be at least 1, got {events_per_epoch}")
        self.epoch_seconds: list[float] = []
        self._folder = os.path.join(log_dir, "throughput")
        self._events = events_per_epoch
        self._start = self._end = 0.0

    def on_train_begin(self, logs: Mapping[str, Any] | None = None) -> None:
        """Forget the epochs of an earlier `fit`."""
        self.epoch_seconds = []

    def on_epoch_begin(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Start the clock."""
        self._start = self._end = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Note the time; the last one counts."""
        self._end = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Write the scalars at the step `epoch`, as Keras's TensorBoard callback does."""
        seconds = max(self._end - self._start, 1e-9)
        self.epoch_seconds.append(seconds)
        values = {"epoch_seconds": seconds, "events_per_second": self._events / seconds}
        write_scalars(self._folder, values, step=epoch)
        if logs is not None:
            logs |= values


def write_scalars(folder: str | os.PathLike[str], values: Mapping[str, float], *, step: int) -> None:
    """Write scalars of one step; values that are not finite are left out.

    Args:
        folder: the run's folder, one that no other writer holds open.
        values: tag -> value.
        step: the epoch.
    """
    import tensorflow as tf

    with tf.summary.create_file_writer(os.fspath(folder)).as_default():
        for name, value in values.items():
            if np.isfinite(value):
                tf.summary.scalar(name, value, step=step)


def write_summary_text(folder: str | os.PathLike[str], name: str, text: str, *, step: int = 0) -> None:
    """Write Markdown for the Text tab."""
    import tensorflow as tf

    with tf.summary.create_file_writer(os.fspath(folder)).as_default():
        tf.summary.text(name, text, step=step)


def write_test(
    log_dir: str | os.PathLike[str], metrics: Mapping[str, float], table: str = "", *, step: int = 0
) -> None:
    """Write the final test figures as the run `test`: scalars, and the results table as text.

    Args:
        log_dir: TensorBoard's log folder.
        metrics: flat figures; half-widths are left to the table.
        table: Markdown of the results table; "" leaves it out.
        step: the epoch that was chosen.
    """
    folder = os.path.join(log_dir, "test")
    scalars = {f"test/{name}": value for name, value in metrics.items() if not name.endswith(HALF_WIDTH)}
    write_scalars(folder, scalars, step=step)
    if table:
        write_summary_text(folder, "results", table, step=step)


def write_hparams(
    log_dir: str | os.PathLike[str], sessions: Mapping[str, tuple[Mapping[str, Any], Mapping[str, float]]]
) -> None:
    """Write what the HParams tab shows, one session a trained model; what the folder held before is replaced.

    Args:
        log_dir: TensorBoard's log folder, of these sessions alone.
        sessions: name, fit to name a folder -> settings and figures. A setting of several types is shown as text.
    """
    import tensorflow as tf
    from tensorboard.plugins.hparams import api

    shutil.rmtree(log_dir, ignore_errors=True)
    settings = list(dict.fromkeys(name for values, _ in sessions.values() for name in values))
    figures = list(dict.fromkeys(name for _, values in sessions.values() for name in values))
    mixed = {name for name in settings if len({type(values.get(name)) for values, _ in sessions.values()}) > 1}
    with tf.summary.create_file_writer(os.fspath(log_dir)).as_default():
        api.hparams_config(hparams=list(map(api.HParam, settings)), metrics=list(map(api.Metric, figures)))
    for session, (values, results) in sessions.items():
        folder = os.path.join(log_dir, session)
        with tf.summary.create_file_writer(folder).as_default():
            api.hparams({name: _setting(value, text=name in mixed) for name, value in values.items()}, session)
        write_scalars(folder, results, step=0)


def _setting(value: Any, *, text: bool) -> bool | int | float | str:
    """A setting as TensorBoard takes it."""
    if not text and isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "null" if value is None else str(value)


def _one_line(value: Any) -> str:
    """Text without tabs and line breaks, which would end a cell of the metadata."""
    return " ".join(str(value).split())


def _write_checkpoint(folder: str, vectors: np.ndarray) -> None:
    """The checkpoint and the configuration that ties it to the metadata."""
    import tensorflow as tf
    from tensorboard.plugins import projector

    with tf.device("CPU:0"):
        checkpoint = tf.train.Checkpoint(vectors=tf.Variable(vectors))
    tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1, checkpoint_name=_CHECKPOINT).save(checkpoint_number=0)
    config = projector.ProjectorConfig()
    config.embeddings.add(tensor_name=_TENSOR, metadata_path=_METADATA)
    projector.visualize_embeddings(folder, config)
