"""The pieces of a log put together in parts of whole users, each in order; the second half of reading `events`.

This is a sort by samples, as for data that memory does not hold: users taken from all pieces say where the parts begin;
a part takes the rows of its users out of each piece, and puts them in order. A log that memory holds is one piece and
one part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import pyarrow as pa

from tfrec.data.cuts import spell_second
from tfrec.data.event_log import EventLog
from tfrec.data.event_pieces import Pieces
from tfrec.data.shelf import arrow_texts, sorted_codes
from tfrec.data.time_numbers import SECOND
from tfrec.data.timestamps import NO_TIME
from tfrec.features import ITEM_ID

# Users of a piece that are looked at to find where the parts begin, for each part.
SAMPLES = 16
Sample = tuple[pa.Array, np.ndarray]


def put_together(pieces: Pieces, rows: int) -> EventLog:
    """The events of all pieces, in order, without the rows that repeat another one.

    Args:
        pieces: the pieces; what lies in their boxes is removed.
        rows: how many rows a part has, about.
    """
    shelf, names = pieces.shelf, pieces.columns.columns
    categories, codes = {}, {}
    categories[ITEM_ID], codes["items"] = _unified(pieces, "values", missing=False)
    for place, name in enumerate(names):
        categories[name], codes[f"column{place}"] = _unified(pieces, f"values{place}", missing=True)
    ends = _ends(pieces, -(-pieces.rows // rows))
    boxes, repeated = [], 0
    for part in range(ends.shape[1] - 1):
        values, twice = part_of(pieces, codes, ends[:, part], ends[:, part + 1])
        boxes.append(f"part{part}")
        shelf.put(boxes[-1], values)
        repeated += twice
    for box in pieces.boxes:
        shelf.remove(box)
    timed = pieces.columns.timestamp is not None
    return EventLog(shelf, tuple(boxes), categories, tuple(pieces.columns.labels), timed, repeated)


def _unified(pieces: Pieces, name: str, *, missing: bool) -> tuple[pd.CategoricalDtype, list[np.ndarray]]:
    """The distinct values of a column, and for each piece what its places are among them; the last one is missing."""
    lists = [pieces.shelf.get(box, name) for box in pieces.boxes]
    codes, values = sorted_codes([arrow_texts([""] if missing else []), *lists])
    places = [np.append(one, 0).astype(np.int32) for one in codes[1:]]
    return category(values), places


def category(values: pa.Array) -> pd.CategoricalDtype:
    """The type of a column of sorted texts."""
    return pd.CategoricalDtype(pd.Index(values, dtype="str"))


def _ends(pieces: Pieces, parts: int) -> np.ndarray:
    """Which user of each piece is the first one of each part, int64 [pieces, parts + 1]; parts are of like size."""
    users = [pieces.shelf.get(box, "users") for box in pieces.boxes]
    if parts == 1:
        return np.array([[0, len(one)] for one in users])
    offsets = [pieces.shelf.get(box, "offsets") for box in pieces.boxes]
    samples = [sample(ids, begin, SAMPLES * parts) for ids, begin in zip(users, offsets, strict=True)]
    first = first_users(samples, parts)
    return np.array([ends_of(ids, first) for ids in users])


def sample(users: pa.Array, offsets: np.ndarray, count: int) -> Sample:
    """Users of a piece at regular steps of its rows, and how many rows each of them stands for.

    Args:
        users: sorted ids.
        offsets: int64 [users + 1], where the rows of each begin.
        count: how many users, at most.
    """
    rows = np.linspace(0, offsets[-1] - 1, min(int(offsets[-1]), count)).astype(np.int64)
    taken = users.take(pa.array(np.searchsorted(offsets, rows, side="right") - 1))
    return taken, np.full(len(rows), offsets[-1] / len(rows))


def first_users(samples: Sequence[Sample], parts: int) -> pd.Index:
    """The first user of each part but the first one, so that the parts are of like size."""
    codes, known = sorted_codes([taken for taken, _ in samples])
    held = np.cumsum(np.bincount(np.concatenate(codes), np.concatenate([weights for _, weights in samples])))
    cuts = np.unique(np.searchsorted(held, held[-1] * np.arange(1, parts) / parts))
    return pd.Index(known, dtype="str")[cuts[cuts > 0]]  # The first user of all begins the first part.


def ends_of(users: pa.Array, first: pd.Index) -> np.ndarray:
    """Where in the sorted users of a piece each part begins, and the last one ends; int64 [parts + 1]."""
    return np.array([0, *pd.Index(users, dtype="str").searchsorted(first), len(users)])


def part_of(
    pieces: Pieces, codes: dict[str, list[np.ndarray]], first: np.ndarray, last: np.ndarray, *, unique: bool = False
) -> tuple[dict[str, np.ndarray | pa.Array], int]:
    """What lies in the box of a part, and how many rows repeated another one.

    Args:
        pieces: the pieces.
        codes: of each column whose places are not among all values yet, for each piece what they are among those.
        first: int64 [pieces], the first user of the part in each piece.
        last: int64 [pieces], the first one after it.
        unique: whether events of a user that the order does not tell apart are refused; else they are in the order
            of the pieces.

    Raises:
        ValueError: there are such events.
    """
    taken = [
        (box, place, slice(first[place], last[place]))
        for place, box in enumerate(pieces.boxes)
        if last[place] > first[place]
    ]
    places, users = sorted_codes([pieces.shelf.get(box, "users")[some] for box, _, some in taken])
    begins = [pieces.shelf.get(box, "offsets")[some.start : some.stop + 1] for box, _, some in taken]
    owners = np.concatenate([np.repeat(one, np.diff(begin)) for one, begin in zip(places, begins, strict=True)])

    def values(name: str) -> np.ndarray:
        found = [
            pieces.shelf.get(box, name)[begin[0] : begin[-1]] for (box, _, _), begin in zip(taken, begins, strict=True)
        ]
        known = codes.get(name)
        if known is not None:
            found = [known[place][one] for (_, place, _), one in zip(taken, found, strict=True)]
        return np.concatenate(found)

    repeated = _repeated(owners, values("items"), values("hashes"))
    order = _order(owners, [values(name) for name in pieces.keys])
    order = order[~repeated[order]] if repeated.any() else order
    if unique:
        _refuse_ties(pieces, users, owners[order], [values(name)[order] for name in pieces.keys])
    held = {name: values(name)[order] for name in pieces.row_names}
    if pieces.columns.timestamp is not None:
        times = values("times")[order]
        held["seconds"] = np.where(times == NO_TIME, NO_TIME, times // SECOND)
    if pieces.columns.labels:
        held["moments"] = _moments(owners[order], [values(name)[order] for name in pieces.moment_keys])
    sizes = np.bincount(owners[order], minlength=len(users))
    return held | {"users": users, "offsets": np.concatenate([[0], np.cumsum(sizes)])}, int(repeated.sum())


def _refuse_ties(pieces: Pieces, users: pa.Array, owners: np.ndarray, keys: list[np.ndarray]) -> None:
    """Raise a ValueError where two ordered events of a user are alike in all that orders them."""
    same = np.all([owners[1:] == owners[:-1], *(key[1:] == key[:-1] for key in keys)], axis=0)
    if not same.any():
        return
    row, columns = int(np.argmax(same)), pieces.columns
    spelled = {
        "times": lambda key: f"{columns.timestamp} {spell_second(int(key) // SECOND)}",
        "position": lambda key: f"{columns.position} {int(key)}",
    }
    alike = " and ".join(spelled[name](key[row]) for name, key in zip(pieces.keys, keys, strict=True))
    raise ValueError(
        f"{pieces.label}: the user {users[int(owners[row])].as_py()!r} has different events with the same {alike}, and"
        " on a cluster rows have no order but that of their values. Map a position column that tells the events of a"
        " user apart, or prepare on one machine."
    )


def _moments(owners: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
    """The moment of each ordered row, counted from the user's first: neighbours that share a known key are of one."""
    if not len(owners):
        return np.zeros(0, np.int64)
    shared = np.any([(key[1:] == key[:-1]) & (key[1:] != NO_TIME) for key in keys], axis=0)
    first = np.append(True, owners[1:] != owners[:-1])
    moments = np.cumsum(np.append(True, ~shared) | first)
    return moments - np.repeat(moments[first], np.diff(np.append(np.flatnonzero(first), len(owners))))


def _repeated(owners: np.ndarray, items: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    """Which rows are the same as an earlier one; bool [rows]."""
    result = np.zeros(len(hashes), bool)
    alike = np.flatnonzero(pd.Series(hashes).duplicated(keep=False))
    if len(alike):
        rows = pd.DataFrame({"owner": owners[alike], "item": items[alike], "hash": hashes[alike]})
        result[alike] = rows.duplicated().to_numpy()
    return result


def _order(owners: np.ndarray, keys: list[np.ndarray]) -> np.ndarray:
    """The rows by user, then by the keys; rows that are alike keep their order."""
    order = np.argsort(owners, kind="stable")
    if len(keys) == 1:
        owned, key = owners[order], keys[0][order]
        if ((owned[1:] > owned[:-1]) | (key[1:] >= key[:-1])).all():
            return order
    return np.lexsort([*keys[::-1], owners])
