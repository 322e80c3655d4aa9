"""Settings that a ranker of labels does not read are refused where they are changed, in one line that says which."""

import pytest

from tfrec import config
from tfrec.config.unread import OF_RECOMMENDATION

RANKER = """\
name: clicks
data:
  events: {path: e.csv, columns: {timestamp: at}, labels: {like: {column: stars, at_least: 4}}}
ranking: {}
"""
CHANGES = {
    "data.seen": "keep",
    "model.similarity": "dot",
    "model.temperature": 0.5,
    "model.new_items.neighbours": 3,
    "model.new_items.bonus": 0.5,
    "training.objective.name": "gbce",
    "training.objective.negatives": 7,
    "training.objective.calibration": 0.5,
    "training.objective.unseen": True,
    "training.row_wise": True,
    "training.monitor": "val_hr@5",
    "evaluation.cutoffs": (5, 10),
    "evaluation.depth": 60,
    "export.k_max": 20,
    "export.text_model": False,
    "export.text_weight": 2.0,
    "export.recall": 0.9,
}


@pytest.fixture(autouse=True)
def no_data_variable(monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)


def written(value):
    return str(list(value)) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value


@pytest.mark.parametrize("path", CHANGES)
def test_a_ranker_of_labels_refuses_what_it_does_not_read(path):
    change = f"{path}={written(CHANGES[path])}"
    with pytest.raises(ValueError) as caught:
        config.parse(RANKER, [change])
    told = str(caught.value)
    assert f"{path} is {CHANGES[path]}, which a ranker of labels does not read, since " in told
    assert told.endswith(": leave it out") and "\n" not in told
    config.parse(RANKER.replace("ranking: {}\n", ""), [change])  # A model that recommends does.


def test_a_run_to_start_from_is_refused_too():
    start = ["model.text.source=minilm", "model.text.start=runs/other"]
    with pytest.raises(ValueError, match="text.start is runs/other, .* since it starts from no other run: leave"):
        config.parse(RANKER, start)


def test_every_one_of_them_is_tried():
    tried = {*CHANGES, "model.text.start"}
    assert all(any(path == one or path.startswith(f"{one}.") for one in OF_RECOMMENDATION) for path in tried)
    assert all(any(path == one or path.startswith(f"{one}.") for path in tried) for one in OF_RECOMMENDATION)


def test_defaults_may_be_written_out_and_a_second_stage_reads_them():
    again = config.parse(config.dump(config.parse(RANKER)))
    assert again == config.parse(RANKER)
    shop = "name: shop\ndata: {simulated: {users: 10}}\nranking: {recall: 200}\n"
    config.parse(shop, ["training.objective=gbce", "model.similarity=dot", "evaluation.depth=60", "export.k_max=20"])


def test_a_weight_of_yes_needs_a_label_of_yes_and_no():
    ratings = RANKER.replace("at_least: 4", "range: [1, 5]")
    with pytest.raises(ValueError, match="ranking.positive_weight is balanced, for yes and no, and all labels are rat"):
        config.parse(ratings, ["ranking.positive_weight=balanced"])
    assert config.parse(RANKER, ["ranking.positive_weight=balanced"]).ranking.positive_weight == "balanced"


def test_a_frozen_text_model_has_no_decay():
    with pytest.raises(ValueError, match="learning_rate, weight_decay and share are of a text model that trains"):
        config.Text(source="minilm", weight_decay=0.1)
    assert config.Text(source="minilm", tuning="lora", weight_decay=0.1).weight_decay == 0.1
