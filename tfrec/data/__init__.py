"""The data room: tables in, a prepared dataset and its batches out."""

from tfrec.data.batches import EpochPlan
from tfrec.data.datasets import Dataset
from tfrec.data.events import read_events
from tfrec.data.folders import content_hash
from tfrec.data.items import read_items, read_users
from tfrec.data.options import EventColumns, ItemColumns, PrepareOptions, UserColumns
from tfrec.data.prepare import prepare
from tfrec.data.sequences import Ragged
from tfrec.data.vocabulary import Vocabulary

__all__ = [
    "Dataset",
    "EpochPlan",
    "EventColumns",
    "ItemColumns",
    "PrepareOptions",
    "Ragged",
    "UserColumns",
    "Vocabulary",
    "content_hash",
    "prepare",
    "read_events",
    "read_items",
    "read_users",
]
