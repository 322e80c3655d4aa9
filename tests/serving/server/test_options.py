"""What an operator chooses, and what the machine says where nothing is chosen."""

import os

import pytest

from tfrec.serving.server.options import _usable_cores


@pytest.mark.parametrize(
    ("quota", "cores"), [("150000 100000", 2), ("100000 100000", 1), ("5000 100000", 1), ("6400000 100000", 8)]
)
def test_a_container_computes_with_the_cores_of_its_quota(quota, cores, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert _usable_cores(file) == cores


@pytest.mark.parametrize("content", [None, "max 100000", "", "nonsense"])
def test_without_a_quota_all_cores_count(content, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(3)))
    file = tmp_path / "cpu.max"
    if content is not None:
        file.write_text(content)
    assert _usable_cores(file) == 3
