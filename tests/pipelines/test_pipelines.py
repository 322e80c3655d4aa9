"""The pipelines that come with the project: each is valid, and its header says command, time and result."""

import json
import re
from pathlib import Path

import pytest

from tfrec import config

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "pipelines"
PIPELINES = sorted(FOLDER.glob("*.yaml"))
RECORDS = {path.stem: json.loads(path.read_text("utf-8")) for path in (ROOT / "benchmarks" / "results").glob("*.json")}
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
    promised = {
        "demo",
        "movielens_100k",
        "movielens_1m",
        "amazon_beauty",
        "amazon_beauty_cold",
        "amazon_beauty_two_stage",
    }
    promised |= {"movielens_100k_click", "movielens_100k_rating", "simulated_ads"}
    assert promised <= {path.stem for path in PIPELINES}
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
    """A figure, of a ranking with the k it is of, a value, and how sure it is."""
    assert re.search(r"((HR|NDCG)@\d+|AUC|RMSE)\D{1,20}0?\.\d{2,}", header(path), re.IGNORECASE), header(path)
    assert re.search(r"±|\+/-", header(path)), header(path)


def figure(row: str, name: str, *, part: str | None = None) -> float:
    """A mean over seeds, of all test users or of a slice of them."""
    found = RECORDS[row]
    return (found["slices"][part] if part else found["test"])[name]["mean"]


def known_to(row: str, name: str) -> str:
    return f"{figure(row, name):.3f} ± {RECORDS[row]['half_width'][name]:.3f}"


# What a header says, where it is not both figures of all users one after the other.
COLD, WARM = (figure("amazon_beauty_cold", "hr@10", part=part) for part in ("cold_items", "warm_items"))
OTHERWISE = {
    "amazon_beauty_cold": (
        f"HR@10 {COLD:.3f} ±", f"{WARM:.3f} for the others", f"{known_to('amazon_beauty_cold', 'hr@10')} for all",
    ),
}  # fmt: skip


@pytest.mark.parametrize("row", sorted(RECORDS.keys() & {path.stem for path in PIPELINES}))
def test_its_header_states_the_figures_of_its_record(row):
    both = f"HR@10 {known_to(row, 'hr@10')}, NDCG@10 {known_to(row, 'ndcg@10')}"
    for told in OTHERWISE.get(row, (both,)):
        assert told in header(FOLDER / f"{row}.yaml"), told


def test_the_header_of_beauty_states_the_row_of_ids_alone():
    told = f"Ids alone: {figure('amazon_beauty_ids', 'hr@10'):.3f} / {figure('amazon_beauty_ids', 'ndcg@10'):.3f}."
    assert told in header(FOLDER / "amazon_beauty.yaml"), told
