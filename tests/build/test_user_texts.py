"""Users without a history: what they say of themselves counts, and where they say nothing, how others began."""

import dataclasses

import keras
import numpy as np
import pandas as pd
import pytest

import tfrec
from tests.tiny_text import Hashed
from tfrec import build, config, evaluation
from tfrec.data import Dataset, ItemColumns, PrepareOptions, UserColumns, prepare
from tfrec.evaluation import Catalogue, Histories
from tfrec.retrieval import recommend

PEOPLE, STARTERS, ITEMS, STEPS = 400, 5, 60, 6
SAID = ["I run marathons", "I cook for friends", ""]
SETTINGS = config.Model(text=config.Text(source="words"), dim=16, dropout=0.0, time_features=False)


@pytest.fixture(scope="module", autouse=True)
def no_weights_are_loaded():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tfrec.build.text.TextEncoder", Hashed)
        yield


def tables():
    """Runners begin with an item of 0..4, cooks with one of 5..9, others with any of them; then all wander about.

    Every item is about as popular as any other, and the last users have no event before the cuts.
    """
    rng = np.random.default_rng(0)
    says = rng.integers(0, 3, PEOPLE)
    first = np.where(
        says == 2, rng.integers(2 * STARTERS, size=PEOPLE), says * STARTERS + rng.integers(STARTERS, size=PEOPLE)
    )
    rest = 2 * STARTERS + rng.integers(ITEMS - 2 * STARTERS, size=(PEOPLE, STEPS - 1))
    who = [f"u{one:03d}" for one in range(PEOPLE)]
    events = pd.DataFrame(
        {
            "user_id": np.repeat(who, STEPS),
            "item_id": np.concatenate([first[:, None], rest], axis=1).ravel().astype(str),
            "timestamp": (np.arange(PEOPLE)[:, None] * 10 + np.arange(STEPS) + 1000).ravel(),
        }
    )
    items = pd.DataFrame(
        {"item_id": [str(one) for one in range(ITEMS)], "title": [f"thing {one}" for one in range(ITEMS)]}
    )
    return events, items, pd.DataFrame({"user_id": who, "bio": [SAID[one] for one in says]})


@pytest.fixture(scope="module")
def data():
    users = UserColumns(text=("bio",))
    options = PrepareOptions(users=users, items=ItemColumns(), split="time", validation_from="70%", test_from="75%")
    return prepare(*tables(), options=options)


@pytest.fixture(scope="module")
def model(data):
    model = build.two_tower(data, SETTINGS, seed=1)
    model.compile(optimizer=keras.optimizers.AdamW(0.02))
    model.fit(data.train(512), epochs=15, verbose=0)
    return model


@pytest.fixture(scope="module")
def cold(data):
    """Users of the test without a history: those who say something, and those who do not."""
    says = tables()[2].set_index("user_id").bio
    ids = [user for user in data.truth("test").user_id.unique() if user not in set(data.history("test").user_id)]
    return [user for user in ids if says[user]], [user for user in ids if not says[user]]


def begun(table, users):
    """HR@5 of the items that some users begin with."""
    first = tables()[0].groupby("user_id").item_id.first()
    top = table[(table["rank"] <= 5) & table.user_id.isin(users)].groupby("user_id").item_id.agg(list)
    assert len(top) == len(users) > 20
    return np.mean([first[user] in items for user, items in top.items()])


def answers(model, data, *, without=()):
    batches = data.test().map(lambda batch: {name: values for name, values in batch.items() if name not in without})
    return recommend(model, batches, data.items.item_id, k=5)


@pytest.mark.slow
def test_the_text_of_a_user_without_history_counts(model, data, cold):
    assert begun(answers(model, data), cold[0]) > 0.9  # One of five items that such people begin with.
    assert begun(answers(model, data, without=("user_text",)), cold[0]) < 0.7


def test_a_text_means_of_a_user_at_first_what_it_means_of_an_item(data):
    model = build.two_tower(data, SETTINGS, seed=1)
    vectors = model.item_tower.text.numpy()[1:4]
    of_items = model.item_tower.text_projection(vectors).numpy()
    np.testing.assert_array_equal(model.behavior_tower.text_projection(vectors).numpy(), of_items)
    assert of_items.any()


@pytest.mark.slow
def test_of_whom_nothing_is_known_is_shown_what_others_begin_with(model, data, cold):
    """The learnt state 0 is the popularity that a new user needs: of first events, not of all."""
    table = answers(model, data)
    shown = set(table[table.user_id.isin(cold[1])].item_id)
    assert len(shown) == 5 and shown < {str(one) for one in range(2 * STARTERS)}
    catalogue = Catalogue.from_items(data.items)
    users = pd.Index(data.truth("test").user_id.unique())
    histories = Histories.from_frame(data.history("test"), users, catalogue.item_ids)
    popular = evaluation.popularity(catalogue, histories, k=5, keep_seen=False)
    assert begun(table, cold[1]) > begun(popular, cold[1]) + 0.1


@pytest.mark.slow
def test_a_data_set_opened_anew_needs_its_texts_read(model, data):
    again = Dataset.open(data.folder)
    with pytest.raises(ValueError, match="`data` was opened anew, .*call tfrec.build.read_user_texts"):
        tfrec.evaluate(model, again)
    assert build.read_user_texts(again, SETTINGS) == 8
    assert tfrec.evaluate(model, again).metrics == tfrec.evaluate(model, data).metrics


def test_batches_carry_texts_where_the_model_reads_them(data):
    for changes, width in (({}, 8), ({"user_text": False}, 0), ({"text": "none"}, 0)):
        fresh = Dataset.open(data.folder)
        model = build.two_tower(fresh, SETTINGS, **changes)
        assert model.behavior_tower.text_width == width
        assert ("user_text" in model.input_spec_dict, fresh.has_text_vectors) == (bool(width), bool(width))
        assert ("user_text" in fresh.train().element_spec) == bool(width)


def test_a_text_model_that_trains_reads_no_users(data):
    tuned = SETTINGS.model_copy(update={"text": config.Text(source="words", tuning="lora")})
    with pytest.raises(ValueError, match="model.text.tuning is 'lora', .*set model.user_text to false, or tuning to"):
        build.read_user_texts(data, tuned)
    assert build.read_user_texts(data, tuned.model_copy(update={"user_text": False})) == 0


def test_settings_name_the_columns():
    text = "name: s\ndata:\n  events: {path: e.csv, columns: {timestamp: at}}\n  users: {path: u.csv, text: bio}\n"
    options = build.prepare_options(config.parse(text).data)
    assert dataclasses.astuple(options.users) == ("user_id", (), ("bio",))
