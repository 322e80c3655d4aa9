"""A saved ranker, or two stages as one, read again."""

from __future__ import annotations

from pathlib import Path

from tfrec.ranking.ensemble import RankerEnsemble
from tfrec.ranking.ranker import Ranker
from tfrec.ranking.two_stage import TwoStage
from tfrec.retrieval.loading import load_saved


def load_ranker(path: str | Path) -> Ranker | RankerEnsemble:
    """The ranker, or the ensemble of them, that its `save` wrote, or a run (`checkpoints/model.keras`); not compiled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else.
    """
    return load_saved(path, (Ranker, RankerEnsemble), "ranker")


def load_two_stage(path: str | Path) -> TwoStage:
    """The two stages that `TwoStage.save` wrote, or a run (`ranking/model.keras`); not compiled.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is damaged, or holds something else.
    """
    return load_saved(path, (TwoStage,), "two-stage model")
