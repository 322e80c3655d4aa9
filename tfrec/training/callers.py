"""Who has come to the chief of a training before it begins; `rendezvous` says when they may begin."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from tfrec.training import wire
from tfrec.training.cluster import Cluster

PULSE = 5.0  # Seconds between two signs of life of a chief that waits.


class Callers:
    """Who has come to the chief.

    Attributes:
        abouts: worker -> what it is about to train, of those that are there.
    """

    def __init__(self, cluster: Cluster) -> None:
        """Take the cluster, of which nobody is there yet."""
        self._cluster, self._there = cluster, dict[int, socket.socket]()
        self._others = list[socket.socket]()  # Who has no place here, and is told why.
        self.abouts: dict[int, dict[str, Any]] = {}

    def close(self) -> None:
        """Hang up."""
        for connection in (*self._there.values(), *self._others):
            connection.close()

    def await_all(self, server: socket.socket, seconds: float) -> Exception | None:
        """Let workers in until all are there; what is wrong otherwise."""
        deadline = time.monotonic() + seconds
        while True:
            self._forget_those_gone()
            if len(self._there) == len(self._cluster.addresses) - 1:
                return None
            caller = wire.accepted(server, min(deadline, time.monotonic() + PULSE))
            if caller is not None:
                problem = self._let_in(caller)
                if problem:
                    return problem
            elif time.monotonic() >= deadline:
                return TimeoutError(missing(self._cluster, set(self._there), seconds))
            for connection in self._there.values():
                wire.pulse(connection)

    def _forget_those_gone(self) -> None:
        """Who was killed meanwhile is waited for again."""
        for worker in [worker for worker, connection in self._there.items() if wire.gone(connection)]:
            self._there.pop(worker).close()
            del self.abouts[worker]

    def _let_in(self, caller: socket.socket) -> ValueError | None:
        try:
            told = wire.greeting(caller)
        except ValueError as error:
            self._others.append(caller)
            return error
        if told is None:
            caller.close()
            return None
        worker = told["worker"]
        problem = self._misplaced(worker, caller)
        if problem:
            self._others.append(caller)
        else:
            self._there[worker], self.abouts[worker] = caller, told["about"]
        return problem

    def _misplaced(self, worker: int, caller: socket.socket) -> ValueError | None:
        """What is wrong with the place that a caller says it has; None where it is one, and nobody else has it."""
        last = len(self._cluster.addresses) - 1
        if worker > last:
            return ValueError(
                f"worker {worker}, which came from {wire.origin(caller)}, is none of those in the chief's TF_CONFIG, "
                f"the last of which is {self._cluster.named(last)}. Start all workers with a TF_CONFIG of the same "
                "addresses."
            )
        self._forget_those_gone()
        if worker in self._there:
            return ValueError(
                f"two workers came as {self._cluster.named(worker)}, from {wire.origin(self._there[worker])} and from "
                f"{wire.origin(caller)}. Give each an index of its own in TF_CONFIG, and start the same command again "
                "on every worker."
            )
        return None

    def give(self, files: Mapping[str, Path]) -> OSError | None:
        """Hand all of them the files, at the same time; what is wrong where one cannot, or none is there."""
        try:
            for path in files.values():
                open(path, "rb").close()
        except OSError as error:
            return error
        with ThreadPoolExecutor(max(1, len(self._there))) as pool:
            given = {pool.submit(wire.hand, each, files): worker for worker, each in self._there.items()}
            try:
                self._keep_waiting(given)
            except BaseException:  # Such as Ctrl-C: the threads wake as their connections end.
                for connection in self._there.values():
                    with contextlib.suppress(OSError):
                        connection.shutdown(socket.SHUT_RDWR)
                raise
        answers = {worker: each.result() for each, worker in given.items()}
        lost = [worker for worker, answer in answers.items() if answer is None]
        for worker in lost:  # The others shall not wait until it has taken its last word.
            self._there.pop(worker).close()
        refused = [f"{self._cluster.named(worker)}: {answer}" for worker, answer in answers.items() if answer]
        if refused:
            return OSError(f"The chief's checkpoint cannot be written on {'; '.join(refused)}.")
        if not lost:
            return None
        return TimeoutError(
            f"{' and '.join(map(self._cluster.named, lost))} came, but did not answer for {wire.STALL:g} seconds, or "
            "went away. Start the same command again on every worker."
        )

    def _keep_waiting(self, given: Mapping[Future[str | None], int]) -> None:
        """Wait until all have been given theirs, and let those that have theirs know that the chief is there."""
        waiting = set(given)
        while waiting:
            _, waiting = wait(waiting, PULSE)
            for each in given.keys() - waiting:
                if each.result() == "":  # To others a word might take for ever.
                    wire.pulse(self._there[given[each]])

    def tell(self, word: Mapping[str, Any]) -> None:
        """The last word to all."""
        for connection in (*self._there.values(), *self._others):
            with contextlib.suppress(OSError):  # Whoever has gone meanwhile is noticed later.
                wire.send(connection, word)

    def see_off(self) -> None:
        """Wait until all have hung up, so that the chief's address is free at once."""
        for connection in self._there.values():
            with contextlib.suppress(OSError):
                connection.recv(1)


def missing(cluster: Cluster, there: set[int], seconds: float) -> str:
    """Who did not come, in one line; `there` did, and so did whoever says this."""
    whose = [0] if not cluster.is_chief else sorted(set(range(1, len(cluster.addresses))) - there)
    names = " and ".join(map(cluster.named, whose))
    return (
        f"{names} did not come within {seconds:g} seconds (training.worker_seconds). Start the same command there, "
        "with a TF_CONFIG of the same addresses and its own index, and see that the port can be reached."
    )
