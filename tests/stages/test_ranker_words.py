"""A pipeline whose ranker reads the words of users' and items' texts, from tables to an exported version."""

import numpy as np
import pandas as pd
import pytest

from tests import tiny_presets
from tests.stages.test_ranker import refused, write
from tfrec import build, config, stages
from tfrec.features import CANDIDATES, HISTORY, USER_TEXT, USER_WORDS
from tfrec.serving import manifest
from tfrec.serving.session import open_session
from tfrec.stages.ledger import Run
from tfrec.stages.prepare import open_dataset
from tfrec.stages.train import open_batches, open_ranker

USERS = "data.users={path: users.csv, user_id: who, text: [bio]}"
READS = ("ranking.interactions=[target_attention, word_attention, mlp]", "ranking.words=4", USERS)


def shop(folder):
    """The tables of a ranker, and users of whom every third says something; the pipeline's file."""
    path = write(folder)
    who = [f"{user:03d}" for user in range(60)]
    bios = [f"thing {user % 4}" if user % 3 else "" for user in range(60)]
    pd.DataFrame({"who": who, "bio": bios}).to_csv(folder / "users.csv", index=False)
    return path


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("words")
    preset = tiny_presets.write(folder / "bert")
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("TFREC_DATA", raising=False)
        patch.setenv("TFREC_CACHE", str(folder / "cache"))
        changes = (*READS, f"model.text={{source: {preset}, max_tokens: 16}}", "training.epochs=1")
        pipeline = config.load(shop(folder / "shop"), changes)
        for stage in ("prepare", "train", "export"):
            out = stages.run(pipeline, folder / "run", only=stage)
        yield Run(pipeline, out)


@pytest.mark.slow
@pytest.mark.long
def test_an_exported_version_takes_the_words_of_a_text_and_says_what_the_model_does(run):
    folder = run.out / "export" / "1"
    told = manifest.read(folder)["signatures"]["predict_full"]["inputs"]
    assert told["user_words"] == {"dtype": "float32", "shape": [-1, -1, 8]}
    encoder, model, ids = build.text_encoder(run.pipeline.model.text), open_ranker(run), open_dataset(run).items.item_id
    texts, past, judged = ["thing 2", ""], [["001"], ["002"]], [["004", "005", "nothing"]] * 2
    words, vectors = encoder.words(texts, 4).astype("float32"), encoder.embed(texts)
    inputs = {"history": np.array(past, object), "candidates": np.array(judged, object)}
    inputs |= {USER_WORDS: words, USER_TEXT: vectors, "timestamp": np.zeros((2, 1), np.int64)}
    for name in set(told) - set(inputs):
        inputs[name] = np.full((2, 1), "", object)
    rows = {name: [[*map(lambda one: max(0, ids.tolist().index(one)) if one in set(ids) else 0, row)] for row in asked]
            for name, asked in ((HISTORY, past), (CANDIDATES, judged))}  # fmt: skip
    features = {name: np.array(each, np.int32) for name, each in rows.items()}
    expected = model.predictions({**features, USER_WORDS: words, USER_TEXT: vectors})
    with open_session(folder) as bundle:
        answer = bundle.run("predict_full", inputs)
        np.testing.assert_allclose(answer["like"], expected["like"], atol=1e-5)
        unsaid = bundle.run("predict_full", {**inputs, USER_WORDS: np.zeros_like(words)})["like"]
    assert (np.abs(answer["like"] - unsaid) > 1e-7)[0, 0] and not np.abs(answer["like"] - unsaid)[1].max() > 1e-6


@pytest.mark.slow
@pytest.mark.long
def test_batches_are_read_again_as_the_training_read_them(run):
    data = open_batches(run)
    [spec] = [build.ranking_data(data, run.pipeline.ranking).judged("test")[0].element_spec[USER_WORDS]]
    assert spec.shape.as_list() == [None, 4, 8]
    assert {path.name for path in (run.out.parent / "cache" / "text").rglob("words_4")} == {"words_4"}


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        ((USERS,), "model.text is none: name a text model, such as minilm"),
        (("model.text=minilm",), "data.users.text names no column: name a profile or a query"),
        ((USERS, "model.text=minilm", "data.items.text=[]"), "data.items.text names no column"),
        ((USERS, "model.text=minilm", "model.user_text=false"), "model.user_text is false: leave one of them out"),
        (
            (USERS, "model.text=minilm", "ranking.words=65"),
            "ranking.words is 65, and of a text model.text.max_tokens, 64",
        ),
        ((USERS, "ranking.words=0"), "ranking.words"),
        ((USERS, "model.text=minilm", "ranking.heads=3"), "model.dim is 8 and ranking.heads 3: heads must divide dim"),
        (("ranking.interactions=[word_attention]",), "interactions needs mlp or cross beside word_attention"),
    ],
)
def test_what_has_no_words_is_refused_in_one_line(overrides, words, tmp_path, capsys):
    shop(tmp_path / "shop")
    assert words in refused(tmp_path / "shop", capsys, "ranking.interactions=[word_attention, mlp]", *overrides)


def test_a_second_stage_reads_no_words(tmp_path, capsys):
    changes = ("data.events.labels={}", "ranking={recall: 10, interactions: [word_attention, mlp]}", USERS)
    line = refused(tmp_path / "shop", capsys, *changes)
    assert "ranking.interactions names word_attention, which is of labels, and ranking.recall is set" in line
    line = refused(tmp_path / "shop", capsys, "data.events.labels={}", "ranking={recall: 10, words: 4}")
    assert "words is of labels, and with recall the next item is predicted" in line


def test_the_keys_of_runs_without_words_stay_what_they_were(tmp_path):
    def settings(*changes):
        return config.stage_settings(config.load(shop(tmp_path / "shop"), changes), "train")["ranking"]

    assert "words" not in settings("ranking.words=4") and settings("ranking.words=4") == settings()
    reads = (*READS, "model.text=minilm")
    assert settings(*reads)["words"] == 4 and settings(*reads) != settings(*reads, "ranking.words=5")
    two = config.load(shop(tmp_path / "two"), ["data.events.labels={}", "ranking={recall: 10}"])
    assert "words" not in config.stage_settings(two, "rank")["ranking"]
