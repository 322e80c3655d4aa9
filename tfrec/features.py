"""The contract between the rooms: column names, feature names, PAD and tensor specs. Imports nothing of tfrec."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import tensorflow as tf

# Row 0 of every table is padding: an empty slot, an unknown id, a value that is missing.
PAD = 0

# Columns of the tables.
USER_ID = "user_id"
ITEM_ID = "item_id"
TIMESTAMP = "timestamp"
POSITION = "position"
EVENT_TYPE = "event_type"
MOMENT = "(moment)"  # Made by `prepare`; no column of a table may be taken for it.
RATING = "rating"
AVAILABLE_FROM = "available_from"
TITLE = "title"
TEXT = "text"

# Columns of a recommendations table, beside USER_ID and ITEM_ID.
RANK = "rank"
SCORE = "score"

# Features of a batch; B users, T steps. Histories are right-padded, oldest event first.
HISTORY = "history"  # int32 [B, T]: item rows, at most the length limit, newest last
TARGET = "target"  # int32 [B, T + 1]: the event after s events is target[:, s]; PAD where nothing is to be learnt
SEEN = "seen"  # int32 [B, S]: distinct item rows of the whole history, before truncation
RELEVANT = "relevant"  # int32 [B, R]: distinct item rows that count as hits
CANDIDATES = "candidates"  # int32 [B, C]: item rows that a ranker judges; PAD where there is none
AFTER = "after"  # int32 [B, C]: how many events of the history each candidate is judged by, the oldest ones
SHIFT = "shift"  # float32 [B, T, D]: moves the vectors of the history's events; in training under attack alone
NORMALISER = "normaliser"  # float32 [B]: log of the sum of exp(score) over what was recalled; a second stage reads it
STATE = "state"  # float32 [B, D]: the retrieval model's query, where it is known already
BARRED = "barred"  # int32 [X]: item rows that the split recommends to nobody; absent where there are none

# Prefixes of the optional features; the name after the prefix is the column's, or the label's.
EVENT_PREFIX = "event_"  # int32 [B, T]: a categorical column of the events, code 0 = missing
USER_PREFIX = "user_"  # int32 [B]: a categorical column of the users, code 0 = missing
CONTEXT_PREFIX = "context_"  # int32 [B, C]: a categorical column of the event that shows the candidate, 0 = missing
LABEL_PREFIX = "label_"  # float32 [B, C]: what is predicted of the candidate, NaN = unknown

NEXT = "next"  # the label of a second stage: whether a candidate came next

# float32 [B, W]: the vector that the text model gives a user's text (a profile, a query); zeros = missing.
USER_TEXT = USER_PREFIX + TEXT
# float32 [B, K, W]: the states that the text model has at the words of that text; zeros where there is no further word.
USER_WORDS = USER_PREFIX + "words"

# Files of a run, read by more than one room.
EVENTS_SCORED = "events_scored.csv.gz"
RECOMMENDATIONS_TEST = "recommendations_test.parquet"
PER_USER = "per_user.parquet"  # one row a test user and model, every figure; MODEL_ROW is the trained model
SLICES_TEST = "slices_test.parquet"  # one row a test user, a bool column a slice
MODEL_ROW = "tfrec"


def event_feature(column: str) -> str:
    """Name of the batch feature that carries the event column `column`."""
    return column if column in (EVENT_TYPE, TIMESTAMP) else EVENT_PREFIX + column


def user_feature(column: str) -> str:
    """Name of the batch feature that carries the user column `column`."""
    return USER_PREFIX + column


def context_feature(column: str) -> str:
    """Name of the batch feature that carries the event column `column` of the candidates."""
    return CONTEXT_PREFIX + column


def label_feature(label: str) -> str:
    """Name of the batch feature that carries a label."""
    return LABEL_PREFIX + label


def batch_spec(
    event_columns: Sequence[str] = (),
    user_columns: Sequence[str] = (),
    *,
    timestamps: bool = False,
    text_width: int = 0,
) -> dict[str, tf.TensorSpec]:
    """Specs of a model's inputs: what a history is described by.

    Args:
        event_columns: categorical columns of the events, `event_type` included where it is used.
        user_columns: categorical columns of the users.
        timestamps: whether each event carries its time, int64 seconds, 0 = missing.
        text_width: width W of the vectors of the users' texts; 0 = no texts.

    Returns:
        `HISTORY` int32 [B, T], each event column int32 [B, T], `TIMESTAMP` int64 [B, T], each user column int32 [B],
        `USER_TEXT` float32 [B, W].
    """
    import tensorflow as tf

    spec = {HISTORY: tf.TensorSpec([None, None], tf.int32, HISTORY)}
    for column in event_columns:
        name = event_feature(column)
        spec[name] = tf.TensorSpec([None, None], tf.int32, name)
    if timestamps:
        spec[TIMESTAMP] = tf.TensorSpec([None, None], tf.int64, TIMESTAMP)
    for column in user_columns:
        name = user_feature(column)
        spec[name] = tf.TensorSpec([None], tf.int32, name)
    if text_width:
        spec[USER_TEXT] = tf.TensorSpec([None, text_width], tf.float32, USER_TEXT)
    return spec


def cache_folder() -> str:
    """Folder for what can be computed again: `TFREC_CACHE`, else `~/.cache/tfrec`."""
    return os.environ.get("TFREC_CACHE") or os.path.join(os.path.expanduser("~"), ".cache", "tfrec")
