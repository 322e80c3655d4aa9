"""A run that is killed at random moments and started again ends as one that nothing disturbed."""

import errno
import importlib
import random
import shutil

import pytest
import tensorflow as tf

from tests import benchmark_scripts  # It says where the programs of benchmarks/ lie.
from tfrec import config
from tfrec.stages.disk import disk_errors_told
from tfrec.stages.ledger import Run, replaced

assert benchmark_scripts.ROOT
restart = importlib.import_module("restart")


@pytest.mark.long
def test_a_run_that_is_killed_and_started_again_ends_as_an_undisturbed_one(tmp_path):
    ends = restart.undisturbed(tmp_path / "undisturbed")
    assert list(ends) == ["prepare", "train", "evaluate", "export", "publish"]
    assert [*ends.values()] == sorted(ends.values()) and len({number for _, number in ends.values()}) == 5
    problems, killed, _ = restart.trial(tmp_path / "trial", 3, ends, random.Random(5), aim="train")
    assert sum(killed.values()) >= 1
    assert problems + restart.differences(tmp_path / "trial" / "run", tmp_path / "undisturbed" / "run") == []


@pytest.mark.slow
def test_what_prepares_in_parts_and_is_killed_ends_with_the_same_bytes(tmp_path):
    restart.write_log(tmp_path / "log.parquet", events=restart.EVENTS)
    ends, rng = restart.undisturbed(tmp_path / "undisturbed", "prepare"), random.Random(2)
    for name in ("one", "other"):
        problems, killed, _ = restart.trial(tmp_path / name, 3, ends, rng, "prepare")
        assert problems + restart.differences(tmp_path / name / "run", tmp_path / "undisturbed" / "run") == []
        assert sum(killed.values()) >= 1


def test_a_kill_is_aimed_at_a_stage_from_where_the_run_goes_on():
    ends = {"prepare": (2.0, 10), "train": (8.0, 14), "evaluate": (9.0, 30)}
    drawn = [restart.moment("evaluate", ["train", "evaluate"], ends, random.Random(seed)) for seed in range(200)]
    assert all(6.0 <= second <= 7.0 and 5 <= number <= 20 for second, number in drawn)
    assert {number for _, number in drawn} == set(range(5, 21))
    drawn = [restart.moment("prepare", [*ends], ends, random.Random(seed)) for seed in range(200)]
    assert all(0.0 <= second <= 2.0 and 1 <= number <= 10 for second, number in drawn)


def run_in(folder):
    return Run(config.parse("name: shop\ndata: {simulated: {users: 200}}\n"), folder)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        OSError("Can't write data (file write failed: errno = 28, error message = 'No space left on device')"),
        tf.errors.ResourceExhaustedError(None, None, "/x/events.out.v2; No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
    ],
    ids=["plain", "HDF5", "TensorFlow", "quota"],
)
def test_a_full_disk_is_one_line_that_names_the_place(tmp_path, error):
    with pytest.raises(
        OSError, match=rf"train: {tmp_path}.* cannot be written: the disk is full \(.* MiB are free"
    ) as told:
        with disk_errors_told(run_in(tmp_path), "train"):
            raise error
    assert "\n" not in str(told.value) and told.value.filename is None


@pytest.mark.parametrize("kind", ["plain", "TensorFlow", "HDF5", "a copy", "copies"])
@pytest.mark.parametrize(
    ("number", "words", "code", "told"),
    [
        (
            errno.EFBIG,
            "File too large",
            tf.errors.OutOfRangeError,
            r"a file is larger than the system allows \(`ulimit",
        ),
        (errno.EROFS, "Read-only file system", tf.errors.UnknownError, "the file system is read-only. Mount it"),
        (errno.EIO, "Input/output error", tf.errors.UnavailableError, r"the device fails \(input/output error"),
    ],
)
def test_what_else_a_disk_has_against_a_file_is_one_line_that_names_it(tmp_path, kind, number, words, code, told):
    file = f"{tmp_path}/a b/shard.tfrecord"
    of_tensorflow = f"{{{{function_node __SaveV2_device_/job:0}}}} {file}; {words} [Op:SaveV2]"
    error, place = {
        "plain": (OSError(number, words, file), file),
        "TensorFlow": (code(None, None, of_tensorflow), file),
        "a copy": (OSError(number, words, "/from/here", None, file), file),
        "copies": (shutil.Error([("/from/here", file, f"[Errno {number}] {words}: '/from/here' -> '{file}'")]), file),
        "HDF5": (OSError(f"Can't write (errno = {number}, error message = '{words}')"), str(tmp_path)),
    }[kind]
    with pytest.raises(OSError, match=f"^export: {place} cannot be .*{told}.* run the same command again") as caught:
        with disk_errors_told(run_in(tmp_path), "export"):
            raise error
    assert "\n" not in str(caught.value) and caught.value.filename is None


def test_a_full_disk_is_told_of_what_came_of_it_and_other_errors_stay(tmp_path):
    with pytest.raises(OSError, match="the disk is full"), disk_errors_told(run_in(tmp_path), "export"):
        try:
            raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "there"))
        except OSError as error:
            raise RuntimeError("cannot save") from error
    for error in (ValueError("no such thing"), OSError(errno.EACCES, "Permission denied"), RuntimeError("else")):
        with pytest.raises(type(error)) as told, disk_errors_told(run_in(tmp_path), "export"):
            raise error
        assert told.value is error


def test_a_file_that_could_not_be_written_leaves_the_one_before(tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("whole")
    with pytest.raises(OSError, match="full"), replaced(path) as temporary:
        temporary.write_text("ha")
        raise OSError("full")
    assert [each.name for each in tmp_path.iterdir()] == ["figures.json"] and path.read_text() == "whole"


def test_what_killed_processes_left_goes_and_what_people_put_there_stays(tmp_path):
    (tmp_path / ".dataset.78.old").mkdir()
    (tmp_path / ".dataset.78.old" / "manifest.json").write_text("{}")
    left = [".dataset.77.partial/users", ".writing-stages.json", "checkpoints/.writing-last.npz", "export/.partial-1/a"]
    left += ["checkpoints/member_1/.writing-last.npz", "export_text/.removed-2/b", ".train.adopted/c"]
    kept = [".DS_Store", "notes.txt", "checkpoints/last.npz", "export/1/saved_model.pb", ".git/config"]
    for name in [*left, *kept]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "config.yaml").write_text("name: shop\n")
    with run_in(tmp_path).locked():
        pass
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == sorted([*kept, "config.yaml", "dataset/manifest.json"])  # The data set of before comes back.
