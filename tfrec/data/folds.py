"""Folds for cross-validation: one of K parts tests, by events or by users, and a share of the others validates."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

from tfrec.data.events import user_offsets
from tfrec.data.options import Folds
from tfrec.data.splits import Split, check_boundaries, targets_of, up_to_last_target
from tfrec.features import USER_ID

TRAIN, VALIDATION, TEST = 0, 1, 2


def by_events(events: pd.DataFrame, parts: np.ndarray, target_events: Collection[str] = ()) -> Split:
    """Each target event is of one random fold; those of one fold test, and a share of the others validates.

    The user's other events are the history of a target, later ones too: the protocol of rating prediction. In the
    split, a user's events lie part by part, training first, and `places` says where each was.

    Args:
        events: the ordered events.
        parts: int8 [target events], the part of each; see `drawn_parts`.
        target_events: the predicted types; empty for all. Events of other types train.
    """
    is_target = targets_of(events, target_events)
    part_of: np.ndarray = np.full(len(events), TRAIN, np.int8)
    part_of[is_target] = parts
    offsets = user_offsets(events[USER_ID])
    sizes = np.diff(offsets)
    users: np.ndarray = np.repeat(np.arange(len(sizes)), sizes)
    order = np.lexsort((part_of, users))
    ends = [np.add.reduceat((part_of <= part).astype(np.int64), offsets[:-1]) for part in (TRAIN, VALIDATION)]
    places = (np.arange(len(events)) - offsets[users])[order]
    events = events.iloc[order].reset_index(drop=True)
    split = Split(events, is_target[order], offsets, ends[0], ends[1], places=places)
    check_boundaries(split)
    return split


def by_users(events: pd.DataFrame, parts: np.ndarray, target_events: Collection[str] = ()) -> Split:
    """Each user is of one random fold; those of one fold test, a share of the others validates, and neither trains.

    To rank, a user's last target event is what was to be found, and the events before it are the history.

    Args:
        events: the ordered events.
        parts: int8 [users with a target event], the part of each; see `drawn_parts`.
        target_events: the predicted types; empty for all. Events after a user's last target are left out.
    """
    events, is_target = up_to_last_target(events, target_events)
    offsets = user_offsets(events[USER_ID])
    sizes = np.diff(offsets)
    train_end, test_start = np.where(parts == TRAIN, sizes, sizes - 1), np.where(parts == TEST, sizes - 1, sizes)
    split = Split(events, is_target, offsets, train_end, test_start, trains=parts == TRAIN)
    check_boundaries(split)
    return split


def drawn_parts(count: int, folds: Folds, what: str) -> np.ndarray:
    """The part of each of `count` members, int8.

    Args:
        count: how many members there are.
        folds: how many folds, which one tests, the share that validates, the seed.
        what: what the members are, for the message.

    Raises:
        ValueError: more folds than members.
    """
    if folds.folds > count:
        raise ValueError(f"split.folds is {folds.folds}, and there are {count} {what}: ask for as many folds at most.")
    rng = np.random.default_rng(folds.seed)
    order = rng.permutation(count)
    test = np.array_split(order, folds.folds)[folds.fold]
    rest = np.random.default_rng([folds.seed, folds.fold]).permutation(np.setdiff1d(order, test))
    parts = np.full(count, TRAIN, np.int8)
    parts[test] = TEST
    parts[rest[: max(1, round(folds.validation * len(rest)))]] = VALIDATION
    return parts
