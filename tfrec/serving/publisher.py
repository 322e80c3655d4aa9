"""Publishing: a checked export goes where the server reads, under the label clients ask for; the flow's last step."""

from __future__ import annotations

import logging
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from tfrec.features import HISTORY
from tfrec.serving import manifest, server_config
from tfrec.serving.session import open_session
from tfrec.serving.versions import building, place, prune, version_of, versions, writing

logger = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_LABEL = re.compile(r"[A-Za-z0-9_]+")


def publish(
    version_folder: str | Path,
    base_path: str | Path,
    name: str,
    *,
    keep: int = 3,
    label: str = server_config.STABLE,
    settle: float = 0.0,
) -> Path:
    """Copy a version to `base_path/name/<version>/` and move a label to it.

    The version is verified, copied under a hidden name, verified again and renamed; then `base_path/models.config` is
    replaced in one step. A server that follows that file loads the labelled versions and nothing else, so that it
    never sees an unpublished or half-written one. A version published before, file by file the same, is only labelled;
    another version of the same number makes this one take the next free number.

    TensorFlow Serving moves a label only to a version that it has loaded already. For a server that polls the file
    while this runs, give `settle` as the seconds that it needs to notice and load: both versions are then listed first,
    and the label moves after. A server that starts later needs no such pause.

    Args:
        version_folder: what `export` returned.
        base_path: the folder of all published models.
        name: the model's name, as clients spell it.
        keep: the newest versions that are kept; a labelled one is kept in any case.
        label: the label that moves.
        settle: seconds between listing the new version and moving the label.

    Returns:
        The published folder.

    Raises:
        ValueError: an argument is wrong, or the version is not what was exported.
        PermissionError: `base_path` cannot be written.
    """
    _check_arguments(name, label, keep)
    source, root = Path(version_folder), Path(base_path)
    verify(source)
    with writing(root / name):
        (root / name).mkdir(parents=True, exist_ok=True)
        with server_config.locked(root):
            target = _placed(source, root / name)
            _label(root, name, label, int(target.name), settle)
            prune(root / name, keep, server_config.labels(root, name).values())
    logger.info("published %s as %s", target, label)
    return target


def verify(folder: Path) -> None:
    """Hold a version to its manifest, load it as a server does, and ask it something.

    Raises:
        ValueError: a file is missing or changed, it does not load, or its answer is not one.
    """
    promised = manifest.verify(folder)
    with open_session(folder) as bundle:
        if bundle.signatures != promised["signatures"]:
            raise ValueError(f"{folder}: its signatures are not those of its manifest; export the model again.")
        for shape in ((2, 3), (1, 0)):
            answer = bundle.run("serving_default", {HISTORY: np.full(shape, "", object)})
            if answer["scores"].shape != (shape[0], promised["answer_size"]) or not np.isfinite(answer["scores"]).all():
                raise ValueError(f"{folder}: the answer to an empty history is not finite; export the model again.")
            if not answer["item_ids"][0, 0]:
                raise ValueError(f"{folder}: there is no answer to an empty history; export the model again.")


def _check_arguments(name: Any, label: Any, keep: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"`name` must be letters, digits, '_', '.' and '-', a letter or digit first; received {name!r}."
        )
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise ValueError(f"`label` must be letters, digits and '_'; received {label!r}.")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ValueError(f"`keep` must be a whole number of at least 1; received {keep!r}.")


def _placed(source: Path, folder: Path) -> Path:
    """The published folder of `source`: one that is the same already, or a copy."""
    files = manifest.read(source)["files"]
    wanted = version_of(source)
    present = folder / str(wanted)
    if present.exists():
        if wanted in versions(folder) and manifest.read(present)["files"] == files:
            manifest.verify(present)
            return present
        logger.warning("%s is another model: this one takes the next number", present)
        wanted = None
    with building(folder) as built:
        shutil.copytree(source, built, dirs_exist_ok=True)
        manifest.verify(built)
        return place(built, folder, wanted)


def _label(root: Path, name: str, label: str, version: int, settle: float) -> None:
    """Move a label; what else is labelled stays, unless its version is gone."""
    before = {
        key: value for key, value in server_config.labels(root, name).items() if (root / name / str(value)).is_dir()
    }
    if settle > 0 and before.get(label, version) != version:
        server_config.write(root, name, before, also=(version,))
        time.sleep(settle)
    server_config.write(root, name, {**before, label: version})
