"""Workers that come late, freeze, are slow or full, are killed, or are none: the meeting ends, and says why."""

import json
import socket
import threading
import time

import pytest

from tests.training.meeting import ABOUT, at_once, gathering, greeted, joining
from tfrec.training import callers, rendezvous, wire


def test_a_worker_that_came_early_waits_for_as_long_as_the_chief_does(workers, tmp_path):
    early = joining(workers[1], tmp_path, seconds=0.5)
    told, other = at_once(gathering(workers[0], seconds=2), early)
    assert isinstance(told, TimeoutError) and "worker 2" in str(told)
    assert isinstance(other, ValueError) and str(other) == str(told)
    late = joining(workers[2], tmp_path)
    assert at_once(gathering(workers[0]), early, lambda: time.sleep(1.5) or late()) == [None, True, True]


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
    assert len(moments) == 3 and max(moments.values()) - min(moments.values()) < 1


@pytest.mark.parametrize("size", [1, 50_000_000])
def test_a_full_disk_is_what_a_worker_says(workers, tmp_path, monkeypatch, size):
    class Full:
        def __init__(self, *_):
            raise OSError(28, "No space left on device", "last.npz")

    monkeypatch.setattr(wire, "open", lambda path, mode: open(path, mode) if mode == "rb" else Full(), raising=False)
    (tmp_path / "last.npz").write_bytes(bytes(size))
    found = at_once(
        gathering(workers[0], {"last.npz": tmp_path / "last.npz"}),
        *(joining(cluster, tmp_path) for cluster in workers[1:]),
    )
    assert [each.errno for each in found[1:]] == [28, 28]
    places = "; ".join(f"worker {each.index} ({each.addresses[each.index]}): No space left" for each in workers[1:])
    assert sorted(str(found[0]).partition("written on ")[2].removesuffix(".").split("; ")) == [
        f"{place} on device" for place in places.split("; ")
    ]


def test_a_checkpoint_that_the_chief_cannot_read_is_told_to_all(workers, tmp_path):
    chief = gathering(workers[0], {"last.npz": tmp_path / "gone.npz"})
    found = at_once(chief, *(joining(cluster, tmp_path) for cluster in workers[1:]))
    assert isinstance(found[0], FileNotFoundError)
    assert all(isinstance(each, ValueError) and "gone.npz" in str(each) for each in found[1:])


def test_a_worker_of_another_version_is_named_to_all(workers, tmp_path, monkeypatch):
    def of_before():
        caller = greeted(workers[0], 2, {"protocol": "tfrec workers 1", "worker": 2, "about": ABOUT})
        with caller.makefile("rb") as stream:
            return wire.heard(stream)["error"]

    told, other, old = at_once(gathering(workers[0]), joining(workers[1], tmp_path), of_before)
    assert isinstance(told, ValueError) and str(told) == str(other) == old
    assert old.startswith("worker 2, which came from 127.0.0.1, has another version of tfrec")


def test_a_stranger_that_speaks_slowly_does_not_keep_the_others(workers, tmp_path, monkeypatch):
    monkeypatch.setattr(wire, "GREETING", (0.5, 1000))
    address = ("127.0.0.1", int(workers[0].addresses[0].rpartition(":")[2]))
    ended = threading.Event()

    def slow():
        while not ended.is_set():
            try:
                with socket.create_connection(address, 1) as caller:
                    while not ended.wait(0.2):
                        caller.sendall(b"{")
            except OSError:
                ended.wait(0.01)

    talking = threading.Thread(target=slow, daemon=True)
    talking.start()
    began = time.monotonic()
    (told,) = at_once(gathering(workers[0], seconds=1))
    ended.set()
    talking.join()
    assert isinstance(told, TimeoutError) and time.monotonic() - began < 3


def test_what_a_chief_that_died_had_sent_is_not_gone_on_from(workers, tmp_path):
    folder = tmp_path / "worker_1"

    def dying():
        with wire.listening(workers[0]) as server:
            caller = wire.accepted(server, time.monotonic() + 5)
            with caller:
                assert wire.greeting(caller)
                wire.send(caller, {wire.FILES: {"last.npz": 100}})
                caller.sendall(b"x" * 50)
        gathering(workers[0])()

    assert at_once(dying, joining(workers[1], tmp_path), joining(workers[2], tmp_path))[:2] == [None, True]
    assert not [path for path in folder.rglob("*") if path.is_file()]


def test_an_interruption_of_the_chief_does_not_wait_for_a_frozen_worker(workers, tmp_path, monkeypatch):
    def interrupted(self, given):
        raise KeyboardInterrupt

    monkeypatch.setattr(callers.Callers, "_keep_waiting", interrupted)
    (tmp_path / "last.npz").write_bytes(bytes(50_000_000))
    frozen = [threading.Thread(target=lambda each=each: held.append(greeted(workers[0], each))) for each in (1, 2)]
    held = []
    for thread in frozen:
        thread.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        rendezvous.gather(workers[0], ABOUT, {"last.npz": tmp_path / "last.npz"}, 5)
    assert time.monotonic() - began < 5
    for connection in held:
        connection.close()


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


def test_the_silent_are_known(workers):
    with socket.create_server(("127.0.0.1", int(workers[1].addresses[1].rpartition(":")[2]))):
        assert rendezvous.silent(workers[0]) == [2]
