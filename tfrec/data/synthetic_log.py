"""A synthetic log of any size, written piece by piece: for measuring `prepare`, not for judging models.

Events come in the order of time, as a log keeps them, so a user's lie all over the file. How active a user is follows a
log-normal law, which is near what shops and films show: half of the users have less than 0.6 of the mean. Which item an
event is of follows a Zipf law, whoever the user is: there is nothing to learn but popularity.
"""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

from tfrec.data.simulated.shop import check_size
from tfrec.data.tables import SUFFIXES
from tfrec.features import ITEM_ID, TIMESTAMP, USER_ID

START = 1_704_067_200  # 2024-01-01, UTC
DAY = 86_400
DEVIATION = 1.0  # of the logarithm of how active a user is
ZIPF = 0.9
PIECE = 2**20  # events made at once

SCHEMA = pa.schema({USER_ID: pa.string(), ITEM_ID: pa.string(), TIMESTAMP: pa.int64()})


def write_log(
    path: str | os.PathLike[str],
    *,
    events: int,
    users: int | None = None,
    items: int | None = None,
    days: int = 365,
    seed: int = 0,
) -> Path:
    """Write a log; the same arguments give the same events. A million events take about half a second of a processor.

    Args:
        path: a file that ends in .csv, .csv.gz or .parquet; it appears whole or not at all.
        events: how many events.
        users: how many users they are drawn from; None for one in 25 events.
        items: how many items, likewise; None for one in 200 events, 1000 at least.
        days: length of the calendar, from 2024-01-01 on.
        seed: of all chance.

    Returns:
        The path.

    Raises:
        ValueError: an argument is outside its bounds, or the file's name ends otherwise.
        FileNotFoundError: the folder of the path is not there.
    """
    check_size("events", events, 1, 2**40)
    users = max(1, events // 25) if users is None else users
    items = max(1000, events // 200) if items is None else items
    for name, value, most in (("users", users, 2**31 - 1), ("items", items, 2**31 - 1), ("days", days, 36_500)):
        check_size(name, value, 1, most)
    check_size("seed", seed, 0, 2**63)
    path = Path(path)
    if not path.name.endswith(SUFFIXES):
        raise ValueError(f"path must end in {', '.join(SUFFIXES)}; got {os.fspath(path)!r}.")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}. Make it first.")
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        with _writer(partial) as write:
            for piece in _pieces(events, users, items, days, seed):
                write(piece)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _pieces(events: int, users: int, items: int, days: int, seed: int) -> Iterator[pa.Table]:
    rng = np.random.default_rng(seed)
    active = np.cumsum(np.exp(DEVIATION * rng.standard_normal(users)))
    shown = rng.permutation(items)  # An item's number does not tell how popular it is.
    for piece, first in enumerate(range(0, events, PIECE)):
        size = min(PIECE, events - first)
        rng = np.random.default_rng([seed, piece])
        who = np.searchsorted(active, active[-1] * rng.random(size), side="right").clip(max=users - 1)
        share = (first + np.sort(rng.random(size)) * size) / events
        yield pa.table(
            [
                _ids("u", who),
                _ids("i", shown[_zipf(items, rng.random(size))]),
                START + (share * days * DAY).astype(int),
            ],
            schema=SCHEMA,
        )


def _zipf(items: int, chance: np.ndarray) -> np.ndarray:
    """Ranks from 0, by a continuous Zipf law turned round: the rank below which a share of the law lies."""
    power = 1 - ZIPF
    return ((1 + chance * ((items + 1) ** power - 1)) ** (1 / power) - 1).astype(np.int64).clip(max=items - 1)


def _ids(prefix: str, numbers: np.ndarray) -> pa.Array:
    return pa.compute.binary_join_element_wise(prefix, pa.array(numbers).cast(pa.string()), "")


@contextlib.contextmanager
def _writer(path: Path) -> Iterator[Callable[[pa.Table], None]]:
    """What writes a piece to a file of one of the three kinds."""
    if path.name.endswith(".parquet"):
        with pa.parquet.ParquetWriter(path, SCHEMA) as parquet:
            yield parquet.write_table
    else:
        with open(path, "wb") as file, contextlib.ExitStack() as stack:
            packed = stack.enter_context(gzip.GzipFile("", "wb", 3, file, mtime=0)) if path.suffix == ".gz" else file
            with pa.csv.CSVWriter(packed, SCHEMA, write_options=pa.csv.WriteOptions(quoting_style="none")) as csv:
                yield csv.write_table
