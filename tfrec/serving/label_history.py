"""`models.history.json` beside `models.config`: what each label stood for, in turn; `labels` writes it.

By it `rollback` finds what was served before. It is a trail, not a log: publishing lengthens it, going back shortens
it, so that going back twice goes one step further, and what was taken out of service does not return by itself. It
names models and versions alone: the folder may be moved. Where it is lost, so is that knowledge and nothing else.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path

FILE = "models.history.json"
LONGEST = 100  # steps of a label that are kept

logger = logging.getLogger(__name__)


def trail(folder: Path, name: str, label: str, current: int | None) -> list[int]:
    """The versions that a label stood for, oldest first, up to `current`, which the label has now.

    Where somebody moved the label by hand, the trail is followed to the version that it has, or goes on with it.
    """
    return _until(_read(folder / FILE).get(name, {}).get(label, []), current)


def before(steps: list[int], present: Iterable[int]) -> int | None:
    """The last version before the end of a trail that is another one and still there; None where there is none."""
    there = set(present) - set(steps[-1:])
    return next((version for version in reversed(steps[:-1]) if version in there), None)


def record(
    folder: Path, names: Iterable[str], label: str, moves: Mapping[str, int | None], version: int, *, back: bool
) -> None:
    """Write that a label of some models moved to a version.

    Args:
        folder: where the file lies.
        names: the models.
        label: the label.
        moves: model -> the version that had the label before; None where none had.
        version: the version that has it now.
        back: whether a version of before was returned to, which shortens the trail; else it goes on.
    """
    known = _read(folder / FILE)
    for name in names:
        labels = known.setdefault(name, {})
        steps = _until(labels.get(label, []), moves[name])
        if back and version in steps:
            steps = _until(steps, version)
        elif steps[-1:] != [version]:
            steps = [*steps, version]
        labels[label] = steps[-LONGEST:]
    _replace(folder / FILE, known)


def _until(steps: list[int], version: int | None) -> list[int]:
    """The trail up to the last place of a version; with it at the end where it is not on the trail."""
    if version is None:
        return steps
    if version not in steps:
        return [*steps, version]
    return steps[: len(steps) - steps[::-1].index(version)]


def _read(path: Path) -> dict[str, dict[str, list[int]]]:
    """Model -> label -> versions; nothing where there is no file, or one that is none, which a warning says."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {
            str(name): {str(label): [int(version) for version in steps] for label, steps in labels.items()}
            for name, labels in known.items()
        }
    except FileNotFoundError:
        return {}
    except (AttributeError, TypeError, ValueError) as error:
        logger.warning("%s cannot be read (%s): what was served before is not known", path, error)
        return {}


def _replace(path: Path, known: Mapping[str, Mapping[str, list[int]]]) -> None:
    temporary = path.with_name(f".{path.name}-{uuid.uuid4().hex[:12]}")
    try:
        temporary.write_text(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
