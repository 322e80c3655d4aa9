"""Where workers meet: all are compared and get the chief's files; who is missing or differs is named on all of them."""

import json
import socket
import threading
import time

import pytest

from tfrec.training import callers, rendezvous, wire
from tfrec.training.cluster import Cluster

ABOUT = {"training": {"learning_rate": 0.1, "epochs": 2}, "the content of the tables": "abc", "sizes": (1, 2)}


@pytest.fixture
def workers():
    """A cluster of three as each of them sees it."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return [Cluster(addresses, index, {"worker": list(addresses)}) for index in range(3)]


def at_once(*calls):
    """What each call gives, or the error that it raises."""
    found = [None] * len(calls)

    def one(place, call):
        try:
            found[place] = call()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=one, args=pair) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def joining(cluster, folder, about=None, seconds=5.0):
    return lambda: rendezvous.join(cluster, about or ABOUT, folder / f"worker_{cluster.index}", seconds)


def gathering(cluster, files=None, seconds=5.0):
    return lambda: rendezvous.gather(cluster, ABOUT, files or {}, seconds)


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


def test_a_worker_that_came_early_waits_for_as_long_as_the_chief_does(workers, tmp_path):
    early = joining(workers[1], tmp_path, seconds=0.5)
    told, other = at_once(gathering(workers[0], seconds=2), early)
    assert isinstance(told, TimeoutError) and "worker 2" in str(told)
    assert isinstance(other, ValueError) and str(other) == str(told)
    late = joining(workers[2], tmp_path)
    assert at_once(gathering(workers[0]), early, lambda: time.sleep(1.5) or late()) == [None, True, True]


def greeted(cluster, worker):
    """A connection of one that has said who it is, and does no more."""
    while True:
        try:
            caller = socket.create_connection(("127.0.0.1", int(cluster.addresses[0].rpartition(":")[2])), 1)
            wire.greet(caller, worker, ABOUT)
            return caller
        except OSError:
            time.sleep(0.01)


@pytest.mark.parametrize("size", [0, 50_000_000])
def test_a_worker_that_came_and_freezes_is_named(workers, tmp_path, monkeypatch, size):
    monkeypatch.setattr(wire, "STALL", 1.0)
    monkeypatch.setattr(callers, "PULSE", 0.2)
    (tmp_path / "last.npz").write_bytes(bytes(size))
    frozen = []
    chief = gathering(workers[0], {"last.npz": tmp_path / "last.npz"} if size else {})
    found = at_once(chief, joining(workers[1], tmp_path), lambda: frozen.append(greeted(workers[0], 2)))
    frozen[0].close()
    assert isinstance(found[0], TimeoutError) and isinstance(found[1], ValueError) and str(found[0]) == str(found[1])
    assert str(found[0]).startswith(f"worker 2 ({workers[2].addresses[2]}) came, but did not answer for")


def test_a_worker_of_a_chief_that_freezes_gives_it_up(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "STALL", 0.3)
    with wire.listening(workers[0]):
        with pytest.raises(TimeoutError, match="the chief .* was there and has gone, or trains already"):
            joining(workers[1], tmp_path, seconds=1)()


def test_all_begin_at_one_moment_however_slow_one_of_them_takes_the_files(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "STALL", 2.0)
    monkeypatch.setattr(callers, "PULSE", 0.2)
    (tmp_path / "last.npz").write_bytes(bytes(20_000_000))
    moments, taken = {}, wire.take

    def slowly(chief, stream, sizes, folder):
        if folder.name == "worker_2":
            for _ in range(5):
                stream.read(3_000_000)
                time.sleep(0.6)
            sizes = {name: size - 15_000_000 for name, size in sizes.items()}
        taken(chief, stream, sizes, folder)

    monkeypatch.setattr(wire, "take", slowly)

    def noted(name, call):
        return lambda: (call(), moments.setdefault(name, time.monotonic()))[0]

    chief = gathering(workers[0], {"last.npz": tmp_path / "last.npz"})
    calls = [noted("chief", chief), *(noted(each.index, joining(each, tmp_path)) for each in workers[1:])]
    assert at_once(*calls) == [None, True, True]
    assert max(moments.values()) - min(moments.values()) < 1


def test_a_full_disk_is_what_a_worker_says(workers, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device", "last.npz")

    monkeypatch.setattr(wire, "take", full)
    monkeypatch.setattr(wire, "STALL", 1.0)
    (tmp_path / "last.npz").write_bytes(b"x")
    found = at_once(
        gathering(workers[0], {"last.npz": tmp_path / "last.npz"}),
        *(joining(cluster, tmp_path) for cluster in workers[1:]),
    )
    assert isinstance(found[0], TimeoutError) and [each.errno for each in found[1:]] == [28, 28]


def test_who_differs_is_named_with_what_differs(workers, tmp_path):
    other = {**ABOUT, "training": {"learning_rate": 0.2, "epochs": 2}, "the content of the tables": "xyz"}
    found = at_once(gathering(workers[0]), joining(workers[1], tmp_path), joining(workers[2], tmp_path, other))
    assert all(isinstance(error, ValueError) for error in found) and len({str(error) for error in found}) == 1
    assert str(found[0]).startswith(
        f"worker 2 ({workers[2].addresses[2]}) differs from the chief ({workers[0].addresses[0]}): "
        "the content of the tables is 'xyz', not 'abc'; training.learning_rate is 0.2, not 0.1. All workers must"
    )


def test_strangers_are_not_counted(workers, tmp_path):
    def stranger():
        address = ("127.0.0.1", int(workers[0].addresses[0].rpartition(":")[2]))
        for words in (b"GET / HTTP/1.1\r\n\r\n", b"", json.dumps({"protocol": "other"}).encode() + b"\n"):
            while True:
                try:
                    with socket.create_connection(address, 1) as caller:
                        caller.sendall(words)
                    break
                except OSError:
                    pass

    found = at_once(gathering(workers[0], seconds=2), stranger)
    assert isinstance(found[0], TimeoutError) and "worker 1" in str(found[0]) and "worker 2" in str(found[0])


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


def test_the_silent_are_known(workers):
    with socket.create_server(("127.0.0.1", int(workers[1].addresses[1].rpartition(":")[2]))):
        assert rendezvous.silent(workers[0]) == [2]
