import socket

import pytest

from tfrec.training.cluster import Cluster


@pytest.fixture
def workers():
    """A cluster of three as each of them sees it."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
    addresses = tuple(f"127.0.0.1:{each.getsockname()[1]}" for each in sockets)
    for each in sockets:
        each.close()
    return [Cluster(addresses, index, {"worker": list(addresses)}) for index in range(3)]
