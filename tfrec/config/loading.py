"""From a YAML file and `--set` to a checked `Pipeline`, and back; a mistake is one line that names the place."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from tfrec.config.schema import Pipeline
from tfrec.config.values import Settings
from tfrec.config.yaml_rules import Dumper, Loader

Section = TypeVar("Section", bound=Settings)
Declared = TypeVar("Declared", bound=Settings)

# A section that may be written as a single value: what that value is.
_SHORT = {("data", "split"): "kind", ("model", "text"): "source", ("training", "objective"): "name"}

_NAME = "NAME"  # Stands for what a user calls something, such as a label, in the keys that are valid.

# What pydantic's kinds of error ask for, in a user's words; the others keep pydantic's.
_RULES = {
    "string_type": "must be text (quote it where it looks like a number)",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "model_type": "must be a section of settings",
    "too_short": "must not be empty",
}


def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> Pipeline:
    """Read a pipeline file.

    Args:
        path: the YAML file.
        overrides: `key.path=value` each, the value written as in YAML; later ones win.

    Returns:
        The checked settings. `data.root` is the override's, else `TFREC_DATA`, else the file's.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file or an override says what no pipeline can mean; the message names it.
    """
    return parse(read_file(path, "pipeline"), overrides, where=str(path))


def read_file(path: str | os.PathLike[str], what: str) -> str:
    """The text of a YAML file; `what` it is, such as `pipeline`, is named in errors."""
    source = Path(path)
    if source.is_dir():
        raise ValueError(f"{source} is a folder, and a {what} is a YAML file")
    if not source.exists():
        raise FileNotFoundError(f"no {what} file {source}")
    try:
        return source.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{source} is not UTF-8 text: {error.reason} at byte {error.start}") from None


def parse(text: str, overrides: Sequence[str] = (), *, where: str = "the pipeline") -> Pipeline:
    """Read a pipeline from YAML text, with the rules of `load`; `where` is named in errors."""
    raw = read_yaml(text, where)
    if not isinstance(raw, dict):
        raise ValueError(f"{where}: a pipeline is a mapping of settings, and this is {shown(raw)}")
    _expand(raw)
    if os.environ.get("TFREC_DATA"):
        _put(raw, ["data", "root"], os.environ["TFREC_DATA"], "TFREC_DATA")
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals or not all(key.split(".")):
            raise ValueError(f"--set is {override!r}, and must be key.path=value, as in --set model.dim=64")
        _put(raw, key.split("."), read_yaml(value, f"--set {override}"), f"--set {override}")
        _expand(raw)
    try:
        return Pipeline.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{where}: {'; '.join(mistakes(error, raw))}") from None


def change(section: Section, changes: Mapping[str, Any]) -> Section:
    """A section of a pipeline with some settings changed, checked by the same rules.

    Args:
        section: `Model(...)` or another section of `Pipeline`.
        changes: values by name, as in YAML: `{"text": "minilm", "attention.blocks": 4}`.

    Raises:
        ValueError: an unknown name, or a value that cannot be.
    """
    name = next(key for key, field in Pipeline.model_fields.items() if section_of(field.annotation) is type(section))
    raw: dict[str, Any] = {name: section.model_dump()}
    for key, value in changes.items():
        _put(raw, [name, *key.split(".")], value, name)
    _expand(raw)
    try:
        return type(section).model_validate(raw[name])
    except ValidationError as error:
        raise ValueError("; ".join(mistakes(error, raw, (name,)))) from None


def dump(pipeline: Pipeline) -> str:
    """The settings as YAML, every default written out; `parse` gives the same pipeline back."""
    plain = pipeline.model_dump(mode="json")
    return yaml.dump(plain, Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def written(value: Any) -> str:
    """A value on one line of YAML, as `--set` takes it."""
    text = yaml.dump(value, Dumper=Dumper, default_flow_style=True, allow_unicode=True, width=math.inf)
    return text.removesuffix("...\n").rstrip()


def read_declared(path: str | os.PathLike[str], what: str, schema: type[Declared], holds: str) -> Declared:
    """A YAML file beside a pipeline, such as a grid, checked.

    Args:
        path: the file.
        what: it is, in words.
        schema: what it may say.
        holds: what it is a mapping with, in words.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no YAML, or says what the schema does not know.
    """
    raw = read_yaml(read_file(path, what), str(path))
    if not isinstance(raw, dict):
        raise ValueError(f"{path}: a {what} is a mapping with {holds}, and this is {shown(raw)}")
    try:
        return schema.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"{path}: {'; '.join(mistakes(error, raw, schema=schema))}") from None


def read_yaml(text: str, where: str) -> Any:
    """What YAML text says; `where` it stands is named in errors."""
    try:
        return yaml.load(text, Loader=Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise ValueError(f"{where}{line}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(f"{where}: not YAML: {' '.join(str(error).split())}") from None


def _expand(raw: dict[str, Any]) -> None:
    """Write the short forms out in place: `text: minilm` as `text: {source: minilm}`."""
    for (section, key), field in _SHORT.items():
        inner = raw.get(section)
        if isinstance(inner, dict) and isinstance(inner.get(key), str):
            inner[key] = {field: inner[key]}


def _put(raw: dict[str, Any], keys: list[str], value: Any, where: str) -> None:
    """Set one value in nested mappings, in place; sections that are absent or null are made."""
    for depth, key in enumerate(keys[:-1]):
        if raw.get(key) is None:
            raw[key] = {}
        raw = raw[key]
        if not isinstance(raw, dict):
            raise ValueError(f"{where}: {'.'.join(keys[: depth + 1])} is {shown(raw)}, and holds no settings")
    raw[keys[-1]] = value


def mistakes(
    error: ValidationError, raw: dict[str, Any], prefix: tuple[str, ...] = (), schema: type[BaseModel] = Pipeline
) -> list[str]:
    """One sentence for each place of `raw` that is wrong; `prefix` leads from the `schema` to what was checked."""
    rules: dict[str, list[str]] = {}
    for problem in error.errors(include_url=False):
        kind = problem["type"]
        keys, value = _place((*prefix, *problem["loc"]), raw, missing=kind == "missing")
        dotted = ".".join(keys)
        if kind == "extra_forbidden":
            rules[f"unknown key {dotted}; the nearest valid key is {_nearest(keys, schema)}"] = []
        elif kind == "missing":
            rules[f"{dotted} is missing"] = []
        elif kind == "value_error":
            rules.setdefault(dotted, []).append(str(problem["ctx"]["error"]))
        else:
            rule = _RULES.get(kind) or problem["msg"].replace("Input should", "must")
            rules.setdefault(f"{dotted} is {shown(value)}", []).append(rule)
    return [": ".join(part for part in (place, " or ".join(texts)) if part) for place, texts in rules.items()]


def _place(loc: tuple[int | str, ...], raw: Any, *, missing: bool) -> tuple[list[str], Any]:
    """The keys of `loc` that are in the file, without the names of union branches, and the value there."""
    keys: list[str] = []
    for part in loc:
        inside = isinstance(raw, dict) and part in raw or isinstance(raw, list) and isinstance(part, int)
        if inside:
            raw = raw[part]
        if inside or (missing and part == loc[-1]):
            keys.append(str(part))
    return keys, raw


def _nearest(keys: Sequence[str], schema: type[BaseModel]) -> str:
    """The valid key that an unknown one most likely means: of its section, else of any."""
    valid = [".".join(_filled(key, keys)) for key in _keys(schema)]
    prefix = "".join(f"{key}." for key in keys[:-1])
    siblings = [key[len(prefix) :] for key in valid if key.startswith(prefix) and "." not in key[len(prefix) :]]
    close = difflib.get_close_matches(keys[-1], siblings, n=1)
    namesakes = [key for key in valid if key.rpartition(".")[2] == keys[-1]]
    if namesakes and not close:
        return min(namesakes, key=lambda key: key.count("."))
    if not siblings:
        return difflib.get_close_matches(".".join(keys), valid, n=1, cutoff=0)[0]
    return prefix + (close or difflib.get_close_matches(keys[-1], siblings, n=1, cutoff=0))[0]


def _keys(section: type[BaseModel]) -> Iterator[list[str]]:
    """The valid keys of a section; `_NAME` stands in one of a mapping of sections."""
    for name, field in section.model_fields.items():
        yield [name]
        inner = section_of(field.annotation)
        if inner is not None:
            above = [name, _NAME] if get_origin(field.annotation) is dict else [name]
            yield from ([*above, *rest] for rest in _keys(inner))


def _filled(key: list[str], keys: Sequence[str]) -> list[str]:
    """A valid key with the name that `keys`, from the same mapping, has in the place of `_NAME`."""
    if _NAME not in key:
        return key
    place = key.index(_NAME)
    same = len(keys) > place and list(keys[:place]) == key[:place]
    return [*key[:place], keys[place], *key[place + 1 :]] if same else key


def section_of(annotation: Any) -> type[BaseModel] | None:
    """The section that a field holds, `Split` of `Split | None`, or nothing where it holds a value."""
    for kind in (annotation, *getattr(annotation, "__args__", ())):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, cut where it is long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
