"""What noise costs two models is told from their runs, with an interval that pairs the users."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tests.benchmark_scripts import script

USERS = 400


@pytest.fixture
def robustness(monkeypatch, tmp_path):
    module = script("robustness")
    monkeypatch.setattr(module, "RECORD", tmp_path / "robustness.json")
    monkeypatch.setattr(module, "PAGE", tmp_path / "page.md")
    (tmp_path / "page.md").write_text("<!-- robustness -->\n<!-- end of robustness -->\n")
    return module


def row(folder, clean, noisy, *, seeds=(1, 2), disturbed=True):
    """Runs whose users hit with these probabilities, the same users in each, in another order."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        draws, tables = rng.random(USERS), []
        for name, share in (("tfrec", clean), ("tfrec, histories disturbed", noisy), ("popularity", 0.1)):
            hits = (draws < share).astype(float)
            tables.append(
                pd.DataFrame({"user_id": [f"u{user:03d}" for user in range(USERS)], "hr@10": hits, "ndcg@10": hits / 2})
            )
            tables[-1] = tables[-1].assign(model=name).sample(frac=1, random_state=seed)
        (folder / f"seed_{seed}").mkdir(parents=True)
        table = pd.concat(tables)
        table = table if disturbed else table[table.model != "tfrec, histories disturbed"]
        table.to_parquet(folder / f"seed_{seed}" / "per_user.parquet")
    return folder


def told(robustness, *folders):
    return CliRunner().invoke(robustness.main, [str(folder) for folder in folders])


def test_the_drop_of_each_and_the_difference_of_the_drops(robustness, tmp_path):
    found = told(robustness, row(tmp_path / "plain", 0.6, 0.3), row(tmp_path / "attacked", 0.5, 0.45))
    assert found.exit_code == 0, found.output
    tables = {name: [pd.read_parquet(path) for path in sorted((tmp_path / name).rglob("*.parquet"))]
              for name in ("plain", "attacked")}  # fmt: skip
    drops, shares = {}, {}
    for name, each in tables.items():
        hits = pd.concat(each).groupby("model")["hr@10"].mean()
        clean, noisy = hits["tfrec"], hits["tfrec, histories disturbed"]
        drops[name], shares[name] = clean - noisy, (clean - noisy) / clean
        line = f"{name}, hr@10: {clean:.4f}, disturbed {noisy:.4f}, drop {drops[name]:.4f} ({drops[name] / clean:.1%})"
        assert line in found.output.splitlines()
    gap, low, high = numbers(found.output, "the drop of plain less that of attacked, hr@10")
    assert gap == pytest.approx(drops["plain"] - drops["attacked"], abs=1e-4) and 0 < low < gap < high
    for figure in ("hr@10", "ndcg@10"):
        gap, low, high = numbers(found.output, f"the relative drop of plain less that of attacked, {figure}")
        assert gap == pytest.approx(shares["plain"] - shares["attacked"], abs=1e-4) and 0 < low < gap < high < 1
    gap, low, high = numbers(found.output, "attacked less plain, histories as they are, ndcg@10")
    assert gap < 0 and low < gap < high < 0
    gap, low, high = numbers(found.output, "attacked less plain, histories disturbed, hr@10")
    assert 0 < low < gap < high


def test_what_is_kept_is_what_was_printed_and_the_page_has_it(robustness, tmp_path):
    folders = [row(tmp_path / "plain", 0.6, 0.3), row(tmp_path / "attacked", 0.5, 0.45)]
    assert not told(robustness, *folders).exception and not robustness.RECORD.exists()
    found = told(robustness, *folders, "--record", "`items`")
    assert found.exit_code == 0, found.output
    gap = numbers(found.output, "the drop of plain less that of attacked, ndcg@10")
    kept = json.loads(robustness.RECORD.read_text())["`items`"]
    assert kept["seeds"] == 2 and kept["gaps"]["drop"]["ndcg@10"] == pytest.approx(gap, abs=1e-4)
    _, _, _, plain, attacked, _ = robustness.PAGE.read_text().splitlines()
    clean, noisy = kept["means"]["plain"]["ndcg@10"]
    assert plain == f"| plain | {clean:.4f} | {noisy:.4f} (-{(clean - noisy) / clean:.1%}) | | | | |"
    assert attacked.startswith("| `items` | 0.2") and f"| {gap[0]:+.4f} ({gap[1]:+.4f} to {gap[2]:+.4f}) |" in attacked
    before = robustness.PAGE.read_text()
    robustness.PAGE.write_text("<!-- robustness -->\nold\n<!-- end of robustness -->\n")
    assert told(robustness, "--page").exit_code == 0 and robustness.PAGE.read_text() == before
    assert "give the folder of the plain runs" in told(robustness).output


def test_the_page_is_that_of_the_record():
    module = script("robustness")
    page, rows = module.PAGE.read_text(encoding="utf-8"), json.loads(module.RECORD.read_text(encoding="utf-8"))
    assert module.results.between(page, "robustness", module.table(rows)) == page


def numbers(output, what):
    (line,) = [line for line in output.splitlines() if line.startswith(what + ":")]
    return [float(each) for each in re.findall(r"[+-]\d\.\d+", line)]


def test_two_of_the_same_kind_differ_by_nothing_that_the_interval_excludes(robustness, tmp_path):
    found = told(robustness, row(tmp_path / "one", 0.5, 0.4), row(tmp_path / "other", 0.5, 0.4, seeds=(3, 4)))
    _, low, high = numbers(found.output, "the drop of plain less that of attacked, hr@10")
    assert low < 0 < high


def test_what_was_not_measured_is_one_line(robustness, tmp_path):
    whole, bare = row(tmp_path / "whole", 0.5, 0.4), row(tmp_path / "bare", 0.5, 0.4, disturbed=False)
    found = told(robustness, whole, bare)
    assert found.exit_code == 1
    assert found.output.splitlines()[-1].endswith("was evaluated without disturbed histories: set evaluation.disturbed")
    (tmp_path / "empty").mkdir()
    found = told(robustness, whole, tmp_path / "empty")
    assert found.exit_code == 1 and "holds no finished run" in found.output


def test_a_model_that_is_worse_everywhere_is_not_the_sturdier_one(robustness, tmp_path):
    found = told(robustness, row(tmp_path / "plain", 0.8, 0.6), row(tmp_path / "attacked", 0.4, 0.3))
    assert numbers(found.output, "the drop of plain less that of attacked, hr@10")[1] > 0
    _, low, high = numbers(found.output, "the relative drop of plain less that of attacked, hr@10")
    assert low < 0 < high
