"""What a worker does that is not the chief: it trains with the others, and writes to no folder that they know."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfrec.stages.disk import disk_errors_told
from tfrec.stages.fit import CHECKPOINTS
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset, prepare_stage
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
        ValueError: see `gathered`; or another process plays this worker's part already.
        OSError: see `gathered`; or a file cannot be read or written.
    """
    with _own_folder(run, cluster) as folder:
        own = Run(run.pipeline, folder)
        try:
            replicas = gathered(run, cluster, own.path(CHECKPOINTS))
        except NothingToTrain:
            logger.info("train: the chief has a trained model, nothing to do")
            return
        if not prepared:
            logger.info("prepare ... (a copy of this worker's own)")
            with disk_errors_told(own, "prepare"):
                prepare_stage.perform(own, key)
        logger.info("train ... (with the chief, who writes)")
        with disk_errors_told(own, "train"):
            train_all(own, open_dataset(run if prepared else own), replicas)


@contextlib.contextmanager
def _own_folder(run: Run, cluster: Cluster) -> Iterator[Path]:
    """A temporary folder, not there yet, of the same name at each start: what a killed process left goes away first.

    Raises:
        ValueError: another process is at work in it.
        PermissionError: it is somebody else's.
    """
    name = hashlib.sha256(os.fsencode(run.out.absolute())).hexdigest()[:12]
    folder = Path(tempfile.gettempdir()) / f"tfrec_worker_{os.getuid()}_{name}_{cluster.index}"
    folder.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_uid != os.getuid():
            raise PermissionError(f"{folder} is another user's. Remove it, or set TMPDIR to another folder.")
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"another tfrec is at work as {cluster.named(cluster.index)} of {run.out}, in {folder}. Wait for it, "
                "or end it."
            ) from None
        try:
            if (folder / "run").exists():
                shutil.rmtree(folder / "run")
            yield folder / "run"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(handle)
