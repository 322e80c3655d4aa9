import numpy as np
import pytest
import tensorflow as tf

from tfrec.serving.index.vectors import QUANTIZATIONS, StoredVectors, VectorTable


def drawn(rows=50, dim=64, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(rows, dim)) * rng.uniform(0.01, 10, (rows, 1))).astype(np.float32)


def test_tables_have_a_half_and_little_more_than_a_quarter_of_the_size():
    shares = {
        kind: VectorTable.of(drawn(), kind).sizes["bytes"] / VectorTable.of(drawn(), kind).sizes["float32_bytes"]
        for kind in QUANTIZATIONS
    }
    assert shares["float32"] == 1 and shares["float16"] == 0.5
    assert 0.25 < shares["int8"] < 0.27


def test_eight_bits_are_off_by_half_a_level_of_their_row_at_most():
    vectors = drawn()
    table = VectorTable.of(vectors, "int8")
    level = np.abs(vectors).max(axis=1, keepdims=True) / 127
    off = np.abs(table.restored - vectors)
    assert (off <= 0.5001 * level).all() and off.max() > 0
    largest = np.argmax(np.abs(vectors), axis=1)[:, None]
    np.testing.assert_allclose(
        np.take_along_axis(table.restored, largest, 1), np.take_along_axis(vectors, largest, 1), rtol=1e-6
    )
    np.testing.assert_array_equal(VectorTable.of(-vectors, "int8").codes, -table.codes)


def test_rows_without_length_stay_zeros():
    vectors = drawn(3)
    vectors[0], vectors[1] = 0, 1e-38
    restored = VectorTable.of(vectors, "int8").restored
    assert not restored[:2].any() and restored[2].any()


@pytest.mark.parametrize("kind", ["float16", "int8"])
def test_a_bonus_leaves_the_rest_of_the_row_as_it_is(kind):
    vectors = drawn(dim=8)
    wide = np.concatenate([vectors, np.where(np.arange(50) % 2, 175.25, 0)[:, None]], axis=1)
    table = VectorTable.of(wide, kind, dim=8)
    np.testing.assert_array_equal(table.restored[:, :8], VectorTable.of(vectors, kind).restored)
    np.testing.assert_array_equal(table.restored[:, 8], wide[:, 8])
    assert table.sizes["float32_bytes"] == 50 * 9 * 4


@pytest.mark.parametrize("kind", QUANTIZATIONS)
@pytest.mark.parametrize("dim", [6, 8])
def test_a_graph_reads_what_the_table_restores(kind, dim):
    table = VectorTable.of(drawn(dim=8), kind, dim=dim)
    stored, queries = StoredVectors(table, "vectors"), drawn(3, 8, seed=1)
    places = np.array([[4, 0], [4, 49]])
    np.testing.assert_array_equal(tf.function(stored.rows)(places), table.restored[places])
    np.testing.assert_allclose(stored.scores(queries), queries @ table.restored.T, rtol=1e-4, atol=1e-4)
    of_some = tf.function(stored.scores_of)(queries[0], [7, 3])
    np.testing.assert_allclose(of_some, table.restored[[7, 3]] @ queries[0], rtol=1e-4, atol=1e-4)
    assert stored.width == 8 and stored.scores(np.zeros((0, 8), np.float32)).shape == (0, 50)
    assert (
        sum(variable.dtype.size * variable.shape.num_elements() for variable in stored.variables)
        == (table.sizes["bytes"])
    )


def test_rows_are_taken_in_an_order():
    table, order = VectorTable.of(drawn(dim=8), "int8", dim=6), np.array([3, 3, 0])
    np.testing.assert_array_equal(table.taken(order).restored, table.restored[order])


def test_what_cannot_be_stored_is_refused():
    vectors = drawn(dim=8)
    with pytest.raises(ValueError, match="`quantization` must be one of float32, float16, int8; received 'int4'"):
        VectorTable.of(vectors, "int4")
    vectors[1, 2] = 1e5
    with pytest.raises(ValueError, match="holds 1e.05, beyond what 16 bits hold"):
        VectorTable.of(vectors, "float16")
    assert np.isfinite(VectorTable.of(vectors, "int8").restored).all()
    vectors[1, 2] = np.nan
    for kind in ("float16", "int8"):
        with pytest.raises(ValueError, match="not finite"):
            VectorTable.of(vectors, kind)


def test_what_is_stored_whole_is_read_without_a_copy():
    vectors = np.ones((3, 4), np.float32)
    assert np.shares_memory(VectorTable.of(vectors).restored, vectors)


def test_rows_are_rounded_alike_however_many_at_a_time(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    whole = VectorTable.of(vectors, "int8")
    monkeypatch.setattr("tfrec.serving.index.vectors._ROWS", 7)
    parts = VectorTable.of(vectors, "int8")
    np.testing.assert_array_equal(parts.codes, whole.codes)
    np.testing.assert_array_equal(parts.scale, whole.scale)
    np.testing.assert_allclose(whole.restored, vectors, atol=float(np.abs(vectors).max()) / 250)
