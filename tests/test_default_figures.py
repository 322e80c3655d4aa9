"""Every figure that speaks for a default is that of the record it is told to be of."""

import json
import re

import pytest
import yaml

from tests.benchmark_scripts import ROOT, script
from tfrec import config

ABLATIONS = ROOT / "benchmarks" / "ablations"
HEADS = ("| setting |", "| data |")


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Validation NDCG@10 of each record, as the page writes it, by its name in defaults.yaml."""
    experiments, found = script("experiments"), {}
    for line in experiments.log():
        base = experiments.kept(config.load(experiments.PIPELINES / f"{line['pipeline']}.yaml"))
        changes = experiments.changes(base, line["settings"])
        if line["seed"] == 1:
            found[" ".join(["experiment", line["pipeline"], *changes])] = line["val_ndcg@10"]
    for path in ABLATIONS.glob("*.json"):
        for variant, entry in json.loads(path.read_text(encoding="utf-8"))["variants"].items():
            found[f"ablation {path.stem} {variant}"] = entry["validation"]["ndcg@10"]
    return {name: f"{figure:.4f}" for name, figure in found.items()}


def figures(page: str) -> dict[str, list[str]]:
    """The figures of each row of the section's tables, in their order, by the name that the row begins with."""
    section = page.partition("\n## The defaults\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if re.match(r"\| [^-]", line) and not line.startswith(HEADS)]
    return {re.search(r"[\w.-]+", row).group(): re.findall(r"\b0\.\d{4}\b", row) for row in rows}


def test_every_figure_of_the_defaults_is_that_of_its_record(known):
    told = figures((ROOT / "docs" / "ablations.md").read_text(encoding="utf-8"))
    named = yaml.safe_load((ABLATIONS / "defaults.yaml").read_text(encoding="utf-8"))
    unknown = sorted({name for names in named.values() for name in names} - set(known))
    assert not unknown, "defaults.yaml names records that are not there"
    assert sum(map(len, told.values())) > 50
    assert told == {row: [known[name] for name in names] for row, names in named.items()}
