"""What a stage is: a key, a test of completeness, and the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfrec.stages.ledger import Run


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        key: (run, key of the stage before) -> key; equal keys mean equal results.
        complete: whether its files are there.
        perform: (run, key) -> figures to remember.
    """

    key: Callable[[Run, str], str]
    complete: Callable[[Run], bool]
    perform: Callable[[Run, str], dict[str, Any]]
