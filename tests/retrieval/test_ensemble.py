"""Joined models score as the mean of them, are saved as one model, and can be asked one by one."""

import numpy as np
import pytest

from tests.retrieval.cycles import ITEMS, test_batch, two_tower
from tfrec.features import HISTORY
from tfrec.retrieval import NewItems, joined, load_model, members

KINDS = {"dot": {"similarity": "dot"}, "cosine": {"similarity": "cosine"}}


def models(**kwargs):
    """Two models of other weights."""
    found = []
    for seed in (1, 2):
        found.append(two_tower(**kwargs))
        rng = np.random.default_rng(seed)
        for weight in found[-1].trainable_weights:
            weight.assign(rng.normal(0, 0.5, weight.shape))
    return found


def scores(model):
    batch = test_batch()
    return model({HISTORY: batch[HISTORY]}).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_a_score_is_the_mean_of_the_members_scores(kind):
    pair = models(**KINDS[kind])
    found = scores(joined(pair))
    possible = np.arange(ITEMS) > 0
    mean = (scores(pair[0]) + scores(pair[1])) / 2
    np.testing.assert_allclose(found[:, possible], mean[:, possible], rtol=1e-4, atol=1e-4)
    assert np.abs(scores(pair[0]) - scores(pair[1]))[:, possible].max() > 0.1
    assert (found[:, 0] < found[:, possible].min() - 1e3).all()  # Padding is recommended to nobody.


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_saved_whole_and_its_members_come_out_again(kind, tmp_path):
    pair = models(**KINDS[kind])
    whole = joined(pair)
    whole.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(scores(loaded), scores(whole))
    for member, own in zip(members(loaded), pair, strict=True):
        np.testing.assert_allclose(scores(member), scores(own), rtol=1e-5, atol=1e-5)
    assert members(pair[0]) == []


def test_a_bonus_of_new_items_counts_once():
    pair = models(new_items=NewItems(bonus=3.0), similarity="cosine")
    for model in pair:  # Row 2 is new, and what describes it would be a text.
        model.item_tower.is_new = lambda rows=None: np.arange(ITEMS) == 2 if rows is None else rows == 2
    mean = (scores(pair[0]) + scores(pair[1])) / 2
    np.testing.assert_allclose(scores(joined(pair))[:, 1:], mean[:, 1:], rtol=1e-4, atol=1e-4)


def test_temperatures_that_were_learnt_become_one():
    pair = models(similarity="cosine", temperature="learnt")
    for model, value in zip(pair, (0.05, 0.2), strict=True):
        model.temperature.log.assign(np.log(value))
    assert joined(pair).temperature.value == pytest.approx(1 / ((1 / 0.05 + 1 / 0.2) / 2))


def test_nothing_is_no_ensemble():
    with pytest.raises(ValueError, match="`models` must hold at least one model"):
        joined([])
