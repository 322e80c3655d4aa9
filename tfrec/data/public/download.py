"""Public data sets, from their publishers' archives to tables under the data root, where a pipeline finds them."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import logging
import os
import shutil
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pandas as pd

from tfrec.data.public import amazon, movielens
from tfrec.features import ITEM_ID, POSITION, TIMESTAMP, USER_ID

_log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_MOVIELENS_TERMS = (
    "MovieLens is for research use: acknowledge it (Harper and Konstan, 2015), do not redistribute it, "
    "and ask GroupLens before any commercial use"
)
_AMAZON = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/"


@dataclass(frozen=True)
class Source:
    """One public data set.

    Attributes:
        files: the publisher's files: address -> checksum (MD5), as public repositories that fetch them state it; None
            where none is known.
        tables: from the folder that the files lie in, under the last part of their addresses, to tables by file name.
        digest: `sequence_digest` of the events that this project's figures were measured on.
        terms: what the publisher asks of a user.
    """

    files: Mapping[str, str | None]
    tables: Callable[[Path], Mapping[str, pd.DataFrame]]
    digest: str
    terms: str


SOURCES: Mapping[str, Source] = {
    "ml-1m": Source(
        files={"https://files.grouplens.org/datasets/movielens/ml-1m.zip": "c4d9eecfca2ab87c1945afe126590906"},
        tables=movielens.ml_1m,
        digest="340594f9c18997e5f0a9c7dc753ec93264ef056a06976c355bfc467a3ac8fbd2",
        terms=_MOVIELENS_TERMS,
    ),
    "ml-100k": Source(
        files={"https://files.grouplens.org/datasets/movielens/ml-100k.zip": "0e33842e24a9c977be4e0107933c0723"},
        tables=movielens.ml_100k,
        digest="d00c0ab05f8f4eae05c5f94a9a5bfc6a4a66cd45506fb1a6c46a4970614e9564",
        terms=_MOVIELENS_TERMS,
    ),
    "amazon-beauty": Source(
        files={_AMAZON + amazon.REVIEWS: None, _AMAZON + amazon.PRODUCTS: None},
        tables=amazon.beauty,
        digest="fcccb7146742663e78c6dc51b8eeb9d9596e5a474abeb292aeb0956658e3e979",
        terms="Amazon's reviews are for research use: acknowledge them (McAuley et al., SIGIR 2015)",
    ),
}


def download(name: str, root: str | os.PathLike[str], *, sources: Mapping[str, Source] = SOURCES) -> Path:
    """Fetch a data set into `root/name`: `events.csv.gz`, `items.csv.gz`, `users.csv.gz`.

    The folder appears when everything in it is complete and checked; whatever interrupts leaves none.

    Args:
        name: one of `sources`.
        root: folder for data sets; made where it is absent.
        sources: the data sets that are known.

    Returns:
        The folder.

    Raises:
        ValueError: the name is unknown, or what came is not the archive that the publisher describes.
        FileExistsError: the folder is there already.
        OSError: the archive could not be fetched, or the folder could not be written.
    """
    if name not in sources:
        raise ValueError(f"no public data set {name!r} is known; there are {', '.join(sorted(sources))}")
    source, folder = sources[name], Path(root) / name
    if folder.exists():
        raise FileExistsError(f"{folder} is there already; remove it to fetch the data set again")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=folder.parent))
    try:
        fetched, built = temporary / "fetched", temporary / name
        fetched.mkdir()
        for address, md5 in source.files.items():
            _fetch(address, md5, fetched / PurePosixPath(address).name)
        _build(source, fetched, built)
        built.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _log.info("%s", source.terms)
    return folder


def _fetch(address: str, md5: str | None, path: Path) -> None:
    """Write a file and compare its checksum."""
    _log.info("fetching %s", address)
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT_SECONDS) as answer, path.open("wb") as file:
            found = _copy(answer, file)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(f"{address} could not be fetched ({reason}); nothing was written") from error
    if md5 not in (None, found):
        raise ValueError(f"{address} has MD5 {found}, and {md5} is expected; nothing was written")


def _copy(answer: IO[bytes], file: IO[bytes]) -> str:
    """Copy a stream; returns the MD5 of what went through."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := answer.read(_CHUNK):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _build(source: Source, fetched: Path, folder: Path) -> None:
    """Write the tables of checked files to `folder`."""
    folder.mkdir()
    try:
        tables = source.tables(fetched)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(f"a file of {', '.join(source.files)} is cut short or damaged: {error}") from None
    for name, frame in tables.items():
        compression: dict[str, Any] | None = {"method": "gzip", "mtime": 0} if name.endswith(".gz") else None
        frame.to_csv(folder / name, index=False, compression=compression)
    digest = sequence_digest(tables["events.csv.gz"])
    if digest == source.digest:
        _log.info("the events and their order are those of this project's figures (digest %s)", digest)
    else:
        _log.warning(
            "the events or their order are NOT those of this project's figures: the digest is %s, and theirs %s; "
            "what is measured on these tables does not compare with them",
            digest,
            source.digest,
        )


def sequence_digest(events: pd.DataFrame) -> str:
    """SHA-256 of what models see: a line `user item` an event, in their order; users by number, or else by name.

    Args:
        events: ids, and `position` or `timestamp`, ties in file order.

    Returns:
        The digest, in hexadecimal.
    """
    users = events[USER_ID].astype(str)
    order = pd.DataFrame(
        {
            "user": pd.to_numeric(users) if users.str.fullmatch("[0-9]+").all() else users,
            "at": pd.to_numeric(events[POSITION if POSITION in events else TIMESTAMP]),
            "line": events[USER_ID].astype(str) + " " + events[ITEM_ID].astype(str) + "\n",
        }
    ).sort_values(["user", "at"], kind="stable")
    return hashlib.sha256("".join(order["line"]).encode()).hexdigest()
