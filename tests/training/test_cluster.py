"""`TF_CONFIG`: who trains together, and what is said of one that is malformed."""

import json

import pytest

from tfrec.training import Cluster

TWO = ["a:2222", "b:2222"]


def read(value):
    return Cluster.read({"TF_CONFIG": value if isinstance(value, str) else json.dumps(value)})


def test_workers_are_counted_from_the_chief():
    for index in range(2):
        cluster = read({"cluster": {"worker": TWO}, "task": {"type": "worker", "index": index}})
        assert (cluster.addresses, cluster.index, cluster.is_chief) == (tuple(TWO), index, index == 0)
        assert cluster.task == ("worker", index)
    assert [cluster.named(index) for index in (0, 1)] == ["the chief (a:2222)", "worker 1 (b:2222)"]


def test_a_chief_of_its_own_comes_first():
    found = [
        read({"cluster": {"worker": TWO, "chief": ["c:1"]}, "task": task})
        for task in ({"type": "chief", "index": 0}, {"type": "worker", "index": "1"})
    ]
    assert [cluster.addresses for cluster in found] == [("c:1", *TWO)] * 2
    assert [(cluster.index, cluster.task) for cluster in found] == [(0, ("chief", 0)), (2, ("worker", 1))]


@pytest.mark.parametrize("value", ["", " ", "{}", {"task": {}}, {"cluster": {"worker": ["a:1"]}, "task": {"index": 0}}])
def test_one_process_alone_is_no_cluster(value):
    assert read(value) is None
    assert Cluster.read({}) is None


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("{", "it is no JSON"),
        ("[]", "it is no mapping"),
        ({"cluster": ["a:1"]}, "`cluster` must map `worker`"),
        ({"cluster": {"worker": TWO, "ps": ["c:1"]}}, "`cluster` must map `worker`"),
        ({"cluster": {"worker": "a:1"}}, "cluster.worker must be a list of HOST:PORT"),
        ({"cluster": {"worker": ["a", "b:1"]}}, "cluster.worker must be a list of HOST:PORT"),
        ({"cluster": {"worker": ["a:99999", "b:1"]}}, "cluster.worker must be a list of HOST:PORT"),
        ({"cluster": {"worker": ["a:1", "a:1"]}}, "a:1 is there twice"),
        ({"cluster": {"worker": TWO, "chief": ["c:1", "d:1"]}}, "more than one chief"),
        ({"cluster": {"worker": TWO}}, "task.type must be one of worker; received None"),
        ({"cluster": {"worker": TWO}, "task": {"type": "ps", "index": 0}}, "task.type must be one of worker"),
        ({"cluster": {"worker": TWO}, "task": {"type": "worker"}}, "task.index must be from 0 to 1; received None"),
        ({"cluster": {"worker": TWO}, "task": {"index": 2}}, "task.index must be from 0 to 1; received 2"),
        ({"cluster": {"worker": TWO}, "task": {"index": True}}, "task.index must be from 0 to 1; received True"),
    ],
)
def test_a_malformed_variable_is_shown_with_what_it_must_be(value, told):
    with pytest.raises(ValueError, match=told) as caught:
        read(value)
    assert str(caught.value).startswith("TF_CONFIG is '") and "It must be like {" in str(caught.value)
    assert "\n" not in str(caught.value)
