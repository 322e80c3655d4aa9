"""Workers of one training, each a process on this machine, for tests."""

import json
import re
import socket
import time

from tests import forked

EPOCHS = 5
CHANGES = [
    "model={dim: 8, text: none, behavior: attention, dropout: 0, input_dropout: 0, id_dropout: 0}",
    "model.attention={blocks: 1, heads: 2}",
    "training.learning_rate=0.002",
    "training.patience=null",
    f"training.epochs={EPOCHS}",
]
FIGURES = ("loss", "val_hr@10", "val_ndcg@10")


def ports(count):
    """Some that are free."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    found = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return found


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


class Workers:
    """A command on each of several workers, all of which see the chief's folder."""

    def __init__(self, shop, folder):
        self.shop, self.folder = shop, folder

    def start(self, *overrides, count=2, command="train", before=None):
        addresses = [f"127.0.0.1:{port}" for port in ports(count)]
        settings = [part for change in [*CHANGES, *overrides] for part in ("--set", change)]
        self.logs = [self.folder / f"worker_{index}.log" for index in range(count)]
        self.processes = [
            forked.start(
                [command, self.shop / "tiny.yaml", "--out", self.folder / "run"] + settings,
                log,
                before if index == 1 else None,
                TF_CONFIG=tf_config(addresses, index),
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
