"""What a worker does that is not the chief: it trains with the others, and writes to no folder that they know."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path

from tfrec.stages.fit import CHECKPOINTS
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import DATASET, open_dataset, prepare_stage
from tfrec.stages.train import train_all
from tfrec.stages.workers import NothingToTrain, gathered
from tfrec.training import Cluster

logger = logging.getLogger(__name__)


def assist(run: Run, cluster: Cluster, key: str, *, prepared: bool) -> None:
    """Train with the chief, in a temporary folder that goes away again.

    Args:
        run: the run as this worker sees it: the chief's folder, one of this machine's own, or none yet.
        cluster: who trains together.
        key: of the stage `prepare`.
        prepared: whether the run has a finished data set; it is read there, else made in the temporary folder.

    Raises:
        ValueError: see `gathered`.
        OSError: see `gathered`; or a file cannot be read or written.
    """
    with tempfile.TemporaryDirectory(prefix="tfrec_worker_") as folder:
        own = Run(run.pipeline, Path(folder) / "run")
        try:
            replicas = gathered(run, cluster, own.path(CHECKPOINTS))
        except NothingToTrain:
            logger.info("train: the chief has a trained model, nothing to do")
            return
        if prepared:
            own.out.mkdir(exist_ok=True)
            os.symlink(run.path(DATASET).absolute(), own.path(DATASET))
        else:
            logger.info("prepare ... (a copy of this worker's own)")
            prepare_stage.perform(own, key)
        logger.info("train ... (with the chief, who writes)")
        train_all(own, open_dataset(own), replicas)
