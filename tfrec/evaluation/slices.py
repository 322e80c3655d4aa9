"""Which users belong to which slice of the evaluation: cold and warm, by history length, by the target's popularity."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from tfrec.evaluation.lists import Lists

COLD_ITEMS, WARM_ITEMS = "cold_items", "warm_items"
FEW_EVENTS = "few_events"
COLD_USERS, WARM_USERS = "cold_users", "warm_users"
HISTORY_PREFIX = "history_length:"
POPULARITY_PREFIX = "popularity:"

# The most training events of an item that has few; one without any is a cold item.
MOST_FEW_EVENTS = 5
# The first history length of each bin; users without history are the slice cold_users.
HISTORY_EDGES = (1, 5, 10, 20, 50, 100, 200)
# The upper ends of the popularity bins, as shares of the catalogue ordered by training events.
POPULARITY_EDGES = (0.01, 0.05, 0.2, 0.5, 1.0)


def masks(lists: Lists, history_lengths: np.ndarray, counts: np.ndarray, cold: np.ndarray) -> dict[str, np.ndarray]:
    """The users of each slice that has any.

    Args:
        lists: U users, I items.
        history_lengths: int [U], events in each user's history.
        counts: int [I], training events of each item.
        cold: bool [I], items that training could not learn.

    Returns:
        Name of the slice -> bool [U], in the order in which a report shows them. `cold_items` are the users with a
        cold item among their relevant ones; `few_events` those whose relevant item has 1 to 5 training events. A user
        with several relevant items is in the popularity bin of the median one, and in `few_events` by it.
    """
    cold_target = np.zeros(len(lists.users), bool)
    inside = lists.relevant_item >= 0
    cold_target[lists.relevant_user[inside][cold[lists.relevant_item[inside]]]] = True
    cold_target[lists.relevant_user[~inside]] = True
    result = {COLD_ITEMS: cold_target, WARM_ITEMS: ~cold_target}
    result |= {FEW_EVENTS: _few_events(lists, counts)}
    result |= {COLD_USERS: history_lengths == 0, WARM_USERS: history_lengths > 0}
    result |= _by_history(history_lengths) | _by_popularity(lists, counts)
    return {name: mask for name, mask in result.items() if mask.any()}


def _few_events(lists: Lists, counts: np.ndarray) -> np.ndarray:
    """Bool [U]: the typical relevant item has training events, and few of them."""
    events = np.append(counts, 0)[lists.relevant_item]  # An item that the table lacks, -1, has none.
    typical = -_median_by_user(lists.relevant_user, -events, len(lists.users))
    return (typical >= 1) & (typical <= MOST_FEW_EVENTS)


def _by_history(lengths: np.ndarray) -> dict[str, np.ndarray]:
    result = {}
    for first, after in pairwise((*HISTORY_EDGES, None)):
        inside = lengths >= first if after is None else (lengths >= first) & (lengths < after)
        label = f"{first}+" if after is None else f"{first}-{after - 1}"
        result[HISTORY_PREFIX + label] = inside
    return result


def _by_popularity(lists: Lists, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Bins of the catalogue ordered by training events, and one for items without any."""
    order = np.argsort(-counts, kind="stable")
    share = np.empty(len(counts))
    share[order] = (np.arange(len(counts)) + 1) / len(counts)
    share = np.append(np.where(counts > 0, share, np.inf), np.inf)
    typical = _median_by_user(lists.relevant_user, share[lists.relevant_item], len(lists.users))
    result = {}
    for low, high in pairwise((0.0, *POPULARITY_EDGES)):
        label = f"top {high:.0%}" if low == 0 else f"{low:.0%}-{high:.0%}"
        result[POPULARITY_PREFIX + label] = (typical > low) & (typical <= high)
    result[POPULARITY_PREFIX + "untrained"] = np.isinf(typical)
    return result


def _median_by_user(user: np.ndarray, values: np.ndarray, users: int) -> np.ndarray:
    """The lower median of each user's values, [users]; every user has at least one."""
    order = np.lexsort((values, user))
    sizes = np.bincount(user, minlength=users)
    starts = np.cumsum(sizes) - sizes
    return values[order][starts + (sizes - 1) // 2]
