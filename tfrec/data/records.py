"""TFRecord shards: one `tf.train.Example` a user, written part by part by `prepare` and read whole by `Dataset`."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf.message import DecodeError

from tfrec.data.example_encoding import encoded_examples
from tfrec.data.folders import rebuilding
from tfrec.data.sequences import Sequences
from tfrec.features import USER_ID

if TYPE_CHECKING:
    import tensorflow as tf

_EVENT = "event/"
_USER = "user/"
_LABEL = "label/"
_TRAINS, _ORDER, _MOMENT = "trains", "order", "moment"


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard."""
    return f"users-{shard:05d}-of-{shards:05d}.tfrecord"


class ShardWriter(contextlib.AbstractContextManager):
    """Writes sequences; a shard holds the users with fingerprint(user_id) mod `shards`, in the order of writing.

    Args:
        folder: where the shards go.
        shards: how many there are; some may be empty.
    """

    def __init__(self, folder: Path, shards: int) -> None:
        import tensorflow as tf

        self.names = [shard_name(shard, shards) for shard in range(shards)]
        self._writers = list[Any]()
        try:
            self._writers += (tf.io.TFRecordWriter(str(folder / name)) for name in self.names)
        except tf.errors.ResourceExhaustedError as error:
            opened = len(self._writers)
            for writer in self._writers:
                writer.close()
            if os.strerror(errno.EMFILE) not in str(error):
                raise
            raise ValueError(
                f"`shards` (data.shards) is {shards}, and the system lets this process have no more than {opened} of "
                "them open: ask for fewer, or allow more (`ulimit -n`)."
            ) from error

    def write(self, sequences: Sequences) -> None:
        """Write the sequences of some users, sorted by id; those of later calls come after them.

        Raises:
            OSError: the disk is full, or what else the system has against writing.
        """
        import tensorflow as tf

        user_ids = [str(user) for user in sequences.user_ids]
        content, offsets = _encoded(sequences, user_ids)
        shards = tf.strings.to_hash_bucket_fast(tf.constant(user_ids, tf.string), len(self.names)).numpy()
        whole, places = content.tobytes(), offsets.tolist()
        with _system_errors_told():
            for user, shard in enumerate(shards.tolist()):
                self._writers[shard].write(whole[places[user] : places[user + 1]])

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        with _system_errors_told():
            for writer in self._writers:
                writer.close()


@contextlib.contextmanager
def _system_errors_told() -> Iterator[None]:
    """Make what TensorFlow raises where the system cannot write what Python raises."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO):
            if os.strerror(number) in str(error):
                raise OSError(number, os.strerror(number)) from error
        raise


def read_records(
    paths: list[Path], event_names: list[str], user_names: list[str], labels: Sequence[str] = ()
) -> Sequences:
    """Read shards back.

    Args:
        paths: the shards.
        event_names: features of the events.
        user_names: features of the users.
        labels: names of the labels.

    Returns:
        The sequences, users sorted by id, whatever the number of shards.

    Raises:
        ValueError: a shard is cut short or damaged.
    """
    import tensorflow as tf

    records = tf.data.TFRecordDataset([str(path) for path in paths]).batch(1024)
    features = _features(event_names, user_names, labels)
    parsed = records.map(lambda batch: tf.io.parse_example(batch, features))
    try:
        batches = list(parsed) or [tf.io.parse_example(tf.constant([], tf.string), features)]
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = " ".join(re.sub(r"\{\{function_node .*?\}\}|\[Op:.*", "", str(error.message), flags=re.DOTALL).split())
        shard = next((path for path in paths if not _is_whole(path)), paths[0])
        raise ValueError(f"The shard {shard} is damaged: {reason}. {rebuilding(shard.parent)}") from error
    return _sequences(batches, event_names, user_names, labels)


def _is_whole(shard: Path) -> bool:
    """Whether all records of a shard can be read."""
    import tensorflow as tf

    try:
        for record in tf.data.TFRecordDataset(str(shard)):
            tf.train.Example.FromString(record.numpy())
    except (tf.errors.DataLossError, DecodeError):
        return False
    return True


def _encoded(sequences: Sequences, user_ids: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The examples of the users: their bytes, and where each begins."""
    per_event: dict[str, np.ndarray] = {"rows": sequences.rows, "is_target": sequences.is_target}
    per_event |= {_EVENT + name: values for name, values in sequences.events.items()}
    per_user: dict[str, np.ndarray] = {"train_end": sequences.train_end, "test_start": sequences.test_start}
    per_user |= {_USER + name: values for name, values in sequences.users.items()}
    if sequences.trains is not None:
        per_user[_TRAINS] = sequences.trains
    if sequences.order is not None:
        per_event[_ORDER] = sequences.order
    if sequences.moments is not None:
        per_event[_MOMENT] = sequences.moments
    each = np.arange(len(user_ids) + 1)
    integers = {name: (values, sequences.offsets) for name, values in per_event.items()}
    integers |= {name: (values, each) for name, values in per_user.items()}
    labels = {_LABEL + name: (values, sequences.offsets) for name, values in sequences.labels.items()}
    return encoded_examples({USER_ID: user_ids}, integers, labels)


def _features(event_names: list[str], user_names: list[str], labels: Sequence[str]) -> dict[str, Any]:
    import tensorflow as tf

    features: dict[str, Any] = {USER_ID: tf.io.FixedLenFeature([], tf.string)}
    for name in ("rows", "is_target", *(_EVENT + name for name in event_names)):
        features[name] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    for name in (_ORDER, _MOMENT):  # None where they lie in order, and where there are no labels.
        features[name] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    features[_TRAINS] = tf.io.FixedLenFeature([], tf.int64, default_value=1)
    for name in labels:
        features[_LABEL + name] = tf.io.RaggedFeature(tf.float32, row_splits_dtype=tf.int64)
    for name in ("train_end", "test_start", *(_USER + name for name in user_names)):
        features[name] = tf.io.FixedLenFeature([], tf.int64)
    return features


def _sequences(
    batches: list[dict[str, tf.Tensor]], event_names: list[str], user_names: list[str], labels: Sequence[str]
) -> Sequences:
    def flat(name: str) -> np.ndarray:
        parts = [batch[name] for batch in batches]
        return np.concatenate([getattr(part, "flat_values", part).numpy() for part in parts])

    def codes(name: str) -> np.ndarray:
        values = flat(name)
        return values if name == _EVENT + "timestamp" else values.astype(np.int32)

    trains, order, moments = flat(_TRAINS).astype(bool), flat(_ORDER), flat(_MOMENT)
    lengths = np.concatenate([batch["rows"].row_lengths().numpy() for batch in batches])
    sequences = Sequences(
        user_ids=np.array([user.decode() for user in flat(USER_ID)], dtype=object),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        rows=codes("rows"),
        is_target=flat("is_target").astype(bool),
        train_end=flat("train_end"),
        test_start=flat("test_start"),
        events={name: codes(_EVENT + name) for name in event_names},
        users={name: codes(_USER + name) for name in user_names},
        labels={name: flat(_LABEL + name) for name in labels},
        trains=None if trains.all() else trains,
        order=order if len(order) else None,
        moments=moments if len(moments) else None,
    )
    return sequences.take(np.argsort(sequences.user_ids, kind="stable"))
