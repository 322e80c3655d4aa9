"""Two workers train one model: the same weights on both, the losses of one worker, and what a kill of one costs."""

import json
import os
import re
import signal
import socket
import time

import pytest

from tests import forked, tiny_shop
from tfrec import config, stages

EPOCHS = 5
CHANGES = [
    "model={dim: 8, text: none, behavior: attention, dropout: 0, input_dropout: 0, id_dropout: 0}",
    "model.attention={blocks: 1, heads: 2}",
    "training.learning_rate=0.002",
    "training.patience=null",
    f"training.epochs={EPOCHS}",
]
FIGURES = ("loss", "val_hr@10", "val_ndcg@10")


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny_shop.write(folder)
    return folder


def ports(count):
    """Some that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


class Workers:
    """`tfrec train` on each of several workers, all of which see the chief's folder."""

    def __init__(self, shop, folder):
        self.shop, self.folder = shop, folder

    def start(self, *overrides, count=2):
        addresses = [f"127.0.0.1:{port}" for port in ports(count)]
        self.logs = [self.folder / f"worker_{index}.log" for index in range(count)]
        self.processes = [
            forked.start(
                ["train", self.shop / "tiny.yaml", "--out", self.folder / "run"]
                + [part for change in [*CHANGES, *overrides] for part in ("--set", change)],
                log,
                TF_CONFIG=json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}),
            )
            for index, log in enumerate(self.logs)
        ]
        return self

    def finished(self):
        """Status and words of each."""
        for process in self.processes:
            process.join(300)
        return [process.exitcode for process in self.processes], [log.read_text() for log in self.logs]

    def wait_for(self, path):
        until = time.monotonic() + 200
        while not path.exists():
            assert time.monotonic() < until and self.processes[0].is_alive(), self.logs[0].read_text()
            time.sleep(0.02)


def history(folder):
    return json.loads((folder / "stages.json").read_text())["train"]["history"]


def weights_told(text):
    return re.findall(r"workers hold the same weights: ([0-9a-f]{12})", text)


@pytest.mark.long
def test_two_workers_learn_what_one_does_and_a_kill_costs_no_more_than_an_epoch(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    pipeline = config.load(shop / "tiny.yaml", CHANGES)
    for name in ("run", "one"):
        stages.run(pipeline, tmp_path / name, only="prepare")
    workers = Workers(shop, tmp_path).start()
    workers.wait_for(tmp_path / "run" / "checkpoints" / "last.npz")
    os.kill(workers.processes[1].pid, signal.SIGKILL)
    statuses, said = workers.finished()
    assert statuses == [1, -signal.SIGKILL], said
    line = said[0].splitlines()[-1]
    assert re.match(r"tfrec: error: worker 1 \(127\.0\.0\.1:\d+\) has gone in the middle of the training\. Start", line)
    assert "Traceback" not in said[0]
    before = (tmp_path / "run" / "checkpoints" / "last.npz").stat().st_ino
    statuses, said = workers.start().finished()
    assert statuses == [0, 0], said
    assert all("training goes on after epoch" in text for text in said)
    assert weights_told(said[0]) == weights_told(said[1]) != []
    assert before != (tmp_path / "run" / "checkpoints" / "last.npz").stat().st_ino
    stages.run(pipeline, tmp_path / "one", only="train")
    both, one = history(tmp_path / "run"), history(tmp_path / "one")
    assert len(both) == len(one) == EPOCHS
    for name in FIGURES:
        assert [epoch[name] for epoch in both] == pytest.approx([epoch[name] for epoch in one], rel=1e-4), name
    statuses, said = workers.start().finished()
    assert statuses == [0, 0]
    assert all("train: done before, nothing to do" in text for text in said)
