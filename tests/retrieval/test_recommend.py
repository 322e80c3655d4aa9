import numpy as np
import pytest

from tests.retrieval.cycles import ITEMS, as_dataset, test_batch, two_tower
from tfrec.features import BARRED, HISTORY, SEEN, USER_ID
from tfrec.retrieval import recommend

IDS = np.array(["", *[f"{row:03d}" for row in range(1, ITEMS)]], object)


def batches_with(seen):
    batch = test_batch(users=3)
    return as_dataset({**batch, SEEN: np.array(seen, "int32")})


def test_lists_are_the_models_scores_in_order():
    model = two_tower()
    first, second = test_batch(users=4), test_batch(users=3, length=6, seed=5)
    second[USER_ID] = np.array(["a", "b", "c"])
    table = recommend(model, as_dataset(first, second), IDS, k=4)
    assert table.columns.tolist() == ["user_id", "item_id", "rank", "score"]
    assert table["user_id"].drop_duplicates().tolist() == [*first[USER_ID], *second[USER_ID]]
    for batch in (first, second):
        scores = model(batch).numpy()
        for user, row in zip(batch[USER_ID], scores, strict=True):
            mine = table[table["user_id"] == user]
            best = np.argsort(-row)[:4]
            assert mine["rank"].tolist() == [1, 2, 3, 4]
            assert mine["item_id"].tolist() == IDS[best].tolist()
            np.testing.assert_allclose(mine["score"], row[best], atol=1e-5)


def test_what_the_split_bars_is_recommended_to_nobody():
    model, batch = two_tower(), test_batch(users=3)
    barred = np.array([2, 5], "int32")
    table = recommend(model, as_dataset({**batch, BARRED: barred}), IDS, k=50)
    assert table.groupby("user_id")["item_id"].agg(set).tolist() == [set(IDS[1:]) - set(IDS[barred])] * 3
    whole = recommend(model, as_dataset(batch), IDS, k=50)
    left = whole[~whole["item_id"].isin(IDS[barred])]
    assert table["item_id"].tolist() == left["item_id"].tolist()


def test_seen_items_are_not_recommended_and_exhaust_the_catalogue():
    seen = np.zeros((3, ITEMS - 1), int)
    seen[1, :3] = [1, 2, 3]
    seen[2] = np.arange(1, ITEMS)
    table = recommend(two_tower(), batches_with(seen), IDS, k=50)
    lists = table.groupby("user_id")["item_id"].agg(set).to_dict()
    assert set(lists) == {"用户0", "用户1"}
    assert lists["用户0"] == set(IDS[1:])
    assert lists["用户1"] == set(IDS[4:])
    assert table.groupby("user_id")["rank"].agg(list).to_dict()["用户1"] == list(range(1, 9))


def test_candidates_alone_are_recommended():
    model = two_tower(candidates=[9, 2, 5])
    table = recommend(model, batches_with([[0], [5], [1]]), IDS, k=50)
    assert table.groupby("user_id")["item_id"].agg(sorted).tolist() == [
        ["002", "005", "009"],
        ["002", "009"],
        ["002", "005", "009"],
    ]


def test_a_user_without_history_gets_a_list():
    batch = test_batch(users=2)
    batch[HISTORY][0] = 0
    table = recommend(two_tower(), as_dataset(batch), IDS, k=3)
    assert table.groupby("user_id").size().tolist() == [3, 3]
    assert np.isfinite(table["score"]).all()


def test_nobody_gets_an_empty_table():
    table = recommend(two_tower(), as_dataset(test_batch()).take(0), IDS)
    assert table.columns.tolist() == ["user_id", "item_id", "rank", "score"]
    assert table.empty


def test_ids_of_another_catalogue_and_no_depth_are_refused():
    with pytest.raises(ValueError, match="each of the 12 rows of the model, padding included; received 11"):
        recommend(two_tower(), batches_with([[0]] * 3), IDS[1:])
    with pytest.raises(ValueError, match="`k` must be 1 or more; received 0"):
        recommend(two_tower(), batches_with([[0]] * 3), IDS, k=0)
