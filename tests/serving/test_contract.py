import numpy as np
import pandas as pd
import pytest
import tensorflow as tf

from tests.serving.conftest import IDS, NOT_CANDIDATES, make_data, make_model
from tfrec.serving.contract import Contract


def test_inputs_are_named_as_features_in_what_tensorflow_accepts(model, data):
    contract = Contract.of(model, data, 5)
    assert list(contract.specs) == ["history", "event_type", "event_my_device", "timestamp", "user_country"]
    assert contract.features["event_my_device"] == "event_my device"
    assert contract.columns == {
        "event_type": "event_type",
        "event_my_device": "my device",
        "timestamp": "timestamp",
        "user_country": "country",
    }
    assert contract.specs["timestamp"].dtype == tf.int64
    assert contract.specs["user_country"].shape.rank == 1
    assert contract.vocabularies["event_type"] == ("buy", "view")


def test_names_that_would_become_the_same_stay_apart():
    model = make_model()
    model.behavior_tower.event_columns = {"a b": 2, "a_b": 2}
    data = make_data(vocabularies={"event_a b": ["x"], "event_a_b": ["y"], "user_country": ["NA", "US"]})
    contract = Contract.of(model, data, 5)
    assert contract.vocabularies == {"event_a_b": ("x",), "event_a_b_": ("y",), "user_country": ("NA", "US")}


def test_candidates_are_the_model_s(model, data):
    contract = Contract.of(model, data, 100)
    assert np.flatnonzero(~contract.candidates).tolist() == [0, *NOT_CANDIDATES]
    assert contract.width == len(IDS) - len(NOT_CANDIDATES)
    assert Contract.of(model, data, 5).width == 5


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["", "a\nb", *IDS[1:]], "line break"),
        (["", "", *IDS[1:]], "is empty"),
        (["", "7", *IDS[1:]], "'7' occurs twice"),
        (["x", *IDS], "row 0 is padding"),
        (["", *IDS, "more"], "20 items"),
    ],
)
def test_items_that_cannot_be_served_are_refused(model, ids, message):
    items = pd.DataFrame({"item_id": ids, "title": "t"})
    with pytest.raises(ValueError, match=message.replace("20 items", "must have the model's 21 rows")):
        Contract.of(model, make_data(items=items), 5)


def test_missing_titles_are_empty(model, data):
    contract = Contract.of(model, make_data(items=data.items.drop(columns="title")), 5)
    assert set(contract.items.title) == {""}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabularies": {}}, "lacks 'event_type'"),
        ({"seen": "forget"}, "`seen` must be one of remove, keep; received 'forget'"),
        ({"max_length": 0}, "`max_length`"),
    ],
)
def test_data_that_do_not_fit_are_refused(model, changes, message):
    with pytest.raises(ValueError, match=message):
        Contract.of(model, make_data(**changes), 5)


def test_a_vocabulary_of_another_size_is_refused(model, data):
    with pytest.raises(ValueError, match="'event_type' has 1 values and the model was trained with 2"):
        Contract.of(model, make_data(vocabularies={**data.vocabularies, "event_type": ["buy"]}), 5)
