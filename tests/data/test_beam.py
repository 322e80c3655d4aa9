"""`prepare` through Apache Beam gives the same bytes, and its mistakes are one line; `make test-beam` runs this."""

import re
import socket

import pytest

from tests.awkward_log import CASES, ITEM_TABLE, LITTLE, PIPELINE, USER_TABLE, files, told_apart, with_tables, write
from tfrec import cli
from tfrec.config import load
from tfrec.data import BeamRunner, PrepareOptions, prepare
from tfrec.data.cluster import work

pytest.importorskip("apache_beam")
pytestmark = pytest.mark.beam


@pytest.mark.parametrize(("seed", "name"), list(enumerate(CASES)))
def test_beam_writes_the_same_bytes(tmp_path, seed, name):
    options = with_tables(CASES[name])
    log = write(told_apart(seed, options), tmp_path / ("log.csv", "log.parquet", "log.csv.gz")[seed % 3])
    for folder, memory, runner in (("whole", 2.0, None), ("beam", LITTLE, BeamRunner("direct"))):
        prepare(
            log, ITEM_TABLE, USER_TABLE, options=options, folder=tmp_path / folder, memory=memory, runner=runner
        )  # fmt: skip
    assert files(tmp_path / "beam") == files(tmp_path / "whole")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == ["beam", "whole"]


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with a pipeline and its log."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.delenv("TFREC_DEBUG", raising=False)
    write(told_apart(5, PrepareOptions()), tmp_path / "log.csv")
    (tmp_path / "shop.yaml").write_text(PIPELINE.format(root=tmp_path), encoding="utf-8")
    return tmp_path


def command(folder, *options, out="run"):
    return cli.main(["prepare", str(folder / "shop.yaml"), "--out", str(folder / out), *options])


def test_the_command_prepares_and_a_training_finds_it_done(shop):
    from tfrec.stages.run import pending

    assert command(shop, "--runner", "direct", "--runner-option", "direct_num_workers=1") == 0
    assert pending(load(shop / "shop.yaml"), shop / "run", "train") == ["train"]
    assert command(shop, "--set", "data.memory=2", out="here") == 0
    assert files(shop / "run" / "dataset") == files(shop / "here" / "dataset")


def test_workers_of_several_processes(shop):
    options = ["--runner-option", "direct_num_workers=2", "--runner-option", "direct_running_mode=multi_processing"]
    assert command(shop, "--runner", "direct", *options, "--set", "data.memory=0.0001") == 0
    assert command(shop, out="here") == 0
    assert files(shop / "run" / "dataset") == files(shop / "here" / "dataset")


def refused(folder, capsys, *options):
    """The one line of a refusal, which leaves nothing."""
    before = files(folder)
    assert command(folder, *options) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("tfrec: error: ")] == lines[-1:]
    assert files(folder) == before and sorted(path.name for path in folder.iterdir()) == ["log.csv", "shop.yaml"]
    return lines[-1]


@pytest.mark.parametrize(
    ("column", "value", "told"),
    [
        ("user_id", "", "column 'user_id': 1 of 405 ids are missing, first in row 201"),
        ("timestamp", "soon", "column 'timestamp': 1 of 405 are no times, first in row 201"),
        ("position", "first", "column 'position': 1 of 405 values are not numbers, first in row 201"),
    ],
)
def test_a_bad_value_in_a_piece_is_one_line(shop, capsys, column, value, told):
    frame = told_apart(5, PrepareOptions()).astype(str)
    assert len(frame) == 405
    frame.loc[200, column] = value
    if column == "timestamp":
        frame["timestamp"] = frame.timestamp.replace(r"^(\d+)$", r"2017-07-14 00:00:00", regex=True)
    write(frame, shop / "log.csv")
    assert told in refused(shop, capsys, "--runner", "direct")


def test_a_tie_is_one_line(shop, capsys):
    frame = told_apart(5, PrepareOptions()).assign(position=1)
    write(frame, shop / "log.csv")
    assert "has different events with the same position 1, and on a cluster" in refused(
        shop, capsys, "--runner", "direct"
    )


def test_a_worker_that_breaks_is_one_line(shop, capsys, monkeypatch):
    def broken(merge, several):
        raise TypeError("not this")

    monkeypatch.setattr(work, "merged", broken)
    told = refused(shop, capsys, "--runner", "direct")
    assert "The runner failed: TypeError: not this" in told and "TFREC_DEBUG=1" in told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--runner", "sparrow"], "sparrow"),
        (["--runner", "direct", "--runner-option", "direct_num_workers=many"], "refused by Beam: .*direct_num_workers"),
        (["--runner", "direct", "--runner-option", "quux=1"], "The runner 'direct' has no option 'quux'."),
        (
            ["--runner", "flink", "--runner-option", "flink_mster=a:1"],
            "option 'flink_mster': is 'flink_master' meant",
        ),
    ],
)
def test_what_beam_does_not_know_is_one_line(shop, capsys, options, told):
    assert re.search(told, refused(shop, capsys, *options))


def test_a_job_server_that_nobody_started_is_one_line(shop, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"127.0.0.1:{server.getsockname()[1]}"
    line = refused(shop, capsys, "--runner", "portable", "--runner-option", f"job_endpoint={endpoint}")
    assert line == f"tfrec: error: No job server answers at {endpoint} (option job_endpoint): Connection refused."
