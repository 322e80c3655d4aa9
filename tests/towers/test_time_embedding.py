import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.contracts import SEQUENCE_RULES, Subject, check, made
from tfrec.towers.time_embedding import DAYS, GAP_BUCKETS, HOURS, TimeEmbedding, gap_buckets

DIM = 4


def increasing_times(rows, length):
    gaps = np.random.default_rng(0).integers(1, 400_000, (rows, 40))
    return [(1_600_000_000 + np.cumsum(gaps, axis=1)).astype("int64")[:, :length]]


SUBJECT = Subject(lambda: TimeEmbedding(DIM), increasing_times, DIM)


@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, tmp_path):
    check(rule, SUBJECT, tmp_path)


def indicators(kind):
    """A layer whose table `kind` says the code in its first dimension, and whose other tables are zero."""
    layer = made(SUBJECT)
    for name, table in layer.tables.items():
        codes = np.arange(len(table.numpy()), dtype="float32")[:, None] * (name == kind)
        table.assign(np.pad(codes, [(0, 0), (0, DIM - 1)]))
    return lambda times: layer(np.array([times], "int64")).numpy()[0, :, 0].astype(int).tolist()


def test_gap_has_one_bucket_a_doubling():
    gaps = [0, 1, 2, 3, 6, 7, 2**15 - 2, 2**15 - 1, 2**30 - 2, 2**30 - 1, 2**31]
    buckets = [1, 2, 2, 3, 3, 4, 15, 16, 30, 31, 32]
    start = 1_000_000_000
    code = indicators("gap")
    assert [code([start, start + gap])[1] for gap in gaps] == buckets
    assert code([start, start + 2**32 - 1])[1] == code([start, start + 2**40])[1] == GAP_BUCKETS - 1


def test_gap_is_the_same_under_xla():
    def of_row(times):
        return gap_buckets(times, times[:, :1])

    times = 10**9 + np.array([[0] + [2**k - 1 for k in range(33)]], "int64")
    compiled = tf.function(of_row, jit_compile=True)
    assert compiled(times).numpy().tolist() == of_row(times).numpy().tolist() == [[1, *range(1, GAP_BUCKETS)]]


def test_gap_back_in_time_is_no_time():
    assert indicators("gap")([2000, 1000]) == [0, 1]


def test_hour_and_day_are_those_of_the_calendar():
    days = ["1970-01-01 00:00:01", "2024-02-29 23:59:59", "2026-11-22 07:30:00", "2000-01-01 12:00:00"]
    moments = pd.to_datetime(days)
    seconds = [int(moment.timestamp()) for moment in moments]
    assert indicators("hour")(seconds) == [moment.hour + 1 for moment in moments]
    assert indicators("day")(seconds) == [moment.weekday() + 1 for moment in moments]
    assert HOURS == 24 + 1
    assert DAYS == 7 + 1


@pytest.mark.parametrize("kind", ["gap", "hour", "day"])
def test_a_missing_time_is_code_0(kind):
    codes = indicators(kind)([1_600_000_000, 0, 1_600_003_600])
    assert codes[1] == 0
    assert (codes[2] == 0) == (kind == "gap")


def test_tables_start_apart():
    tables = [table.numpy()[:8] for table in _built().tables.values()]
    assert not np.allclose(tables[0], tables[1])
    assert not np.allclose(tables[1], tables[2])


def _built():
    layer = TimeEmbedding(DIM)
    layer.build()
    return layer
