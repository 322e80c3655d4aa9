"""`prepare`: tables in, a dataset folder out; the first stage of a pipeline."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from tfrec.data.datasets import Dataset
from tfrec.data.draft import Draft
from tfrec.data.events import keep_frequent
from tfrec.data.folders import check_destination, content_hash, new_folder, write_manifest
from tfrec.data.items import read_items, read_users
from tfrec.data.options import PrepareOptions
from tfrec.data.runner import LocalRunner, Runner
from tfrec.data.split_log import SplitLog
from tfrec.data.tables import Source

logger = logging.getLogger(__name__)

MEMORY = 2.0  # GB
PARTS = "parts"  # The folder, beside what is being written, of what is put away meanwhile.


def prepare(
    events: Source,
    items: Source | None = None,
    users: Source | None = None,
    *,
    options: PrepareOptions | None = None,
    folder: str | os.PathLike[str] | None = None,
    replace: bool = False,
    memory: float = MEMORY,
    runner: Runner | None = None,
) -> Dataset:
    """Read, check, filter and split the tables, and write them as a dataset folder.

    The folder appears whole or not at all, and equal tables and options give equal bytes, whatever the memory.

    Args:
        events: path (.csv, .csv.gz, .parquet) or DataFrame: user_id, item_id, and timestamp or position, ...
        items: the same for the items: item_id, title, ...
        users: the same for the users: user_id, ...
        options: names of the columns, filters, split; None for the defaults.
        folder: where the dataset goes; None for a temporary folder that lives as long as the returned object. A dataset
            of the same content there is written anew.
        replace: whether a dataset of other content in `folder` is replaced.
        memory: how many GB the events may take, about. A file that needs more is worked through in parts, which lie
            beside the dataset until it is written.
        runner: who does the work, such as a `BeamRunner`; this process where None.

    Returns:
        The dataset, opened.

    Raises:
        FileNotFoundError: a table is not there.
        PermissionError: the folder cannot be written.
        ValueError: a table or an option is wrong, or the folder holds something else; nothing is touched then.
    """
    options, runner = options or PrepareOptions(), runner or LocalRunner()
    if not memory > 0:
        raise ValueError(f"memory must be a number of GB above 0; got {memory!r}.")
    if options.candidates == "items" and items is None:
        raise ValueError("candidates='items' recommends from the table of items, and none was given: pass items.")
    content = content_hash(events, items, users, options=options)
    temporary = tempfile.TemporaryDirectory(prefix="tfrec_dataset_") if folder is None else None
    path = Path(folder) if folder is not None else Path(temporary.name) / "dataset"  # type: ignore[union-attr]
    check_destination(path, content, replace=replace)
    item_table = read_items(items, options.items) if items is not None else None
    user_table = read_users(users, options.users) if users is not None else None
    with new_folder(path) as partial:
        by_time = options.split == "time"
        log = runner.read_log(events, options.events, by_time=by_time, memory=memory, folder=partial / PARTS)
        log = keep_frequent(log, options.min_user_events, options.min_item_events)
        draft = Draft(SplitLog(log, options), item_table, user_table, options)
        runner.write(draft, partial)
        log.shelf.clear()
        write_manifest(partial, {"content_hash": content, "options": options.as_json(), **draft.manifest()})
    words = ("users", "items", "events", "train_targets", "validation_users", "test_users")
    logger.info("%s", ", ".join(f"{draft.counts[word]:,} {word.replace('_', ' ')}" for word in words))
    return Dataset(path, temporary)
