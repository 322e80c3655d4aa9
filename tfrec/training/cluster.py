"""Who trains together: the workers that the variable `TF_CONFIG` names, and which of them this process is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

VARIABLE = "TF_CONFIG"
CHIEF, WORKER = "chief", "worker"
EXAMPLE = '{"cluster": {"worker": ["host-a:2222", "host-b:2222"]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Cluster:
    """The processes of a training on several machines.

    Attributes:
        addresses: HOST:PORT of each; the first is the chief's, which alone writes.
        index: which of them this process is.
        spec: the cluster as TensorFlow takes it: type of task -> addresses.
    """

    addresses: tuple[str, ...]
    index: int
    spec: Mapping[str, list[str]]

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.index == 0

    @property
    def task(self) -> tuple[str, int]:
        """Type and number of this process as TensorFlow counts."""
        chiefs = len(self.spec.get(CHIEF, ()))
        return (CHIEF, self.index) if self.index < chiefs else (WORKER, self.index - chiefs)

    @property
    def others(self) -> dict[str, str]:
        """Address -> name in words, of all workers but this one."""
        return {address: self.named(index) for index, address in enumerate(self.addresses) if index != self.index}

    def named(self, index: int) -> str:
        """A worker in words."""
        return f"{'the chief' if index == 0 else f'worker {index}'} ({self.addresses[index]})"

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Cluster | None:
        """The cluster of the environment; None where it names none, or one process alone.

        Raises:
            ValueError: `TF_CONFIG` is malformed.
        """
        text = variables.get(VARIABLE, "").strip()
        if not text:
            return None
        try:
            told = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise _malformed(text, f"it is no JSON ({error})") from None
        if not isinstance(told, dict):
            raise _malformed(text, "it is no mapping")
        if not told.get("cluster"):
            return None
        spec = _spec(text, told["cluster"])
        addresses = tuple(address for kind in (CHIEF, WORKER) for address in spec.get(kind, ()))
        index = _index(text, told.get("task"), spec)
        return cls(addresses, index, spec) if len(addresses) > 1 else None


def _malformed(text: str, reason: str) -> ValueError:
    return ValueError(
        f"{VARIABLE} is {text!r}: {reason}. It must be like {EXAMPLE}, with another index on each worker."
    )


def _spec(text: str, told: Any) -> dict[str, list[str]]:
    if not isinstance(told, dict) or not set(told) <= {CHIEF, WORKER}:
        raise _malformed(text, "its `cluster` must map `worker`, and `chief` where there is one, to lists of HOST:PORT")
    found: list[str] = []
    for kind, addresses in told.items():
        if not isinstance(addresses, list) or not addresses or not all(map(_is_address, addresses)):
            raise _malformed(text, f"cluster.{kind} must be a list of HOST:PORT")
        found += addresses
    if len(told.get(CHIEF, ())) > 1:
        raise _malformed(text, "there is more than one chief")
    twice = sorted({address for address in found if found.count(address) > 1})
    if twice:
        raise _malformed(text, f"{twice[0]} is there twice")
    return told


def _is_address(address: Any) -> bool:
    if not isinstance(address, str):
        return False
    host, _, port = address.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16


def _index(text: str, task: Any, spec: Mapping[str, list[str]]) -> int:
    """The place of a task among all addresses, the chief's first."""
    told: Mapping[str, Any] = task if isinstance(task, dict) else {"type": None}
    kind, index = told.get("type", WORKER), told.get("index")
    if not isinstance(kind, str) or kind not in spec:
        raise _malformed(text, f"its task.type must be one of {', '.join(sorted(spec))}; received {kind!r}")
    if isinstance(index, str) and index.isascii() and index.isdigit():
        index = int(index)  # Templates fill in text.
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < len(spec[kind]):
        raise _malformed(text, f"its task.index must be from 0 to {len(spec[kind]) - 1}; received {index!r}")
    return index if kind == CHIEF else len(spec.get(CHIEF, ())) + index
