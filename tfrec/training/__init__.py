"""Training: `fit` with seeds, checkpoints and summaries that make a run repeatable and resumable."""

from tfrec.training.checkpoint import TrainingCheckpoint as TrainingCheckpoint
from tfrec.training.cluster import Cluster as Cluster
from tfrec.training.distribution import OneModel as OneModel
from tfrec.training.distribution import Replicas as Replicas
from tfrec.training.optimizers import TwoRateAdamW as TwoRateAdamW
from tfrec.training.row_wise import RowWiseAdamW as RowWiseAdamW
from tfrec.training.seeding import EpochSeeds as EpochSeeds
from tfrec.training.train import train as train
