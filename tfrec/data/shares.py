"""How a batch is divided among the devices of a process that train on it together; the last step before `fit`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """The parts of each batch that one process plays, one after the other.

    A batch is cut in the same way whoever cuts it, so that all parts together are the batch.

    Attributes:
        parts: numbers of the parts, one for each replica of this process.
        of: how many parts a batch is cut into.

    Raises:
        ValueError: a part that is none of them, or no part.
    """

    parts: Sequence[int]
    of: int

    def __post_init__(self) -> None:
        """Check the parts."""
        if not self.parts or not all(0 <= part < self.of for part in self.parts):
            raise ValueError(f"`parts` must be some of 0 to {self.of - 1}; received {list(self.parts)}.")

    def cut(self, members: np.ndarray) -> Iterator[np.ndarray]:
        """The members, int64 [B], of each part; none where there are more parts than members."""
        for part in self.parts:
            yield members[part :: self.of]


WHOLE = Share((0,), 1)
