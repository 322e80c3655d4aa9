"""Stages of a run: prepare, train, evaluate, export, publish; each is done once for a given input."""

from tfrec.stages.comparison import compare as compare
from tfrec.stages.cross_validation import cross_validate as cross_validate
from tfrec.stages.evaluate import evaluate as evaluate
from tfrec.stages.pretrain import pretrain as pretrain
from tfrec.stages.run import run as run
from tfrec.stages.trials import search as search
