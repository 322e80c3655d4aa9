"""`tfrec pretrain`, as its user meets it: what it leaves, what it refuses, and that it goes on where it was."""

import json
import logging

import keras
import numpy as np
import pandas as pd
import pytest

from tests import tiny_shop, tiny_text
from tfrec import cli, config, stages
from tfrec.towers import text_models
from tfrec.towers.text import TextEncoder

SMALL = ("layers=1", "width=16", "epochs=2", "vocabulary=300", "max_tokens=16")


@pytest.fixture(autouse=True)
def own_environment(monkeypatch):
    for variable in ("TFREC_DATA", "TFREC_DEBUG"):
        monkeypatch.delenv(variable, raising=False)
    level = logging.getLogger("tfrec").level
    yield
    logging.getLogger("tfrec").setLevel(level)


def write(folder, texts):
    """A shop whose items have these texts."""
    path = tiny_shop.write(folder / "shop")
    table = pd.DataFrame({"sku": [f"{n:03d}" for n in range(len(texts))], "name": texts, "family": "one"})
    table.to_csv(folder / "shop" / "items.csv", index=False)
    return path


def pretrain(path, out, *changes):
    options = [f"pretraining.{change}" for change in (*SMALL, *changes)]
    return cli.main(["pretrain", str(path), "--out", str(out), *(f"--set={option}" for option in options)])


def told(capsys):
    """The one line of a refusal."""
    lines = capsys.readouterr().err.splitlines()
    assert not [line for line in lines if "Traceback" in line]
    assert [line for line in lines if line.startswith("tfrec: error: ")] == lines[-1:]
    return lines[-1]


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    return write(tmp_path_factory.mktemp("texts"), tiny_text.titles())


@pytest.fixture(scope="module")
def finished(shop, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    assert pretrain(shop, out) == 0
    return out


def vectors(out, texts, cache):
    return TextEncoder(out / "text_model", max_tokens=16, cache=cache).embed(texts)


def about(out):
    return json.loads((out / "text_model" / "pretraining.json").read_text(encoding="utf-8"))


def test_it_leaves_a_preset_that_says_where_it_comes_from(finished, capsys):
    model = text_models.load(finished / "text_model", max_tokens=16)
    assert (model.width, model.pooling) == (16, "mean")
    said = about(finished)
    assert said["origin"] == "trained here from random weights on 57 texts"
    assert (said["training_texts"], said["validation_texts"], said["seed"], said["epochs"]) == (57, 3, 3, 2)
    assert said["perplexity"] > 1 and said["unigram_perplexity"] > 1
    assert said["settings"]["width"] == 16 and len(said["history"]) == 2
    assert list((finished / "pretraining" / "tensorboard").rglob("events*"))
    assert not list(finished.rglob(".*"))


def test_the_second_time_there_is_nothing_to_do(shop, finished, capsys, caplog):
    before = {path: path.stat().st_mtime_ns for path in (finished / "text_model").rglob("*")}
    with caplog.at_level(logging.INFO, "tfrec"):
        assert pretrain(shop, finished) == 0
    assert "done before, nothing to do" in caplog.text
    assert {path: path.stat().st_mtime_ns for path in (finished / "text_model").rglob("*")} == before
    printed = capsys.readouterr().out
    assert f"{finished / 'text_model'}: validation perplexity {about(finished)['perplexity']:.1f}" in printed
    assert f"--set model.text={finished / 'text_model'}" in printed


@pytest.mark.slow
def test_an_interrupted_one_goes_on_and_ends_the_same(shop, finished, tmp_path, monkeypatch, caplog):
    plain, out = keras.callbacks.TensorBoard.on_epoch_begin, tmp_path / "run"

    def interrupted(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt
        plain(self, epoch, logs)

    with monkeypatch.context() as patch:
        patch.setattr(keras.callbacks.TensorBoard, "on_epoch_begin", interrupted)
        assert pretrain(shop, out) == 130
    assert not (out / "text_model").exists()
    with caplog.at_level(logging.INFO, "tfrec"):
        assert pretrain(shop, out) == 0
    assert "training goes on after epoch 1" in caplog.text
    assert about(out)["perplexity"] == pytest.approx(about(finished)["perplexity"], rel=1e-6)
    texts = tiny_text.titles()[:5]
    one, other = (vectors(run, texts, tmp_path) for run in (out, finished))
    np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_another_text_or_setting_trains_anew(tmp_path, caplog):
    path, out = write(tmp_path, tiny_text.titles()), tmp_path / "run"
    assert pretrain(path, out, "epochs=1") == 0
    write(tmp_path, [*tiny_text.titles(), "a new title"])
    with caplog.at_level(logging.INFO, "tfrec"):
        assert pretrain(path, out, "epochs=1") == 0
    assert "of a training with other settings, texts or source" in caplog.text
    assert about(out)["training_texts"] == 58


@pytest.mark.slow
@pytest.mark.long
def test_a_causal_model_becomes_a_text_tower_that_trains_and_exports(tmp_path):
    path, out = write(tmp_path, tiny_text.titles()[-31:]), tmp_path / "run"
    assert pretrain(path, out, "architecture=gpt2") == 0
    assert about(out)["objective"] == "NextTokenModel"
    text = [f"model.text.source={out / 'text_model'}", "model.text.max_tokens=16", "model.id_dropout=0.5"]
    folder = stages.run(config.load(path, [*text, "training.epochs=1"]), tmp_path / "towers")
    assert json.loads((folder / "metrics.json").read_text())["test"]["hr@10"] >= 0
    assert list((tmp_path / "shop" / "saved_models" / "tiny").glob("1/saved_model.pb"))


@pytest.mark.slow
def test_a_model_can_be_gone_on_with(shop, finished, tmp_path):
    changes = [f"pretraining.source={finished / 'text_model'}", "pretraining.epochs=1", "pretraining.max_tokens=16"]
    changes += ["pretraining.learning_rate=0.001"]  # Ten times what is right for more than an epoch of 60 titles.
    stages.pretrain(config.load(shop, changes), tmp_path / "run")
    assert about(tmp_path / "run")["origin"] == f"continued from {finished / 'text_model'} on 57 texts"
    assert about(tmp_path / "run")["perplexity"] < about(finished)["perplexity"]


def test_the_own_folder_cannot_be_the_source(shop, finished):
    changes = [f"pretraining.source={finished / 'text_model'}"]
    with pytest.raises(ValueError, match="the folder that is to be written: name another --out"):
        stages.pretrain(config.load(shop, changes), finished)


@pytest.mark.slow
@pytest.mark.parametrize(
    "texts",
    [
        ["red shoes", "blue shoes", "green hat"],
        ["跑步鞋 男士", "红色跑鞋", "黑色皮鞋", "白色跑鞋"],
        ["🎁", "👨‍👩‍👧 ❤️", "🔥🔥", "🎁🔥"],
        ["word " * 5000, "x" * 50_000 + " word", "word " * 4000],
    ],
    ids=["three", "chinese", "emoji", "long"],
)
def test_strange_texts_are_learnt_from(tmp_path, texts):
    out = tmp_path / "run"
    assert pretrain(write(tmp_path, texts), out, "epochs=1") == 0
    assert about(out)["training_texts"] == len(texts) - 1
    assert np.isfinite(vectors(out, texts, tmp_path)).all()


@pytest.mark.parametrize(
    ("texts", "changes", "rule"),
    [
        (["red hat"] * 9, (), "pretraining needs two different texts or more"),
        ([""] * 3, (), "data.items.text: every text is empty"),
        (["\u200b", "\u200b\u200b"], (), "`texts` hold no word"),
        (["a", "b"], ("architecture=gpt2",), "`texts` hold no word of two bytes"),
        (["abc", "x"], ("mask=1.5",), "pretraining.mask is 1.5: must be less than 1"),
        ([chr(0x4E00 + n) * 3 for n in range(200)], ("vocabulary=32", "validation=0.01"), "raise pretraining.vocab"),
        (
            ["red hat", "blue hat"],
            ("learning_rate=1e30", "epochs=4", "patience=null"),
            "Lower pretraining.learning_rate",
        ),
    ],
    ids=["duplicates", "empty", "blank", "single", "mask", "alphabet", "diverged"],
)
def test_what_cannot_be_learnt_is_one_line(tmp_path, capsys, texts, changes, rule):
    assert pretrain(write(tmp_path, texts), tmp_path / "run", *changes) == 1
    assert rule in told(capsys)
    assert not list(tmp_path.glob("run/*text_model*"))


def test_the_settings_of_a_run_stay_those_of_the_run(shop, tmp_path):
    run = tmp_path / "run"
    stages.run(config.load(shop, ["model.dim=4"]), run, only="prepare")
    before = (run / "config.yaml").read_bytes()
    assert pretrain(shop, run, "epochs=1") == 0
    assert (run / "config.yaml").read_bytes() == before


def test_a_refusal_leaves_no_folder(tmp_path, capsys):
    assert pretrain(write(tmp_path, ["red hat"]), tmp_path / "run") == 1
    assert "two different texts" in told(capsys)
    assert not (tmp_path / "run").exists()


def test_a_folder_with_other_things_is_left_alone(shop, finished, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    assert pretrain(shop, tmp_path / "run") == 1
    assert "holds files that are no run of tfrec" in told(capsys)
    (tmp_path / "run" / "thesis.txt").unlink()
    (tmp_path / "run" / "config.yaml").write_text("name: tiny\n")
    (tmp_path / "run" / "text_model").mkdir()
    (tmp_path / "run" / "text_model" / "thesis.txt").write_text("years of work")
    assert pretrain(shop, tmp_path / "run") == 1
    assert "text_model holds something else than a pretrained text model" in told(capsys)
    assert (tmp_path / "run" / "text_model" / "thesis.txt").read_text() == "years of work"
