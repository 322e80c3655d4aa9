"""The tables of the MovieLens archives, in the order that the public figures were measured on; `download` calls it.

The order of `ml-1m`. Published figures on MovieLens-1M mostly use the file `ml-1m.txt` of the SASRec repository
(kang205/SASRec), and more than half of neighbouring events share a timestamp, so the order of ties decides them.
Its events are those of `ratings.dat` whose item has at least five ratings, sorted by time within the user with a
stable sort: ties keep the order of the lines of `ratings.dat`. (Its users stand in the order of a dictionary of
Python 2, which no measure depends on.)

How sure that is: the time order holds for every user whose times were at hand (users 1 to 2999). The tie rule agrees
with the few lines of `ratings.dat` that could be compared, at the head of the file, and other rules do not: of all ties
only 55 % are in the order of their item ids. The archive itself was not at hand. What
decides is the digest that `download` compares with that of the table which this project's figures were measured on.
"""

from __future__ import annotations

import contextlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path

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


def ml_1m(folder: Path) -> Mapping[str, pd.DataFrame]:
    """Tables by file name, from a folder with `ml-1m.zip`; events in the order described above, with `position`."""
    with opened(folder / "ml-1m.zip") as archive:
        return _ml_1m(archive)


def ml_100k(folder: Path) -> Mapping[str, pd.DataFrame]:
    """Tables by file name, from a folder with `ml-100k.zip`; events in the order of `u.data`."""
    with opened(folder / "ml-100k.zip") as archive:
        return _ml_100k(archive)


@contextlib.contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """An archive.

    Raises:
        ValueError: it is none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path.name} is not a zip archive: {error}") from None


def _ml_1m(archive: zipfile.ZipFile) -> Mapping[str, pd.DataFrame]:
    ratings = _rows(archive, "ml-1m/ratings.dat", "::", [USER_ID, ITEM_ID, RATING, TIMESTAMP])
    ratings[TIMESTAMP] = pd.to_numeric(ratings[TIMESTAMP])
    ratings["user"] = pd.to_numeric(ratings[USER_ID])
    often = ratings.groupby(ITEM_ID)[ITEM_ID].transform("size") >= _MIN_ITEM_RATINGS
    events = ratings[often].sort_values(["user", TIMESTAMP], kind="stable")
    events[POSITION] = events.groupby(USER_ID).cumcount()
    return {
        "events.csv.gz": events[[USER_ID, POSITION, ITEM_ID, RATING, TIMESTAMP]],
        "items.csv.gz": _rows(archive, "ml-1m/movies.dat", "::", [ITEM_ID, TITLE, "genres"]),
        "users.csv.gz": _rows(archive, "ml-1m/users.dat", "::", [USER_ID, "gender", "age", "occupation", "zip"]),
    }


def _ml_100k(archive: zipfile.ZipFile) -> Mapping[str, pd.DataFrame]:
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
    return {"events.csv.gz": events, "items.csv.gz": items, "users.csv.gz": users}


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
