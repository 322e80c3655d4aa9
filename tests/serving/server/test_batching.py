"""Requests that are computed together get what they would get alone, and none suffers for another one."""

import asyncio
import threading

import numpy as np
import pytest

from tests.serving.conftest import IDS
from tests.serving.server.conftest import NAME
from tfrec.serving.server import batching
from tfrec.serving.server.batching import Batcher, Job, Size, compute, counted_cells
from tfrec.serving.server.loaded import LoadedVersion
from tfrec.serving.server.problems import ProblemError, invalid


@pytest.fixture(scope="module")
def version(published):
    loaded = LoadedVersion(NAME, 1, published / NAME / "1")
    yield loaded
    loaded.close()


def request(*histories):
    return {"history": np.array([[item.encode() for item in row] for row in histories], object)}


def job(version, inputs, signature="serving_default"):
    return Job(version, signature, inputs, Size(len(inputs["history"]), inputs["history"].size), None)


def test_rows_of_unlike_lengths_are_answered_as_alone(version):
    requests = [request(["007"]), request(["商品", "🎬", "7"], ["a,b", "", "7"]), request(IDS[:9]), request([])]
    together = compute([job(version, inputs) for inputs in requests])
    for inputs, answer in zip(requests, together, strict=True):
        alone = version.run("serving_default", inputs)
        assert answer["item_ids"].tolist() == alone["item_ids"].tolist()
        np.testing.assert_allclose(answer["scores"], alone["scores"], rtol=1e-5, atol=1e-5)


def test_times_and_vectors_are_filled_up_with_what_is_missing(version):
    def full(length):
        rows = np.array([[b"007"] * length], object)
        other = {"timestamp": np.full((1, length), 1_700_000_000), "user_country": np.array([b"US"], object)}
        return {"history": rows, "event_type": rows, "event_my_device": rows, **other}

    requests = [full(1), full(5)]
    together = compute([job(version, inputs, "recommend_full") for inputs in requests])
    for inputs, answer in zip(requests, together, strict=True):
        alone = version.run("recommend_full", inputs)
        np.testing.assert_allclose(answer["scores"], alone["scores"], rtol=1e-5, atol=1e-5)


def test_what_is_not_as_long_as_the_history_meets_nothing_that_would_hide_it(version):
    """Filled up beside a request that is longer, three types of events would fit five events."""

    def full(length, types):
        row, beside = (np.array([[b"007"] * size], object) for size in (length, types))
        return job(version, {"history": row, "event_type": beside}, "recommend_full")

    right, longer, wrong = batching._group(full(5, 5)), batching._group(full(6, 6)), batching._group(full(5, 3))
    assert right == longer != wrong != batching._group(full(3, 5))


def test_lines_are_as_large_as_what_they_hold():
    lines = {"history": np.array([b"a\nb\nc", b"", b"\n\n"], object)}
    assert counted_cells("recommend_delimited", lines) == 3 + 2 + 2
    assert counted_cells("embed_item", lines) == 3 and counted_cells("serving_default", request(["a", "b"])) == 2


def test_many_rows_are_computed_in_parts(version, monkeypatch):
    monkeypatch.setattr(version, "rows_a_run", 2)
    inputs = request(*[[item] for item in IDS[:7]])
    whole = compute([job(version, inputs)])[0]
    assert whole["item_ids"].shape[0] == 7
    assert whole["item_ids"][6].tolist() == version.run("serving_default", request([IDS[6]]))["item_ids"][0].tolist()


class Stand:
    """A version that refuses the item "bad", fails on "worse", and waits for `go`."""

    name, number, rows_a_run, candidates_a_run = NAME, 1, 100, 100

    def __init__(self):
        self.in_use, self.runs, self.go = 0, [], threading.Event()
        self.go.set()

    def run(self, signature, inputs):
        self.go.wait(10)
        items = inputs["history"].ravel().tolist()
        self.runs.append(items)
        if b"bad" in items:
            raise invalid("bad")
        if b"worse" in items:
            raise RuntimeError("out of something")
        return {"first": inputs["history"][:, 0]}


def test_a_request_that_fails_fails_alone():
    stand = Stand()
    answers = compute([job(stand, request([item])) for item in ("a", "bad", "worse", "b")])
    assert [type(each).__name__ for each in answers] == ["dict", "ProblemError", "RuntimeError", "dict"]


def test_what_waits_is_taken_together_and_what_nobody_waits_for_is_dropped():
    stand = Stand()
    observed = []

    async def scenario():
        batcher = Batcher(1, 3, 10, observed.append)
        stand.go.clear()
        ask = lambda item, seconds=10.0: batcher.run(stand, "s", request([item]), Size(1, 1), seconds)  # noqa: E731
        tasks = [asyncio.create_task(ask("first"))]
        await asyncio.sleep(0.05)
        tasks += [asyncio.create_task(ask("late", 0.05)), *(asyncio.create_task(ask(item)) for item in "abcd")]
        await asyncio.sleep(0.3)
        assert stand.in_use == batcher.pending == 6
        stand.go.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert stand.in_use == batcher.pending == 0
        batcher.close()
        return done

    done = asyncio.run(scenario())
    assert isinstance(done[1], ProblemError) and done[1].code.name == "DEADLINE_EXCEEDED"
    assert [each["first"].tolist() for each in (done[0], *done[2:])] == [[b"first"], [b"a"], [b"b"], [b"c"], [b"d"]]
    assert observed == [1, 3, 1] and [b"late"] not in stand.runs


def test_a_run_is_bounded_by_its_values_too(monkeypatch):
    monkeypatch.setattr(batching, "CELLS_A_RUN", 5)
    stand, observed = Stand(), []

    async def scenario():
        batcher = Batcher(1, 100, 10, observed.append)
        stand.go.clear()
        tasks = [asyncio.create_task(batcher.run(stand, "s", request(["x"] * 2), Size(1, 2), 10.0)) for _ in range(5)]
        await asyncio.sleep(0.1)
        stand.go.set()
        await asyncio.gather(*tasks)
        batcher.close()

    asyncio.run(scenario())
    assert observed == [1, 2, 2]
