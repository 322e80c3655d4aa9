import os
import shutil

import numpy as np
import pandas as pd
import pytest

from tests.serving import words
from tests.serving.conftest import IDS, K_MAX, NOT_CANDIDATES, make_data, make_model
from tfrec.serving import answers
from tfrec.serving.answers import load, recommend_file
from tfrec.serving.exporter import export
from tfrec.serving.publisher import publish
from tfrec.serving.session import open_session
from tfrec.serving.text_exporter import export_text

EVENTS = pd.DataFrame(
    {
        "user_id": ["u2", "u1", "u1", "u3", "u2", "u1"],
        "item_id": ["7", "007", "🎬", "nowhere", "商品", "item1"],
        "timestamp": [50, 30, 10, 5, 60, 20],
    }
)


def direct(folder, history, **inputs):
    signature = "recommend_full" if inputs else "serving_default"
    with open_session(folder) as bundle:
        answer = bundle.run(signature, {"history": np.array([history], object), **inputs})
    return [item.decode() for item in answer["item_ids"][0]], answer["scores"][0]


def test_recommendations_have_titles_and_ranks(loaded, exported):
    table = loaded.recommend([["007", "商品"], []], k=3)
    assert list(table.columns) == ["row", "rank", "item_id", "title", "score"]
    assert table.row.tolist() == [0, 0, 0, 1, 1, 1]
    assert table["rank"].tolist() == [1, 2, 3] * 2
    for row, history in enumerate((["007", "商品"], [""])):
        ids, scores = direct(exported, history)
        part = table[table.row == row]
        assert part.item_id.tolist() == ids[:3]
        np.testing.assert_allclose(part.score, scores[:3], atol=1e-5)
    assert (table.title == "Title of " + table.item_id).all()


def test_many_histories_come_back_in_their_order(loaded, monkeypatch):
    rng = np.random.default_rng(0)
    histories = [list(rng.choice(IDS, rng.integers(0, 9))) for _ in range(40)]
    expected = pd.concat([loaded.recommend([history], K_MAX).assign(row=row) for row, history in enumerate(histories)])
    monkeypatch.setattr(answers, "CELLS_A_BATCH", 16)
    table = loaded.recommend(histories, K_MAX)
    assert table.item_id.tolist() == expected.item_id.tolist()
    np.testing.assert_allclose(table.score, expected.score, atol=1e-5)


def test_unknown_ids_are_named(loaded, caplog):
    loaded.recommend([["007", "who?"], ["", "whom?", "who?"]], k=1)
    assert "2 item ids that the model does not know: who?, whom?" in caplog.text


def test_known_ids_are_not_remarked_on(loaded, caplog):
    loaded.recommend([["007", ""], []], k=1)
    assert caplog.text == ""


def test_an_exhausted_catalogue_gives_fewer(loaded):
    left = [item for row, item in enumerate(IDS, 1) if row not in NOT_CANDIDATES][-2:]
    table = loaded.recommend([[item for item in IDS if item not in left]], k=5)
    assert sorted(table.item_id) == sorted(left)


def test_no_history_at_all_is_an_empty_table(loaded):
    assert len(loaded.recommend([], k=3)) == 0


def test_a_small_catalogue_is_no_error(data, tmp_path):
    small = load(export(make_model(rich=False), data, tmp_path, k_max=50))
    assert len(small.recommend([[]], k=50)) == len(IDS) - len(NOT_CANDIDATES)
    with pytest.raises(ValueError, match="from 1 to 50"):
        small.recommend([[]], k=51)


@pytest.mark.parametrize("k", [0, K_MAX + 1, 2.0, True])
def test_k_is_held_to_k_max(loaded, k):
    with pytest.raises(ValueError, match=f"`k` must be from 1 to {K_MAX}, the k_max"):
        loaded.recommend([["007"]], k)


@pytest.mark.parametrize("histories", ["007", ["007", "7"]])
def test_a_bare_history_is_refused(loaded, histories):
    with pytest.raises(ValueError, match="a list of lists"):
        loaded.recommend(histories, k=3)


def test_the_stable_version_is_loaded_else_the_newest(exported, tmp_path):
    publish(exported, tmp_path, "shop")
    shutil.copytree(exported, tmp_path / "shop" / "2")
    assert load(tmp_path / "shop").version == 1
    assert load(tmp_path / "shop" / "2").version == 2
    os.rename(tmp_path / "models.config", tmp_path / "shop" / "models.config")
    assert load(tmp_path / "shop").version == 1
    (tmp_path / "shop" / "models.config").unlink()
    assert load(str(tmp_path / "shop")).version == 2


def test_an_unpublished_version_is_read_by_its_own_name_alone(exported, tmp_path):
    publish(exported, tmp_path, "shop")
    shutil.copytree(exported, tmp_path / "other" / "1")
    shutil.copytree(exported, tmp_path / "shop" / "2")
    shutil.rmtree(tmp_path / "shop" / "1")
    for name, there in (("other", "1"), ("shop", "2")):
        with pytest.raises(ValueError, match=rf"{name} has no version that is stable \(there is {there}\)"):
            load(tmp_path / name)
        assert load(tmp_path / name / there).version == int(there)


def test_a_relative_folder_finds_its_labels(exported, tmp_path, monkeypatch):
    publish(exported, tmp_path, "shop")
    shutil.copytree(exported, tmp_path / "shop" / "2")
    monkeypatch.chdir(tmp_path / "shop")
    assert load(".").version == 1


def test_a_folder_that_is_no_model_is_one_line(tmp_path):
    with pytest.raises(ValueError, match="is not a SavedModel") as error:
        load(tmp_path)
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="There is no model"):
        load(tmp_path / "nowhere")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="is not a SavedModel"):
        load(tmp_path / "file")


@pytest.mark.parametrize("damage", ["saved_model.pb", "assets.extra/items.parquet"])
def test_a_damaged_model_is_one_line(copied, damage):
    (copied / damage).write_bytes(b"nonsense")
    with pytest.raises(ValueError, match="cannot be loaded") as error:
        load(copied)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_a_file_of_events_gets_answers_for_every_user(exported, loaded, tmp_path, suffix, caplog):
    path = tmp_path / f"events{suffix}"
    plain = EVENTS.rename(columns={"timestamp": "position"})
    plain.to_parquet(path) if suffix == ".parquet" else plain.to_csv(path, index=False)
    output = recommend_file(exported, path, tmp_path / "new" / "recs.parquet", k=4)
    table = pd.read_parquet(output)
    assert list(table.columns) == ["user_id", "item_id", "rank", "score"]
    assert table.user_id.tolist() == [user for user in ("u1", "u2", "u3") for _ in range(4)]
    assert table["rank"].tolist() == [1, 2, 3, 4] * 3
    for user, history in {"u1": ["🎬", "item1", "007"], "u2": ["7", "商品"], "u3": [""]}.items():
        ids, scores = direct(exported, history)
        assert table[table.user_id == user].item_id.tolist() == ids[:4]
        np.testing.assert_allclose(table[table.user_id == user].score, scores[:4], atol=1e-5)
    assert "nowhere" in caplog.text
    assert os.listdir(tmp_path / "new") == ["recs.parquet"]


def test_what_the_table_knows_of_events_and_users_is_sent(exported, loaded, tmp_path):
    events = EVENTS.assign(
        **{
            "event_type": ["buy", "view", "view", "buy", "buy", "buy"],
            "country": ["US", "NA", "US", "US", "NA", "US"],
        }
    )
    table = pd.read_parquet(recommend_file(loaded, events, tmp_path / "recs.parquet", k=4))
    inputs = {
        "event_type": np.array([["view", "buy", "view"]], object),
        "event_my_device": np.array([["", "", ""]], object),
        "timestamp": np.array([[10, 20, 30]]),
        "user_country": np.array(["NA"], object),
    }
    ids, scores = direct(exported, ["🎬", "item1", "007"], **inputs)
    assert table[table.user_id == "u1"].item_id.tolist() == ids[:4]
    np.testing.assert_allclose(table[table.user_id == "u1"].score, scores[:4], atol=1e-5)


def test_chunks_make_one_table(loaded, tmp_path, monkeypatch):
    whole = pd.read_parquet(recommend_file(loaded, EVENTS, tmp_path / "whole.parquet", k=4))
    monkeypatch.setattr(answers, "USERS_A_CHUNK", 2)
    parts = pd.read_parquet(recommend_file(loaded, EVENTS, tmp_path / "parts.parquet", k=4))
    pd.testing.assert_frame_equal(parts, whole, atol=1e-5)


def test_a_failure_leaves_the_old_file(loaded, tmp_path, monkeypatch):
    output = tmp_path / "recs.parquet"
    recommend_file(loaded, EVENTS, output, k=4)
    before = output.read_bytes()

    def fail(*args):
        raise RuntimeError("power cut")

    monkeypatch.setattr(loaded, "answer", fail)
    with pytest.raises(RuntimeError):
        recommend_file(loaded, EVENTS, output, k=2)
    assert output.read_bytes() == before
    assert os.listdir(tmp_path) == ["recs.parquet"]


@pytest.mark.parametrize(
    ("events", "output", "k", "message"),
    [
        (EVENTS, "recs.csv", 4, "`output` must name a .parquet file"),
        (EVENTS, "recs.parquet", K_MAX + 1, "k_max"),
        (EVENTS.drop(columns="item_id"), "recs.parquet", 4, "item_id"),
        (EVENTS.drop(columns="timestamp"), "recs.parquet", 4, "timestamp"),
        (EVENTS[:0], "recs.parquet", 4, "empty"),
    ],
)
def test_what_cannot_be_answered_is_refused(loaded, tmp_path, events, output, k, message):
    with pytest.raises(ValueError, match=message):
        recommend_file(loaded, events, tmp_path / output, k=k)
    assert os.listdir(tmp_path) == []


def test_a_missing_file_of_events_is_named(loaded, tmp_path):
    with pytest.raises(FileNotFoundError, match="events.csv"):
        recommend_file(loaded, tmp_path / "events.csv", tmp_path / "recs.parquet", k=3)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A model whose text model lies beside it, as a run and as `publish` leave them."""
    text, folder = words.bert(), tmp_path_factory.mktemp("told")
    model = words.two_tower(text)
    plain = export(model, make_data(), folder / "export", k_max=K_MAX)
    export_text(model, make_data(), words.encoder(text), folder / "export_text", k_max=K_MAX, version=1)
    return load(plain)


def test_texts_are_answered_by_the_text_model_of_the_same_version(told):
    table = told.recommend([["007"], ["007"], []], 3, texts=["nail polish", "", "nail polish"])
    assert table.row.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert (table.title == "Title of " + table.item_id).all()
    alone = told.recommend([["007"]], 3)
    pd.testing.assert_series_equal(table.item_id[3:6].reset_index(drop=True), alone.item_id)
    np.testing.assert_allclose(table.score[3:6], alone.score, atol=1e-5)
    assert table.score[:3].tolist() != table.score[3:6].tolist() != table.score[6:].tolist()
    assert told.text_model.version == told.version == 1


def test_a_text_model_answers_by_itself(told):
    text_model = load(told.folder.parent.with_name("export_text"))
    assert text_model.reads_text and text_model.text_model is text_model
    pd.testing.assert_frame_equal(text_model.recommend([["007"]], 3), told.recommend([["007"]], 3, texts=[""]))


@pytest.mark.parametrize("text", ["\udcff\ud800", "a" * 100_000, "👟", "跑步鞋", "\x00"])
def test_any_text_is_answered(told, text):
    assert len(told.recommend([[]], 3, texts=[text])) == 3


def test_a_model_without_a_text_model_says_so(loaded):
    with pytest.raises(ValueError, match=r"takes no text: its text model, .*_text/1, is not there\. Export a pipeline"):
        loaded.recommend([[]], 3, texts=["nail"])


@pytest.mark.parametrize("texts", ["nail", ["nail"], []])
def test_each_history_needs_a_text(told, texts):
    with pytest.raises(ValueError, match="`texts` must be a list of 2 texts, one for each history"):
        told.recommend([["007"], []], 3, texts=texts)


def test_a_whole_file_is_answered_by_a_text_model_as_by_its_model(told, tmp_path):
    text_model = told.text_model
    for model, name in ((told, "a.parquet"), (text_model, "b.parquet")):
        recommend_file(model, EVENTS, tmp_path / name, k=3)
    first, second = (pd.read_parquet(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert first.item_id.tolist() == second.item_id.tolist()
