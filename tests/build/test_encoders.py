"""The names of encoders and of blocks become the layers that they name."""

import numpy as np
import pytest

from tests import tiny_shop
from tfrec import build, config
from tfrec.data import EventColumns, PrepareOptions, prepare
from tfrec.features import HISTORY
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


@pytest.mark.parametrize("kind", ["ligr", "hstu", "sasrec"])
def test_without_a_position_bias_a_block_sees_the_past_as_a_set(data, kind):
    history = np.array([[1, 2, 3, 4]], "int32")
    for told in (True, False):
        changes = {
            "attention.kind": kind,
            "attention.position_bias": told,
            "attention.blocks": 1,
            "time_features": False,
        }
        model = build.two_tower(data, dim=8, behavior="attention", text="none", **changes)
        for weight in model.behavior_tower.weights:
            if weight.path.endswith("distance"):
                weight.assign(np.arange(weight.shape[0] * weight.shape[1]).reshape(weight.shape))
        one, other = (
            model.query(model.item_vectors(), {HISTORY: rows}).numpy() for rows in (history, history[:, [1, 0, 2, 3]])
        )
        assert np.allclose(one, other, atol=1e-4) is not told


def test_a_temperature_is_learnt_where_the_settings_say_so(data):
    assert build.two_tower(data, dim=8, temperature="learnt", similarity="cosine").temperature.learnt
    assert not build.two_tower(data, dim=8, temperature=0.2).temperature.learnt


@pytest.mark.parametrize("name", ["softmax", "sampled_softmax", "gbce"])
def test_what_is_not_recommended_again_competes_with_nothing_unless_said(name):
    def made(seen, **objective):
        options = PrepareOptions(events=EventColumns("who", "what", "at"), max_length=6, seen=seen)
        prepared = prepare(tiny_shop.events(), options=options)
        training = config.Training(objective={"name": name, "negatives": 7, **objective})
        return build.two_tower(prepared, dim=8, training=training).objective

    assert made("remove").unseen and not made("keep").unseen
    assert not made("remove", unseen=False).unseen and made("keep", unseen=True).unseen
    if name == "gbce":
        assert made("keep", calibration=0.25).calibration == 0.25


def test_retrieval_cannot_leave_out_what_a_user_has_had():
    with pytest.raises(ValueError, match="unseen is for the other objectives"):
        config.Training(objective={"name": "retrieval", "unseen": True})
    assert config.Training(objective={"name": "retrieval", "unseen": False}).objective.name == "retrieval"


def test_windows_reach_what_is_prepared():
    text = "name: mine\ndata: {events: {path: e.csv, columns: {timestamp: at}}}\n"
    for windows in ("newest", "drawn"):
        settings = config.parse(text, ["data.root=/tables", f"data.windows={windows}"]).data
        assert build.prepare_options(settings).windows == windows
