"""The page `docs/settings.md`, written from the settings themselves so that it cannot say anything else."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from tfrec.config.loading import section_of
from tfrec.config.schema import Pipeline

_HEAD = """# Settings of a pipeline

Written by `python -m tfrec.config > docs/settings.md` from the settings' own descriptions.

Any of them can be changed on the command line: `--set model.dim=128`. An unknown key is refused. A list of one
name may be written as the name. `model.text`, `data.split` and `training.objective` may be written as their first
value: `text: minilm`. Paths of tables are relative to `data.root`: `--set data.root=DIR` goes before the variable
`TFREC_DATA`, and that before the file. `data.root` itself, a folder in `model.text.source` and `export.base_path` are
relative to the working directory.
"""
_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "any"}


def page() -> str:
    """The whole page, as Markdown."""
    return "\n".join([_HEAD, *_section(Pipeline, "")])


def _section(section: type[BaseModel], prefix: str) -> Iterator[str]:
    """A table of the section's own values, then its sections."""
    yield f"## {prefix.rstrip('.') or 'The whole'}\n"
    yield f"{_first_line(section)}\n"
    yield "| key | type | default | meaning |\n|---|---|---|---|"
    inner = []
    for name, field in section.model_fields.items():
        child = section_of(field.annotation)
        if child is not None:
            inner.append((child, f"{prefix}{name}."))
        kind = "section" if child is not None else _type(field.annotation)
        yield f"| `{prefix}{name}` | {kind} | {_default(field, child)} | {field.description} |"
    yield ""
    for child, path in inner:
        yield from _section(child, path)


def _first_line(section: type[BaseModel]) -> str:
    return (section.__doc__ or "").split("\n", maxsplit=1)[0]


def _default(field: FieldInfo, child: type[BaseModel] | None) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "`null`"
    if child is not None or value is PydanticUndefined:
        return "its defaults"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _type(annotation: Any) -> str:
    """A type in a user's words."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(argument) for argument in arguments))
    if origin is tuple:
        return f"list of {_type(arguments[0])}"
    if origin is dict:
        return "mapping"
    raise ValueError(f"settings of type {annotation!r} have no words yet; give them some in {__name__}")
