"""Where workers meet: all are compared and get the chief's files; who is missing or differs is named on all of them."""

import socket
import threading
import time

import pytest

from tests.training.meeting import ABOUT, at_once, gathering, greeted, joining
from tfrec.training import rendezvous
from tfrec.training.cluster import Cluster


def test_all_get_the_files_of_the_chief(workers, tmp_path):
    files = {"last.npz": b"\x00\n" * 2_000_000, "member_1/key": b"k", "empty": b""}
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = at_once(
        gathering(workers[0], {name: tmp_path / name for name in files}),
        *(joining(cluster, tmp_path) for cluster in workers[1:]),
    )
    assert found == [None, True, True]
    for folder in (tmp_path / "worker_1", tmp_path / "worker_2"):
        assert {
            str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()
        } == files


def test_the_chief_may_come_last_and_its_address_is_free_afterwards(workers, tmp_path):
    late = threading.Event()
    timer = threading.Timer(0.5, late.set)
    timer.start()
    found = at_once(
        lambda: late.wait() and gathering(workers[0])(), *(joining(cluster, tmp_path) for cluster in workers[1:])
    )
    assert found == [None, True, True]
    socket.create_server(("127.0.0.1", int(workers[0].addresses[0].rpartition(":")[2]))).close()


def test_who_did_not_come_is_named_by_all(workers, tmp_path):
    told, other = at_once(gathering(workers[0], seconds=0.7), joining(workers[1], tmp_path))
    assert isinstance(told, TimeoutError)
    assert str(told).startswith(
        f"worker 2 ({workers[2].addresses[2]}) did not come within 0.7 seconds (training.worker"
    )
    assert isinstance(other, ValueError) and str(other) == str(told)
    (alone,) = at_once(joining(workers[1], tmp_path, seconds=0.5))
    assert isinstance(alone, TimeoutError)
    assert str(alone).startswith(f"the chief ({workers[0].addresses[0]}) did not come within 0.5 seconds")
    assert str(alone).endswith("The last try ended with: Connection refused.")


def test_who_differs_is_named_with_what_differs(workers, tmp_path):
    other = {**ABOUT, "training": {"learning_rate": 0.2, "epochs": 2}, "the content of the tables": "xyz"}
    found = at_once(gathering(workers[0]), joining(workers[1], tmp_path), joining(workers[2], tmp_path, other))
    assert all(isinstance(error, ValueError) for error in found) and len({str(error) for error in found}) == 1
    assert str(found[0]).startswith(
        f"worker 2 ({workers[2].addresses[2]}) differs from the chief ({workers[0].addresses[0]}): "
        "the content of the tables is 'xyz', not 'abc'; training.learning_rate is 0.2, not 0.1. All workers must"
    )


def test_workers_that_come_after_the_training_are_told(workers, tmp_path):
    with rendezvous.dismissing(workers[0]):
        assert at_once(*(joining(cluster, tmp_path) for cluster in workers[1:])) == [False, False]


def test_a_port_that_another_program_has_is_named(workers):
    address = workers[0].addresses[0]
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        with pytest.raises(OSError, match=f"the chief cannot listen at {address}: another program has this port"):
            rendezvous.gather(workers[0], ABOUT, {}, 1)


def test_a_port_of_another_worker_that_is_taken_is_named_before_the_meeting(workers, tmp_path):
    address = workers[1].addresses[1]
    with socket.create_server(("", int(address.rpartition(":")[2]))):
        with pytest.raises(OSError, match=f"TF_CONFIG: worker 1 cannot listen at {address}: another program has this"):
            joining(workers[1], tmp_path, seconds=1)()
    told, other, _ = at_once(gathering(workers[0]), joining(workers[1], tmp_path), joining(workers[2], tmp_path))
    assert (told, other) == (None, True)  # Its own address is free again.


def test_a_worker_that_the_chief_does_not_know_is_told_to_all_at_once(workers, tmp_path):
    chief = Cluster(workers[0].addresses[:2], 0, workers[0].spec)
    told, other = at_once(gathering(chief, seconds=30), joining(workers[2], tmp_path, seconds=30))
    assert isinstance(told, ValueError) and isinstance(other, ValueError) and str(told) == str(other)
    assert str(told) == (
        "worker 2, which came from 127.0.0.1, is none of those in the chief's TF_CONFIG, the last of which is worker 1 "
        f"({workers[0].addresses[1]}). Start all workers with a TF_CONFIG of the same addresses."
    )


def test_two_workers_of_one_index_are_told_to_all_at_once(workers, tmp_path):
    first = joining(workers[1], tmp_path, seconds=30)
    found = at_once(gathering(workers[0], seconds=30), first, lambda: time.sleep(0.5) or first())
    assert all(isinstance(error, ValueError) for error in found) and len({str(error) for error in found}) == 1
    assert str(found[0]) == (
        f"two workers came as worker 1 ({workers[1].addresses[1]}), from 127.0.0.1 and from 127.0.0.1. Give each an "
        "index of its own in TF_CONFIG, and start the same command again on every worker."
    )


def test_a_worker_that_was_killed_in_the_meeting_may_come_again(workers, tmp_path):
    def both():
        greeted(workers[0], 1).close()
        return at_once(joining(workers[1], tmp_path), joining(workers[2], tmp_path))

    assert at_once(gathering(workers[0]), both) == [None, [True, True]]
