"""Two workers train one model: the same weights on both, the losses of one worker, and what a kill of one costs."""

import json
import os
import re
import signal

import pytest

from tests import forked, tiny_shop
from tests.workers import CHANGES, EPOCHS, FIGURES, Workers, history, weights_told
from tfrec import config, stages
from tfrec.stages.ledger import Run
from tfrec.stages.run import pending
from tfrec.training.checkpoint import stored_history


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny_shop.write(folder)
    return folder


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


def leave_the_path():
    """Worker 1 comes away from the others in the second epoch, as one of another kind of machine might."""
    from tfrec.training import OneModel

    agreed = OneModel.on_epoch_end

    def perturbed(self, epoch, logs=None):
        if epoch == 1:
            weight = self.model.trainable_variables[-1]
            weight.assign(weight + 1e-6)
        agreed(self, epoch, logs)

    OneModel.on_epoch_end = perturbed


@pytest.mark.long
def test_workers_that_come_apart_store_nothing_of_it(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    stages.run(config.load(shop / "tiny.yaml", CHANGES), tmp_path / "run", only="prepare")
    for _ in range(2):  # Another start does not take what the first refused.
        statuses, said = Workers(shop, tmp_path).start(before=leave_the_path).finished()
        assert statuses == [1, 1], said
        for text in said:
            assert "tfrec: error: the workers have different weights after epoch 2, which must not be: does" in text
        assert len(stored_history(tmp_path / "run" / "checkpoints")) == 1
        assert "train" not in json.loads((tmp_path / "run" / "stages.json").read_text())


@pytest.mark.long
def test_a_chief_that_is_killed_goes_on_with_the_others(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    stages.run(config.load(shop / "tiny.yaml", CHANGES), tmp_path / "run", only="prepare")
    workers = Workers(shop, tmp_path).start()
    workers.wait_for(tmp_path / "run" / "checkpoints" / "last.npz")
    os.kill(workers.processes[0].pid, signal.SIGKILL)
    statuses, said = workers.finished()
    assert statuses == [-signal.SIGKILL, 1], said
    assert re.match(r"tfrec: error: the chief \(127\.0\.0\.1:\d+\) has gone in the", said[1].splitlines()[-1]), said
    statuses, said = workers.start().finished()
    assert statuses == [0, 0] and all("training goes on after epoch" in text for text in said), said
    assert weights_told(said[0]) == weights_told(said[1]) != []
    assert len(history(tmp_path / "run")) == EPOCHS


@pytest.mark.long
def test_a_worker_that_hangs_is_named_and_ends_the_training(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    stages.run(config.load(shop / "tiny.yaml", CHANGES), tmp_path / "run", only="prepare")
    workers = Workers(shop, tmp_path).start("training.epochs=100")
    workers.wait_for(tmp_path / "run" / "checkpoints" / "last.npz")
    os.kill(workers.processes[1].pid, signal.SIGSTOP)
    try:
        workers.processes[0].join(120)
        assert workers.processes[0].exitcode == 1
    finally:
        for process in workers.processes:
            process.kill()
    line = workers.logs[0].read_text().splitlines()[-1]
    assert re.match(r"tfrec: error: worker 1 \(127\.0\.0\.1:\d+\) has gone in the middle of the training", line), line


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


@pytest.mark.long
def test_two_workers_go_on_by_row_from_where_one_was_and_end_where_it_does(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    changes = ["training.objective={name: gbce, negatives: 8}", "training.row_wise=true"]
    changes += ["training.tokens_per_batch=60"]
    pipeline = config.load(shop / "tiny.yaml", [*CHANGES, *changes])
    for name in ("run", "one"):
        stages.run(pipeline, tmp_path / name, only="prepare")
    stages.run(
        config.load(shop / "tiny.yaml", [*CHANGES, *changes, "training.epochs=2"]), tmp_path / "run", only="train"
    )
    statuses, said = Workers(shop, tmp_path).start(*changes).finished()
    assert statuses == [0, 0], said
    assert all("training goes on after epoch 2" in text for text in said)
    assert weights_told(said[0]) == weights_told(said[1]) != []
    stages.run(pipeline, tmp_path / "one", only="train")
    both, one = history(tmp_path / "run"), history(tmp_path / "one")
    for name in FIGURES:
        assert [epoch[name] for epoch in both] == pytest.approx([epoch[name] for epoch in one], rel=1e-5), name


@pytest.mark.long
def test_two_workers_train_the_members_of_an_ensemble_and_the_chief_the_second_stage(shop, tmp_path, monkeypatch):
    for variable in ("TF_CONFIG", "TFREC_DATA"):
        monkeypatch.delenv(variable, raising=False)
    changes = ["training.epochs=1", "training.ensemble=2", "ranking={recall: 10, learning: {epochs: 1}}"]
    statuses, said = Workers(shop, tmp_path).start(*changes, command="run").finished()
    assert statuses == [0, 0], said
    assert len(weights_told(said[0])) == 2 and weights_told(said[0]) == weights_told(said[1])
    assert {"rank", "evaluate", "publish"} <= set(json.loads((tmp_path / "run" / "stages.json").read_text()))
    assert "rank ..." not in said[1]
