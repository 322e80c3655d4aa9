import numpy as np
import pytest

from tests.contracts import SEQUENCE_RULES, TABLE_RULES, Subject, check, made, sequence_inputs
from tfrec.features import TIMESTAMP, USER_TEXT
from tfrec.towers import BehaviorTower, ConvolutionEncoder, LiGRBlock, LSTMEncoder, SelfAttentionEncoder

DIM = 6
EVENTS, USERS = {"event_type": 4, "device": 3}, {"region": 5}


def encoders(count=3):
    return [
        SelfAttentionEncoder([LiGRBlock(DIM, 2, dropout=0.0, timestamps=count == 3)], name="attention"),
        LSTMEncoder(DIM, dropout=0.0, name="lstm"),
        ConvolutionEncoder(DIM, blocks=1, dropout=0.0, name="convolution"),
    ][:count]


def whole(dropout=0.0, input_dropout=0.5):
    return BehaviorTower(
        DIM,
        encoders(),
        event_columns=EVENTS,
        user_columns=USERS,
        timestamps=True,
        dropout=dropout,
        input_dropout=input_dropout,
    )


def vectors_alone(rows, length):
    return [*sequence_inputs(DIM)(rows, length), {}]


def everything(rows, length):
    rng = np.random.default_rng(4)
    context = {
        "event_type": rng.integers(1, 4, (rows, 40)),
        "event_device": rng.integers(1, 3, (rows, 40)),
        TIMESTAMP: 1_600_000_000 + rng.integers(1, 90_000, (rows, 40)).cumsum(axis=1),
        "user_region": rng.integers(1, 5, rows),
    }
    cut = {name: values[:, :length] if values.ndim > 1 else values for name, values in context.items()}
    return [*sequence_inputs(DIM)(rows, length), {name: v.astype(_dtype(name)) for name, v in cut.items()}]


def _dtype(name):
    return "int64" if name == TIMESTAMP else "int32"


WHOLE = Subject(whole, everything, DIM, first=1)
BARE = Subject(lambda: BehaviorTower(DIM, encoders(1)), vectors_alone, DIM, first=1)


@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract(rule, tmp_path):
    check(rule, WHOLE, tmp_path)


def test_an_encoder_that_reads_times_needs_some():
    with pytest.raises(ValueError, match="`encoders`: attention reads the times of the events; `timestamps` is false"):
        BehaviorTower(DIM, encoders(3))


@pytest.mark.parametrize("rule", SEQUENCE_RULES)
def test_contract_of_items_alone(rule, tmp_path):
    check(rule, BARE, tmp_path)


def test_state_0_is_the_user_of_whom_nothing_is_known():
    tower = made(BARE)
    states = BARE.outputs(tower, BARE.inputs(3, 4))[:, 0]
    empty = tower.empty.numpy()
    normal = (empty - empty.mean()) / np.sqrt(empty.var() + 1e-6)
    np.testing.assert_allclose(states, [normal * tower.norm.gamma.numpy() + tower.norm.beta.numpy()] * 3, atol=1e-5)


def test_state_0_knows_the_user_and_no_event():
    tower, (vectors, context) = made(WHOLE), everything(2, 4)
    first = WHOLE.outputs(tower, [vectors, context])[:, 0]
    otherwise = WHOLE.outputs(tower, [vectors + 1, {"user_region": context["user_region"]}])[:, 0]
    np.testing.assert_allclose(first, otherwise, atol=1e-6)
    region = tower.embeddings["user_region"].numpy()[context["user_region"]]
    unknown = WHOLE.outputs(tower, [vectors, {}])[:, 0] - tower.embeddings["user_region"].numpy()[0]
    np.testing.assert_allclose(first - region, unknown, atol=1e-5)


@pytest.mark.parametrize("absent", ["event_type", "event_device", TIMESTAMP, "user_region", "all of them"])
def test_an_absent_input_is_a_missing_one(absent):
    tower, (vectors, context) = made(WHOLE), everything(3, 5)
    names = list(context) if absent == "all of them" else [absent]
    without = {name: values for name, values in context.items() if name not in names}
    zeroed = {name: values * (name not in names) for name, values in context.items()}
    left_out, missing = WHOLE.outputs(tower, [vectors, without]), WHOLE.outputs(tower, [vectors, zeroed])
    np.testing.assert_allclose(left_out, missing, atol=1e-6)
    assert np.abs(left_out - WHOLE.outputs(tower, [vectors, context])).max() > 1e-3


def test_what_the_tower_was_not_built_for_is_ignored():
    tower, (vectors, context) = made(WHOLE), everything(2, 3)
    more = {**context, "event_color": context["event_type"], "history": context["event_type"]}
    np.testing.assert_array_equal(WHOLE.outputs(tower, [vectors, more]), WHOLE.outputs(tower, [vectors, context]))


def test_training_hides_a_whole_input_from_whole_rows():
    """Each state is the one with or the one without the input: never a part of it, never rescaled."""
    rows = 400
    tower = BehaviorTower(DIM, encoders(1), event_columns={"event_type": 4}, dropout=0.0, input_dropout=0.25)
    vectors, context = everything(rows, 3)
    context = {"event_type": context["event_type"]}
    shown, hidden = tower(vectors, context).numpy(), tower(vectors, {}).numpy()
    trained = tower(vectors, context, training=True).numpy()
    is_shown = np.abs(trained - shown).max(axis=(1, 2)) < 1e-4
    is_hidden = np.abs(trained - hidden).max(axis=(1, 2)) < 1e-4
    assert (is_shown ^ is_hidden).all()
    assert 0.17 < is_hidden.mean() < 0.33


def test_inputs_are_hidden_one_by_one():
    tower, (vectors, context) = whole(), everything(200, 2)
    tower(vectors, context)
    kept = [tower._hidden(np.ones((200, 2), "int64"), training=True).numpy()[:, 0] for _ in range(2)]
    assert {(int(a), int(b)) for a, b in zip(*kept, strict=True)} == {(0, 0), (0, 1), (1, 0), (1, 1)}


def test_nothing_is_hidden_outside_training():
    tower = whole(dropout=0.5, input_dropout=1.0)
    inputs = everything(3, 4)
    first, second = WHOLE.outputs(tower, inputs), WHOLE.outputs(tower, inputs)
    np.testing.assert_array_equal(first, second)
    assert np.abs(first - WHOLE.outputs(tower, [inputs[0], {}])).max() > 1e-3
    training = [tower(*inputs, training=True).numpy() for _ in range(2)]
    assert np.abs(training[0] - training[1]).max() > 1e-3


def test_all_can_be_hidden():
    tower = whole(input_dropout=1.0)
    vectors, context = everything(3, 4)
    trained = tower(vectors, context, training=True).numpy()
    np.testing.assert_allclose(trained, tower(vectors, {}).numpy(), atol=1e-5)


def test_encoders_run_side_by_side():
    tower, (vectors, _) = made(Subject(lambda: BehaviorTower(DIM, encoders(2)), vectors_alone, DIM)), everything(2, 5)
    outputs = [encoder(vectors).numpy() for encoder in tower.encoders]
    fused = tower.norm(tower.fusion(np.concatenate(outputs, axis=-1))).numpy()
    np.testing.assert_allclose(tower(vectors).numpy()[:, 1:], fused, atol=1e-5)


def test_a_row_is_alone_in_its_batch():
    tower, (vectors, context) = made(WHOLE), everything(4, 5)
    together = WHOLE.outputs(tower, [vectors, context])
    alone = WHOLE.outputs(tower, [vectors[2:3], {name: values[2:3] for name, values in context.items()}])
    np.testing.assert_allclose(alone, together[2:3], atol=1e-5)


def test_tables_start_apart():
    tower = whole()
    tower.build((None, None, DIM))
    assert not np.allclose(tower.embeddings["event_type"].numpy()[:3], tower.embeddings["event_device"].numpy())


def test_a_column_may_be_named_as_it_likes():
    tower = BehaviorTower(DIM, encoders(1), event_columns={"site/渠道": 3}, user_columns={"a b": 2})
    vectors, _ = vectors_alone(2, 3)
    context = {"event_site/渠道": np.array([[1, 2, 0]] * 2, "int32"), "user_a b": np.array([1, 0], "int32")}
    assert np.abs(tower(vectors, context).numpy() - tower(vectors, {}).numpy()).max() > 1e-3


def test_an_encoder_is_needed():
    with pytest.raises(ValueError, match="`encoders` must hold at least one layer; received none"):
        BehaviorTower(DIM, [])


# -- the users' texts -------------------------------------------------------------------------------------------------


def telling(rows, length):
    text = np.random.default_rng(6).normal(size=(rows, 4)).astype("float32")
    return [*sequence_inputs(DIM)(rows, length), {USER_TEXT: text}]


TELLING = Subject(lambda: BehaviorTower(DIM, encoders(1), text_width=4, dropout=0.0), telling, DIM, first=1)


@pytest.mark.parametrize("rule", TABLE_RULES)
def test_contract_with_texts(rule, tmp_path):
    check(rule, TELLING, tmp_path)


def test_a_text_moves_every_state_alike_the_first_one_too():
    tower, (vectors, context) = made(TELLING), telling(2, 3)
    moved = TELLING.outputs(tower, [vectors, context]) - TELLING.outputs(tower, [vectors, {}])
    np.testing.assert_allclose(moved, np.repeat(moved[:, :1], 4, axis=1), atol=1e-5)
    np.testing.assert_allclose(moved[:, 0], tower.text_projection(context[USER_TEXT]), atol=1e-5)


def test_no_text_is_the_zero_vector():
    tower, (vectors, context) = made(TELLING), telling(2, 3)
    zeros = {USER_TEXT: np.zeros_like(context[USER_TEXT])}
    np.testing.assert_array_equal(TELLING.outputs(tower, [vectors, zeros]), TELLING.outputs(tower, [vectors, {}]))


def test_training_hides_a_text_from_whole_rows():
    tower = BehaviorTower(DIM, encoders(1), text_width=4, dropout=0.0, input_dropout=0.25)
    vectors, context = telling(400, 1)
    shown, hidden = tower(vectors, context).numpy(), tower(vectors, {}).numpy()
    trained = tower(vectors, context, training=True).numpy()
    is_hidden = np.abs(trained - hidden).max(axis=(1, 2)) < 1e-4
    assert (is_hidden ^ (np.abs(trained - shown).max(axis=(1, 2)) < 1e-4)).all()
    assert 0.17 < is_hidden.mean() < 0.33


def test_texts_and_a_column_called_text_are_refused():
    with pytest.raises(ValueError, match="`user_columns` must not name 'text' where there is a `text_width`"):
        BehaviorTower(DIM, encoders(1), user_columns={"text": 3}, text_width=4)
