"""The pipelines that come with the project: each is valid, and its header says command, time and result."""

import re
from pathlib import Path

import pytest

from tfrec import config

FOLDER = Path(__file__).resolve().parents[2] / "pipelines"
PIPELINES = sorted(FOLDER.glob("*.yaml"))
each = pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.stem)


def header(path: Path) -> str:
    """The comment that the file opens with, as one line."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        lines.append(line.lstrip("# ").strip())
    return " ".join(lines)


def test_the_promised_pipelines_are_there():
    assert {"demo", "movielens_100k", "movielens_1m", "amazon_beauty"} <= {path.stem for path in PIPELINES}
    assert {path.suffix for path in FOLDER.iterdir() if path.is_file()} <= {".yaml", ".md"}


@each
def test_it_loads_and_bears_the_name_of_its_file(path, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    pipeline = config.load(path)
    assert pipeline.name == path.stem
    assert config.parse(config.dump(pipeline)) == pipeline
    assert not Path(pipeline.data.root).is_absolute()


@each
def test_its_header_names_the_command(path):
    assert f"tfrec run pipelines/{path.name}" in header(path)


@each
def test_its_header_names_the_time_it_takes(path):
    assert re.search(r"\d+(\.\d+)? ?(s|seconds?|min|minutes?|h|hours?)\b", header(path)), header(path)


@each
def test_its_header_names_the_result_to_expect(path):
    """A figure with the k it is of, a value, and how sure it is."""
    assert re.search(r"(HR|NDCG)@\d+\D{1,20}0?\.\d{2,}", header(path), re.IGNORECASE), header(path)
    assert re.search(r"±|\+/-", header(path)), header(path)
