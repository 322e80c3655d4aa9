"""Settings: what a pipeline file may say, how a mistake is told, and that the documentation says the same."""

import inspect
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from tfrec import config
from tfrec.config.data import Simulated, SimulatedAds
from tfrec.config.reference import page
from tfrec.config.schema import Objective
from tfrec.data.simulated.ads import CLICK, CLICKED, CONTEXT, ad_log
from tfrec.data.simulated.shop import shop

ROOT = Path(__file__).resolve().parent.parent
SHOP = "name: shop\ndata: {simulated: {users: 10}}\n"
TABLES = """\
name: tables
data:
  events:
    path: log.csv.gz
    columns: {user_id: who, item_id: what, timestamp: at}
"""


@pytest.fixture(autouse=True)
def no_data_variable(monkeypatch):
    monkeypatch.delenv("TFREC_DATA", raising=False)


def changed(*overrides: str) -> config.Pipeline:
    return config.parse(SHOP, overrides)


def message(*overrides: str, text: str = SHOP) -> str:
    with pytest.raises(ValueError) as caught:
        config.parse(text, overrides, where="p.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_defaults_are_filled_in():
    pipeline = config.parse(TABLES)
    assert pipeline.data.events.columns.user_id == "who"
    assert pipeline.data.split.kind == "leave_last"
    assert pipeline.model.behavior == ("attention",)
    assert pipeline.evaluation.cutoffs == (1, 5, 10, 20, 50)


def test_a_file_is_read_and_overridden(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(SHOP, encoding="utf-8")
    pipeline = config.load(path, ["model.dim=32", "model.behavior=[lstm, convolution]", "training.learning_rate=3e-4"])
    assert pipeline.model.dim == 32
    assert pipeline.model.behavior == ("lstm", "convolution")
    assert pipeline.training.learning_rate == 3e-4


def test_later_overrides_win_and_sections_can_be_taken_out():
    pipeline = config.parse(TABLES, ["data.events=null", "data.simulated.users=5", "data.simulated.users=6"])
    assert pipeline.data.events is None
    assert pipeline.data.simulated.users == 6


@pytest.mark.parametrize(
    ("override", "section", "field", "value"),
    [
        ("model.text=minilm", "model", "text", config.Text(source="minilm").model_dump()),
        ("training.objective=softmax", "training", "objective", Objective(name="softmax").model_dump()),
        ("model.behavior=lstm", "model", "behavior", ("lstm",)),
    ],
)
def test_short_forms(override, section, field, value):
    assert getattr(changed(override), section).model_dump()[field] == value


def test_a_short_form_can_be_overridden_inside():
    pipeline = config.parse(SHOP + "model: {text: minilm}\n", ["model.text.source=none"])
    assert pipeline.model.text.source == "none"


def test_yaml_is_read_as_people_mean_it():
    text = TABLES + "  split: {kind: time, validation_from: 2024-01-01, test_from: 80%}\n  target_events: [on, 007]\n"
    data = config.parse(text.replace("timestamp: at", "timestamp: at, event_type: no")).data
    assert (data.split.validation_from, data.split.test_from) == ("2024-01-01", "80%")
    assert data.target_events == ("on", "007")
    assert data.events.columns.event_type == "no"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.dim=abc", "p.yaml: model.dim is 'abc': must be a whole number"),
        ("model.dim=null", "model.dim is null: must be a whole number"),
        ("model.dim=1.5", "model.dim is 1.5: must be a whole number"),
        ("model.dim='64'", "model.dim is '64': must be a whole number"),
        ("model.ids=1", "model.ids is 1: must be true or false"),
        ("model.dropout=1.0", "model.dropout is 1.0: must be less than 1"),
        ("training.learning_rate=.nan", "training.learning_rate is nan: must be a finite number"),
        ("model.behavior=[gru]", "model.behavior.0 is 'gru': must be 'attention', 'lstm' or 'convolution'"),
        ("model.behavior=[]", "model.behavior is []: must not be empty"),
        ("model.behavior=[lstm, lstm]", "model: behavior names an encoder twice"),
        ("model.dim=63", "dim is 63 and attention.heads 2: heads must divide dim"),
        ("model.lstm=3", "model.lstm is 3: must be a section of settings"),
        ("name=7", "name is 7: must be text (quote it"),
        ("name=../up", "name is '../up'"),
        ("evaluation.depth=10", "evaluation: depth is 10, less than the cut-off 50"),
        ("training.monitor=loss", "training.monitor is 'loss'"),
        ("training.objective={name: sampled_softmax, negatives: 0}", "needs negatives of 1 or more"),
        ("data.split=time", "data.split: kind: time needs both validation_from and test_from"),
        ("data.split.test_from=80%", "leave_last takes no test_from"),
        ("data.split={kind: time, validation_from: [1], test_from: 2}", "is [1]: must be text (quote it"),
        ("data.events={path: x, columns: {timestamp: t}}", "data: give either events or simulated, not both"),
        ("data.simulated=null", "data: give either events or simulated"),
        ("data.simulated_ads={}", "data: give either simulated or simulated_ads, not both"),
        ("data.items={path: x}", "simulated brings its own items and users"),
        ("data=null", "data is null: must be a section of settings"),
    ],
)
def test_a_wrong_value_is_told_with_place_value_and_rule(override, told):
    assert told in message(override)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("data: {simulated: {}}\n", "name is missing"),
        ("name: x\ndata: {events: {columns: {timestamp: t}}}\n", "data.events.path is missing"),
        (TABLES.replace(", timestamp: at", ""), "name the column that orders the events, as timestamp or as position"),
        (TABLES + "  target_events: [buy]\n", "target_events needs the column events.columns.event_type"),
        (TABLES + "  candidates: items\n", "candidates: items needs an items section"),
        ("", "a pipeline is a mapping of settings, and this is null"),
        ("- a\n", "a pipeline is a mapping of settings, and this is ['a']"),
        ("name: a\nmodel: [\n", "p.yaml, line 3: not YAML"),
        ("name: a\nname: b\n", "p.yaml, line 2: not YAML: the key 'name' stands twice"),
        ("name: !!python/object:os.system x\n", "not YAML: could not determine a constructor"),
    ],
)
def test_a_wrong_file_is_told_with_the_place(text, told):
    assert told in message(text=text)


def test_several_mistakes_are_one_line():
    told = message("model.dimm=3", "training.epochs=0")
    assert "model.dimm" in told and "training.epochs is 0" in told


@pytest.mark.parametrize("override", ["model.dim", "=3", "model..dim=3"])
def test_an_override_without_key_or_value_is_told(override):
    assert f"--set is '{override}', and must be key.path=value" in message(override)


def test_an_override_below_a_value_is_told():
    assert "data.root is 'x', and holds no settings" in message("data.root=x", "data.root.y=1")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no pipeline file .*p\.yaml"):
        config.load(tmp_path / "p.yaml")
    with pytest.raises(ValueError, match="is a folder, and a pipeline is a YAML file"):
        config.load(tmp_path)
    (tmp_path / "p.yaml").write_bytes(b"name: \xff\n")
    with pytest.raises(ValueError, match=r"p\.yaml is not UTF-8 text"):
        config.load(tmp_path / "p.yaml")


def test_the_root_is_the_overrides_then_the_variables_then_the_files(monkeypatch):
    assert config.parse(TABLES).data.root == "data"
    text = TABLES + "  root: mine\n"
    assert config.parse(text).data.root == "mine"
    monkeypatch.setenv("TFREC_DATA", "/elsewhere")
    assert config.parse(text).data.path("log.csv.gz") == Path("/elsewhere/log.csv.gz")
    assert config.parse(text, ["data.root=set"]).data.root == "set"
    assert config.parse(text).data.path("/absolute.csv") == Path("/absolute.csv")


def test_settings_do_not_change():
    with pytest.raises(ValidationError):
        changed().model.dim = 3


@pytest.mark.parametrize("name", ["x", "007", "1e-3", "on", "2024-01-01", "null", "true", "鞋 👟"])
def test_what_is_dumped_is_read_back(name):
    pipeline = config.parse(TABLES + "  items: {path: i.csv, categorical: {genres: '|'}, text: title}\n")
    column = pipeline.data.events.columns.model_copy(update={"user_id": name, "event_type": name})
    events = pipeline.data.events.model_copy(update={"columns": column})
    pipeline = pipeline.model_copy(update={"data": pipeline.data.model_copy(update={"events": events})})
    assert config.parse(config.dump(pipeline)) == pipeline


def test_a_section_is_changed_by_the_same_rules():
    model = config.change(config.Model(), {"text": "minilm", "behavior": ["lstm"], "attention.blocks": 4})
    assert (model.text.source, model.behavior, model.attention.blocks) == ("minilm", ("lstm",), 4)
    with pytest.raises(ValueError, match=r"unknown key model\.behaviour; the nearest valid key is model\.behavior"):
        config.change(config.Model(), {"behaviour": "lstm"})


def test_a_stage_depends_on_its_own_settings_alone():
    first = config.parse(SHOP)
    second = config.parse(SHOP, ["model.dim=32"])
    moved = config.parse(SHOP, ["data.root=elsewhere"])
    different = [s for s in config.STAGES if config.stage_settings(first, s) != config.stage_settings(second, s)]
    assert different == ["train"]
    assert config.stage_settings(first, "prepare") == config.stage_settings(moved, "prepare")
    with pytest.raises(ValueError, match="stage is 'deploy', and must be one of prepare, train"):
        config.stage_settings(first, "deploy")


def test_where_the_tables_lie_is_no_setting_of_a_stage():
    text = TABLES + "  items: {path: i.csv}\n  users: {path: u.csv}\n"
    places = ["root", "events.path", "items.path", "users.path", "cold_items", "cold_items_validation"]
    plain = config.stage_settings(config.parse(text), "prepare")
    for place in places:
        assert config.stage_settings(config.parse(text, [f"data.{place}=moved.csv"]), "prepare") == plain
    assert config.stage_settings(config.parse(text, ["data.memory=0.5"]), "prepare") == plain  # The same data set.
    assert config.stage_settings(config.parse(text, ["data.items.item_id=sku"]), "prepare") != plain


def test_factors_that_a_ranker_does_not_have_are_no_setting_of_its_training():
    text = (
        "name: x\ndata: {events: {path: e.csv, columns: {timestamp: at}, context: [rating], "
        "labels: {click: {column: rating, at_least: 4}}}}\nranking: {}\n"
    )
    plain, other, with_factors, otherwise = (
        config.stage_settings(config.parse(text, more), "train")
        for more in (
            [], ["ranking.factors.rank=3"], ["ranking.interactions=[factors]"],
            ["ranking.interactions=[factors]", "ranking.factors.rank=3"],
        )
    )  # fmt: skip
    assert plain == other and "factors" not in plain["ranking"] and with_factors != otherwise


@pytest.mark.parametrize(("section", "made"), [(Simulated, shop), (SimulatedAds, ad_log)])
def test_what_is_simulated_has_these_settings(section, made):
    known = {name: field.default for name, field in section.model_fields.items()}
    assert known == {name: one.default for name, one in inspect.signature(made).parameters.items()}


def test_what_is_known_of_simulated_ads_is_what_they_hold():
    data = config.parse("name: ads\ndata: {simulated_ads: {}}\n").data
    assert (list(data.labels), data.labels["click"].column, data.context) == ([CLICK], CLICKED, CONTEXT)
    assert "simulated_ads" not in config.stage_settings(config.parse(SHOP), "prepare")["data"]


def test_the_documentation_is_what_the_settings_say():
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == page(), "run `make docs`"
    assert not re.search(r"\| None \|", page())


def test_the_documentation_says_what_each_path_is_relative_to():
    head, *rows = page().split("\n## ", maxsplit=1)[0], *page().splitlines()
    assert "Paths of tables are relative to `data.root`" in head
    for key in ("model.text.source", "export.base_path"):
        (row,) = (row for row in rows if row.startswith(f"| `{key}` "))
        assert f"`{key}`" in head and "relative to the working directory" in row


def test_the_pipelines_of_the_readme_are_valid():
    blocks = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL)
    assert blocks and all(config.parse(block).name for block in blocks)


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_pipelines_of_the_project_are_valid(path):
    pipeline = config.load(path)
    assert pipeline.name == path.stem
    assert path.read_text(encoding="utf-8").startswith("#"), "a header says command, time and result"
