import pytest

from tfrec import config
from tfrec.config import Pretraining

PIPELINE = "name: shop\ndata: {simulated: {users: 10}}\n"


def parsed(*overrides):
    return config.parse(PIPELINE, overrides).pretraining


def test_the_section_has_defaults_and_comes_back_from_its_dump():
    pipeline = config.parse(PIPELINE, ["pretraining.architecture=gpt2"])
    assert pipeline.pretraining == Pretraining(architecture="gpt2")
    assert config.parse(config.dump(pipeline)) == pipeline


@pytest.mark.parametrize(
    ("width", "heads", "resolved"), [(256, None, 4), (100, None, 1), (32, None, 1), (320, None, 5), (96, 3, 3)]
)
def test_heads_follow_from_the_width(width, heads, resolved):
    assert Pretraining(width=width, heads=heads).resolved_heads == resolved
    assert width % resolved == 0


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["mask=0"], "pretraining.mask is 0: must be greater than 0"),
        (["mask=1.0"], "pretraining.mask is 1.0: must be less than 1"),
        (["max_tokens=2"], "pretraining.max_tokens is 2: must be greater than or equal to 3"),
        (["vocabulary=5"], "pretraining.vocabulary is 5"),
        (["architecture=roberta"], "pretraining.architecture is 'roberta': must be 'bert' or 'gpt2'"),
        (["architecture=gpt2", "vocabulary=257"], "gpt2 needs 258 or more: each byte, the end mark, a pair"),
        (["width=100", "heads=3"], "width is 100 and heads 3: heads must divide width"),
        (["source=minilm", "layers=6"], "pretraining: layers is for a new model; source keeps its own"),
        (["source=none"], "source is none; null starts at random weights"),
        (["epoch=3"], "unknown key pretraining.epoch; the nearest valid key is pretraining.epochs"),
    ],
)
def test_what_cannot_be_is_named(overrides, told):
    with pytest.raises(ValueError, match="^the pipeline: ") as error:
        parsed(*(f"pretraining.{one}" for one in overrides))
    assert told in str(error.value)


def test_a_pretraining_depends_on_its_own_settings_alone():
    settings = [
        config.stage_settings(config.parse(PIPELINE, [change]), "pretrain")
        for change in ("seed=1", "model.dim=8", "seed=2", "pretraining.epochs=3")
    ]
    assert settings[0] == settings[1] != settings[2]
    assert settings[0] != settings[3]
