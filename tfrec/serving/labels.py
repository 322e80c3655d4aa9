"""Labels of published models: moved in one step, when a running server has what they move to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfrec.serving import label_history, manifest, server_config
from tfrec.serving.versions import versions
from tfrec.serving.waiting import RunningServer


def move(
    root: Path,
    names: Sequence[str],
    withdrawn: Sequence[str],
    label: str,
    version: int,
    server: RunningServer,
    *,
    back: bool = False,
) -> None:
    """Move a label of some models and take it from others; what else is labelled stays, unless its version is gone.

    Args:
        root: the folder of all published models, locked.
        names: the models that have the version.
        withdrawn: the models that lose the label.
        label: the label.
        version: where it moves to.
        server: the server that runs meanwhile. It must load a version before a label moves to it; one that is not
            asked is not waited for with a model that has no such label yet, and is new to it.
        back: whether the version was served before; see `label_history.record`.

    Raises:
        ValueError: the server does not load the version; all labels are then as they were.
    """
    before = {name: _present(root, name) for name in (*names, *withdrawn)}
    new = {name: before[name] for name in names if before[name].get(label) != version}
    if new and (server.address is not None or (server.settle > 0 and any(label in each for each in new.values()))):
        server_config.write(root, new, also=version)
        try:
            server.wait([*new], version)
        except BaseException:
            server_config.write(root, new)
            raise
    moves = {name: labels.get(label) for name, labels in before.items()}
    after = {name: {key: value for key, value in labels.items() if key != label} for name, labels in before.items()}
    server_config.write(root, {**after, **{name: {**before[name], label: version} for name in names}})
    label_history.record(root, names, label, moves, version, back=back)


def _present(root: Path, name: str) -> dict[str, int]:
    """The labels of a model whose versions are there."""
    found = server_config.labels(root, name)
    return {label: version for label, version in found.items() if (root / name / str(version)).is_dir()}


def newest(folder: Path) -> dict[str, Any] | None:
    """The manifest of the newest version of a folder; None where it holds none."""
    found = versions(folder)
    return manifest.read(folder / str(found[-1])) if found else None


def is_text(folder: Path) -> bool:
    """Whether a folder of versions is that of a text model, by its newest one."""
    return (newest(folder) or {}).get(manifest.KIND) == manifest.TEXT_MODEL
