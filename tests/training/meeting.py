"""Workers that meet in threads of one process, for tests."""

import socket
import threading
import time

from tfrec.training import rendezvous, wire

ABOUT = {"training": {"learning_rate": 0.1, "epochs": 2}, "the content of the tables": "abc", "sizes": (1, 2)}


def at_once(*calls):
    """What each call gives, or the error that it raises."""
    found = ["it did not end"] * len(calls)

    def one(place, call):
        try:
            found[place] = call()
        except Exception as error:
            found[place] = error

    threads = [threading.Thread(target=one, args=pair, daemon=True) for pair in enumerate(calls)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return found


def joining(cluster, folder, about=None, seconds=5.0):
    return lambda: rendezvous.join(cluster, about or ABOUT, folder / f"worker_{cluster.index}", seconds)


def gathering(cluster, files=None, seconds=5.0):
    return lambda: rendezvous.gather(cluster, ABOUT, files or {}, seconds)


def greeted(cluster, worker, greeting=None):
    """A connection of one that has said who it is, and does no more."""
    while True:
        try:
            caller = socket.create_connection(("127.0.0.1", int(cluster.addresses[0].rpartition(":")[2])), 1)
            wire.send(caller, greeting) if greeting else wire.greet(caller, worker, ABOUT)
            return caller
        except OSError:
            time.sleep(0.01)
