"""Publishing: a checked export goes where the server reads, under the label clients ask for; the flow's last step."""

from __future__ import annotations

import logging
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfrec.features import HISTORY, TEXT
from tfrec.serving import manifest, operations, server_config
from tfrec.serving.session import load_text_ops, open_session
from tfrec.serving.versions import TEXT_SUFFIX, building, next_version, place, prune, version_of, versions, writing

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
    text_folder: str | Path | None = None,
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
        keep: the newest versions that are kept; a labelled one is kept in any case, and so is the one that was before.
        label: the label that moves.
        settle: seconds between listing the new version and moving the label.
        text_folder: what `export_text` returned for the same model. It is published as `NAME_text` under the same
            number, and both labels move at once. Where there is none, an older `NAME_text` loses the label: it would
            answer as another version of the model.

    Returns:
        The published folder.

    Raises:
        ValueError: an argument is wrong, a version is not what was exported, or a folder is another kind of model's.
        PermissionError: `base_path` cannot be written.
    """
    _check_arguments(name, label, keep)
    root, sources = Path(base_path), {name: Path(version_folder)}
    if text_folder is not None:
        sources[name + TEXT_SUFFIX] = Path(text_folder)
    for source in sources.values():
        verify(source)
    with writing(root / name):
        root.mkdir(parents=True, exist_ok=True)
        with server_config.locked(root):
            server_config.write_defaults(root)
            version = _placed(sources, root)
            withdrawn = [name + TEXT_SUFFIX] if text_folder is None and _is_text(root / (name + TEXT_SUFFIX)) else []
            names = [*sources, *withdrawn]
            served = {each: server_config.labels(root, each).values() for each in names}
            _label(root, [*sources], withdrawn, label, version, settle)
            for each in names:  # A server may serve what was labelled until it reads the file again.
                prune(root / each, keep, {*served[each], *server_config.labels(root, each).values()})
    logger.info("published %s as %s", root / name / str(version), label)
    return root / name / str(version)


def rollback(
    model: str | Path, version: int | None = None, *, label: str = server_config.STABLE, settle: float = 0.0
) -> Path:
    """Move a label to another published version, of the model and of its text model in one step.

    Args:
        model: the model's folder of versions, `base_path/name`.
        version: which one; None for the newest below the labelled one.
        label: the label that moves.
        settle: as for `publish`.

    Returns:
        The folder of the version that has the label now.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no version has the label, there is no such version, or it is not whole.
        PermissionError: `base_path` cannot be written.
    """
    folder = Path(model).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{model} is not there: name the folder of a published model, such as saved_models/shop."
        )
    root, name = folder.parent, folder.name
    with writing(root), server_config.locked(root):
        target = _earlier(folder, server_config.labels(root, name).get(label), version, label)
        text = name + TEXT_SUFFIX
        both = [name] + [text] * (_is_text(root / text) and target in versions(root / text))
        for each in both:
            verify(root / each / str(target))
        _label(root, both, [] if text in both else [text] * _is_text(root / text), label, target, settle)
    logger.info("%s is %s now", folder / str(target), label)
    return folder / str(target)


def _earlier(folder: Path, labelled: int | None, version: int | None, label: str) -> int:
    """The version that a label moves to."""
    found = versions(folder)
    there = f"there {'is' if len(found) == 1 else 'are'} {', '.join(map(str, found)) or 'none'}"
    if labelled is None:
        raise ValueError(f"{folder} has no version that is labelled {label!r}: publish one first.")
    if version is None:
        version = max((number for number in found if number < labelled), default=0)
        if not version:
            raise ValueError(f"{folder} has no version before {labelled}, which is {label}; {there}.")
    elif version not in found:
        raise ValueError(f"{folder} has no version {version}; {there}.")
    return version


def verify(folder: Path) -> None:
    """Hold a version to its manifest, its operations to what servers have, load it as they do, and ask it something.

    Raises:
        ValueError: a file is missing or changed, an operation is foreign, it does not load, or its answer is not one.
    """
    promised = manifest.verify(folder)
    reads_text = promised.get(manifest.KIND) == manifest.TEXT_MODEL
    operations.check(folder, text=reads_text)
    if reads_text:
        load_text_ops()
    with open_session(folder) as bundle:
        if bundle.signatures != promised["signatures"]:
            raise ValueError(f"{folder}: its signatures are not those of its manifest; export the model again.")
        for shape in ((2, 3), (1, 0)):
            request = {HISTORY: np.full(shape, "", object), TEXT: np.full(shape[:1], "", object)}
            answer = bundle.run("serving_default", request if reads_text else {HISTORY: request[HISTORY]})
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


def _placed(sources: Mapping[str, Path], root: Path) -> int:
    """Copy each source to `root/NAME` under one number, unless it is there already; the number."""
    for name, source in sources.items():
        _refuse_other_kind(root / name, manifest.read(source).get(manifest.KIND))
    number = _number(sources, root)
    for name, source in sources.items():
        if not (root / name / str(number)).exists():
            with building(root / name) as built:
                shutil.copytree(source, built, dirs_exist_ok=True)
                manifest.verify(built)
                place(built, root / name, number)
    return number


def _number(sources: Mapping[str, Path], root: Path) -> int:
    """The number of the first source, where it is free or taken by the same model; else the next free one."""
    number = version_of(next(iter(sources.values())))
    for name, source in sources.items():
        present = root / name / str(number)
        if not present.exists():
            continue
        if number not in versions(root / name) or manifest.read(present)["files"] != manifest.read(source)["files"]:
            logger.warning("%s is another model: this one takes the next number", present)
            number = None
            break
        manifest.verify(present)
    return number or next_version(*(root / name for name in sources))


def _is_text(folder: Path) -> bool:
    """Whether a folder of versions is that of a text model, by its newest one."""
    found = versions(folder)
    return bool(found) and manifest.read(folder / str(found[-1])).get(manifest.KIND) == manifest.TEXT_MODEL


def _refuse_other_kind(folder: Path, kind: str | None) -> None:
    """The pipelines `shop_text` and `shop`, the latter with a text model, would share a folder."""
    if versions(folder) and _is_text(folder) != (kind == manifest.TEXT_MODEL):
        raise ValueError(
            f"{folder} holds the versions of {'a text model' if _is_text(folder) else 'another pipeline'}, and the "
            f"suffix {TEXT_SUFFIX!r} is that of text models: rename one of the pipelines."
        )


def _label(root: Path, names: Sequence[str], withdrawn: Sequence[str], label: str, version: int, settle: float) -> None:
    """Move the label of some models, take it from others; what else is labelled stays, unless its version is gone."""
    before = {
        name: {
            key: value for key, value in server_config.labels(root, name).items() if (root / name / str(value)).is_dir()
        }
        for name in (*names, *withdrawn)
    }
    moving = {name: before[name] for name in names}
    if settle > 0 and any(labels.get(label, version) != version for labels in moving.values()):
        server_config.write(root, moving, also=version)
        time.sleep(settle)
    after = {name: {key: value for key, value in before[name].items() if key != label} for name in before}
    server_config.write(root, {**after, **{name: {**before[name], label: version} for name in names}})
