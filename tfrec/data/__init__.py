"""The data room: tables in, a prepared dataset and its batches out."""

from tfrec.data.batches import EpochPlan, EvaluationUsers
from tfrec.data.candidate_lists import CandidatePlan, NegativeDraws, RecalledLists
from tfrec.data.cluster.beam_runner import BeamRunner
from tfrec.data.datasets import Dataset
from tfrec.data.divided import DividedDataset
from tfrec.data.events import read_events
from tfrec.data.example_batches import ExamplePlan
from tfrec.data.folders import content_hash
from tfrec.data.items import read_items, read_users
from tfrec.data.labels import Label
from tfrec.data.neighbours import neighbours
from tfrec.data.options import EventColumns, Folds, ItemColumns, PrepareOptions, UserColumns
from tfrec.data.prepare import prepare
from tfrec.data.ranking_data import RankingData
from tfrec.data.runner import Runner
from tfrec.data.sequences import Ragged
from tfrec.data.shares import Share
from tfrec.data.vocabulary import Vocabulary

__all__ = [
    "BeamRunner",
    "CandidatePlan",
    "Dataset",
    "DividedDataset",
    "EpochPlan",
    "EvaluationUsers",
    "EventColumns",
    "ExamplePlan",
    "Folds",
    "ItemColumns",
    "Label",
    "NegativeDraws",
    "PrepareOptions",
    "Ragged",
    "RankingData",
    "RecalledLists",
    "Runner",
    "Share",
    "UserColumns",
    "Vocabulary",
    "content_hash",
    "neighbours",
    "prepare",
    "read_events",
    "read_items",
    "read_users",
]
