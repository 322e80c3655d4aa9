"""Kinds of values that settings are made of; `data`, `model` and `schema` put them together."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def one_or_more(value: object) -> object:
    """One name or a list of names, as a tuple."""
    if isinstance(value, str):
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def columns(value: object) -> object:
    """One column, a list of columns, or columns with the separator of their values."""
    if isinstance(value, str):
        return {value: None}
    return dict.fromkeys(value) if isinstance(value, list) and all(isinstance(v, str) for v in value) else value


Names = Annotated[tuple[str, ...], BeforeValidator(one_or_more)]
Separators = Annotated[dict[str, str | None], BeforeValidator(columns)]
Counts = Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(one_or_more), Field(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]


class Settings(BaseModel):
    """A section of a pipeline: unknown keys are refused, types are not bent, nothing changes after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
