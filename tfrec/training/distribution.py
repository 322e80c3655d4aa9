"""Several replicas that train one model together: `tf.distribute` under the `fit` of Keras 3, and what that needs.

Keras 3 needs some measures where a model is trained under a strategy, and all are here: see `Replicas`.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfrec.data import Share
from tfrec.training.cluster import Cluster
from tfrec.training.start_watch import watched

logger = logging.getLogger(__name__)


class SharedPlan:
    """An epoch plan as the devices of this process play it.

    Attributes:
        epoch: the epoch that the next pass plays.
    """

    def __init__(self, replicas: Replicas, plan: Any) -> None:
        """Take the plan of the whole batches."""
        self._replicas, self._plan = replicas, plan

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return len(self._plan)

    @property
    def epoch(self) -> int:
        """The epoch that the next pass plays."""
        return self._plan.epoch

    @epoch.setter
    def epoch(self, epoch: int) -> None:
        self._plan.epoch = epoch

    def dataset(self) -> Any:
        """What `fit` takes; see `EpochPlan.dataset`."""
        return self._replicas.dataset(self._plan.dataset)


class Replicas:
    """The devices that share each batch of a training, in this process or in several.

    Attributes:
        strategy: the `tf.distribute` strategy. A model is built and compiled in its `scope()`.
        share: the parts, one for each device, of what this process plays of a batch.
        worker: which of the processes this is.
        workers: how many processes there are.
        cluster: who else trains; None where it is this process alone.
        writes: whether this process is the one that writes.
    """

    def __init__(self, strategy: tf.distribute.Strategy, cluster: Cluster | None = None) -> None:
        """Take a strategy, and the processes that it spans, each of which has as many devices."""
        self.strategy, self.cluster = strategy, cluster
        self.workers, self.worker = (1, 0) if cluster is None else (len(cluster.addresses), cluster.index)
        self.writes, devices = self.worker == 0, strategy.num_replicas_in_sync // self.workers
        self.share = Share(range(devices), devices)

    @classmethod
    def of_cluster(cls, cluster: Cluster) -> Replicas:
        """All GPUs of all workers, or the CPU of each where it has none; all of them must be here already.

        TensorFlow must not have been at work in this process before. Where one of them dies now, this process is killed
        after `start_watch.SECONDS`, with a line that names it: TensorFlow would wait for ever.
        """
        kind, number = cluster.task
        resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec(dict(cluster.spec)), task_type=kind, task_id=number
        )
        with watched(cluster.others):
            return cls(tf.distribute.MultiWorkerMirroredStrategy(resolver), cluster)

    @classmethod
    def of_devices(cls, count: int) -> Replicas | None:
        """So many devices of this machine; None where one is meant.

        Args:
            count: how many: of the GPUs, or of as many parts of the CPU where there is no GPU.

        Raises:
            ValueError: there are not so many.
        """
        if count == 1:
            return None
        gpus = tf.config.list_physical_devices("GPU")
        if gpus and count > len(gpus):
            raise ValueError(f"`devices` must be at most the GPUs of this machine, {len(gpus)}; received {count}.")
        if not gpus:
            _split_cpu(count)
        kind = "GPU" if gpus else "CPU"
        return cls(tf.distribute.MirroredStrategy([f"{kind}:{place}" for place in range(count)]))

    def dataset(self, play: Callable[[Share], tf.data.Dataset]) -> Any:
        """What `fit` takes as its data: the batches of this process's share, as `play` gives them.

        A step takes one for each device. Keras takes the number of batches for that of steps, and a step too many that
        finds no data still counts as one of the optimizer's: hence the number is set right.
        """
        data = self.strategy.distribute_datasets_from_function(lambda _: play(self.share))
        data._cardinality = int(data.cardinality) // len(self.share.parts)
        return data

    def plan(self, plan: Any) -> SharedPlan:
        """The epoch plan of the training data, of which this process plays its share."""
        return SharedPlan(self, plan)

    def agree(self, digest: bytes, otherwise: str) -> None:
        """Make sure that all workers have the same digest, of 32 bytes.

        Raises:
            ValueError: they do not; the message is `otherwise`.
        """
        mine = tf.constant(np.frombuffer(digest, np.uint32).astype(np.int64))
        found = tf.function(self.strategy.run)(lambda: tf.distribute.get_replica_context().all_reduce("SUM", mine))
        total = self.strategy.experimental_local_results(found)[0]
        if not bool(tf.reduce_all(total == mine * self.strategy.num_replicas_in_sync)):
            raise ValueError(otherwise)

    def adapt(self, model: keras.Model) -> None:
        """Make a compiled model, built in the strategy's scope, fit to be trained by `fit`.

        - The model and its optimizer are built, and Keras would build them symbolically from the mean of a batch of all
          replicas, which batches of changing lengths do not have.
        - Steps have summed the gradients of all replicas before the optimizer clips them: it must not add them up
          again.
        - Across processes Keras takes the mean of a step's figures over an axis of theirs; figures have none.
        """
        model._maybe_symbolic_build = lambda *args, **kwargs: None
        model.optimizer._all_reduce_sum_gradients = list
        if self.cluster is not None:
            for name in ("train_step", "test_step"):
                setattr(model, name, _with_axis(getattr(model, name)))


def _with_axis(step: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda data: {name: tf.reshape(value, [1]) for name, value in step(data).items()}


def _split_cpu(count: int) -> None:
    """Let TensorFlow see as many CPUs, for trying out what several devices do; this must come before its first work."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) == count:
        return
    try:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise ValueError(
            f"`devices` is {count}, of a machine without a GPU, and TensorFlow was at work before it was said: "
            "tf.config.set_logical_device_configuration has to come first."
        ) from error


class OneModel(keras.callbacks.Callback):
    """Sees to it that several replicas decide as one would; it goes before the callbacks that read an epoch."""

    def __init__(self, replicas: Replicas) -> None:
        """Take the replicas."""
        super().__init__()
        self._replicas, self._weights = replicas, ""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Put the validation figures of all into the logs, where each replica had those of its part.

        Raises:
            ValueError: the workers have different weights; none of them stores the epoch then.
        """
        for metric in self.model.metrics:
            name = f"val_{metric.name}"
            if logs is not None and name in logs:
                logs[name] = float(metric.result())
        if self._replicas.cluster is not None:
            found = hashlib.sha256()
            for weight in self.model.weights:
                found.update(keras.ops.convert_to_numpy(weight.value).tobytes())
            self._weights = found.hexdigest()[:12]
            self._replicas.agree(
                found.digest(),
                f"the workers have different weights after epoch {epoch + 1}, which must not be: does each of them run "
                "the same versions of tfrec and TensorFlow, on the same kind of machine? The epochs before it stay "
                "stored.",
            )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Tell of the weights that all of them have."""
        if self._weights:
            logger.info("train: %d workers hold the same weights: %s", self._replicas.workers, self._weights)
