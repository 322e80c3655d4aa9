"""TFRecord shards: one `tf.train.Example` a user, written by `prepare` and read whole by `Dataset`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfrec.data.sequences import Sequences
from tfrec.features import USER_ID

if TYPE_CHECKING:
    import tensorflow as tf

_EVENT = "event/"
_USER = "user/"
_LABEL = "label/"
_TRAINS, _ORDER = "trains", "order"


def shard_name(shard: int, shards: int) -> str:
    """File name of a shard."""
    return f"users-{shard:05d}-of-{shards:05d}.tfrecord"


def write_records(sequences: Sequences, folder: Path, shards: int) -> list[str]:
    """Write the sequences; a shard holds the users with fingerprint(user_id) mod `shards`, sorted by id.

    Args:
        sequences: the sequences, users sorted by id.
        folder: where the shards go.
        shards: how many there are; some may be empty.

    Returns:
        The names of the files.
    """
    import tensorflow as tf

    shard_of = tf.strings.to_hash_bucket_fast(tf.constant(sequences.user_ids.tolist(), tf.string), shards).numpy()
    names = [shard_name(shard, shards) for shard in range(shards)]
    for shard, name in enumerate(names):
        with tf.io.TFRecordWriter(str(folder / name)) as writer:
            for example in _examples(sequences, np.flatnonzero(shard_of == shard)):
                writer.write(example)
    return names


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
        batches = list(parsed)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        reason = " ".join(str(error.message).split())
        raise ValueError(f"A shard in {paths[0].parent} is damaged: {reason}. Prepare the data anew.") from error
    return _sequences(batches, event_names, user_names, labels)


def _examples(sequences: Sequences, users: np.ndarray) -> Iterator[bytes]:
    from tensorflow.core.example import example_pb2

    per_event: dict[str, Any] = {"rows": sequences.rows, "is_target": sequences.is_target.astype(np.int64)}
    per_event |= {_EVENT + name: values for name, values in sequences.events.items()}
    labels = {_LABEL + name: values for name, values in sequences.labels.items()}
    per_user: dict[str, Any] = {"train_end": sequences.train_end, "test_start": sequences.test_start}
    per_user |= {_USER + name: values for name, values in sequences.users.items()}
    if sequences.trains is not None:
        per_user[_TRAINS] = sequences.trains
    if sequences.order is not None:
        per_event[_ORDER] = sequences.order
    for user in users:
        start, end = sequences.offsets[user], sequences.offsets[user + 1]
        example = example_pb2.Example()
        feature = example.features.feature
        feature[USER_ID].bytes_list.value.append(str(sequences.user_ids[user]).encode())
        for name, values in per_event.items():
            feature[name].int64_list.value.extend(values[start:end].tolist())
        for name, values in labels.items():
            feature[name].float_list.value.extend(values[start:end].tolist())
        for name, values in per_user.items():
            feature[name].int64_list.value.append(int(values[user]))
        yield example.SerializeToString(deterministic=True)


def _features(event_names: list[str], user_names: list[str], labels: Sequence[str]) -> dict[str, Any]:
    import tensorflow as tf

    features: dict[str, Any] = {USER_ID: tf.io.FixedLenFeature([], tf.string)}
    for name in ("rows", "is_target", *(_EVENT + name for name in event_names)):
        features[name] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)
    features[_ORDER] = tf.io.RaggedFeature(tf.int64, row_splits_dtype=tf.int64)  # None where they lie in order.
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

    trains, order = flat(_TRAINS).astype(bool), flat(_ORDER)
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
    )
    return sequences.take(np.argsort(sequences.user_ids, kind="stable"))
