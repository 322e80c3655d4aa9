import numpy as np
import pytest

from tests.contracts import TABLE_RULES, Subject, check, made
from tfrec.towers import ItemTower

DIM, ITEMS, WIDTH = 4, 9, 5
TRAINED = np.array([0, 1, 1, 1, 1, 1, 0, 0, 1], bool)
RNG = np.random.default_rng(0)
TEXT = RNG.normal(size=(ITEMS, WIDTH)).astype("float32")
GENRES = np.array([[0, 0, 0], [1, 0, 0], [1, 2, 0], [3, 2, 1], [0, 0, 0], [2, 0, 0], [1, 3, 0], [0, 0, 0], [3, 0, 0]])
NUMBERS = RNG.normal(size=(ITEMS, 2))
NUMBERS[3, 1] = NUMBERS[4, 0] = np.nan


def whole(id_dropout=0.4):
    """A tower of every part."""
    tower = ItemTower(DIM, ITEMS, text_width=WIDTH, categories={"genre": (4, 3)}, numbers=2, id_dropout=id_dropout)
    tower.set_features(trained=TRAINED, text=TEXT, categories={"genre": GENRES}, numbers=NUMBERS)
    return tower


def ids_alone(**kwargs):
    tower = ItemTower(DIM, ITEMS, **kwargs)
    tower.set_features(trained=TRAINED)
    return tower


def item_rows(rows, length):
    return [np.random.default_rng(rows).integers(0, ITEMS, rows * length).astype("int32")]


SUBJECTS = {"whole": Subject(whole, item_rows, DIM), "ids": Subject(ids_alone, item_rows, DIM)}


@pytest.mark.parametrize("kind", SUBJECTS)
@pytest.mark.parametrize("rule", TABLE_RULES)
def test_contract(kind, rule, tmp_path):
    check(rule, SUBJECTS[kind], tmp_path)


def expected(tower):
    """Every item's vector, item by item."""
    embedding, genres = tower.embedding.numpy(), tower.category_embeddings["genre"].numpy()
    texts = TEXT @ tower.text_projection.kernel.numpy() + tower.text_projection.bias.numpy()
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    vectors = np.zeros((ITEMS, DIM))
    for item in range(1, ITEMS):
        codes = [code for code in GENRES[item] if code]
        known = np.nan_to_num(NUMBERS[item]).tolist() + np.isnan(NUMBERS[item]).astype(float).tolist()
        vectors[item] = (
            (embedding[item] if TRAINED[item] else 0)
            + texts[item]
            + (np.mean([genres[code] for code in codes], axis=0) if codes else 0)
            + known @ tower.number_projection.kernel.numpy()
        )
    return vectors


def test_a_vector_is_the_sum_of_what_is_known():
    tower = made(SUBJECTS["whole"])
    np.testing.assert_allclose(tower().numpy(), expected(tower), atol=1e-5)


def test_rows_are_picked_from_the_catalogue():
    tower, rows = made(SUBJECTS["whole"]), np.array([5, 0, 3, 5], "int32")
    np.testing.assert_allclose(tower(rows).numpy(), tower().numpy()[rows], atol=1e-6)


def test_padding_is_the_zero_vector():
    assert not made(SUBJECTS["whole"])(np.array([0, 0], "int32")).numpy().any()


def test_an_untrained_item_has_no_id():
    tower = ids_alone()
    assert not tower().numpy()[~TRAINED].any()
    assert tower().numpy()[TRAINED].any(axis=1).all()


def test_every_item_counts_as_trained_until_said_otherwise():
    assert ItemTower(DIM, ITEMS)().numpy()[1:].any(axis=1).all()


def test_training_hides_whole_ids_and_rescales_none():
    tower = made(SUBJECTS["whole"])
    ids = np.where(TRAINED[:, None], tower.embedding.numpy(), 0)
    without = tower().numpy() - ids
    hidden = []
    for _ in range(60):
        left = tower(training=True).numpy() - without
        is_hidden = np.abs(left).max(axis=1) < 1e-5
        np.testing.assert_allclose(left[~is_hidden], ids[~is_hidden], atol=1e-5)
        hidden.append(is_hidden[TRAINED])
    assert 0.3 < np.mean(hidden) < 0.5  # `id_dropout` is 0.4; 360 draws, four standard deviations.


def test_only_a_described_item_can_do_without_its_id():
    tower = ids_alone(id_dropout=0.9)
    np.testing.assert_array_equal(tower(training=True).numpy(), tower().numpy())


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_id_dropout_may_be_none_or_all(share):
    tower = whole(id_dropout=share)
    without = tower().numpy() - np.where(TRAINED[:, None], tower.embedding.numpy(), 0) * (np.arange(ITEMS) > 0)[:, None]
    np.testing.assert_allclose(tower(training=True).numpy(), tower().numpy() if share == 0 else without, atol=1e-6)


def test_a_bounded_id_is_no_longer_than_its_share_of_the_text():
    text = TEXT.copy()
    text[5] = 0
    tower = ItemTower(DIM, ITEMS, text_width=WIDTH, delta=0.5)
    tower.set_features(trained=TRAINED, text=text)
    free = np.concatenate([np.full((4, DIM), 0.01), np.full((ITEMS - 4, DIM), 3.0)]).astype("float32")
    tower.embedding.assign(free)
    ids = tower().numpy() - tower.text_projection(text).numpy()
    np.testing.assert_allclose(ids[[1, 2, 3]], free[[1, 2, 3]], atol=1e-5)  # Short ones stay as they are.
    np.testing.assert_allclose(np.linalg.norm(ids[[4, 8]], axis=1), 0.5, atol=1e-4)  # A text is 1 long.
    np.testing.assert_allclose(ids[5], free[5], atol=1e-5)  # Without a text there is nothing to measure by.
    np.testing.assert_allclose(ids[[6, 7]], 0, atol=1e-5)  # Untrained.


def test_tables_start_apart():
    tower = whole()
    assert not np.allclose(tower.embedding.numpy()[:4], tower.category_embeddings["genre"].numpy())


def test_a_feature_may_be_named_as_it_likes():
    tower = ItemTower(DIM, ITEMS, categories={"genre/子": (4, 3), "a b": (4, 3)})
    tower.set_features(categories={"genre/子": GENRES})
    assert tower().numpy()[1].any()


def test_features_are_saved_and_never_trained():
    tower = whole()
    frozen = {weight.path.rpartition("/")[2] for weight in tower.non_trainable_weights}
    assert {"trained", "text", "numbers", "codes_genre"} <= frozen
    assert not {"trained", "text", "numbers"} & {weight.name for weight in tower.trainable_weights}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"trained": TRAINED[1:]}, r"`trained` must have the shape \(9,\).*received \(8,\)"),
        ({"text": TEXT[:, :3]}, r"`text` must have the shape \(9, 5\).*received \(9, 3\)"),
        ({"categories": {"color": GENRES}}, "`categories` names 'color'; the tower was built with 'genre'"),
        ({"categories": {"genre": GENRES[:, :2]}}, r"`categories\['genre'\]` must have the shape \(9, 3\)"),
        ({"categories": {"genre": GENRES + 1}}, "codes from 0 to 3; received 1 to 4"),
        ({"numbers": NUMBERS[:, :1]}, r"`numbers` must have the shape \(9, 2\)"),
    ],
)
def test_features_of_another_catalogue_are_refused(features, message):
    with pytest.raises(ValueError, match=message):
        whole().set_features(**features)


@pytest.mark.parametrize("features", [{"text": TEXT}, {"numbers": NUMBERS}])
def test_features_that_were_not_declared_are_refused(features):
    with pytest.raises(ValueError, match="must have the shape"):
        ids_alone().set_features(**features)


def test_something_must_describe_an_item():
    with pytest.raises(ValueError, match="nothing describes an item"):
        ItemTower(DIM, ITEMS, ids=False)
    with pytest.raises(ValueError, match="`items` must be 2 or more, the padding row included; received 1"):
        ItemTower(DIM, 1)
