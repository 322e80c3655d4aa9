"""Which members each batch of an epoch holds: of like lengths, so that little is padding, others in each epoch."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

# Each bucket ends at least this much further than the one before.
BUCKET_RATIO = 1.15


class LengthBuckets:
    """Batches by length under a token budget: the same number in every epoch.

    Args:
        lengths: int [M], what each member takes of a batch, 1 or more.
        tokens_per_batch: most tokens of a batch, padding included: members x longest of them.
        seed: of the shuffling; epoch `e` depends on (seed, e) alone.
    """

    def __init__(self, lengths: np.ndarray, tokens_per_batch: int, seed: int) -> None:
        """See the class."""
        check_whole("tokens_per_batch", tokens_per_batch, least=1)
        check_whole("seed", seed, least=0)
        self._lengths, self._tokens, self._seed = lengths, tokens_per_batch, seed
        self._buckets = _buckets(lengths)
        self._size = sum(1 for _ in self._shuffled(np.random.default_rng(0)))

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return self._size

    def batches(self, epoch: int) -> list[np.ndarray]:
        """Which members each batch of an epoch holds, in order."""
        rng = np.random.default_rng([self._seed, epoch])
        batches = list(self._shuffled(rng))
        return [batches[place] for place in rng.permutation(len(batches))]

    def padding(self, epoch: int = 0) -> float:
        """Share of an epoch's tokens that are padding."""
        tokens = sum(len(members) * int(self._lengths[members].max()) for members in self.batches(epoch))
        return 1 - int(self._lengths.sum()) / tokens

    def _shuffled(self, rng: np.random.Generator) -> Iterator[np.ndarray]:
        """Full batches bucket by bucket, shortest first; what is left of one goes to the next."""
        left = np.zeros(0, np.int64)
        for longest, members in self._buckets:
            waiting = np.concatenate([left, rng.permutation(members)])
            rows = max(1, self._tokens // longest)
            full = len(waiting) // rows * rows
            yield from np.split(waiting[:full], full // rows) if full else ()
            left = waiting[full:]
        if len(left):
            yield left


def check_whole(name: str, value: object, *, least: int) -> None:
    """Refuse what is no whole number of at least `least`, by the argument's name."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")


def _buckets(lengths: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """(longest length, its members) for each bucket that has any, shortest first."""
    buckets = []
    low, longest = 0, int(lengths.max(initial=0))
    while low < longest:
        high = max(low + 1, int(low * BUCKET_RATIO))
        members = np.flatnonzero((lengths > low) & (lengths <= high))
        if len(members):
            buckets.append((int(lengths[members].max()), members))
        low = high
    return buckets
