"""Rows that a step does not read are left alone, and take the steps that they missed when they are read again."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.retrieval import cycles
from tfrec.retrieval import SampledSoftmax, TwoTower
from tfrec.towers import BehaviorTower, ConvolutionEncoder, ItemTower
from tfrec.training import RowWiseAdamW, TrainingCheckpoint

ROWS, WIDTH = 40, 3
RNG = np.random.default_rng(0)
START = RNG.normal(size=(ROWS, WIDTH)).astype("float32")
TWICE = np.array([4, 7, 4], "int32")


class Trained:
    """A table and a weight beside it, and the optimizer that moves them."""

    def __init__(self, kind, **options):
        self.table, self.beside = keras.Variable(START), keras.Variable(np.ones((2, 2), "float32"))
        self.optimizer = kind(0.01, **options)
        if kind is RowWiseAdamW:
            self.optimizer.by_row([self.table])
        self.optimizer.build([self.table, self.beside])
        spec = [tf.TensorSpec([None], tf.int32), tf.TensorSpec([None, WIDTH], tf.float32)]
        self.step = tf.function(self._step, input_signature=spec, autograph=False)

    def _step(self, rows, values):
        slices = tf.IndexedSlices(values, rows, tf.constant(START.shape))
        gradient = slices if isinstance(self.optimizer, RowWiseAdamW) else tf.convert_to_tensor(slices)
        self.optimizer.apply([gradient, tf.fill([2, 2], 0.1)], [self.table, self.beside])

    def way_from(self, other):
        return np.abs(self.table.numpy() - other).mean()


def pair(**options):
    return Trained(RowWiseAdamW, **options), Trained(keras.optimizers.AdamW, **options)


def random_steps(number, share):
    """Rows, each with this probability, and gradients that lean to one side."""
    for _ in range(number):
        rows = np.flatnonzero(RNG.random(ROWS) < share).astype("int32")
        yield rows, (RNG.normal(size=(len(rows), WIDTH)) + 0.7).astype("float32")


@pytest.mark.parametrize(
    "options", [{"weight_decay": 0.1, "global_clipnorm": 1.0}, {"weight_decay": 0.0}, {"clipnorm": 0.5}]
)
def test_it_is_adamw_where_each_step_reads_every_row(options):
    ours, theirs = pair(**options)
    every = np.concatenate([np.arange(ROWS), TWICE]).astype("int32")
    for _ in range(20):
        values = RNG.normal(size=(len(every), WIDTH)).astype("float32")
        ours.step(every, values)
        theirs.step(every, values)
    np.testing.assert_allclose(ours.table.numpy(), theirs.table.numpy(), atol=1e-6)
    np.testing.assert_allclose(ours.beside.numpy(), theirs.beside.numpy(), atol=1e-6)


@pytest.mark.parametrize("share", [0.02, 0.3])
def test_rows_end_where_dense_adam_takes_them(share):
    ours, theirs = pair(weight_decay=0.0)
    for rows, values in random_steps(300, share):
        ours.step(rows, values)
        theirs.step(rows, values)
    way, dense, left = theirs.way_from(START), theirs.table.numpy(), ours.table.numpy()
    ours.optimizer.settle()
    assert ours.way_from(dense) < 0.01 * way
    assert np.abs(left - dense).mean() > 5 * ours.way_from(dense)  # By what was left of the momentum.
    before = ours.table.numpy()
    ours.optimizer.settle()
    np.testing.assert_array_equal(ours.table.numpy(), before)


def test_rows_that_are_read_are_where_dense_adam_has_them():
    ours, theirs = pair(weight_decay=0.0)
    for rows, values in random_steps(100, 0.1):
        ours.step(rows, values)
        theirs.step(rows, values)
    before, read = ours.table.numpy(), np.arange(0, ROWS, 2)
    ours.optimizer.catch_up(ours.table, tf.constant([*read, 4]))
    after, dense = ours.table.numpy()[read], theirs.table.numpy()[read]
    np.testing.assert_array_equal(ours.table.numpy()[1::2], before[1::2])
    assert np.abs(after - dense).mean() < 0.02 * theirs.way_from(START)
    assert np.abs(before[read] - dense).mean() > 5 * np.abs(after - dense).mean()


def test_rows_without_a_gradient_neither_move_nor_decay():
    ours = Trained(RowWiseAdamW, weight_decay=0.5)
    for _ in range(3):
        ours.step(TWICE, np.ones((3, WIDTH), "float32"))
    ours.optimizer.settle()
    others = np.setdiff1d(np.arange(ROWS), TWICE)
    np.testing.assert_array_equal(ours.table.numpy()[others], START[others])
    assert np.abs(ours.table.numpy()[[4, 7]] - START[[4, 7]]).min() > 0


def test_a_row_that_is_there_twice_has_the_sum_of_its_gradients():
    twice, once = Trained(RowWiseAdamW, global_clipnorm=0.5), Trained(RowWiseAdamW, global_clipnorm=0.5)
    values = np.array([[3.0] * WIDTH, [0.5] * WIDTH, [-1.0] * WIDTH], "float32")
    twice.step(TWICE, values)
    once.step(TWICE[:2], np.stack([values[0] + values[2], values[1]]))
    for part in ("table", "beside"):
        np.testing.assert_allclose(getattr(twice, part).numpy(), getattr(once, part).numpy(), atol=1e-7)


def test_all_rows_are_settled_in_parts(monkeypatch):
    whole, parted = Trained(RowWiseAdamW), Trained(RowWiseAdamW)
    for rows, values in random_steps(20, 0.2):
        whole.step(rows, values)
        parted.step(rows, values)
    whole.optimizer.settle()
    monkeypatch.setattr("tfrec.training.row_wise.ROWS_AT_ONCE", 7)
    parted.optimizer.settle()
    np.testing.assert_allclose(parted.table.numpy(), whole.table.numpy(), atol=1e-6)


# -- in a model ------------------------------------------------------------------------------------------------------


def trained(optimizer, objective="sampled_softmax", **options):
    """A model, and the losses of its epochs."""
    model = cycles.two_tower(objective, **options)
    model.compile(optimizer)
    tests = cycles.as_dataset(cycles.test_batch())
    batches = cycles.as_dataset(*[cycles.train_batch(users=2, length=2, seed=seed) for seed in range(6)])
    return model, model.fit(batches, epochs=3, verbose=0, validation_data=tests).history


@pytest.mark.parametrize("objective", ["sampled_softmax", "retrieval"])
def test_a_model_learns_as_under_adamw(objective):
    options = {"learning_rate": 0.02, "weight_decay": 0.0, "global_clipnorm": 1.0}
    model, ours = trained(RowWiseAdamW(**options), objective)
    dense, theirs = trained(keras.optimizers.AdamW(**options), objective)
    assert isinstance(model.optimizer, RowWiseAdamW)
    np.testing.assert_allclose(ours["loss"], theirs["loss"], rtol=0.02)
    tables = [each.item_tower.embedding.numpy() for each in (model, dense)]
    assert np.abs(tables[0] - tables[1]).max() < 0.05 * np.abs(tables[1]).max()


def test_a_step_reads_rows_that_are_up_to_date_and_fit_leaves_none_that_is_not(monkeypatch):
    model, _ = trained(RowWiseAdamW(0.02))
    before = model.item_tower.embedding.numpy()
    model.optimizer.settle()
    np.testing.assert_array_equal(model.item_tower.embedding.numpy(), before)
    asked, batch = [], cycles.train_batch(users=2, length=2)
    monkeypatch.setattr(model.optimizer, "catch_up", lambda table, rows: asked.append((table, set(rows.numpy()))))
    model.compute_loss(batch)
    ((table, rows),) = asked
    assert table is model.item_tower.embedding
    assert rows >= set(batch["history"].ravel()) | set(batch["target"].ravel())


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_no_tensor_of_a_step_has_as_many_rows_as_the_catalogue(policy):
    items = 997
    keras.config.set_dtype_policy(policy)
    try:
        tower = ItemTower(8, items, text_width=4, categories={"kind": (5, 1)}, numbers=2)
        objective = SampledSoftmax(np.arange(1, items), 6, unseen=True)
        model = TwoTower(tower, BehaviorTower(8, [ConvolutionEncoder(8)]), objective, similarity="cosine")
        model.compile(RowWiseAdamW(0.02, global_clipnorm=1.0))
        spec = {name: tf.TensorSpec([None, None], tf.int32) for name in cycles.train_batch()}
        step = tf.function(model.train_step, autograph=False).get_concrete_function(spec)
    finally:
        keras.config.set_dtype_policy("float32")
    outputs = [(op.type, output.shape) for op in step.graph.get_operations() for output in op.outputs]
    assert len(outputs) > 100
    assert not [(kind, shape) for kind, shape in outputs if shape.rank and items in (shape[0], shape[-1])]


def test_half_precision_keeps_the_gradient_to_its_rows():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model, history = trained(RowWiseAdamW(0.02))  # A dense gradient would be refused.
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(history["loss"]).all()
    assert np.isfinite(model.item_tower.embedding.numpy()).all()


@pytest.mark.slow
def test_xla_may_compile_the_step():
    model = cycles.two_tower("sampled_softmax")
    model.compile(RowWiseAdamW(0.02, global_clipnorm=1.0), jit_compile=True)
    before = model.item_tower.embedding.numpy()
    history = model.fit(cycles.as_dataset(cycles.train_batch()), verbose=0).history
    assert np.isfinite(history["loss"]).all()
    assert np.abs(model.item_tower.embedding.numpy() - before)[1:].max() > 0


def test_a_checkpoint_holds_what_goes_on(tmp_path):
    model, _ = trained(RowWiseAdamW(0.02))
    checkpoint = TrainingCheckpoint(tmp_path)
    checkpoint.set_model(model)
    checkpoint.on_epoch_end(0, {"val_ndcg@10": 0.5, "loss": 1.0})
    other = cycles.two_tower("sampled_softmax")
    other.compile(RowWiseAdamW(0.02))
    checkpoint.restore(other)
    batch = {name: tf.constant(values) for name, values in cycles.train_batch(users=2, length=2, seed=9).items()}
    losses = [[float(each.train_step(batch)["loss"]) for _ in range(2)] for each in (model, other)]
    assert losses[0][1] == pytest.approx(losses[1][1], rel=1e-3)
    np.testing.assert_array_equal(model.item_tower.embedding.numpy(), other.item_tower.embedding.numpy())


# -- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 2}, "`gradient_accumulation_steps` is not for row-wise updates.*received 2"),
        ({"use_ema": True}, "`use_ema` is not for row-wise updates"),
        ({"clipvalue": 1.0}, "`clipvalue` is not for row-wise updates"),
        ({"loss_scale_factor": 2.0}, "`loss_scale_factor` is not for row-wise updates"),
        ({"amsgrad": True}, "`amsgrad` is not for row-wise updates"),
        ({"beta_1": 0.9, "beta_2": 0.8}, "`beta_1` squared must be below `beta_2`; received 0.9 and 0.8"),
    ],
)
def test_what_would_touch_every_row_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        RowWiseAdamW(0.1, **options)


def test_a_step_that_reads_every_row_is_refused():
    with pytest.raises(ValueError, match="is updated by row, and its gradient is of all 12 rows"):
        trained(RowWiseAdamW(0.02), "softmax")
