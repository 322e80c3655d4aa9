"""Texts of users: read, joined, stored once each, and looked up when a batch is made."""

import json
import logging

import numpy as np
import pandas as pd
import pytest

from tfrec.data import (
    Dataset,
    EventColumns,
    Label,
    PrepareOptions,
    RankingData,
    UserColumns,
    content_hash,
    prepare,
)

OPTIONS = PrepareOptions(users=UserColumns(text=("bio", "query")))


@pytest.fixture
def users():
    """Of the four users of `tiny`: two say the same, one says nothing, `d` is not in the table; `e` has no events."""
    bios = ["likes shoes ", " likes shoes", "  ", "跑步 👟\nfast"]
    queries = ["trail", "trail", None, ""]
    return pd.DataFrame({"user_id": list("abce"), "bio": bios, "query": queries})


def vectors(dataset, width=3):
    return np.arange(1, 1 + len(dataset.user_texts) * width, dtype="float64").reshape(-1, width)


def test_texts_are_joined_and_stored_once_each(tiny, users, tmp_path):
    users = pd.concat([users, pd.DataFrame({"user_id": ["d"], "bio": ["new"], "query": ["lamp"]})])
    dataset = prepare(tiny, users=users, options=OPTIONS, folder=tmp_path / "dataset")
    assert dataset.user_texts == ("likes shoes. trail", "new. lamp")
    assert dataset.manifest["user_text"] is True and dataset.user_columns == {}
    again = Dataset.open(tmp_path / "dataset")
    assert again.user_texts == dataset.user_texts
    assert again.sequences.users["user_text"].tolist() == [1, 1, 0, 2]


def test_batches_carry_the_vector_of_each_users_text(tiny, users):
    dataset = prepare(tiny, users=users, options=OPTIONS)
    assert not dataset.has_text_vectors
    dataset.set_text_vectors(vectors(dataset))
    spec = dataset.train().element_spec["user_text"]
    assert (spec.dtype.name, spec.shape.as_list()) == ("float32", [None, 3])
    [batch] = dataset.train().as_numpy_iterator()
    assert batch["user_text"].tolist() == [[1, 2, 3]] * len(batch["history"])
    [tests] = dataset.test().as_numpy_iterator()
    said = {user.decode(): vector.tolist() for user, vector in zip(tests["user_id"], tests["user_text"], strict=True)}
    assert said == {"a": [1, 2, 3], "b": [1, 2, 3], "c": [0, 0, 0], "d": [0, 0, 0]}
    [validation] = dataset.validation().as_numpy_iterator()
    assert validation["user_text"].shape == (len(validation["user_id"]), 3)


def test_batches_carry_the_words_of_each_users_text(tiny, users):
    events = EventColumns(position="position", labels={"like": Label("liked")})
    liked = tiny.assign(liked=np.arange(len(tiny)) % 2)
    dataset = prepare(liked, users=users, options=PrepareOptions(users=OPTIONS.users, events=events))
    words = np.arange(1, 7, dtype="float32").reshape(1, 2, 3)
    dataset.set_text_vectors(vectors(dataset), words=words)
    spec = RankingData(dataset).train_plan().dataset().element_spec["user_words"]
    assert (spec.dtype.name, spec.shape.as_list()) == ("float32", [None, 2, 3])
    [batch] = RankingData(dataset).judged("test")[0].as_numpy_iterator()
    for user, text in zip(batch["user_id"].tolist(), batch["user_words"], strict=True):
        np.testing.assert_array_equal(text, words[0] * (user in (b"a", b"b")))
    with pytest.raises(ValueError, match=r"`words` must hold one vector for each of 1 user texts; got \(2, 2, 3\)"):
        dataset.set_text_vectors(vectors(dataset), words=np.ones((2, 2, 3)))
    dataset.set_text_vectors(vectors(dataset))
    assert "user_words" not in RankingData(dataset).judged("test")[0].element_spec


def test_without_vectors_batches_are_as_without_texts(tiny, users):
    with_texts, without = prepare(tiny, users=users, options=OPTIONS), prepare(tiny)
    for split in ("train", "validation", "test"):
        [first], [second] = (list(getattr(one, split)().as_numpy_iterator()) for one in (with_texts, without))
        assert first.keys() == second.keys()
        for name, values in first.items():
            np.testing.assert_array_equal(values, second[name])


def test_categories_and_texts_stand_side_by_side(tiny, users):
    options = PrepareOptions(users=UserColumns(categorical=("query",), text=("bio",)))
    dataset = prepare(tiny, users=users, options=options)
    assert dataset.user_texts == ("likes shoes",) and dataset.user_columns == {"query": 2}
    dataset.set_text_vectors(vectors(dataset))
    [batch] = dataset.test().as_numpy_iterator()
    assert {"user_text", "user_query"} <= batch.keys()


def test_a_data_set_without_texts_is_what_it_was_before_there_were_any(tiny, users):
    options = PrepareOptions(users=UserColumns(categorical=("query",)))
    assert "text" not in options.as_json()["users"] and OPTIONS.as_json()["users"]["text"] == ["bio", "query"]
    assert "user_text" not in json.dumps(prepare(tiny, users=users, options=options).manifest)
    assert content_hash(tiny, users=users, options=options) != content_hash(tiny, users=users, options=OPTIONS)


def test_texts_that_nobody_in_training_has_are_left_out(tiny, users, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = prepare(tiny, users=users.assign(bio=" ", query=""), options=OPTIONS)
    assert "column 'user_text': it holds no value in training and is left out" in caplog.text
    assert dataset.user_texts == () and "user_text" not in dataset.manifest
    with pytest.raises(ValueError, match=r"`vectors` must hold one vector for each of 0 user texts; got \(1, 3\)"):
        dataset.set_text_vectors(np.ones((1, 3)))


def test_vectors_must_be_as_many_as_the_texts(tiny, users):
    dataset = prepare(tiny, users=users, options=OPTIONS)
    for wrong in (np.ones((2, 3)), np.ones(1)):
        with pytest.raises(ValueError, match="`vectors` must hold one vector for each of 1 user texts"):
            dataset.set_text_vectors(wrong)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"categorical": ("text",), "text": ("bio",)}, "feature name 'user_text' of the users is used twice"),
        ({"categorical": ("user_text",), "text": ("bio",)}, "column 'user_text' of the users is used twice"),
        ({"text": ("bio", "bio")}, "column 'bio' of the users is used twice"),
        ({"text": "bio"}, "text must be a list of names"),
    ],
)
def test_names_have_one_meaning(columns, told):
    with pytest.raises(ValueError, match=told):
        UserColumns(**columns)


def test_wrong_tables_are_named(tiny, users):
    with pytest.raises(ValueError, match="'users' has no column 'bioo'. Did you mean 'bio'"):
        prepare(tiny, users=users, options=PrepareOptions(users=UserColumns(text=("bioo",))))
    twice = pd.concat([users, users.head(1).assign(bio="other")])
    with pytest.raises(ValueError, match="user_id 'a' has two rows whose 'user_text' differ"):
        prepare(tiny, users=twice, options=OPTIONS)
    with pytest.raises(ValueError, match="'users': a column holds lists or the like"):
        prepare(tiny, users=users.assign(bio=[["a", "list"], "b", "c", "d"]), options=OPTIONS)


def test_training_draws_a_variant_of_each_text_in_each_epoch_and_evaluation_none(tiny, users):
    users = users.assign(bio=["a", "b", "c", "d"])
    dataset = prepare(tiny, users=users, options=OPTIONS)
    plain = vectors(dataset)
    variants = np.stack([plain + 100, np.zeros_like(plain), plain + 300])
    dataset.set_text_vectors(plain, variants)
    known = {tuple(row): number for number, version in enumerate((plain, *variants)) for row in version.tolist()}
    plan, found = dataset.train_plan(seed=1), []
    for _ in range(12):
        [batch] = plan.dataset().as_numpy_iterator()
        found.append([known.get(tuple(row), -1) for row in batch["user_text"].tolist() if any(row)])
    assert {number for each in found for number in each} == {0, 1, 3}  # The variant of zeros is the text itself.
    plan.epoch = 5
    [again] = plan.dataset().as_numpy_iterator()
    assert [known.get(tuple(row), -1) for row in again["user_text"].tolist() if any(row)] == found[5]
    assert len({tuple(each) for each in found}) > 1
    for split in ("validation", "test"):
        [batch] = getattr(dataset, split)().as_numpy_iterator()
        assert {known[tuple(row)] for row in batch["user_text"].tolist() if any(row)} == {0}
