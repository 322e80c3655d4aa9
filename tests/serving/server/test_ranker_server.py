"""A ranker behind the ports, and requests of unlike widths that are computed together."""

import grpc
import numpy as np
import pytest

from tests.serving.server.conftest import Running
from tfrec.serving.server import batching
from tfrec.serving.server.batching import Batcher, Job, Size, compute
from tfrec.serving.server.loaded import LoadedVersion

HISTORIES, CANDIDATES = [["007", "商品"], ["🎬", ""]], [["7", "nope", "7"], ["a,b", "", "item1"]]


@pytest.fixture(scope="module")
def version(exported_ranker):
    loaded = LoadedVersion("clicks", 1, exported_ranker)
    yield loaded
    loaded.close()


def request(steps, judged):
    return {"history": np.full((1, steps), b"007", object), "candidates": np.full((1, judged), b"item1", object)}


def jobs(version, *shapes, signature="serving_default"):
    return [Job(version, signature, request(*shape), Size(1, max(shape)), None) for shape in shapes]


def test_requests_of_unlike_widths_are_answered_as_alone(version):
    together = jobs(version, (1, 2), (4, 5), (2, 0), (0, 1))
    for job, answer in zip(together, compute(together), strict=True):
        alone = version.run(job.signature, job.inputs)
        assert {name: each.shape for name, each in answer.items()} == {name: each.shape for name, each in alone.items()}
        np.testing.assert_allclose(answer["click"], alone["click"], atol=1e-6)
        assert answer["known"].all() and answer["known_events"].tolist() == alone["known_events"].tolist()


def test_no_more_candidates_are_judged_at_a_time_than_memory_holds(version, monkeypatch):
    monkeypatch.setattr(version, "candidates_a_run", 10)
    batcher = Batcher(1, 64, 10, lambda rows: None)
    for job in (waiting := batching.deque(jobs(version, (1, 3), (1, 3), (1, 5), (1, 5)))):
        object.__setattr__(job, "answer", batching.asyncio.Future(loop=batching.asyncio.new_event_loop()))
    assert [len(batcher._next(waiting)) for _ in range(3)] == [2, 2, 0]
    batcher.close()
    many = {name: np.repeat(values, 4, axis=0) for name, values in request(2, 5).items()}
    seen, ask = [], version.run
    monkeypatch.setattr(version, "run", lambda key, inputs: seen.append(len(inputs["history"])) or ask(key, inputs))
    assert compute([Job(version, "serving_default", many, Size(4, 20), None)])[0]["click"].shape == (4, 5)
    assert seen == [2, 2]


def test_both_ports_answer_and_refuse_as_the_model_does(exported_ranker, version):
    asked = {"history": HISTORIES, "candidates": CANDIDATES}
    arrays = {name: np.array(values, object) for name, values in asked.items()}
    expected = version.run("serving_default", arrays)
    with Running(exported_ranker.parent, name="clicks") as running:
        status, found = running.post("/v1/models/clicks/versions/1:predict", {"inputs": asked})
        rows = running.post("/v1/models/clicks:predict", {"instances": [
            {"history": past, "candidates": judged} for past, judged in zip(HISTORIES, CANDIDATES, strict=True)
        ]})[1]["predictions"]  # fmt: skip
        by_grpc = running.predict(arrays, name="clicks")
        assert status == 200 and found["outputs"]["known"] == [[1, 0, 1], [1, 0, 1]] == [row["known"] for row in rows]
        for name in ("click", "known_", "5_stars"):
            np.testing.assert_allclose(found["outputs"][name], expected[name], atol=1e-6)
            np.testing.assert_allclose([row[name] for row in rows], expected[name], atol=1e-6)
            np.testing.assert_allclose(by_grpc[name], expected[name], atol=1e-6)
        status, told = running.post("/v1/models/clicks:predict", {"inputs": {"history": HISTORIES}})
        assert status == 400 and "Missing: candidates" in told["error"]
        many = {"history": [["7"]], "candidates": [["7"] * 10_001]}
        status, told = running.post("/v1/models/clicks:predict", {"inputs": many})
        assert status == 400 and "candidates may be 10000 a row at most" in told["error"]
        with pytest.raises(grpc.RpcError, match="The inputs differ in their rows"):
            running.predict({**arrays, "candidates": np.array([["7"]], object)}, name="clicks")
