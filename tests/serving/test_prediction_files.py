"""A ranker is told what is known of past events: of one history, and of all users of a table."""

import numpy as np
import pandas as pd
import pytest

from tests.serving.rankers import OUTPUTS
from tfrec import cli
from tfrec.serving import exported_ranker as module
from tfrec.serving import load_ranker, predict_file, prediction_files
from tfrec.serving.session import open_session

HISTORY, CANDIDATES = ["商品", "nope", "007"], ["7", "🎬", "nope", "item3"]
DEVICES, KINDS, TIMES = ["phone", "phone", "中文"], ["buy", "view", None], [1000, 2000, 90_000]


@pytest.fixture(scope="module")
def judge(exported_ranker):
    return load_ranker(exported_ranker.parent)


def told(folder, others=None, **inputs):
    """What the version says of the history and the candidates."""
    given = {
        "event_my_device": DEVICES, "event_type": [kind or "" for kind in KINDS], "timestamp": TIMES, **inputs,
    }  # fmt: skip
    request = {name: np.array([values], np.int64 if name == "timestamp" else object) for name, values in given.items()}
    request |= {"history": np.array([HISTORY], object), "candidates": np.array([CANDIDATES], object)}
    request |= {"user_country": np.array([""], object), "user_text": np.zeros((1, 5), np.float32)}
    request["user_words"] = np.zeros((1, 1, 6), np.float32)
    request |= {"context_my_device": np.full((1, len(CANDIDATES)), "", object)}
    with open_session(folder) as bundle:
        answer = bundle.run("predict_full", request | (others or {}))
    return pd.DataFrame({label: answer[output][0] for label, output in OUTPUTS.items()}, CANDIDATES)


def predicted(table):
    rows = table.set_index("item_id").loc[CANDIDATES]
    return rows[[f"predicted_{label}" for label in OUTPUTS]].to_numpy()


def test_what_is_known_of_the_events_is_sent_beside_the_ids(judge, exported_ranker):
    events = {"my device": DEVICES, "event_type": KINDS, "timestamp": TIMES}
    table = judge.predict(HISTORY, CANDIDATES, events=events)
    np.testing.assert_allclose(predicted(table), told(exported_ranker), atol=1e-6)
    assert table.predicted_click.is_monotonic_decreasing
    plain = judge.predict(HISTORY, CANDIDATES)
    assert np.abs(predicted(plain) - predicted(table)).max() > 1e-3
    missing = judge.predict(HISTORY, CANDIDATES, events={"my device": [None, "", "unheard of"]})
    np.testing.assert_allclose(predicted(missing), predicted(plain), atol=1e-6)
    dates = judge.predict(HISTORY, CANDIDATES, events={**events, "timestamp": pd.to_datetime(TIMES, unit="s")})
    np.testing.assert_allclose(predicted(dates), predicted(table), atol=1e-6)


@pytest.mark.parametrize("shown", ["phone", ["phone", "", "中文", None]])
def test_what_is_known_of_the_user_and_of_where_candidates_are_shown_is_sent_too(judge, exported_ranker, shown):
    events = {"my device": DEVICES, "event_type": KINDS, "timestamp": TIMES}
    table = judge.predict(HISTORY, CANDIDATES, events=events, user={"country": "US"}, context={"my device": shown})
    each = [shown] * len(CANDIDATES) if isinstance(shown, str) else [value or "" for value in shown]
    others = {"user_country": np.array(["US"], object), "context_my_device": np.array([each], object)}
    np.testing.assert_allclose(predicted(table), told(exported_ranker, others), atol=1e-6)
    for part in ({"user": {"country": "US"}}, {"context": {"my device": shown}}):
        alone = judge.predict(HISTORY, CANDIDATES, **part)
        assert np.abs(predicted(alone) - predicted(judge.predict(HISTORY, CANDIDATES))).max() > 1e-4


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"user": {"my device": "phone"}}, "names 'my device', which the model does not read of users; it reads"),
        ({"context": {"slot": "first"}}, "`context` names 'slot', which the model does not read of candidates"),
        ({"context": {"my device": ["phone"]}}, "`context`: 'my device' must have a value for each of 4 candidates"),
    ],
)  # fmt: skip
def test_what_is_not_read_of_users_and_candidates_is_refused(judge, given, words):
    with pytest.raises(ValueError, match=words):
        judge.predict(HISTORY, CANDIDATES, **given)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        (
            {"rating": [1, 2, 3]},
            "`events` names 'rating', which the model does not read of events; it reads: '",
        ),
        ({"country": ["NA"] * 3}, "`events` names 'country', which the model does not read of events"),
        ({"my device": ["phone"]}, "`events`: 'my device' must have a value for each of 3 events; received 1."),
        ({"my device": "abc"}, "`events`: 'my device' must have a value for each of 3 events; received 'abc'."),
        ({"timestamp": ["soon", "x", "y"]}, "'timestamp'"),
    ],
)
def test_columns_that_do_not_fit_are_refused(judge, events, words):
    with pytest.raises(ValueError, match=words) as caught:
        judge.predict(HISTORY, CANDIDATES, events=events)
    assert "\n" not in str(caught.value)


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    """Three users: the history above, one event, and an unknown item alone."""
    rows = [("b", *row) for row in zip(HISTORY, DEVICES, KINDS, TIMES, strict=True)]
    rows += [("a", "7", "phone", "buy", 5), ("c", "nope", "中文", "buy", 7)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "my device", "event_type", "timestamp"])
    path = tmp_path_factory.mktemp("log") / "events.parquet"
    frame.assign(country="US", other=1).to_parquet(path)
    return path


@pytest.mark.parametrize("pairs", [1, 2**21])
def test_every_user_of_a_table_gets_what_one_gets(judge, exported_ranker, log, tmp_path, monkeypatch, pairs):
    monkeypatch.setattr(module, "PAIRS_A_REQUEST", pairs)
    monkeypatch.setattr(prediction_files, "PAIRS_A_CHUNK", pairs)
    monkeypatch.setattr(module, "A_REQUEST", 3)
    table = pd.read_parquet(predict_file(judge, log, tmp_path / "o.parquet", CANDIDATES))
    assert table.columns.tolist() == ["user_id", "item_id", "rank", *(f"predicted_{label}" for label in OUTPUTS)]
    assert table.user_id.tolist() == [user for user in "abc" for _ in CANDIDATES]
    assert table["rank"].tolist() == [1, 2, 3, 4] * 3
    assert all(each.predicted_click.is_monotonic_decreasing for _, each in table.groupby("user_id"))
    expected = told(exported_ranker, user_country="")
    ours = predicted(table[table.user_id == "b"])
    assert np.abs(ours - expected.to_numpy()).max() > 1e-4  # The table says a country, too.
    without = pd.read_parquet(log).drop(columns="country")
    table = pd.read_parquet(predict_file(judge, without, tmp_path / "o.parquet", CANDIDATES, 2))
    assert len(table) == 6
    best = expected["click"].nlargest(2)
    np.testing.assert_allclose(table[table.user_id == "b"].predicted_click, best, atol=1e-6)


def test_the_command_writes_a_file(exported_ranker, log, tmp_path, capsys):
    words = ["recommend", str(exported_ranker), "--events", str(log), "--output", str(tmp_path / "o.parquet")]
    assert cli.main([*words, "--candidates", "7, 🎬"]) == 0
    assert len(pd.read_parquet(tmp_path / "o.parquet")) == 6
    assert cli.main(words) == 0
    assert len(pd.read_parquet(tmp_path / "o.parquet")) == 30  # The best ten of the catalogue for each.
    assert not [path for path in tmp_path.iterdir() if path.name != "o.parquet"]


def test_a_model_that_recommends_judges_no_candidates_of_a_table(exported, log, tmp_path, capsys):
    words = ["--events", str(log), "--output", str(tmp_path / "o.parquet"), "--candidates", "7"]
    assert cli.main(["recommend", str(exported), *words]) == 1
    assert "is a model that recommends, and judges no candidates" in capsys.readouterr().err
