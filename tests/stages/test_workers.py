"""Two workers train one model: the same weights on both, the losses of one worker, and what a kill of one costs."""

import json
import os
import re
import signal
import socket
import tempfile
import threading
import time

import pytest

from tests import forked, tiny_shop
from tfrec import config, stages
from tfrec.stages.assist import assist
from tfrec.stages.ledger import Run
from tfrec.stages.run import pending
from tfrec.stages.workers import NothingToTrain, devices, gathered
from tfrec.training import Cluster

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


def tf_config(addresses, index):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


class Workers:
    """`tfrec train` on each of several workers, all of which see the chief's folder."""

    def __init__(self, shop, folder):
        self.shop, self.folder = shop, folder

    def start(self, *overrides, count=2):
        addresses = [f"127.0.0.1:{port}" for port in ports(count)]
        settings = [part for change in [*CHANGES, *overrides] for part in ("--set", change)]
        self.logs = [self.folder / f"worker_{index}.log" for index in range(count)]
        self.processes = [
            forked.start(
                ["train", self.shop / "tiny.yaml", "--out", self.folder / "run"] + settings,
                log,
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
    held = [re.search(r"this worker holds (\d+) of 60 users", text) for text in said]
    assert sum(int(each[1]) for each in held if each) == 60 and all(each and each[1] != "0" for each in held)
    assert before != (tmp_path / "run" / "checkpoints" / "last.npz").stat().st_ino
    stages.run(pipeline, tmp_path / "one", only="train")
    both, one = history(tmp_path / "run"), history(tmp_path / "one")
    assert len(both) == len(one) == EPOCHS
    for name in FIGURES:
        assert [epoch[name] for epoch in both] == pytest.approx([epoch[name] for epoch in one], rel=1e-5), name
    statuses, said = workers.start().finished()
    assert statuses == [0, 0]
    assert all("train: done before, nothing to do" in text for text in said)


@pytest.mark.long
def test_a_damaged_shard_is_one_line_of_every_worker_that_reads_it(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    stages.run(config.load(shop / "tiny.yaml", CHANGES), tmp_path / "run", only="prepare")
    shard = tmp_path / "run" / "dataset" / "users-00001-of-00002.tfrecord"
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    statuses, said = Workers(shop, tmp_path).start().finished()
    assert statuses == [1, 1]
    for text in said:
        assert re.search(rf"^tfrec: error: The shard {shard} is damaged: .*`tfrec prepare", text, re.MULTILINE), text
        assert "Traceback" not in text


@pytest.mark.long
@pytest.mark.parametrize("objective", ["softmax", "{name: gbce, negatives: 8}", "{name: gbce, negatives: 8} by row"])
def test_devices_of_one_machine_learn_what_one_does_though_batches_have_fewer_rows(
    shop, tmp_path, monkeypatch, objective
):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    how = [f"training.objective={objective.removesuffix(' by row')}", f"training.row_wise={'row' in objective}"]
    changes = [*CHANGES, *how, "training.tokens_per_batch=14", "training.epochs=2", "training.clip_norm=0.01"]
    pipeline, found = config.load(shop / "tiny.yaml", changes), []
    stages.run(pipeline, tmp_path / "one", only="prepare")
    stages.run(pipeline, tmp_path / "one", only="train")
    settings = [part for change in [*changes, "training.devices=3"] for part in ("--set", change)]
    log = tmp_path / "log"
    process = forked.start(["run", shop / "tiny.yaml", "--out", tmp_path / "three", *settings], log)
    process.join(400)
    assert process.exitcode == 0, log.read_text()
    found = [history(tmp_path / name) for name in ("one", "three")]
    for name in FIGURES:
        assert [epoch[name] for epoch in found[1]] == pytest.approx([epoch[name] for epoch in found[0]], rel=1e-5), name
    done = Run(config.load(shop / "tiny.yaml", [*changes, "training.devices=2"]), tmp_path / "three")
    assert pending(done.pipeline, done.out, "train") == []  # How many devices there are does not count.


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("training.jit=true", "training.jit is true, which is for one device"),
        ("training.accumulate=4", "training.accumulate is 4, which is for one device: raise training.tokens_per_batch"),
        ("training.adversarial=0.5", r"training under attack \(training.adversarial: 0.5\) is for one device"),
        ("model.text={source: minilm, tuning: lora}", r"a text model that trains too \(model.text.tuning: lora\)"),
        ("training.devices=2", "training.devices is 2, and TF_CONFIG names several machines.*CUDA_VISIBLE_DEVICES"),
        ("data.shards=1", "data.shards is 1, and TF_CONFIG names 2 workers, each of which .*: set data.shards=2"),
        ("training.worker_seconds=0.3", r"worker 1 \(127.0.0.1:\d+\) did not come within 0.3 seconds"),
    ],
)
def test_what_several_machines_do_not_do_is_one_line(shop, tmp_path, monkeypatch, change, told):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setenv("TF_CONFIG", tf_config([f"127.0.0.1:{port}" for port in ports(2)], 0))
    with pytest.raises((ValueError, TimeoutError), match=told) as caught:
        stages.run(config.load(shop / "tiny.yaml", [change]), tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_shards_that_workers_cannot_divide_alike_are_a_warning(shop, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setenv("TF_CONFIG", tf_config([f"127.0.0.1:{port}" for port in ports(2)], 0))
    for shards in (4, 3):
        changes = ["training.worker_seconds=0.3", f"data.shards={shards}"]
        with pytest.raises(TimeoutError):
            stages.run(config.load(shop / "tiny.yaml", changes), tmp_path / "run")
    assert re.findall(r"data.shards is .*", caplog.text) == [
        "data.shards is 3, of which some of 2 workers hold more than others: set data.shards=4, or a multiple."
    ]


def test_a_text_model_that_trains_does_so_on_one_device(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    changes = ["model.text={source: minilm, tuning: lora}", f"data.root={shop}"]
    pipeline = config.load(shop / "tiny.yaml", [*changes, "training.devices=2"])
    with pytest.raises(ValueError, match="training.devices is 2, and a text model that trains too"):
        stages.run(pipeline, tmp_path / "run")
    assert devices(Run(config.load(shop / "tiny.yaml", changes), tmp_path / "run")) is None


def test_another_worker_says_who_the_chief_is_and_leaves_nothing(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setenv("TF_CONFIG", tf_config([f"127.0.0.1:{port}" for port in ports(2)], 1))
    pipeline = config.load(shop / "tiny.yaml", ["training.worker_seconds=0.3"])
    with pytest.raises(TimeoutError, match=r"the chief \(127.0.0.1:\d+\) did not come within 0.3 seconds"):
        stages.run(pipeline, tmp_path / "run")
    with pytest.raises(ValueError, match="`train` needs the stage `prepare`"):
        stages.run(pipeline, tmp_path / "run", only="train")
    assert not (tmp_path / "run").exists()


def test_what_a_killed_worker_left_is_taken_away_by_the_next(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    run = Run(config.load(shop / "tiny.yaml"), tmp_path / "run")
    addresses = tuple(f"127.0.0.1:{port}" for port in ports(2))
    cluster = Cluster(addresses, 1, {"worker": list(addresses)})

    def helping(meeting):
        monkeypatch.setattr("tfrec.stages.assist.gathered", meeting)
        assist(run, cluster, "key", prepared=False)

    def left():
        return [path.name for path in (tmp_path / "temporary").rglob("*") if path.is_file()]

    def killed(run, cluster, checkpoints):
        checkpoints.mkdir(parents=True)
        (checkpoints / "last.npz").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)

    def meeting(run, cluster, checkpoints):
        assert left() == [] and not checkpoints.exists()
        with pytest.raises(ValueError, match=r"another tfrec is at work as worker 1 \(127.0.0.1:\d+\) of .*run, in "):
            helping(killed)
        raise NothingToTrain

    for _ in range(2):
        child = os.fork()
        if not child:
            try:
                helping(killed)
            finally:
                os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        assert left() == ["last.npz"]  # One, however many were killed.
    helping(meeting)
    assert list((tmp_path / "temporary").iterdir()) == []


@pytest.mark.parametrize("stage", ["prepare", "evaluate"])
def test_stages_that_are_not_shared_do_not_read_the_variable(shop, tmp_path, monkeypatch, stage):
    monkeypatch.setenv("TF_CONFIG", "{")
    monkeypatch.delenv("TFREC_DATA", raising=False)
    pipeline = config.load(shop / "tiny.yaml")
    if stage == "prepare":
        assert stages.run(pipeline, tmp_path / "run", only=stage) == tmp_path / "run"
    else:
        with pytest.raises(ValueError, match="`evaluate` needs the stage `prepare`"):
            stages.run(pipeline, tmp_path / "run", only=stage)
    with pytest.raises(ValueError, match="TF_CONFIG is '{': it is no JSON"):
        stages.run(pipeline, tmp_path / "run", only="train")


def test_a_worker_of_other_tables_or_settings_is_named_to_all(shop, tmp_path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    tiny_shop.write(tmp_path / "other")
    with open(tmp_path / "other" / "events.csv", "a", encoding="utf-8") as file:
        file.write("new,001,1700000000,buy\n")
    addresses, found = tuple(f"127.0.0.1:{port}" for port in ports(2)), {}

    def one(index, folder, *changes):
        run = Run(config.load(folder / "tiny.yaml", changes), tmp_path / f"run_{index}")
        try:
            gathered(run, Cluster(addresses, index, {"worker": list(addresses)}), tmp_path / f"files_{index}")
        except ValueError as error:
            found[index] = str(error)

    threads = [
        threading.Thread(target=one, args=(0, shop)),
        threading.Thread(target=one, args=(1, tmp_path / "other", "training.learning_rate=0.5")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found[0] == found[1]
    who, _, what = found[0].partition(": ")
    assert who == f"worker 1 ({addresses[1]}) differs from the chief ({addresses[0]})"
    assert re.match(
        r"the content of the tables is '\w+', not '\w+'; training.learning_rate is 0.5, not 0.02\. All", what
    )
