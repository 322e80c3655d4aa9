"""A random log and a tiny one, shared by the tests of the data room."""

import numpy as np
import pandas as pd
import pytest


def random_log(seed=0, users=40, items=30, events=600):
    """A log with ties in time, users of one event, repeated items and three event types."""
    rng = np.random.default_rng(seed)
    who = np.concatenate([rng.integers(0, users, events), np.arange(users, users + 6)])
    size = len(who)
    times = rng.integers(1_000_000, 1_000_400, size)
    times[-2:] = 1_000_390  # two of those with one event come late
    return pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in who],
            "item_id": [f"{item:03d}" for item in rng.zipf(1.3, size) % items],
            "timestamp": times,
            "event_type": rng.choice(["view", "cart", "purchase"], size, p=[0.6, 0.1, 0.3]),
            "device": rng.choice(["phone", "desk", ""], size),
        }
    ).drop_duplicates(ignore_index=True)


@pytest.fixture
def log():
    return random_log()


@pytest.fixture
def tiny():
    """Four users with 5, 3, 2 and 1 events, in order by position."""
    rows = [("a", item) for item in "vwxyz"] + [("b", item) for item in "wxv"] + [("c", item) for item in "zv"]
    events = pd.DataFrame([*rows, ("d", "w")], columns=["user_id", "item_id"])
    return events.assign(position=events.groupby("user_id").cumcount())


@pytest.fixture
def titles():
    return pd.DataFrame({"item_id": list("vwxyz"), "title": ["Vase", "Wok", "跑步鞋", "🎁 box", ""]})
