"""Shards bring back what was written, whatever their number, byte by byte the same."""

import errno
import os
import resource

import numpy as np
import pytest

from tfrec.data.records import ShardWriter, read_records
from tfrec.data.sequences import Sequences

USERS = np.array(sorted(["007", "7", "鞋", "a b", "z"]), dtype=object)
SEQUENCES = Sequences(
    user_ids=USERS,
    offsets=np.array([0, 2, 3, 3, 6, 7]),
    rows=np.array([5, 6, 1, 2, 3, 4, 9], np.int32),
    is_target=np.array([1, 0, 1, 1, 1, 0, 1], bool),
    train_end=np.array([0, 0, 0, 1, 0]),
    test_start=np.array([1, 0, 0, 2, 0]),
    events={"event_type": np.arange(7, dtype=np.int32), "timestamp": np.arange(7) * 10**10},
    users={"user_sex": np.arange(5, dtype=np.int32)},
)


def written(folder, shards):
    with ShardWriter(folder, shards) as writer:
        writer.write(SEQUENCES)
    return writer.names


def read(folder, names):
    return read_records([folder / name for name in names], ["event_type", "timestamp"], ["user_sex"])


@pytest.mark.parametrize("shards", [1, 3, 16])
def test_shards_bring_back_the_sequences(tmp_path, shards):
    names = written(tmp_path, shards)
    assert sorted(path.name for path in tmp_path.iterdir()) == names and len(names) == shards
    back = read(tmp_path, names)
    for name in ("user_ids", "offsets", "rows", "is_target", "train_end", "test_start"):
        np.testing.assert_array_equal(getattr(back, name), getattr(SEQUENCES, name))
        assert getattr(back, name).dtype == getattr(SEQUENCES, name).dtype
    for name, values in [*SEQUENCES.events.items(), *SEQUENCES.users.items()]:
        found = (back.events | back.users)[name]
        np.testing.assert_array_equal(found, values)
        assert found.dtype == values.dtype


def test_a_user_is_in_the_shard_of_its_fingerprint(tmp_path):
    import tensorflow as tf

    names = written(tmp_path, 3)
    shard_of = tf.strings.to_hash_bucket_fast(USERS.tolist(), 3).numpy()
    for shard, name in enumerate(names):
        examples = [tf.train.Example.FromString(one.numpy()) for one in tf.data.TFRecordDataset(str(tmp_path / name))]
        found = [one.features.feature["user_id"].bytes_list.value[0].decode() for one in examples]
        assert found == USERS[shard_of == shard].tolist()


def test_the_same_sequences_give_the_same_bytes(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, 2)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_a_shard_cut_short_or_altered_is_refused(tmp_path):
    names = written(tmp_path, 2)
    whole = (tmp_path / names[1]).read_bytes()
    for damaged in (whole[:-5], whole[:40] + b"x" + whole[41:]):
        (tmp_path / names[1]).write_bytes(damaged)
        told = rf"{names[1]} is damaged: \w+ record at \d+[^{{\[]*\. Remove {tmp_path} and prepare the data anew: `"
        with pytest.raises(ValueError, match=told):
            read(tmp_path, names)


def test_a_file_that_is_too_large_for_the_system_is_an_error_of_the_system(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
    try:
        with pytest.raises(OSError, match="File too large") as told:
            written(tmp_path, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.value.errno == errno.EFBIG


def test_more_shards_than_files_may_be_open_are_one_line(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 50, hard))
    try:
        with pytest.raises(ValueError, match=r"`shards` \(data.shards\) is 300, and the system lets this process have"):
            written(tmp_path, 300)
        (tmp_path / "few").mkdir()
        assert written(tmp_path / "few", 4)  # Those that were opened have been closed.
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
