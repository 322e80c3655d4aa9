"""What a stage is: what it reads, and the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfrec.stages.ledger import Run


@dataclass(frozen=True)
class Stage:
    """One step of a run.

    Attributes:
        perform: (run, key) does the work and ends with `run.finish`.
        reads: the stage whose result it reads; None for the first one.
        inputs: what else the result depends on besides settings and `reads`, as a JSON value.
        complete: whether what it left is what the ledger says, beyond the files being there.
        recorded: the inputs of what it left, for a later stage that goes on with that whatever became of them since.
            None where they must be the same.
    """

    perform: Callable[[Run, str], None]
    reads: str | None = None
    inputs: Callable[[Run], Any] = lambda run: None
    complete: Callable[[Run], bool] = lambda run: True
    recorded: Callable[[Run], Any] | None = None
