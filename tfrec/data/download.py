"""Public data sets, from their publishers' archives to tables under the data root, where a pipeline finds them."""

from __future__ import annotations

import hashlib
import http.client
import logging
import os
import shutil
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pandas as pd

from tfrec.data import movielens

_log = logging.getLogger(__name__)

_CHUNK = 1 << 20
_TIMEOUT_SECONDS = 60
_MOVIELENS_TERMS = (
    "MovieLens is for research use: acknowledge it (Harper and Konstan, 2015), do not redistribute it, "
    "and ask GroupLens before any commercial use"
)


@dataclass(frozen=True)
class Source:
    """One public data set.

    Attributes:
        url: the publisher's archive.
        md5: its checksum, as public repositories that fetch the archive state it.
        tables: from the opened archive to tables by name.
        digest: `movielens.sequence_digest` of the events that this project's figures were measured on.
        terms: what the publisher asks of a user.
    """

    url: str
    md5: str
    tables: Callable[[zipfile.ZipFile], Mapping[str, pd.DataFrame]]
    digest: str
    terms: str


SOURCES: Mapping[str, Source] = {
    "ml-1m": Source(
        url="https://files.grouplens.org/datasets/movielens/ml-1m.zip",
        md5="c4d9eecfca2ab87c1945afe126590906",
        tables=movielens.ml_1m,
        digest="340594f9c18997e5f0a9c7dc753ec93264ef056a06976c355bfc467a3ac8fbd2",
        terms=_MOVIELENS_TERMS,
    ),
    "ml-100k": Source(
        url="https://files.grouplens.org/datasets/movielens/ml-100k.zip",
        md5="0e33842e24a9c977be4e0107933c0723",
        tables=movielens.ml_100k,
        digest="d00c0ab05f8f4eae05c5f94a9a5bfc6a4a66cd45506fb1a6c46a4970614e9564",
        terms=_MOVIELENS_TERMS,
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
        archive = temporary / "archive.zip"
        _fetch(source, archive)
        built = temporary / name
        _build(source, archive, built)
        built.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _log.info("%s", source.terms)
    return folder


def _fetch(source: Source, archive: Path) -> None:
    """Write the archive and compare its checksum."""
    _log.info("fetching %s", source.url)
    try:
        with urllib.request.urlopen(source.url, timeout=_TIMEOUT_SECONDS) as answer, archive.open("wb") as file:
            found = _copy(answer, file)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise OSError(f"{source.url} could not be fetched ({reason}); nothing was written") from error
    if found != source.md5:
        raise ValueError(f"{source.url} has MD5 {found}, and {source.md5} is expected; nothing was written")


def _copy(answer: IO[bytes], file: IO[bytes]) -> str:
    """Copy a stream; returns the MD5 of what went through."""
    digest = hashlib.md5(usedforsecurity=False)
    while chunk := answer.read(_CHUNK):
        digest.update(chunk)
        file.write(chunk)
    return digest.hexdigest()


def _build(source: Source, archive: Path, folder: Path) -> None:
    """Write the tables of a checked archive to `folder`."""
    folder.mkdir()
    try:
        with zipfile.ZipFile(archive) as opened:
            tables = source.tables(opened)
    except zipfile.BadZipFile as error:
        raise ValueError(f"{source.url} is not a zip archive: {error}") from None
    for table, frame in tables.items():
        compression: dict[str, Any] = {"method": "gzip", "mtime": 0}
        frame.to_csv(folder / f"{table}.csv.gz", index=False, compression=compression)
    if movielens.sequence_digest(tables["events"]) == source.digest:
        _log.info("the events and their order are those of this project's figures (digest %s)", source.digest)
    else:
        _log.warning(
            "the events or their order are NOT those of this project's figures: the digest is %s, and theirs %s; "
            "what is measured on these tables does not compare with them",
            movielens.sequence_digest(tables["events"]),
            source.digest,
        )
