"""A server's life: versions that come and go, labels, and TLS."""

import concurrent.futures
import json
import shutil
import subprocess
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.serving.conftest import make_data, make_model
from tests.serving.server.conftest import NAME, Running
from tfrec.serving import server_config
from tfrec.serving.exporter import export
from tfrec.serving.publisher import publish
from tfrec.serving.rollbacks import rollback
from tfrec.serving.server import repository

PREDICT = f"/v1/models/{NAME}:predict"
ROW = {"instances": [["007"]]}


@pytest.fixture
def root(published, tmp_path):
    """A folder with a published version, which a test may change."""
    return Path(shutil.copytree(published, tmp_path / "models"))


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """Another version, not yet published; it recommends other items."""
    folder = tmp_path_factory.mktemp("second") / "export"
    return export(make_model(similarity="cosine"), make_data(seen="keep"), folder, k_max=3, version=2)


def add(root, version, name=NAME, **labels):
    """Put a version where the server finds it, and label it: what `publish` does, without its checks."""
    place = root / name / version.name
    if not place.exists():
        shutil.copytree(version, place)
    server_config.write(root, {name: {**server_config.labels(root, name), **(labels or {"stable": int(version.name)})}})
    return place


def states(server, name=NAME):
    found = server.get(f"/v1/models/{name}")[1]["model_version_status"]
    return {each["version"]: each["state"] for each in found}


@pytest.mark.long
def test_a_published_version_takes_over_and_a_rollback_brings_the_old_one_back(root, second):
    with Running(root / NAME) as server:
        before = server.post(PREDICT, ROW)[1]
        publish(second, root, NAME)
        server.do(server.server.refresh())
        assert states(server) == {"2": "AVAILABLE", "1": "END"}
        after = server.post(f"/v1/models/{NAME}/labels/stable:predict", ROW)[1]
        assert after != before and len(after["predictions"][0]["item_ids"]) == 3
        rollback(root / NAME)
        server.do(server.server.refresh())
        assert states(server) == {"2": "END", "1": "AVAILABLE"}
        assert server.post(PREDICT, ROW)[1] == before


@pytest.mark.long
def test_no_request_fails_while_versions_are_swapped(root, second):
    place = add(root, second)
    versions, failures, answered = (place.with_name("1"), place), [], set()
    over = threading.Event()
    with Running(root / NAME) as server:

        def ask():
            while not over.is_set():
                try:
                    answered.add(server.predict({"history": np.array([["007"]], object)})["item_ids"].shape[1])
                except grpc.RpcError as error:
                    failures.append(error)
                time.sleep(0.01)

        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            asking = [pool.submit(ask) for _ in range(2)]
            for turn in range(3):
                add(root, versions[turn % 2])
                server.do(server.server.refresh())
            over.set()
            [each.result() for each in asking]
    assert not failures
    assert answered == {3, 6}


def test_the_server_follows_the_folder_by_itself(root, second):
    with Running(root / NAME, poll_seconds=0.05) as server:
        add(root, second)
        deadline = time.monotonic() + 20
        while states(server).get("2") != "AVAILABLE" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert states(server)["2"] == "AVAILABLE"


def test_a_canary_answers_beside_the_stable_version(root, second):
    add(root, second, canary=2)
    with Running(root / NAME) as server:
        assert states(server) == {"2": "AVAILABLE", "1": "AVAILABLE"}
        sizes = [
            len(server.post(f"/v1/models/{NAME}/labels/{label}:predict", ROW)[1]["predictions"][0]["item_ids"])
            for label in ("stable", "canary")
        ]
        assert sizes == [6, 3]


def test_a_damaged_version_does_not_take_over(root, second, caplog):
    with Running(root / NAME) as server:
        before = server.post(PREDICT, ROW)
        damaged = add(root, second)
        variables = next((damaged / "variables").glob("*.data*"))
        variables.write_bytes(b"damaged")
        server.do(server.server.refresh())
        assert states(server) == {"2": "END", "1": "AVAILABLE"}
        assert server.post(f"/v1/models/{NAME}/labels/stable:predict", ROW) == before
        assert "was changed after its export" in caplog.text
        assert server.get("/readyz")[0] == 200


def test_what_failed_is_tried_again_after_a_while(root, second, monkeypatch):
    """The reason may have passed: no memory, too many open files."""
    load, tried = repository.LoadedVersion, []

    def failing(name, number, folder):
        tried.append(number)
        if tried.count(2) == 1 and number == 2:
            raise OSError("Too many open files")
        return load(name, number, folder)

    monkeypatch.setattr(repository, "LoadedVersion", failing)
    monkeypatch.setattr(repository, "PAUSES", (0.3, 1.0))
    with Running(root / NAME) as server:
        add(root, second)
        for _ in range(2):
            server.do(server.server.refresh())
        assert states(server) == {"2": "END", "1": "AVAILABLE"} and tried.count(2) == 1
        time.sleep(0.4)
        server.do(server.server.refresh())
        assert states(server)["2"] == "AVAILABLE" and tried.count(2) == 2


def test_a_folder_that_disappears_is_served_on(root, caplog):
    with Running(root / NAME) as server:
        before = server.post(PREDICT, ROW)
        for step in (lambda: shutil.rmtree(root / NAME / "1"), lambda: shutil.rmtree(root)):
            step()
            server.do(server.server.refresh())
            assert server.post(PREDICT, ROW) == before
            assert server.post(f"/v1/models/{NAME}/labels/stable:predict", ROW) == before
        assert "goes on with what it has" in caplog.text


def test_a_broken_file_of_models_changes_nothing(root, caplog):
    with Running(root / NAME) as server:
        (root / server_config.FILE).write_text("model_config_list {", "utf-8")
        server.do(server.server.refresh())
        server.do(server.server.refresh())
        assert server.post(PREDICT, ROW)[0] == 200
        assert caplog.text.count("is not a model list") == 1


def test_a_file_of_models_that_is_gone_lets_no_unpublished_version_in(root, second, caplog):
    shutil.copytree(second, root / NAME / "2")
    with Running(root / NAME) as server:
        before = server.post(f"/v1/models/{NAME}/labels/stable:predict", ROW)
        (root / server_config.FILE).unlink()
        server.do(server.server.refresh())
        assert states(server) == {"1": "AVAILABLE"} and "has lost its labels" in caplog.text
        assert server.post(f"/v1/models/{NAME}/labels/stable:predict", ROW) == before
        add(root, second)
        server.do(server.server.refresh())
        assert states(server) == {"2": "AVAILABLE", "1": "END"}


def test_a_new_model_that_does_not_load_takes_nothing_from_the_others(root, second):
    with Running(root) as server:
        variables = next((add(root, second, "other") / "variables").glob("*.data*"))
        kept = variables.read_bytes()
        variables.write_bytes(b"damaged")
        server.do(server.server.refresh())
        assert states(server, "other") == {"2": "END"} and server.get("/readyz")[0] == 200
        variables.write_bytes(kept)  # It was on its way, say; what has changed is tried again.
        server.do(server.server.refresh())
        assert states(server, "other") == {"2": "AVAILABLE"}


@pytest.mark.long
def test_a_whole_folder_of_models_is_served(root, second):
    add(root, second, "other")
    with Running(root) as server:
        assert states(server) == {"1": "AVAILABLE"} and states(server, "other") == {"2": "AVAILABLE"}
        server_config.write(root, {"other": {}})
        server.do(server.server.refresh())
        assert server.get("/v1/models/other")[0] == 404


def test_an_export_is_served_without_labels_and_under_another_name(second):
    with Running(second.parent, name="mine") as server:
        assert states(server, "mine") == {"2": "AVAILABLE"}
        assert server.post("/v1/models/mine/labels/stable:predict", ROW)[0] == 400
    with Running(second) as server:
        assert states(server, "export") == {"2": "AVAILABLE"}


def test_tls_on_both_ports(published, tmp_path):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *names]
    subprocess.run([*words, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with Running(published / NAME, certificate=certificate, key=key) as server:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        with grpc.secure_channel(f"localhost:{server.server.grpc_port}", credentials) as channel:
            server.predictions.__init__(channel)
            assert server.predict({"history": np.array([["007"]], object)})["item_ids"].size
        words = ["curl", "-s", "--cacert", certificate, f"https://localhost:{server.server.rest_port}{PREDICT}"]
        answer = subprocess.run([*words, "-d", json.dumps(ROW)], check=True, capture_output=True)
        assert "predictions" in json.loads(answer.stdout)


def test_a_version_that_was_never_published_is_not_served(root, second):
    shutil.copytree(second, root / "other" / second.name)
    with pytest.raises(ValueError, match="other is not published: .*models.config does not name it"):
        Running(root / "other").__enter__()
    with Running(root / "other" / second.name) as server:  # It alone, by its own name.
        assert server.post("/v1/models/other:predict", ROW)[0] == 200
