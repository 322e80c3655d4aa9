"""A pipeline of two stages ends with one published model, which is asked as any model that recommends."""

import json

import pytest

from tests import tiny_shop
from tfrec import cli, config, stages
from tfrec.serving import gate, manifest

RANKING = """\
ranking: {recall: 20, rank: 5, interactions: [target_attention, mlp], vectors: true, learning: {epochs: 1}}
training:
"""


@pytest.mark.slow
def test_a_run_ends_with_both_stages_published_as_one_model(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)
    monkeypatch.setattr(gate, "verify", lambda folder: {"asked_in": []})  # Its tests ask a version for longer.
    path = tiny_shop.write(tmp_path / "shop", name="two", epochs=1)
    path.write_text(path.read_text("utf-8").replace("training:\n", RANKING), encoding="utf-8")
    pipeline = config.load(path)
    stages.run(pipeline, tmp_path / "run")
    published = tmp_path / "shop" / "saved_models" / "two"
    told = manifest.read(published / "1")
    assert told["answer_size"] == 5 and told["score"]["recall"] == 20
    assert cli.main(["recommend", str(published), "--history", "003,004", "--k", "5", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["recommendations"]
    assert len(rows) == 5 and not {"003", "004"} & {row["item_id"] for row in rows}


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("export.quantization=int8", "export.quantization is int8, and the second stage reads the scores of float32"),
        ("export.index=ivf", "export.index is ivf, and a ranker judges every candidate"),
    ],
)
def test_exports_that_would_change_the_first_scores_are_refused(override, words, tmp_path):
    path = tiny_shop.write(tmp_path / "shop", name="two")
    path.write_text(path.read_text("utf-8").replace("training:\n", RANKING), encoding="utf-8")
    with pytest.raises(ValueError, match=words):
        config.load(path, [override])
