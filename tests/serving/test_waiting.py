"""Waiting for a running server: labels move when it has the version, and stay where it has not."""

import http.server
import json
import threading

import pytest

from tests.serving.conftest import another
from tfrec.serving import server_config, waiting
from tfrec.serving.publisher import publish
from tfrec.serving.rollbacks import rollback
from tfrec.serving.waiting import RunningServer

pytestmark = pytest.mark.usefixtures("unasked")


def status(version, state, error=None):
    told = {"error_code": "UNKNOWN", "error_message": error} if error else {"error_code": "OK", "error_message": ""}
    return 200, {"model_version_status": [{"version": str(version), "state": state, "status": told}]}


UNKNOWN = 404, {"error": "Could not find version 2 of model shop"}


@pytest.fixture
def server(monkeypatch):
    """A server that answers what it is told to, the last answer for ever; it remembers what it was asked."""
    monkeypatch.setattr(waiting, "PAUSE", 0.01)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            listening.asked.append((self.path, self.headers.get("Authorization")))
            told = listening.answers.pop(0) if len(listening.answers) > 1 else listening.answers[0]
            code, body = told() if callable(told) else told
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

        def log_message(self, *arguments):
            pass

    listening = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    listening.asked, listening.answers = [], [UNKNOWN]
    listening.address = f"http://127.0.0.1:{listening.server_port}"
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    yield listening
    listening.shutdown()
    listening.server_close()


def test_the_label_moves_when_the_server_has_the_version(copied, root, server):
    publish(another(copied, 1), root, "shop")
    seen = []

    def loading():
        seen.append((root / "models.config").read_text("utf-8"))
        return status(2, "LOADING")

    server.answers = [UNKNOWN, UNKNOWN, (503, b"busy"), loading, status(2, "AVAILABLE")]
    publish(another(copied, 2), root, "shop", server=RunningServer(server.address + "/"))
    assert "versions: 1" in seen[0] and "versions: 2" in seen[0] and "value: 2" not in seen[0]
    assert server_config.labels(root, "shop") == {"stable": 2}
    assert [path for path, _ in server.asked] == ["/v1/models/shop", *["/v1/models/shop/versions/2"] * 4]


def test_the_first_version_of_all_is_listed_before_it_is_labelled(copied, root, server):
    seen = []
    server.answers = [UNKNOWN, lambda: seen.append(server_config.labels(root, "shop")) or status(1, "AVAILABLE")]
    publish(another(copied, 1), root, "shop", server=RunningServer(server.address))
    assert seen == [{}] and server_config.labels(root, "shop") == {"stable": 1}


def test_going_back_waits_too(copied, root, server):
    publish(another(copied, 1), root, "shop")
    publish(another(copied, 2), root, "shop")
    server.answers = [status(2, "AVAILABLE"), status(1, "END"), status(1, "LOADING"), status(1, "AVAILABLE")]
    rollback(root / "shop", server=RunningServer(server.address))
    assert server_config.labels(root, "shop") == {"stable": 1} and len(server.asked) == 4


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([UNKNOWN], r"has not loaded version 2 of shop within 0\.2 s \(it does not know it\): it must follow"),
        ([UNKNOWN, status(2, "LOADING")], r"within 0\.2 s \(LOADING\)"),
        ([UNKNOWN, status(2, "LOADING"), status(2, "END", "bad file")], "cannot load version 2 of shop: bad file"),
        ([UNKNOWN, status(2, "END", "of before")], r"within 0\.2 s \(of before\)"),
        ([UNKNOWN, (200, {"model_version_status": []})], "something else than the status of a model"),
    ],
)
def test_where_it_does_not_load_no_label_moves_and_nothing_more_is_listed(copied, root, server, answers, told):
    publish(another(copied, 1), root, "shop")
    before = (root / "models.config").read_bytes()
    server.answers = answers
    with pytest.raises(ValueError, match=told):
        publish(another(copied, 2), root, "shop", server=RunningServer(server.address, settle=0.2))
    assert (root / "models.config").read_bytes() == before


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((401, {"error": "no token"}), "answers 401 Unauthorized: set TFREC_TOKEN to its token"),
        ((404, b"<html>"), "answers 404 Not Found"),
        ((200, b"<html>"), "does not answer as a server's REST interface does"),
        ((302, b""), "answers 302 Found"),
    ],
)
def test_what_is_no_such_server_is_said_before_anything_changes(copied, root, server, answer, told):
    server.answers = [answer]
    with pytest.raises(ValueError, match=told):
        publish(copied, root, "shop", server=RunningServer(server.address))
    assert not root.exists()


def test_a_server_that_is_not_there_is_said(copied, root):
    with pytest.raises(
        ValueError, match=r"127\.0\.0\.1:9/v1/models/shop does not answer .*[Rr]efused.*: start the server"
    ):
        publish(copied, root, "shop", server=RunningServer("http://127.0.0.1:9"))
    assert not root.exists()


def test_its_token_is_sent(server, monkeypatch):
    monkeypatch.setenv("TFREC_TOKEN", "secret")
    server.answers = [status(2, "AVAILABLE")]
    RunningServer(server.address).wait(["shop a"], 2)
    assert server.asked == [("/v1/models/shop%20a/versions/2", "Bearer secret")]


def test_a_server_that_starts_is_given_time(server):
    server.answers = [(503, {"error": "loading"}), (503, {"error": "loading"}), UNKNOWN]
    RunningServer(server.address).check("shop")
    assert len(server.asked) == 3
    server.answers = [(503, {"error": "loading"})]
    with pytest.raises(ValueError, match="is not ready within 0.05 s"):
        RunningServer(server.address, settle=0.05).check("shop")


@pytest.mark.parametrize("address", ["localhost:8501", "ftp://host", "http://", "http://host:port", "http://h?x=1", ""])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ValueError, match="`server` must be the address of a server's REST interface, such as http"):
        RunningServer(address)
    with pytest.raises(ValueError, match="`settle` must be seconds, 0 or more"):
        RunningServer(settle=-1)
