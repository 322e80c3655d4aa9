"""The space of a search: what it may say, and that each end of it is a setting before anything is trained."""

import pytest

from tfrec import config

PIPELINE = "name: shop\ndata: {simulated: {users: 10}}\nmodel: {dim: 16}\n"
SPACE = """\
trials: 7
space:
  model.dim: [32, 64]
  model.behavior: [[attention], [attention, lstm]]
  model.dropout: {low: 0.0, high: 0.5, step: 0.1}
  training.learning_rate: {low: 0.0005, high: 0.01, log: true}
  training.epochs: {low: 2, high: 10, step: 4}
"""


def loaded(folder, space=SPACE, *overrides):
    for name, text in (("p.yaml", PIPELINE), ("s.yaml", space)):
        (folder / name).write_text(text, encoding="utf-8")
    return config.load_search(folder / "s.yaml", folder / "p.yaml", list(overrides))


def test_a_trial_is_the_pipeline_with_what_was_drawn(tmp_path):
    plan = loaded(tmp_path, SPACE, "seed=5")
    assert (plan.space.trials, plan.space.prune, plan.pipeline.seed) == (7, True, 5)
    assert [plan.space.space[key].whole for key in ("model.dropout", "training.epochs")] == [False, True]
    trial = plan.trial({"model.dim": 64, "model.behavior": ["attention", "lstm"], "training.learning_rate": 1.25e-05})
    assert (trial.seed, trial.model.dim, trial.model.behavior) == (5, 64, ("attention", "lstm"))
    assert trial.training.learning_rate == 1.25e-05


@pytest.mark.parametrize(
    ("space", "words"),
    [
        ("space: {model.dim: [32, 64", "not YAML"),
        ("[1]", "a space is a mapping with `space`"),
        ("space: {}", "space"),
        ("space: {model.dim: [32]}", "space.model.dim is [32]: must be a list of two different values or more"),
        ("space: {model.dim: [32, 32]}", "must be a list of two different values or more"),
        ("space: {model.dims: [32, 64]}", "unknown key model.dims; the nearest valid key is model.dim"),
        ("space: {model.dim: [32, many]}", "space.model.dim: model.dim is 'many': must be a whole number"),
        ("space: {model.dropout: {low: 0.1, high: 1.5}}", "space.model.dropout: model.dropout is 1.5"),
        ("space: {model.dropout: {low: 0.5, high: 0.1}}", "low must be less than high; got 0.5 and 0.1"),
        ("space: {model.dropout: {low: 0, high: .inf}}", "space.model.dropout: high is inf: must be a finite number"),
        (
            "space: {model.dropout: {low: 0, hihg: 1}}",
            "unknown key hihg; the nearest valid key is high",
        ),
        ("space: {model.dropout: 0.5}", "space.model.dropout is 0.5: must be a list"),
        ("space: {model.dropout: {low: 0.0, high: 0.5, log: true}}", "log needs a low above 0; got 0.0"),
        ("space: {training.epochs: {low: 1, high: 5, step: 0.5}}", "step must be whole where low and high are"),
        ("space: {training.epochs: {low: 1, high: 5, log: true, step: 2}}", "give log or step, not both"),
        ("space: {data.max_length: [10, 20]}", "space.data.max_length: a search may change model, training, ranking"),
        ("space: {seed: [1, 2]}", "space.seed: a search may change model, training, ranking"),
        ("trials: 0\nspace: {model.dim: [32, 64]}", "trials is 0"),
        ("tries: 3\nspace: {model.dim: [32, 64]}", "unknown key tries; the nearest valid key is trials"),
    ],
)
def test_what_is_no_space_is_one_line_that_names_it(space, words, tmp_path):
    with pytest.raises(ValueError) as told:
        loaded(tmp_path, space)
    assert words in str(told.value) and "\n" not in str(told.value)
    assert str(tmp_path / "s.yaml") in str(told.value)


def of_two_stages(folder, space):
    (folder / "p.yaml").write_text(TWO_STAGES)
    (folder / "s.yaml").write_text(f"space: {space}\n")
    return config.load_search(folder / "s.yaml", folder / "p.yaml", [])


@pytest.mark.parametrize(
    "space",
    ["ranking.learning.events: [held_out, training]", "ranking.learning.share: [0.5, 0.8]", "ranking.rank: [5, 10]",
     "ranking.diversity.trade_off: [0.1, 0.2]"],
)  # fmt: skip
def test_what_changes_the_measure_of_a_second_stage_or_no_training_is_not_searched(space, tmp_path):
    with pytest.raises(ValueError, match=f"space.{space.partition(':')[0]}: it says which events the second stage is"):
        of_two_stages(tmp_path, "{" + space + "}")


TWO_STAGES = "name: p\ndata: {simulated: {users: 10}}\nranking: {recall: 20}\n"
LABELLED = """\
name: p
data:
  events:
    path: e.csv
    columns: {user_id: who, item_id: what, timestamp: at}
    labels: {like: {column: stars, at_least: 4}, stars: {column: stars, range: [1, 5]}}
ranking: {}
"""


@pytest.mark.parametrize(
    ("pipeline", "space"),
    [
        (LABELLED, "ranking.labels: [[like], [like, stars]]"),
        (LABELLED, "ranking.labels: [[like, stars], [stars, like]]"),
        (LABELLED, "ranking.monitor: [log_loss, auc]"),
        (LABELLED, "ranking: [{heads: 4}, {monitor: auc}]"),
        (LABELLED, "ranking: [{heads: 4}, null]"),
        (TWO_STAGES, "ranking.learning: [{share: 0.5}, {share: 0.8}]"),
        (TWO_STAGES, "ranking: [{recall: 20}, {recall: 20, learning: {events: training}}]"),
        (TWO_STAGES, "ranking: [{recall: 20}, null]"),
        (PIPELINE, "ranking: [{recall: 50}, {recall: 100}]"),
        (PIPELINE, "training.monitor: [val_ndcg@10, val_hr@10]"),
        (PIPELINE, "training: [{epochs: 3}, {epochs: 3, monitor: val_hr@10}]"),
    ],
)
def test_what_changes_the_figure_that_trials_go_by_is_not_searched(pipeline, space, tmp_path):
    (tmp_path / "p.yaml").write_text(pipeline)
    (tmp_path / "s.yaml").write_text("space: {" + space + "}\n")
    with pytest.raises(ValueError, match=f"space.{space.partition(':')[0]}: it changes the validation figure") as told:
        config.load_search(tmp_path / "s.yaml", tmp_path / "p.yaml", [])
    assert "\n" not in str(told.value)


def test_other_settings_of_what_trials_go_by_are_searched(tmp_path):
    (tmp_path / "p.yaml").write_text(LABELLED)
    (tmp_path / "s.yaml").write_text("space: {ranking.heads: [2, 4], ranking: [{heads: 4}, {heads: 8}]}\n")
    assert config.load_search(tmp_path / "s.yaml", tmp_path / "p.yaml", []).last == "train"


def test_trials_end_with_the_stage_that_is_searched(tmp_path):
    assert of_two_stages(tmp_path, "{ranking.negatives.count: [10, 20]}").last == "rank"
    assert of_two_stages(tmp_path, "{model.dim: [16, 32]}").last == "train"
    assert loaded(tmp_path).last == "train"


def test_a_missing_file_is_named(tmp_path):
    loaded(tmp_path)
    with pytest.raises(FileNotFoundError, match="no space file"):
        config.load_search(tmp_path / "none.yaml", tmp_path / "p.yaml", [])
