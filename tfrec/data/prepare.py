"""`prepare`: tables in, a dataset folder out; the first stage of a pipeline."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from tfrec.data.datasets import Dataset
from tfrec.data.draft import Draft
from tfrec.data.events import keep_frequent, read_events
from tfrec.data.folders import check_destination, content_hash, new_folder, write_manifest
from tfrec.data.folds import by_events, by_users
from tfrec.data.items import read_items, read_users
from tfrec.data.options import PrepareOptions
from tfrec.data.splits import Split, by_time, leave_last
from tfrec.data.tables import Source

logger = logging.getLogger(__name__)


def prepare(
    events: Source,
    items: Source | None = None,
    users: Source | None = None,
    *,
    options: PrepareOptions | None = None,
    folder: str | os.PathLike[str] | None = None,
    replace: bool = False,
) -> Dataset:
    """Read, check, filter and split the tables, and write them as a dataset folder.

    The folder appears whole or not at all, and equal tables and options give equal bytes.

    Args:
        events: path (.csv, .csv.gz, .parquet) or DataFrame: user_id, item_id, and timestamp or position, ...
        items: the same for the items: item_id, title, ...
        users: the same for the users: user_id, ...
        options: names of the columns, filters, split; None for the defaults.
        folder: where the dataset goes; None for a temporary folder that lives as long as the returned object. A dataset
            of the same content there is written anew.
        replace: whether a dataset of other content in `folder` is replaced.

    Returns:
        The dataset, opened.

    Raises:
        FileNotFoundError: a table is not there.
        PermissionError: the folder cannot be written.
        ValueError: a table or an option is wrong, or the folder holds something else; nothing is touched then.
    """
    options = options or PrepareOptions()
    if options.candidates == "items" and items is None:
        raise ValueError("candidates='items' recommends from the table of items, and none was given: pass items.")
    content = content_hash(events, items, users, options=options)
    temporary = tempfile.TemporaryDirectory(prefix="tfrec_dataset_") if folder is None else None
    path = Path(folder) if folder is not None else Path(temporary.name) / "dataset"  # type: ignore[union-attr]
    check_destination(path, content, replace=replace)
    split = _read_and_split(events, options)
    draft = Draft(split, read_items(items, options.items) if items is not None else None, options)
    draft.add_event_features()
    if users is not None:
        draft.add_user_features(read_users(users, options.users))
    draft.add_item_features()
    with new_folder(path) as partial:
        draft.write(partial)
        write_manifest(partial, {"content_hash": content, "options": options.as_json(), **draft.manifest()})
    words = ("users", "items", "events", "train_targets", "validation_users", "test_users")
    logger.info("%s", ", ".join(f"{draft.counts[word]:,} {word.replace('_', ' ')}" for word in words))
    return Dataset(path, temporary)


def _read_and_split(source: Source, options: PrepareOptions) -> Split:
    events = read_events(source, options.events, by_time=options.split == "time")
    events = keep_frequent(events, options.min_user_events, options.min_item_events)
    targets, rolling = options.target_events, bool(options.events and options.events.labels)
    if options.split == "time":
        return by_time(events, options.validation_from, options.test_from, targets, rolling=rolling)
    if options.split != "leave_last":
        return (by_events if options.split == "folds_events" else by_users)(events, options.folds, targets)
    return leave_last(events, targets)
