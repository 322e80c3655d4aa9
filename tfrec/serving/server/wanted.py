"""What a folder asks a server to hold: what its `models.config` says where there is one, else the newest version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tfrec.serving import server_config
from tfrec.serving.versions import SAVED_MODEL, TEXT_SUFFIX, version_of, versions


@dataclass(frozen=True)
class Wanted:
    """What one model should be.

    Attributes:
        versions: number -> folder.
        labels: label -> number.
    """

    versions: Mapping[int, Path] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)


def look(model: Path, name: str | None = None) -> dict[str, Wanted]:
    """What the folder asks for now.

    Args:
        model: one version: it alone, as the only one. A folder of versions: the labelled ones and the text model's
            where the `models.config` beside it names them, else the newest. A folder with a `models.config`: all
            models in it.
        name: what clients call the model; None for the folder's name. Its text model is `NAME_text`.

    Returns:
        Name -> what is wanted.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: there is nothing to serve in it, a `models.config` beside it does not name it, or that file cannot
            be read.
    """
    if not model.is_dir():
        raise FileNotFoundError(f"There is no model {model}; name a folder that `tfrec export` or `publish` wrote.")
    folder = model.resolve()
    if (folder / server_config.FILE).is_file() and name is None:
        found = {each: _labelled(folder, each) for each in server_config.models(folder)}
    elif (folder / SAVED_MODEL).is_file():
        found = _with_text(folder.parent, name or folder.parent.name, {version_of(folder) or 1: folder})
    else:
        found = _of_versions(folder, name or folder.name)
    if not any(each.versions for each in found.values()):
        raise ValueError(f"{model} holds no version of a model: name a folder that `tfrec export` or `publish` wrote.")
    return found


def _of_versions(folder: Path, name: str) -> dict[str, Wanted]:
    labelled = _labelled(folder.parent, folder.name)
    if labelled.versions:
        text = _labelled(folder.parent, folder.name + TEXT_SUFFIX)
        return {name: labelled, **({name + TEXT_SUFFIX: text} if text.versions else {})}
    if (folder.parent / server_config.FILE).is_file():
        raise ValueError(
            f"{folder} is not published: {folder.parent / server_config.FILE} does not name it. Run `tfrec publish`, "
            "or name one version."
        )
    newest = versions(folder)[-1:]
    return _with_text(folder, name, {number: folder / str(number) for number in newest})


def _with_text(folder: Path, name: str, found: Mapping[int, Path]) -> dict[str, Wanted]:
    """The versions of a model, and the same ones of its text model where they lie beside it."""
    beside = folder.with_name(folder.name + TEXT_SUFFIX)
    text = {number: beside / str(number) for number in found if (beside / str(number) / SAVED_MODEL).is_file()}
    return {name: Wanted(found), **({name + TEXT_SUFFIX: Wanted(text)} if text else {})}


def _labelled(root: Path, name: str) -> Wanted:
    """What the file of models says of one, whether or not it is there; a moved folder is where the file lies now."""
    labels = server_config.labels(root, name)
    numbers = sorted({*server_config.listed(root, name), *labels.values()})
    return Wanted({number: root / name / str(number) for number in numbers}, labels)
