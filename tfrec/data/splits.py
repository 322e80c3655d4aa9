"""Splits: which of a user's events train, validate and test, and the checks that nothing leaks; after `events`."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from tfrec.data.cuts import Seconds, cut_second, spell_second
from tfrec.data.events import user_offsets
from tfrec.data.options import Cut
from tfrec.features import EVENT_TYPE, TIMESTAMP, USER_ID


@dataclass(frozen=True)
class Split:
    """The events that are used, and two boundaries a user.

    With `seq` the user's events: `seq[:train_end]` trains and is the history of the validation, whose relevant items
    are among the targets of `seq[train_end:test_start]`; `seq[:test_start]` is the history of the test, whose relevant
    items are among the targets of `seq[test_start:]`.

    Attributes:
        events: the ordered events, without those that no part uses.
        is_target: bool [events], whether the event is of a predicted type.
        offsets: int64 [users + 1], where each user's events begin.
        train_end: int64 [users], counted from the user's first event.
        test_start: int64 [users], likewise.
        cuts: under "time", `validation_from` and `test_from` in seconds.
        trains: bool [users], whose events train; None for all users'. Those of others serve as history alone.
        places: int64 [events], where each was in its user's order; None where they lie in it.
    """

    events: pd.DataFrame
    is_target: np.ndarray
    offsets: np.ndarray
    train_end: np.ndarray
    test_start: np.ndarray
    cuts: dict[str, int] = field(default_factory=dict)
    trains: np.ndarray | None = None
    places: np.ndarray | None = None


def leave_last(events: pd.DataFrame, target_events: Collection[str] = ()) -> Split:
    """Each user's last target event tests, the one before it validates.

    Events after the test target, and users without a target event, are left out. A user with one target event has no
    validation; a user with one event is tested from an empty history. A test target that the user has had before stays.

    Args:
        events: the ordered events.
        target_events: the predicted types; empty for all.

    Returns:
        The split.

    Raises:
        RuntimeError: a check against leaks failed.
    """
    events, is_target = up_to_last_target(events, target_events)
    offsets = user_offsets(events[USER_ID])
    test = offsets[1:] - 1
    earlier = is_target.copy()
    earlier[test] = False
    before = _last_place(earlier, offsets)
    validation = np.where(before >= 0, before, test)
    split = Split(events, is_target, offsets, validation - offsets[:-1], test - offsets[:-1])
    check_boundaries(split)
    _check_last(split)
    return split


def up_to_last_target(events: pd.DataFrame, target_events: Collection[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """Each user's events up to the last target, and which of them are targets; users without one are left out."""
    is_target = targets_of(events, target_events)
    offsets = user_offsets(events[USER_ID])
    last = _last_place(is_target, offsets)
    used = np.arange(len(events)) <= np.repeat(last, np.diff(offsets))
    return events[used].reset_index(drop=True), is_target[used]


def time_cuts(seconds: Seconds, validation_from: Cut, test_from: Cut) -> dict[str, int]:
    """The seconds at which the validation and the test begin.

    Args:
        seconds: the times of all events.
        validation_from: first moment of the validation; see `PrepareOptions`.
        test_from: first moment of the test.

    Raises:
        ValueError: a cut is not one, the cuts are not in order, or a part would be empty.
    """
    cuts = {
        "validation_from": cut_second("validation_from", validation_from, seconds),
        "test_from": cut_second("test_from", test_from, seconds),
    }
    _check_cuts(cuts, seconds.first, seconds.last)
    return cuts


def by_time(
    events: pd.DataFrame, cuts: dict[str, int], target_events: Collection[str] = (), *, rolling: bool = False
) -> Split:
    """Events before `validation_from` train, those from it on validate, those from `test_from` on test.

    Context events from `test_from` on are left out, since nothing uses them, unless histories are `rolling`.

    Args:
        events: the events, ordered by time, each with its time.
        cuts: see `time_cuts`.
        target_events: the predicted types; empty for all.
        rolling: whether a target's history is all that came before it, after the cut too.

    Returns:
        The split.

    Raises:
        RuntimeError: a check against leaks failed.
    """
    seconds = events[TIMESTAMP].to_numpy()
    is_target = targets_of(events, target_events)
    used = is_target | (seconds < cuts["test_from"]) | rolling
    events, is_target, seconds = events[used].reset_index(drop=True), is_target[used], seconds[used]
    offsets = user_offsets(events[USER_ID])
    ends = [np.add.reduceat((seconds < cut).astype(np.int64), offsets[:-1]) for cut in cuts.values()]
    split = Split(events, is_target, offsets, ends[0], ends[1], cuts)
    check_boundaries(split)
    _check_times(split)
    return split


def check_target_events(target_events: Collection[str], known: Collection[str] | None) -> None:
    """Raise a ValueError where a predicted type is none of the `known` ones of the events, or those have no types."""
    if target_events and known is None:
        raise ValueError(
            f"target_events is {list(target_events)}, and no column of the events is mapped as event_type: map it."
        )
    for name in target_events:
        if name not in (known or ()):
            raise ValueError(
                f"target_events names {name!r}, which no event has; the event types are:"
                f" {', '.join(sorted(known or ())[:10])}{', ...' if len(known or ()) > 10 else '.'}"
            )


def targets_of(events: pd.DataFrame, target_events: Collection[str]) -> np.ndarray:
    """Bool [events], which are of a predicted type."""
    return events[EVENT_TYPE].isin(list(target_events)).to_numpy() if target_events else np.ones(len(events), bool)


def _last_place(marked: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Place of each user's last marked event, int64 [users]; -1 for none."""
    places = np.where(marked, np.arange(len(marked)), -1)
    return np.maximum.reduceat(places, offsets[:-1])


def _check_cuts(cuts: dict[str, int], first: int, last: int) -> None:
    validation, test = cuts["validation_from"], cuts["test_from"]
    if not first < validation < test <= last:
        raise ValueError(
            "split 'time' needs first event < validation_from < test_from <= last event; got"
            f" {spell_second(first)}, {spell_second(validation)}, {spell_second(test)}, {spell_second(last)}."
            " Move the cuts."
        )


def check_boundaries(split: Split) -> None:
    """Raise a RuntimeError where a user's boundaries are out of order."""
    sizes = np.diff(split.offsets)
    wrong = ~((0 <= split.train_end) & (split.train_end <= split.test_start) & (split.test_start <= sizes))
    _raise_for(split, wrong, "boundaries out of order")


def _check_last(split: Split) -> None:
    """The last event is a target and the only one from the test's start on; one target lies between the boundaries."""
    held = split.is_target.cumsum()
    held = np.concatenate([[0], held])
    first = split.offsets[:-1]
    ends = (first + split.train_end, first + split.test_start, split.offsets[1:])
    validates = held[ends[1]] - held[ends[0]]
    known = held[ends[0]] - held[first]
    wrong = (held[ends[2]] - held[ends[1]] != 1) | (validates > 1) | ((validates == 0) & (known > 0))
    _raise_for(split, wrong, "a target event on the wrong side")


def _check_times(split: Split) -> None:
    seconds = split.events[TIMESTAMP].to_numpy()
    place = np.arange(len(seconds)) - np.repeat(split.offsets[:-1], np.diff(split.offsets))
    for cut, end in zip(split.cuts.values(), (split.train_end, split.test_start), strict=True):
        leaks = (place < np.repeat(end, np.diff(split.offsets))) != (seconds < cut)
        _raise_for(split, np.logical_or.reduceat(leaks, split.offsets[:-1]), f"an event on the wrong side of {cut}")


def _raise_for(split: Split, wrong: np.ndarray, what: str) -> None:
    if wrong.any():
        user = split.events[USER_ID].iloc[split.offsets[int(np.argmax(wrong))]]
        raise RuntimeError(f"The split leaks: user {user!r} has {what}. This is a mistake in tfrec; please report it.")
