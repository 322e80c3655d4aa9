"""Baselines on tables small enough to rank by hand."""

import numpy as np
import pytest

from tfrec.evaluation import Catalogue, Histories, cooccurrence, popularity, text_neighbours

IDS = np.array(["", "a", "b", "c", "d", "e"], object)
A, B, C, D, E = range(1, 6)
CATALOGUE = Catalogue(IDS, np.array([False, True, True, True, True, True]), np.array([0, 1, 5, 3, 3, 0]))


def histories_of(**users):
    rows = [row for history in users.values() for row in history]
    offsets = np.concatenate([[0], np.cumsum([len(history) for history in users.values()])]).astype(int)
    return Histories(np.array(list(users), object), np.array(rows, int), offsets)


def ranked(table):
    assert (
        table.groupby("user_id")["rank"].apply(list).map(lambda ranks: ranks == list(range(1, len(ranks) + 1)))
    ).all()
    return {user: "".join(group.item_id) for user, group in table.groupby("user_id", sort=False)}


HISTORIES = histories_of(u=[B, C], new=[], v=[C, B, A])


def test_popularity_orders_by_training_events_and_removes_the_seen():
    assert ranked(popularity(CATALOGUE, HISTORIES, k=3)) == {"u": "dae", "new": "bcd", "v": "de"}


def test_popularity_keeps_the_seen_when_the_rule_says_so():
    assert ranked(popularity(CATALOGUE, HISTORIES, k=3, keep_seen=True)) == {"u": "bcd", "new": "bcd", "v": "bcd"}


def test_cooccurrence_counts_what_followed_the_last_item_then_the_popular():
    training = histories_of(x=[C, E, C, E], y=[C, A, D], z=[B, C])
    # After c: e twice, a once; the end of one user and the begin of the next are no pair.
    table = cooccurrence(CATALOGUE, HISTORIES, training)
    assert ranked(table) == {"u": "ead", "new": "bcdae", "v": "de"}
    assert table[table.user_id == "u"].score.to_numpy().astype(int).tolist() == [2, 1, 0]


def test_cooccurrence_with_a_wider_window():
    training = histories_of(x=[C, A, E], y=[C, E, E])
    assert ranked(cooccurrence(CATALOGUE, histories_of(u=[C]), training)) == {"u": "aebd"}
    assert ranked(cooccurrence(CATALOGUE, histories_of(u=[C]), training, window=2)) == {"u": "eabd"}


def test_cooccurrence_without_training_is_popularity():
    nothing = histories_of()
    assert ranked(cooccurrence(CATALOGUE, HISTORIES, nothing)) == ranked(popularity(CATALOGUE, HISTORIES))


VECTORS = np.array([[0, 0], [2, 0], [1, 1], [0, 3], [-1, 0], [0, 0]])


def test_text_neighbours_order_by_cosine_then_by_popularity():
    # To c: b 0.71; a, d and e (no text) 0, of which d is the most popular.
    table = text_neighbours(CATALOGUE, histories_of(u=[C], v=[A]), VECTORS)
    assert ranked(table) == {"u": "bdae", "v": "bced"}
    assert table[table.user_id == "v"].score.to_numpy() == pytest.approx([2**-0.5, 0, 0, -1], abs=1e-5)


def test_text_neighbours_of_an_empty_history_or_text_are_the_popular():
    assert ranked(text_neighbours(CATALOGUE, histories_of(new=[], e=[E]), VECTORS)) == {"new": "bcdae", "e": "bcda"}


def test_vectors_at_the_padding_row_do_not_matter():
    loud = VECTORS.copy()
    loud[0] = 9
    empty = histories_of(new=[])
    assert ranked(text_neighbours(CATALOGUE, empty, loud)) == ranked(text_neighbours(CATALOGUE, empty, VECTORS))


def test_only_candidates_are_recommended():
    narrow = Catalogue(IDS, np.array([False, True, False, True, False, False]), CATALOGUE.counts)
    training = histories_of(x=[C, B, D])
    for table in (
        popularity(narrow, histories_of(u=[D])),
        cooccurrence(narrow, histories_of(u=[C]), training, keep_seen=True),
        text_neighbours(narrow, histories_of(u=[D]), VECTORS),
    ):
        assert set(table.item_id) == {"a", "c"}


def test_chunks_change_nothing(monkeypatch):
    generator = np.random.default_rng(0)
    users = {f"u{at}": generator.integers(1, 6, generator.integers(0, 4)).tolist() for at in range(50)}
    histories, training = histories_of(**users), histories_of(x=[1, 2, 3, 4, 5, 4, 3, 2, 1])
    whole = cooccurrence(CATALOGUE, histories, training)
    monkeypatch.setattr("tfrec.evaluation.baselines._CHUNK_SCORES", 20)
    monkeypatch.setattr("tfrec.evaluation.baselines._LEAST_USERS", 3)
    parts = cooccurrence(CATALOGUE, histories, training)
    assert whole.equals(parts)
    assert list(whole.user_id.unique()) == [user for user, history in users.items() if len(set(history)) < 5]


@pytest.mark.parametrize("keep_seen", [False, True])
def test_what_is_not_looked_at_is_not_among_the_best(keep_seen):
    rng, items = np.random.default_rng(1), 300
    ids = np.array(["", *(f"i{row}" for row in range(1, items))], object)
    catalogue = Catalogue(ids, (np.arange(items) > 0) & (rng.random(items) < 0.9), rng.integers(0, 50, items))
    log = {f"u{user}": rng.integers(1, items, rng.integers(0, 60)).tolist() for user in range(30)}
    histories, places = histories_of(**log), catalogue.popularity()
    pairs = np.zeros((items, items))
    for history in log.values():
        np.add.at(pairs, (history[:-1], history[1:]), 1)
    found = {
        "popularity": popularity(catalogue, histories, k=7, keep_seen=keep_seen),
        "cooccurrence": cooccurrence(catalogue, histories, histories, k=7, keep_seen=keep_seen),
    }
    for name, table in found.items():
        for user, history in log.items():
            scores = places + (pairs[history[-1]] if name == "cooccurrence" and history else 0)
            barred = ~catalogue.candidate | (~np.full(items, keep_seen) & np.isin(np.arange(items), history))
            best = np.argsort(np.where(barred, np.inf, -scores), kind="stable")[:7]
            assert table.loc[table.user_id == user, "item_id"].tolist() == ids[best].tolist()


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="k must be at least 1 rank, got 0"):
        popularity(CATALOGUE, HISTORIES, k=0)
    with pytest.raises(ValueError, match="window must be at least 1 event, got 0"):
        cooccurrence(CATALOGUE, HISTORIES, HISTORIES, window=0)
    with pytest.raises(ValueError, match=r"vectors must have shape \[6, W\].*got \(5, 2\)"):
        text_neighbours(CATALOGUE, HISTORIES, VECTORS[1:])
