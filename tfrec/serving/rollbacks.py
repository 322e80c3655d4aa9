"""Going back: a label moves to the version that it stood for before, of a model and of its text model in one step."""

from __future__ import annotations

import logging
from pathlib import Path

from tfrec.serving import gate, label_history, labels, server_config
from tfrec.serving.versions import TEXT_SUFFIX, versions, writing
from tfrec.serving.waiting import RunningServer

logger = logging.getLogger(__name__)


def rollback(
    model: str | Path,
    version: int | None = None,
    *,
    label: str = server_config.STABLE,
    server: RunningServer | None = None,
) -> Path:
    """Move a label back to the version that it stood for before, or to any other published one.

    Going back twice goes one version further, not forth and back; what was gone back from does not return unless it is
    named or published again. Where nothing is recorded (see `label_history`) or still there of what was served before,
    it is the newest version below the labelled one, and a warning says so.

    Args:
        model: the model's folder of versions, `base_path/name`.
        version: which one; None for the one that had the label before.
        label: the label that moves.
        server: as for `publish`.

    Returns:
        The folder of the version that has the label now.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no version has the label, there is no such version, it is not whole, or the server does not load it.
        PermissionError: `base_path` cannot be written.
    """
    folder, server = Path(model).absolute(), server or RunningServer()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{model} is not there: name the folder of a published model, such as saved_models/shop."
        )
    root, name = folder.parent, folder.name
    with writing(root), server_config.locked(root):
        target = _target(folder, server_config.labels(root, name).get(label), version, label)
        text = name + TEXT_SUFFIX
        has_text = labels.is_text(root / text)
        both = [name] + [text] * (has_text and target in versions(root / text))
        for each in both:
            gate.verify(root / each / str(target), answers=False)
        server.check(name)
        labels.move(root, both, [text] * (has_text and text not in both), label, target, server, back=True)
    logger.info("%s is %s now", folder / str(target), label)
    return folder / str(target)


def withdraw(model: str | Path, label: str) -> None:
    """Take a label from a published model and its text model; the version stays, until newer ones have its place.

    Args:
        model: the model's folder of versions, `base_path/name`.
        label: such as `canary`; `stable` is what clients ask for, and stays.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no version has the label, or it is `stable`.
        PermissionError: `base_path` cannot be written.
    """
    folder = Path(model).absolute()
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{model} is not there: name the folder of a published model, such as saved_models/shop."
        )
    if label == server_config.STABLE:
        raise ValueError(f"{label!r} is what clients ask for: move it to another version instead of taking it away.")
    with writing(folder.parent), server_config.locked(folder.parent):
        known = {name: server_config.labels(folder.parent, name) for name in (folder.name, folder.name + TEXT_SUFFIX)}
        if label not in known[folder.name]:
            there = ", ".join(f"{each} ({version})" for each, version in sorted(known[folder.name].items())) or "none"
            raise ValueError(f"{folder} has no version that is labelled {label!r}; there is {there}.")
        left = {name: {key: at for key, at in labels.items() if key != label} for name, labels in known.items()}
        server_config.write(folder.parent, {name: labels for name, labels in left.items() if known[name]})
    logger.info("%s is %s no more", folder / str(known[folder.name][label]), label)


def _target(folder: Path, labelled: int | None, version: int | None, label: str) -> int:
    """The version that a label moves to."""
    found = versions(folder)
    there = f"there {'is' if len(found) == 1 else 'are'} {', '.join(map(str, found)) or 'none'}"
    if labelled is None:
        raise ValueError(f"{folder} has no version that is labelled {label!r}: publish one first.")
    if version is not None:
        if version not in found:
            raise ValueError(f"{folder} has no version {version}; {there}.")
        return version
    recorded = label_history.before(label_history.trail(folder.parent, folder.name, label, labelled), found)
    if recorded is not None:
        return recorded
    lower = max((number for number in found if number < labelled), default=None)
    if lower is None:
        raise ValueError(f"{folder} has no version before {labelled}, which is {label}; {there}.")
    logger.warning(
        "%s: of what was %s before %d nothing is recorded or still there: %d is the newest version below it",
        folder, label, labelled, lower,
    )  # fmt: skip
    return lower
