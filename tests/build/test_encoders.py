"""The names of encoders and of blocks become the layers that they name."""

import pytest

from tests import tiny_shop
from tfrec import build
from tfrec.data import EventColumns, PrepareOptions, prepare
from tfrec.towers import ConvolutionEncoder, HSTUBlock, LSTMEncoder, SASRecBlock, SelfAttentionEncoder


@pytest.fixture(scope="module")
def data():
    return prepare(tiny_shop.events(), options=PrepareOptions(events=EventColumns("who", "what", "at"), max_length=6))


def test_names_become_encoders(data):
    model = build.two_tower(data, behavior=["lstm", "convolution", "attention"], dim=8, **{"attention.heads": 4})
    kinds = [type(encoder) for encoder in model.behavior_tower.encoders]
    assert kinds == [LSTMEncoder, ConvolutionEncoder, SelfAttentionEncoder]
    [first, _] = model.behavior_tower.encoders[2].blocks
    assert (first.heads, first.max_length, first.expansion) == (4, data.max_length, 4)


@pytest.mark.parametrize(("kind", "block", "expansion"), [("hstu", HSTUBlock, 1), ("sasrec", SASRecBlock, 1)])
def test_a_kind_is_its_block(data, kind, block, expansion):
    def made(**changes):
        return build.two_tower(data, dim=8, **{"attention.kind": kind, **changes}).behavior_tower.encoders[0].blocks

    assert {(type(each), each.expansion, each.timestamps) for each in made()} == {(block, expansion, True)}
    assert {
        (each.expansion, each.timestamps) for each in made(**{"attention.expansion": 3, "time_features": False})
    } == {(3, False)}
    assert not made(**{"attention.time_bias": False})[0].timestamps and len(made(**{"attention.blocks": 3})) == 3
