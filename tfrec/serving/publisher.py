"""Publishing: a checked export goes where the server reads, under the label clients ask for; the flow's last step."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfrec.serving import gate, labels, manifest, server_config
from tfrec.serving.gate import Limits
from tfrec.serving.versions import (
    TEXT_SUFFIX,
    building,
    next_version,
    place,
    prune,
    remove,
    sweep,
    version_of,
    versions,
    writing,
)
from tfrec.serving.waiting import RunningServer

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
    server: RunningServer | None = None,
    limits: Limits | None = None,
    text_folder: str | Path | None = None,
) -> Path:
    """Copy a version to `base_path/name/<version>/` and move a label to it.

    The version is verified, copied under a hidden name, verified again and renamed; then `base_path/models.config` is
    replaced in one step. A server that follows that file loads the labelled versions and nothing else, so that it
    never sees an unpublished or half-written one. A version published before, file by file the same, is only labelled;
    another version of the same number makes this one take the next free number.

    Before anything is copied it must answer as the Keras model did, with operations that servers have, and be neither
    much slower nor much larger than the version that has the label (`tfrec.serving.gate`). What was measured stands in
    the published manifest under `gate`.

    TensorFlow Serving moves a label only to a version that it has loaded already. For a server that polls the file
    while this runs, say so with `server`: both versions are then listed first, and the label moves when the server has
    the new one. A server that starts later is not waited for.

    Args:
        version_folder: what `export` returned.
        base_path: the folder of all published models.
        name: the model's name, as clients spell it.
        keep: the newest versions that are kept; a labelled one is kept in any case, and so is the one that was before.
        label: the label that moves.
        server: the server that runs meanwhile; None where there is none.
        limits: what the version may cost beside the one that has the label, or else is `stable`; None for `Limits()`.
        text_folder: what `export_text` returned for the same model. It is published as `NAME_text` under the same
            number, and both labels move at once. Where there is none, an older `NAME_text` loses the label: it would
            answer as another version of the model.

    Returns:
        The published folder.

    Raises:
        ValueError: an argument is wrong, a version is not what was exported or costs too much, the server does not load
            it, or a folder is another kind of model's. No label has moved then.
        PermissionError: `base_path` cannot be written.
    """
    _check_arguments(name, label, keep)
    root, sources = Path(base_path), {name: Path(version_folder)}
    if text_folder is not None:
        sources[name + TEXT_SUFFIX] = Path(text_folder)
    server = server or RunningServer()
    asked = {name: gate.verify(source) for name, source in sources.items()}
    server.check(name)
    with writing(root / name):
        root.mkdir(parents=True, exist_ok=True)
        with server_config.locked(root):
            server_config.write_defaults(root, name)
            for each in sources:
                sweep(root / each)
            costs = _compared(sources, root, label, limits or Limits())
            reports = {each: {**asked[each], **costs.get(each, {})} for each in sources}
            version = _number(sources, root)
            placed = _placed(sources, root, version, reports)
            text = name + TEXT_SUFFIX
            withdrawn = [text] if text_folder is None and labels.is_text(root / text) else []
            names = [*sources, *withdrawn]
            served = {each: server_config.labels(root, each).values() for each in names}
            try:
                labels.move(root, [*sources], withdrawn, label, version, server)
            except BaseException:
                for folder in placed:  # What no label has moved to is nobody's to find.
                    if version not in server_config.labels(root, folder.parent.name).values():
                        remove(folder)
                raise
            for each in names:  # A server may serve what was labelled until it reads the file again.
                prune(root / each, keep, {*served[each], *server_config.labels(root, each).values()})
    logger.info("published %s as %s", root / name / str(version), label)
    return root / name / str(version)


def _check_arguments(name: Any, label: Any, keep: Any) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"`name` must be letters, digits, '_', '.' and '-', a letter or digit first; received {name!r}."
        )
    if not isinstance(label, str) or not _LABEL.fullmatch(label):
        raise ValueError(f"`label` must be letters, digits and '_'; received {label!r}.")
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < 1:
        raise ValueError(f"`keep` must be a whole number of at least 1; received {keep!r}.")


def _compared(sources: Mapping[str, Path], root: Path, label: str, limits: Limits) -> dict[str, dict[str, Any]]:
    """What each source costs beside the version that is served, where there is one and it is another."""
    reports = {}
    for name, source in sources.items():
        _refuse_other_kind(root / name, manifest.read(source))
        labelled = server_config.labels(root, name)
        served = root / name / str(labelled.get(label, labelled.get(server_config.STABLE)))
        if not served.is_dir() or _same(source, served):
            continue
        reports[name] = gate.compare(source, served, limits)
        if reports[name]:
            (took, took_before), (size, size_before) = reports[name]["milliseconds"], reports[name]["bytes"]
            logger.info(
                "%s beside version %s: %.1f ms a request (before: %.1f), %.1f MiB (before: %.1f)",
                name, served.name, took, took_before, size / 2**20, size_before / 2**20,
            )  # fmt: skip
    return reports


def _same(source: Path, present: Path) -> bool:
    """Whether two versions are file by file the same; one that cannot be read is not."""
    try:
        return bool(manifest.read(present)["files"] == manifest.read(source)["files"])
    except ValueError:
        return False


def _placed(
    sources: Mapping[str, Path], root: Path, number: int, reports: Mapping[str, Mapping[str, Any]]
) -> list[Path]:
    """Copy each source to `root/NAME` under a number, unless it is there already; what was copied."""
    placed = []
    for name, source in sources.items():
        if not (root / name / str(number)).exists():
            with building(root / name) as built:
                shutil.copytree(source, built, dirs_exist_ok=True)
                manifest.verify(built)
                manifest.add(built, gate=reports[name])
                placed.append(place(built, root / name, number))
    return placed


def _number(sources: Mapping[str, Path], root: Path) -> int:
    """The number of the first source, where it is free or taken by the same model; else the next free one."""
    number = version_of(next(iter(sources.values())))
    for name, source in sources.items():
        present = root / name / str(number)
        if not present.exists():
            continue
        if number not in versions(root / name) or not _same(source, present):
            logger.warning("%s is another model: this one takes the next number", present)
            number = None
            break
        manifest.verify(present)
    return number or next_version(*(root / name for name in sources))


def _refuse_other_kind(folder: Path, told: Mapping[str, Any]) -> None:
    """The pipelines `shop_text` and `shop`, the latter with a text model, would share a folder.

    So would a pipeline that recommended and now judges candidates, with the clients of what it was.
    """
    kind = told.get(manifest.KIND)
    if versions(folder) and labels.is_text(folder) != (kind == manifest.TEXT_MODEL):
        present = "another pipeline" if kind == manifest.TEXT_MODEL else "a text model"
        raise ValueError(
            f"{folder} holds the versions of {present}, and the suffix {TEXT_SUFFIX!r} is that of text models: "
            "rename one of the pipelines."
        )
    before = labels.newest(folder)
    if before is not None and manifest.kind(before) != manifest.kind(told):
        raise ValueError(
            f"{folder} holds the versions of a {manifest.kind(before)}, and this is a {manifest.kind(told)}, which "
            "answers other requests: give the pipeline another name."
        )
