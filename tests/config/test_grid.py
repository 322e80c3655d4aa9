"""Grid files: what becomes of them, and that what no comparison can mean is refused in one line that names it."""

import re

import pytest

from tfrec import config

PIPELINE = """\
name: shop
seed: 5
data: {simulated: {users: 10}, split: leave_last}
model: {dim: 16, text: {source: minilm}, attention: {blocks: 3, heads: 4}}
"""
VARIANTS = """\
seeds: [1, 2]
variants:
  ids: {model.text: none}
  nested: {model: {text: none, attention: {blocks: 1}, behavior: [lstm, attention]}}
  as_is:
"""


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Reads a grid's text, with the pipeline above."""
    monkeypatch.delenv("TFREC_DATA", raising=False)
    (tmp_path / "shop.yaml").write_text(PIPELINE, encoding="utf-8")

    def load(text, *overrides):
        (tmp_path / "grid.yaml").write_text(text, encoding="utf-8")
        return config.load_plan(tmp_path / "grid.yaml", tmp_path / "shop.yaml", overrides)

    return load


@pytest.fixture
def refusal(plan):
    """The message of a refusal, on one line, without the folder."""

    def message(text, *overrides):
        with pytest.raises(ValueError) as error:
            plan(text, *overrides)
        assert "\n" not in str(error.value)
        return re.sub(r"\S*/grid\.yaml", "grid.yaml", str(error.value))

    return message


def test_variants_are_changes_of_the_pipeline(plan):
    made = plan(VARIANTS)
    assert (made.seeds, made.reference, made.pipeline.seed) == ((1, 2), "ids", 5)
    ids, nested, as_is = made.variants
    assert (ids.name, dict(ids.changes), ids.pipeline.model.text.source) == ("ids", {"model.text": "none"}, "none")
    assert (nested.pipeline.model.attention.blocks, nested.pipeline.model.attention.heads) == (1, 4)
    assert nested.pipeline.model.behavior == ("lstm", "attention")
    assert as_is.pipeline == made.pipeline.model_copy(update={"seed": 1})


def test_the_seed_is_the_pipelines_where_none_is_given(plan):
    assert plan("variants: {a: {}}").seeds == (5,)
    assert plan("variants: {a: {}}", "seed=9").seeds == (9,)


def test_a_grid_is_every_combination_beside_the_variants(plan):
    made = plan(
        "variants: {wide: {model.dim: 32}}\ngrid: {model: {text: [none, minilm]}, model.behavior: [lstm, attention]}"
    )
    assert [variant.name for variant in made.variants] == [
        "wide", "text_none-behavior_lstm", "text_none-behavior_attention", "text_minilm-behavior_lstm",
        "text_minilm-behavior_attention",
    ]  # fmt: skip
    assert made.variants[2].pipeline.model.text.source == "none"
    assert made.variants[3].pipeline.model.behavior == ("lstm",)


def test_names_of_combinations_suit_folders(plan):
    made = plan(
        "grid: {model.text: [/some/where/my preset, {source: minilm, tuning: frozen}], training.patience: [null],"
        " training.jit: [true], model.behavior: [[lstm, attention]], training.learning_rate: [1e-3]}"
    )
    rest = "patience_null-jit_true-behavior_lstm_attention-learning_rate_0.001"
    assert made.variants[0].name == f"text_my_preset-{rest}"
    assert sorted(made.variants[1].name.split("-")) == sorted(f"source_minilm-tuning_frozen-{rest}".split("-"))
    assert made.variants[0].pipeline.model.text.source == "/some/where/my preset"


def test_a_section_comes_before_its_parts(plan):
    variant = plan("variants: {a: {model.text.tuning: frozen, model.text: none}}").variants[0]
    assert list(variant.changes) == ["model.text", "model.text.tuning"]


def test_a_variant_goes_before_the_overrides_and_they_before_the_file(plan):
    made = plan("variants: {a: {model.dim: 32}, b: {model.text: none}}", "model.dim=64")
    assert [variant.pipeline.model.dim for variant in made.variants] == [32, 64]


@pytest.mark.parametrize(
    "source", ["none", "007", "null", "1e-3", "true", "a: b # c", "two  words", "a=b", "跑步 👟", "x" * 300]
)
def test_values_reach_the_settings_as_they_are(plan, source):
    quoted = source.replace("'", "''")
    made = plan(f"variants: {{a: {{model.text: '{quoted}'}}, b: {{model: {{text: {{source: 'b{quoted}'}}}}}}}}")
    assert [variant.pipeline.model.text.source for variant in made.variants] == [source, f"b{source}"]


def test_a_mapping_that_is_no_section_is_a_value(tmp_path, plan):
    tables = (
        "name: t\ndata: {events: {path: e.csv, columns: {timestamp: at}}, items: {path: i.csv, categorical: [a]}}\n"
    )
    (tmp_path / "shop.yaml").write_text(tables, encoding="utf-8")
    made = plan("variants: {a: {data.items: {categorical: {genre: '|'}}}, b: {data.items.categorical: {kind: null}}}")
    assert [variant.pipeline.data.items.categorical for variant in made.variants] == [{"genre": "|"}, {"kind": None}]
    assert made.variants[0].pipeline.data.items.path == "i.csv"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "grid.yaml: a grid is a mapping with `variants` or `grid`, and this is null"),
        ("- a", "grid.yaml: a grid is a mapping with `variants` or `grid`, and this is ['a']"),
        ("{}", "grid.yaml: there is nothing to compare: give variants, as name -> changes, or a grid of lists"),
        ("variants: {}\ngrid: {}", "grid.yaml: there is nothing to compare"),
        ("variants: [a", "grid.yaml, line 1: not YAML"),
        ("variants: {a: {}, a: {}}", "grid.yaml, line 1: not YAML: the key 'a' stands twice"),
        ("varients: {a: {}}", "grid.yaml: unknown key varients; the nearest valid key is variants"),
        ("seeds: [1, 2, 1]\nvariants: {a: }", "grid.yaml: seeds names 1 twice"),
        ("seeds: []\nvariants: {a: }", "grid.yaml: seeds is []: must not be empty"),
        ("seeds: [one]\nvariants: {a: }", "grid.yaml: seeds.0 is 'one': must be a whole number"),
        ("seeds: [-1]\nvariants: {a: }", "grid.yaml: seeds.0 is -1: must be greater than or equal to 0"),
        ("seeds: 3\nvariants: {a: }", "grid.yaml: seeds is 3: must be a list"),
        ("variants: [a]", "grid.yaml: variants is ['a']: must be a mapping"),
        ("variants: {a: lstm}", "grid.yaml: variants.a is 'lstm': must be a mapping"),
        ("variants: {1: {model.dim: 8}}", "grid.yaml: variants.1 is {'model.dim': 8}: must be text (quote it"),
        ("variants: {../x: }", "grid.yaml: variants has the name '../x', which names a folder: up to 100 letters"),
        ("variants: {.: }", "grid.yaml: variants has the name '.', which names a folder"),
        ("variants: {'': }", "grid.yaml: variants has the name '', which names a folder"),
        ("reference: ltsm\nvariants: {ids: , lstm: {model.dim: 8}}",
         "grid.yaml: reference is 'ltsm', and no variant has that name; the nearest is 'lstm'"),
        ("variants: {a: {model.dimm: 8}}",
         "grid.yaml: variant 'a': unknown key model.dimm; the nearest valid key is model.dim"),
        ("variants: {a: {modle: {dim: 8}}}", "variant 'a': unknown key modle; the nearest valid key is model"),
        ("variants: {a: {model.dim: x}, b: {model.dim: 7}}",
         "grid.yaml: variant 'a': model.dim is 'x': must be a whole number; grid.yaml: variant 'b': model: dim is 7 "
         "and attention.heads 4: heads must divide dim"),
        ("grid: {model.dim: [3, 5, 7, 9, 11]}", "heads must divide dim; and 2 more"),
        ("variants: {a: {model.dim.x: 8}}", "variant 'a': model.dim.x=8: model.dim is 16, and holds no settings"),
        ("variants: {a: {model.dim: 8, model: {dim: 4}}}", "grid.yaml: variant 'a' changes model.dim twice"),
        ("variants: {a: {seed: 8}}", "grid.yaml: variant 'a': changes seed: write `seeds` beside `variants`"),
        ("variants: {a: {export.keep: 8}}",
         "grid.yaml: variant 'a': changes export.keep; a variant may change data, model, training, ranking"),
        ("variants: {a: {evaluation: {depth: 80}}}", "grid.yaml: variant 'a': changes evaluation.depth; a variant may"),
        ("variants: {a: {model.dim: 8}, b: {model: {dim: 8}}}",
         "grid.yaml: the variants 'a' and 'b' are the same settings: drop one"),
        ("variants: {a: , b: {model.dim: 16}}", "grid.yaml: the variants 'a' and 'b' are the same settings"),
        ("variants: {a: {model.text: {source: minilm, start: 'variant:b'}}}",
         "grid.yaml: variant 'a' starts from 'b', and no variant has that name; the nearest is 'a'"),
        ("variants: {a: {model.text: {source: minilm, start: 'variant:b'}}, "
         "b: {model.text: {source: minilm, tuning: lora}}}",
         "variant 'a' starts from 'b', whose own text model is tuned (lora): start from a frozen one"),
        ("variants: {a: {model.text: {source: minilm, start: 'variant:b'}}, b: {model.text: none}}",
         "variant 'a' starts from 'b', which has another model.text.source: only how the text is tuned may differ"),
        ("variants: {a: {model.text: {source: minilm, start: 'variant:b'}}, "
         "b: {model.text: minilm, data.max_length: 3}}",
         "variant 'a' starts from 'b', which has another data: only how"),
        ("variants: {a: {model.text: {source: minilm, start: 'variant:b'}}, "
         "b: {model.text: {source: minilm, start: 'variant:a'}}}",
         "grid.yaml: the variants a, b start from one another"),
        ("grid: {model.dim: 8}", "grid.yaml: grid.model.dim is 8: must be a list of values, and not empty"),
        ("grid: {model.dim: []}", "grid.yaml: grid.model.dim is []: must be a list of values, and not empty"),
        ("grid: {model.text: [a/b, c/b]}", "would be named 'text_b', which another variant has: write it"),
        (f"grid: {{model.text: [{'x' * 100}]}}", "which is none for a folder: write it under `variants`"),
    ],
)  # fmt: skip
def test_what_no_comparison_can_mean(refusal, text, told):
    assert told in refusal(text)


def test_too_many_trainings_are_refused_by_their_number(refusal):
    tens = ", ".join(f"model.{key}: [{', '.join(f'0.{n}' for n in range(10))}]" for key in ("dropout", "id_dropout"))
    grid = f"grid: {{{tens}, model.dim: [{', '.join(str(8 * n) for n in range(1, 101))}]}}"
    assert "10,000 variants with 1 seed are 10,000 trainings, and 200 are the most of one comparison" in refusal(grid)
    assert "100 variants with 3 seeds are 300 trainings" in refusal(f"seeds: [1, 2, 3]\ngrid: {{{tens}}}")


def test_files_that_are_not_there(tmp_path, plan, refusal):
    assert plan(VARIANTS)
    with pytest.raises(FileNotFoundError, match=r"no grid file .*none\.yaml"):
        config.load_plan(tmp_path / "none.yaml", tmp_path / "shop.yaml")
    with pytest.raises(ValueError, match="is a folder, and a grid is a YAML file"):
        config.load_plan(tmp_path, tmp_path / "shop.yaml")
    with pytest.raises(FileNotFoundError, match=r"no pipeline file .*none\.yaml"):
        config.load_plan(tmp_path / "grid.yaml", tmp_path / "none.yaml")
    assert "model.dim is 'x': must be a whole number" in refusal(VARIANTS, "model.dim=x")
