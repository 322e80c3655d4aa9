"""The tables of the MovieLens archives, in the order that the public figures were measured on; `download` calls it.

The order of `ml-1m`. Published figures on MovieLens-1M mostly use the file `ml-1m.txt` of the SASRec repository
(kang205/SASRec), and more than half of neighbouring events share a timestamp, so the order of ties decides them.
Its events are those of `ratings.dat` whose item has at least five ratings, sorted by time within the user with a
stable sort: ties keep the order of the lines of `ratings.dat`. (Its users stand in the order of a dictionary of
Python 2, which no measure depends on.)

How sure that is: the time order holds for every user whose times were at hand (users 1 to 2999). The tie rule agrees
with the few lines of `ratings.dat` that could be compared, at the head of the file, and other rules do not: of all ties
only 55 % are in the order of their item ids. The archive itself was not at hand. What decides is `sequence_digest`: a
rebuilt table is compared with the digest of the one that this project's figures were measured on, and the outcome is
logged; figures from a table that differs do not compare.
"""

from __future__ import annotations

import hashlib
import re
import zipfile
from collections.abc import Mapping

import pandas as pd

from tfrec.features import ITEM_ID, POSITION, RATING, TIMESTAMP, TITLE, USER_ID

_MIN_ITEM_RATINGS = 5  # of ml-1m.txt
_ENCODING = "latin-1"
_TITLE_AND_YEAR = re.compile(r"(?P<title>.*?)\s*\((?P<year>\d{4})\)(?: \(V\))?")
# The order of the flags in u.item, as u.genre of the archive lists them.
_GENRES_100K = (
    "unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama", "Fantasy",
    "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western",
)  # fmt: skip


def ml_1m(archive: zipfile.ZipFile) -> Mapping[str, pd.DataFrame]:
    """Tables `events`, `items` and `users` of `ml-1m.zip`; events in the order described above, with `position`."""
    ratings = _rows(archive, "ml-1m/ratings.dat", "::", [USER_ID, ITEM_ID, RATING, TIMESTAMP])
    ratings[TIMESTAMP] = pd.to_numeric(ratings[TIMESTAMP])
    ratings["user"] = pd.to_numeric(ratings[USER_ID])
    often = ratings.groupby(ITEM_ID)[ITEM_ID].transform("size") >= _MIN_ITEM_RATINGS
    events = ratings[often].sort_values(["user", TIMESTAMP], kind="stable")
    events[POSITION] = events.groupby(USER_ID).cumcount()
    return {
        "events": events[[USER_ID, POSITION, ITEM_ID, RATING, TIMESTAMP]],
        "items": _rows(archive, "ml-1m/movies.dat", "::", [ITEM_ID, TITLE, "genres"]),
        "users": _rows(archive, "ml-1m/users.dat", "::", [USER_ID, "gender", "age", "occupation", "zip"]),
    }


def ml_100k(archive: zipfile.ZipFile) -> Mapping[str, pd.DataFrame]:
    """Tables `events`, `items` and `users` of `ml-100k.zip`; events in the order of `u.data`."""
    names = [ITEM_ID, "full", "released", "video", "url", *_GENRES_100K]
    movies = _rows(archive, "ml-100k/u.item", "|", names)
    parts = movies["full"].str.extract(f"^{_TITLE_AND_YEAR.pattern}$").fillna("")
    flags = movies[list(_GENRES_100K)] == "1"
    genres = [" ".join(genre for genre, on in zip(_GENRES_100K, row, strict=True) if on) for row in flags.to_numpy()]
    items = pd.DataFrame(
        {
            ITEM_ID: movies[ITEM_ID],
            TITLE: parts["title"].where(parts["title"] != "", movies["full"]),
            "release_year": parts["year"],
            "genres": genres,
        }
    )
    events = _rows(archive, "ml-100k/u.data", "\t", [USER_ID, ITEM_ID, RATING, TIMESTAMP])
    users = _rows(archive, "ml-100k/u.user", "|", [USER_ID, "age", "gender", "occupation", "zip_code"])
    return {"events": events, "items": items, "users": users}


def sequence_digest(events: pd.DataFrame) -> str:
    """SHA-256 of what the models see: a line `user item` an event, users by number, events in their order.

    Args:
        events: a table as `ml_1m` or `ml_100k` gives it: ids, and `position` or `timestamp`, ties in file order.

    Returns:
        The digest, in hexadecimal.
    """
    order = pd.DataFrame(
        {
            "user": pd.to_numeric(events[USER_ID]),
            "at": pd.to_numeric(events[POSITION if POSITION in events else TIMESTAMP]),
            "line": events[USER_ID].astype(str) + " " + events[ITEM_ID].astype(str) + "\n",
        }
    ).sort_values(["user", "at"], kind="stable")
    return hashlib.sha256("".join(order["line"]).encode()).hexdigest()


def _rows(archive: zipfile.ZipFile, member: str, separator: str, columns: list[str]) -> pd.DataFrame:
    """One file of the archive as text cells; a line that has another number of cells is an error."""
    try:
        text = archive.read(member).decode(_ENCODING)
    except KeyError:
        raise ValueError(f"{archive.filename} holds no {member}: not the archive it is taken for") from None
    rows = [line.split(separator) for line in text.replace("\r\n", "\n").split("\n") if line]
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"{member}, line {number}: {len(row)} cells, and {len(columns)} are expected")
    return pd.DataFrame(rows, columns=columns, dtype=str)
