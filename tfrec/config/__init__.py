"""Typed settings of a pipeline: what the YAML file may say, read once and handed to the factory as plain values."""

from tfrec.config.data import Data, Events
from tfrec.config.grid import Plan, Variant, load_plan
from tfrec.config.loading import change, dump, load, parse
from tfrec.config.model import Model, Text
from tfrec.config.noise import TextAugmentation
from tfrec.config.pretraining import Pretraining
from tfrec.config.ranking import Ranking
from tfrec.config.schema import STAGES, Evaluation, Export, Pipeline, Training
from tfrec.config.search import Search, load_search
from tfrec.config.stage_settings import stage_settings

__all__ = [
    "STAGES",
    "Data",
    "Evaluation",
    "Events",
    "Export",
    "Model",
    "Pipeline",
    "Plan",
    "Pretraining",
    "Ranking",
    "Search",
    "Text",
    "TextAugmentation",
    "Training",
    "Variant",
    "change",
    "dump",
    "load",
    "load_plan",
    "load_search",
    "parse",
    "stage_settings",
]
