"""A data set divided among the workers of a training: each has in memory the events of its own shards alone.

All of them number the users and their windows as one process does, so that batches hold the same windows whoever makes
them. A worker plays those of its own users. It reads the others' shards one at a time, and keeps how long windows are.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tfrec.data.batches import EpochPlan
from tfrec.data.datasets import Dataset
from tfrec.data.perturbation import disturber
from tfrec.data.records import shard_name
from tfrec.data.sequences import Sequences, Windows, training_windows
from tfrec.data.shares import WHOLE, Share


@dataclass(frozen=True)
class _Held:
    """What a worker keeps of the users of some shards: their windows without the events, and what users are."""

    user_ids: np.ndarray
    users: dict[str, np.ndarray]
    windows: Windows


class DividedDataset:
    """What a training reads of a data set, of which this worker holds the users of each `workers`-th shard.

    Args:
        data: the data set, none of whose shards need have been read yet, and whose text vectors are set.
        worker: which of the workers this is.
        workers: how many there are, at most as many as shards.

    Attributes:
        own: the data set with this worker's users alone.
        user_count: how many users all workers together hold.

    Raises:
        ValueError: there are fewer shards than workers.
    """

    def __init__(self, data: Dataset, worker: int, workers: int) -> None:
        """Read the shards; see the class."""
        shards = data.manifest["options"]["shards"]
        if shards < workers:
            raise ValueError(f"{data.folder} has {shards} shards, which {workers} workers cannot divide.")
        self._data, self._workers = data, workers
        self._targets = {split: np.zeros(workers, np.int64) for split in ("validation", "test")}
        self.own = data.part(range(worker, shards, workers)) if workers > 1 else data
        windows = self._windows(self.own.sequences)
        found = [self._kept(self.own, windows, worker)]
        others = [shard for shard in range(shards) if shard % workers != worker]
        found += [self._read(data.part([shard]), shard % workers) for shard in others]
        by_id = np.argsort(np.concatenate([each.user_ids for each in found]), kind="stable")
        self._plan, self._held = _numbered(found, windows, by_id)
        self.user_count = len(by_id)
        self._users = {name: np.concatenate([each.users[name] for each in found])[by_id] for name in found[0].users}

    def mark(self) -> bytes:
        """A hash of all shards, by which workers tell whether they divide the same ones; 32 bytes."""
        whole, shards = hashlib.sha256(), self._data.manifest["options"]["shards"]
        for shard in range(shards):
            with open(self._data.folder / shard_name(shard, shards), "rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        return whole.digest()

    def users(self, split: str) -> int:
        """How many users all workers together have in "validation" or "test"."""
        return int(self._targets[split].sum())

    def train_plan(
        self, tokens_per_batch: int = 4096, seed: int = 0, *, delete: float = 0.0, insert: float = 0.0
    ) -> EpochPlan:
        """The plan of the batches of one process, of each of which this worker plays what it holds.

        What `delete` and `insert` disturb are other events than with other workers. See `Dataset.train_plan`.
        """
        disturb = disturber(self._data.items["count"].to_numpy(), delete, insert)
        return EpochPlan(
            self._plan,
            self._data.user_features(self._users),
            tokens_per_batch=tokens_per_batch,
            seed=seed,
            disturb=_among(self._held, disturb) if disturb else None,
            held=self._held,
        )

    def validation(self, batch_size: int = 256, share: Share = WHOLE) -> tf.data.Dataset:
        """This worker's users whose next events validate, in as many batches as the worker with most users has.

        Args:
            batch_size: users of a batch, of all workers together.
            share: which parts of each batch.
        """
        each = math.ceil(batch_size / self._workers)
        least = math.ceil(int(self._targets["validation"].max()) / each)
        return self.own.evaluation_users("validation").dataset(each, share=share, least=least)

    def _windows(self, sequences: Sequences) -> Windows:
        data = self._data
        return training_windows(sequences, data.held_out > 0, data.max_length, drawn=data.draws_windows)

    def _read(self, part: Dataset, worker: int) -> _Held:
        """What is kept of a shard of another worker."""
        return self._kept(part, self._windows(part.sequences), worker)

    def _kept(self, part: Dataset, windows: Windows, worker: int) -> _Held:
        for split, counts in self._targets.items():
            counts[worker] += part.target_users(split)
        nothing = np.zeros(0, np.int32)  # A slice of the events would keep them all.
        bare = dataclasses.replace(windows, rows=nothing, targets=nothing, events={})
        return _Held(part.sequences.user_ids, dict(part.sequences.users), bare)


def _numbered(found: Sequence[_Held], own: Windows, by_id: np.ndarray) -> tuple[Windows, np.ndarray]:
    """The windows of all workers in the order that one process gives them, with the events of the first of them alone.

    Args:
        found: what is kept of all shards; first this worker's.
        own: its windows with their events.
        by_id: int64 [U], the order of all users.

    Returns:
        The windows, and which of them are of the first; the others begin nowhere.
    """
    number = np.empty(len(by_id), np.int64)
    number[by_id] = np.arange(len(by_id))
    begins = np.cumsum([0, *(len(each.user_ids) for each in found[:-1])])
    windows = [each.windows for each in found]
    owners = np.concatenate([number[begin + each.owners] for begin, each in zip(begins, windows, strict=True)])
    first = np.concatenate([each.first for each in windows])
    order = np.lexsort([owners, first])
    held = (np.arange(len(order)) < len(own.owners))[order]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(each, name) for each in windows])[order]

    everyone = dataclasses.replace(
        own, owners=owners[order], first=first[order], starts=np.where(held, joined("starts"), 0),
        lengths=joined("lengths"), whole=joined("whole"), slack=joined("slack"),
    )  # fmt: skip
    return everyone, held


def _among(
    held: np.ndarray, disturb: Callable[[Windows, np.random.Generator], Windows]
) -> Callable[[Windows, np.random.Generator], Windows]:
    """The same for windows of which only those `held` have events."""
    per_window = ("owners", "starts", "lengths", "whole", "slack", "first")

    def among(windows: Windows, rng: np.random.Generator) -> Windows:
        if not held.any():
            return windows
        own = disturb(dataclasses.replace(windows, **{name: getattr(windows, name)[held] for name in per_window}), rng)
        placed = {name: getattr(windows, name).copy() for name in per_window}
        for name, values in placed.items():
            values[held] = getattr(own, name)
        return dataclasses.replace(own, **placed)

    return among
