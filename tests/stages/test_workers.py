"""What is refused of several workers and devices, what is said of those that do not come, and what they leave."""

import os
import re
import signal
import tempfile
import threading

import pytest
import tensorflow as tf

from tests import tiny_shop
from tests.workers import ports, tf_config
from tfrec import config, stages
from tfrec.stages.assist import assist
from tfrec.stages.ledger import Run
from tfrec.stages.workers import NothingToTrain, devices, gathered, lost_workers_told
from tfrec.training import Cluster


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shop")
    tiny_shop.write(folder)
    return folder


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


@pytest.mark.parametrize(
    ("error", "silent", "told"),
    [
        (tf.errors.UnavailableError(None, None, "Broken pipe"), [1], "worker 1 (b:2) has gone in the middle of"),
        (tf.errors.AbortedError(None, None, "reset"), [1, 2], "worker 1 (b:2) and worker 2 (c:3) have gone in"),
        (
            tf.errors.UnavailableError(
                None, None, "from /job:worker/task:2: The following tasks are unhealthy (stopped sending heartbeats):\n"
                "/job:worker/replica:0/task:1\nThe tasks have crashed.",
            ),
            [], "worker 2 (c:3) has gone in the middle of the training. Start the same command again on every",
        ),
        (
            tf.errors.InternalError(None, None, "{{function_node x}} no such kernel\nmore"),
            [], "a step failed, though every worker is there (no such kernel), in the middle of the training.",
        ),
    ],
    ids=["one", "two", "one that hangs", "none"],
)  # fmt: skip
def test_who_has_gone_is_told_and_else_what_failed(monkeypatch, error, silent, told):
    cluster = Cluster(("a:1", "b:2", "c:3"), 0, {"chief": ["a:1"], "worker": ["b:2", "c:3"]})
    monkeypatch.setattr("tfrec.training.rendezvous.silent", lambda cluster: silent)
    with pytest.raises(ConnectionError, match="^" + re.escape(told)), lost_workers_told(cluster):
        raise error
    with pytest.raises(type(error)), lost_workers_told(None):
        raise error


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
