"""The client against a running server, by both protocols, and against servers that fail."""

import concurrent.futures
import http.server
import json
import socket
import threading
import time

import numpy as np
import pytest

import tfrec
from tests.serving.conftest import IDS, K_MAX, make_data, make_model
from tests.serving.server.conftest import NAME, Running
from tfrec.serving import load
from tfrec.serving.client import Client, ServerError, patience
from tfrec.serving.client.patience import patiently
from tfrec.serving.exporter import export
from tfrec.serving.publisher import publish

HISTORIES = [["007", "商品"], [], ["🎬"], ["no such item"]]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    folder = tmp_path_factory.mktemp("client")
    return publish(export(make_model(), make_data(), folder / "export", k_max=K_MAX), folder / "models", NAME).parent


@pytest.fixture(scope="module")
def running(published):
    with Running(published) as server:
        yield server


@pytest.fixture(params=["grpc", "rest"])
def client(running, published, request):
    address = running.address if request.param == "grpc" else running.rest
    with tfrec.Client(address, NAME, titles=published) as made:
        yield made


def test_it_answers_as_the_model_does(client, published, caplog):
    table = load(published).recommend(HISTORIES, 3)
    answers = client.recommend(HISTORIES, 3)
    assert [len(each) for each in answers] == [3] * 4
    for row, answer in enumerate(answers):
        expected = table[table.row == row]
        assert [each.item_id for each in answer] == expected.item_id.tolist()
        assert [each.title for each in answer] == expected.title.tolist()
        np.testing.assert_allclose([each.score for each in answer], expected.score, rtol=1e-5)
    assert "1 histories hold nothing else, and are answered as empty ones" in caplog.text


def test_many_rows_keep_their_order(client):
    histories = [[IDS[place % len(IDS)]] * (1 + place % 7) for place in range(600)]
    answers = client.recommend(histories, 1)
    assert len(answers) == 600
    for place in (0, 255, 256, 511, 512, 599):
        assert answers[place][0].item_id == client.recommend([histories[place]], 1)[0][0].item_id


def test_filters_similar_items_and_vectors(client):
    allowed = ["7", "a,b", "item3"]
    found = client.recommend([["007"], ["007"]], 5, allow_items=[allowed, []], deny_items=[["7"], []])
    assert {each.item_id for each in found[0]} == {"a,b", "item3"} and len(found[1]) == 5
    assert client.recommend([["007"]], 5, allow_items=[["no such item"]]) == [[]]
    near, nothing = client.similar(["007", "no such item"], 4)
    assert len(near) == 4 and "007" not in {each.item_id for each in near} and not nothing
    vectors, known = client.embed_items(["007", "no such item"])
    assert known.tolist() == [True, False] and vectors[0].any() and not vectors[1].any()
    query = client.embed_queries([["007"]])
    best = client.recommend([["007"]], 1)[0][0]
    np.testing.assert_allclose(query[0] @ client.embed_items([best.item_id])[0][0], best.score, rtol=1e-4)


def test_states_and_any_signature(client):
    assert client.states() == {1: "AVAILABLE"}
    outputs = client.predict("serving_default", {"history": np.array([["007"]], object)})
    assert outputs["item_ids"].shape == outputs["scores"].shape == (1, K_MAX)
    assert outputs["item_ids"].dtype == object and outputs["scores"].dtype == np.float32


def test_a_label_or_a_version_is_asked(running):
    for how in ({"label": "stable"}, {"version": 1}):
        for address in (running.address, running.rest):
            with Client(address, NAME, **how) as client:
                assert client.recommend([[]], 1)[0][0].item_id
    with Client(running.address, NAME, version=9) as client, pytest.raises(ServerError, match="NOT_FOUND"):
        client.recommend([[]])


def test_wrong_arguments_are_told(client, running):
    for wrong in ("007", ["007"], [["a\nb"]]):
        with pytest.raises(ValueError, match="`histories`"):
            client.recommend(wrong)
    for k in (0, -1, True, 1.5):
        with pytest.raises(ValueError, match="`k` must be a whole number"):
            client.recommend([[]], k)
    with pytest.raises(ValueError, match="There is no list 'nope'"):
        client.recommend([[]], nope=[[]])
    with pytest.raises(ValueError, match="must have 1 lists"):
        client.recommend([[]], deny_items=[[], []])
    with pytest.raises(ValueError, match="have no categories"):
        client.recommend([[]], deny_categories=[["a=b"]])
    with pytest.raises(ServerError, match="not found"):
        client.recommend([[]], texts=["a query"])
    for address in ("", "ftp://x", "localhost:1/path"):
        with pytest.raises(ValueError, match="`address`"):
            Client(address, NAME)
    with pytest.raises(ValueError, match="not both"):
        Client(running.address, NAME, version=1, label="stable")
    with pytest.raises(FileNotFoundError, match="There is no nope"):
        Client(running.address, NAME, titles="nope")


def test_no_histories_are_no_answers(client):
    assert client.recommend([]) == [] and client.similar([]) == []
    assert not client.embed_queries([]).size and not client.embed_items([])[1].size


def test_one_long_history_is_no_burden_for_the_others(client):
    histories = [["007"]] * 300
    histories[7] = IDS * 4000  # 900 kB of ids; as a table of 300 such rows it would be 24 million.
    answers = client.recommend(histories, 1)
    assert len(answers) == 300 and answers[0][0].item_id == answers[299][0].item_id
    assert len(client.embed_queries(histories)) == 300
    assert all(client.recommend(histories, 1, deny_items=[[answers[0][0].item_id]] * 300)[8])


def test_more_than_the_model_answers_is_said(client, caplog):
    assert len(client.recommend([[]], 50)[0]) == K_MAX
    assert f"k is 50, and an answer of this model holds {K_MAX} items" in caplog.text


def test_a_server_that_is_not_there():
    for address in ("127.0.0.1:1", "http://127.0.0.1:1"):
        with Client(address, NAME, seconds=0.5) as client, pytest.raises(ServerError) as failure:
            client.recommend([[]])
        assert failure.value.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class Flaky(http.server.BaseHTTPRequestHandler):
    """Refuses twice, then answers; or answers in another way."""

    asked = 0

    def do_POST(self):  # noqa: N802
        type(self).asked += 1
        self.rfile.read(int(self.headers["Content-Length"]))
        busy = type(self).asked < 3
        body = {"error": "busy"} if busy else {"outputs": {"item_ids": [["a"]], "scores": [[1.0]]}}
        self.answer(503 if busy else 200, json.dumps(body).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Drip(Flaky):
    """Sends its answer a byte at a time."""

    def do_POST(self):  # noqa: N802
        self.send_response(200)
        self.end_headers()
        for _ in range(100):
            self.wfile.write(b" ")
            self.wfile.flush()
            time.sleep(0.05)


@pytest.fixture
def late(published):
    """A server that starts after the client has asked."""
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        ports = {"rest_port": first.getsockname()[1], "grpc_port": second.getsockname()[1]}
    return Running(published, **ports), ports


class Page(Flaky):
    """A proxy's page in the server's place."""

    def do_POST(self):  # noqa: N802
        self.answer(502, b"<html>")


@pytest.fixture
def flaky(request):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), request.param)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("flaky", [Flaky], indirect=True)
def test_what_passes_is_tried_again(flaky):
    Flaky.asked = 0
    with Client(flaky, NAME) as client:
        assert client.recommend([["x"]])[0][0].item_id == "a"
    assert Flaky.asked == 3


@pytest.mark.parametrize("flaky", [Drip], indirect=True)
def test_the_time_is_that_of_the_whole_answer(flaky):
    start = time.monotonic()
    with Client(flaky, NAME, seconds=0.5) as client, pytest.raises(ServerError, match="DEADLINE_EXCEEDED"):
        client.recommend([["x"]])
    assert time.monotonic() - start < 3


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_starts_is_waited_for(late, scheme):
    server, ports = late
    port = ports["rest_port" if scheme == "http" else "grpc_port"]
    with (
        concurrent.futures.ThreadPoolExecutor(1) as pool,
        Client(f"{scheme}://127.0.0.1:{port}", NAME, seconds=60) as it,
    ):
        asked = pool.submit(it.recommend, [["007"]], 1)
        time.sleep(2.5)
        assert not asked.done()
        with server:
            assert asked.result(60)[0][0].item_id


@pytest.mark.parametrize("flaky", [Page], indirect=True)
def test_an_answer_that_is_no_json_is_told(flaky):
    with Client(flaky, NAME, seconds=0.3) as client, pytest.raises(ServerError, match="UNAVAILABLE: 502"):
        client.recommend([["x"]])


def test_patience_ends_with_the_time_and_never_begins_for_a_mistake(monkeypatch):
    asked = []

    def fail(left, code):
        asked.append(left)
        raise ServerError(code, "no")

    with pytest.raises(ServerError):
        patiently(lambda left: fail(left, "INVALID_ARGUMENT"), 1)
    assert len(asked) == 1
    asked.clear()
    with pytest.raises(ServerError):
        patiently(lambda left: fail(left, "RESOURCE_EXHAUSTED"), 100)
    assert len(asked) == 6 and asked == sorted(asked, reverse=True)
    monkeypatch.setattr(patience, "FIRST_PAUSE", 0.2)
    start = time.monotonic()
    with pytest.raises(ServerError):
        patiently(lambda left: fail(left, "UNAVAILABLE"), 0.3)
    assert time.monotonic() - start < 0.4


def test_the_token_is_sent_by_both(published):
    with Running(published, token="s3cret") as server:
        for address in (server.address, server.rest):
            with Client(address, NAME, token="s3cret") as client:
                assert client.states() == {1: "AVAILABLE"} and client.recommend([[]], 1)[0]
            with Client(address, NAME) as client, pytest.raises(ServerError, match="UNAUTHENTICATED"):
                client.recommend([[]])
