"""Training on several devices or machines: who takes part, what is refused, and what is said of a lost worker."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf

import tfrec
from tfrec import config
from tfrec.stages.fit import OWNER, inputs
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import prepare_stage
from tfrec.training import Cluster, Replicas, rendezvous
from tfrec.training.checkpoint import LAST
from tfrec.training.cluster import CHIEF

NEEDED = (LAST, OWNER)  # Of the chief's checkpoints, what others need to go on from where it is.

logger = logging.getLogger(__name__)


def devices(run: Run) -> Replicas | None:
    """The devices of this machine that share a training; None where it is one.

    Raises:
        ValueError: the training cannot be shared, or there are not so many.
    """
    number, problem = run.pipeline.training.devices, _unshared(run.pipeline)
    if problem and number > 1:
        raise ValueError(f"training.devices is {number}, and {problem}.")
    return Replicas.of_devices(number)


def gathered(run: Run, cluster: Cluster, checkpoints: Path) -> Replicas:
    """The workers that share a training, all of them there, and all about to do the same.

    This comes before the first stage: TensorFlow can join a cluster only while it has done nothing else.

    Args:
        run: the run as this worker sees it.
        cluster: its workers.
        checkpoints: where the chief's lie, and where another worker gets them.

    Raises:
        NothingToTrain: to another worker: the chief has a trained model.
        ValueError: the training cannot be shared; or a worker trains something else, and is named.
        TimeoutError: a worker did not come in time.
        OSError: this process's own address cannot be listened at.
    """
    settings, problem = run.pipeline.training, _unshared(run.pipeline)
    if settings.devices > 1:
        raise ValueError(
            f"training.devices is {settings.devices}, and TF_CONFIG names several machines, each of which uses all "
            "GPUs that it sees: leave it out, and set CUDA_VISIBLE_DEVICES there."
        )
    if problem:
        raise ValueError(f"TF_CONFIG names several machines, and {problem}.")
    _check_shards(run.pipeline.data.shards, len(cluster.addresses))
    about = {
        "the version of tfrec": tfrec.__version__,
        "the version of TensorFlow": tf.__version__,
        "the version of Keras": keras.__version__,
        "the number of GPUs": len(tf.config.list_physical_devices("GPU")),
        "the workers in TF_CONFIG": list(cluster.addresses),
        "the content of the tables": prepare_stage.inputs(run),
        "the text model": inputs(run),
        **config.stage_settings(run.pipeline, "prepare"),
        **config.stage_settings(run.pipeline, "train"),
    }
    if cluster.is_chief:
        found = {str(path.relative_to(checkpoints)): path for name in NEEDED for path in checkpoints.rglob(name)}
        rendezvous.gather(cluster, about, found, settings.worker_seconds)
    elif not rendezvous.join(cluster, about, checkpoints, settings.worker_seconds):
        raise NothingToTrain
    return Replicas.of_cluster(cluster)


def _check_shards(shards: int, workers: int) -> None:
    """Refuse fewer shards than workers, each of which holds its own; a warning where some hold more than others."""
    fair = math.ceil(shards / workers) * workers
    if shards < workers:
        raise ValueError(
            f"data.shards is {shards}, and TF_CONFIG names {workers} workers, each of which needs a shard of its own: "
            f"set data.shards={fair}, or a multiple of it; the data set is then prepared, and the model trained, anew."
        )
    if shards % workers:
        logger.warning(
            "data.shards is %d, of which some of %d workers hold more than others: set data.shards=%d, or a multiple.",
            shards, workers, fair,
        )  # fmt: skip


class NothingToTrain(Exception):
    """The chief has a finished training."""


def _unshared(pipeline: config.Pipeline) -> str | None:
    """Why a training cannot be shared by several devices, in words; None where it can."""
    training = pipeline.training
    if pipeline.predicts_labels:
        return "a ranker (ranking) trains on one device"
    if pipeline.model.text.tuning != "frozen":
        return f"a text model that trains too (model.text.tuning: {pipeline.model.text.tuning}) does so on one device"
    if training.adversarial:
        return f"training under attack (training.adversarial: {training.adversarial:g}) is for one device"
    if training.accumulate > 1:
        return (
            f"training.accumulate is {training.accumulate}, which is for one device: raise training.tokens_per_batch, "
            "which is divided among all"
        )
    if training.jit:
        return "training.jit is true, which is for one device"
    return None


def _without_heartbeat(cluster: Cluster, told: str) -> list[int]:
    """The workers of which TensorFlow says that they were heard of no more: one that hangs still listens."""
    chiefs = len(cluster.spec.get(CHIEF, ()))
    tasks = re.findall(r"^/job:(\w+)/replica:\d+/task:(\d+)\s*$", told.partition("unhealthy")[2], re.MULTILINE)
    return sorted({int(number) + (0 if kind == CHIEF else chiefs) for kind, number in tasks} - {cluster.index})


@contextlib.contextmanager
def lost_workers_told(cluster: Cluster | None) -> Iterator[None]:
    """Say in one line which worker has gone, where TensorFlow says what of its own work failed.

    Raises:
        ConnectionError: a worker has gone in the middle of the training; or all are there, and it is told what failed.
    """
    try:
        yield
    except (
        tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.InternalError, tf.errors.CancelledError,
        tf.errors.DeadlineExceededError, tf.errors.FailedPreconditionError, tf.errors.UnknownError,
    ) as error:  # fmt: skip
        if cluster is None:
            raise
        lost = _without_heartbeat(cluster, str(error)) or rendezvous.silent(cluster)
        reason = re.sub(r"\{\{.*?\}\}", "", str(error)).strip().splitlines() or [type(error).__name__]
        gone = f"{' and '.join(map(cluster.named, lost))} {'has' if len(lost) == 1 else 'have'} gone"
        what = gone if lost else f"a step failed, though every worker is there ({reason[0].strip()}),"
        raise ConnectionError(
            f"{what} in the middle of the training. Start the same command again on every worker: the training goes on "
            "after the last whole epoch."
        ) from error
