"""The paired bootstrap on differences whose interval is known."""

import numpy as np
import pandas as pd
import pytest

from tfrec.evaluation import Difference, against_published, compare


def per_user(values, name="hr@10"):
    return pd.DataFrame({name: np.asarray(values, float)}, index=[f"u{at}" for at in range(len(values))])


def test_the_interval_is_that_of_the_normal_approximation_for_many_users():
    generator = np.random.default_rng(3)
    theirs = generator.normal(0, 5, 2000)  # the spread between users does not matter: they are paired
    gaps = generator.normal(0.05, 1, 2000)
    result = compare(per_user(theirs + gaps), per_user(theirs), resamples=4000)["hr@10"]
    half = 1.96 * gaps.std() / np.sqrt(2000)
    assert result.difference == pytest.approx(gaps.mean())
    assert (result.low, result.high) == pytest.approx((gaps.mean() - half, gaps.mean() + half), abs=0.004)


def test_a_constant_gain_has_an_interval_without_width():
    result = compare(per_user([0.5, 0.2, 0.9]), per_user([0.4, 0.1, 0.8]))["hr@10"]
    assert (result.low, result.high, result.difference) == pytest.approx((0.1, 0.1, 0.1))
    assert result.verdict == "better"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.2, "better"), (-0.1, 0.2, "not better"), (0.0, 0.2, "not better"), (-0.2, -0.1, "worse")],
)
def test_the_word_follows_the_interval(low, high, verdict):
    assert Difference("hr@10", 0.3, 0.2, low, high).verdict == verdict


def test_users_are_paired_by_id_not_by_place():
    ours = per_user([0.1, 0.5, 0.9])
    assert compare(ours, ours[::-1])["hr@10"].high == 0


def test_seeds_are_averaged_a_user_first():
    ours = [per_user([1, 0, 0, 1]), per_user([0, 0, 1, 1]), per_user([0, 1, 1, 1])]
    result = compare(ours, per_user([0, 0, 0, 0]))["hr@10"]
    same = compare(per_user([1 / 3, 1 / 3, 2 / 3, 1]), per_user([0, 0, 0, 0]))["hr@10"]
    assert result.seeds == 3
    assert (result.ours, result.low, result.high) == pytest.approx((same.ours, same.low, same.high))


def test_the_seed_decides_the_draws():
    ours, theirs = per_user(np.sqrt(np.arange(50))), per_user(np.cbrt(np.arange(50)))
    assert compare(ours, theirs, seed=1) == compare(ours, theirs, seed=1)
    assert compare(ours, theirs, seed=1) != compare(ours, theirs, seed=2)


def test_chunks_of_draws_do_not_change_what_is_drawn_for(monkeypatch):
    ours, theirs = per_user(np.arange(40) % 3), per_user(np.arange(40) % 2)
    whole = compare(ours, theirs)["hr@10"]
    monkeypatch.setattr("tfrec.evaluation.bootstrap._CHUNK_DRAWS", 40 * 300)
    parts = compare(ours, theirs)["hr@10"]
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high))


def test_only_shared_figures_are_compared_unless_named():
    ours = per_user([1, 2]).assign(extra=0.0)
    assert list(compare(ours, per_user([1, 2]))) == ["hr@10"]
    with pytest.raises(ValueError, match=r"metrics must be columns of both models; theirs lacks \['extra'\]"):
        compare(ours, per_user([1, 2]), metrics=["extra"])


def test_users_for_whom_a_figure_is_undefined_count_as_no_difference():
    result = compare(per_user([1.0, np.nan, 3.0]), per_user([0.0, 1.0, 2.0]))["hr@10"]
    assert (result.ours, result.theirs) == (2.0, 1.0)
    assert 0 <= result.low < result.high == 1
    nowhere = compare(per_user([np.nan]), per_user([np.nan]))["hr@10"]
    assert np.isnan(nowhere.ours) and nowhere.verdict == "not better"


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="theirs must hold the same users in every table: got 3"):
        compare(per_user([1, 2]), per_user([1, 2, 3]))
    with pytest.raises(ValueError, match="resamples must be at least 1000.*got 10"):
        compare(per_user([1]), per_user([1]), resamples=10)
    with pytest.raises(ValueError, match="ours must be a per-user table.*got 0 tables"):
        compare([], per_user([1]))


def test_the_word_beside_a_published_number():
    assert against_published(0.3159, 0.001, 0.3100) == "beats"
    assert against_published(0.3159, 0.012, 0.3100) == "matches"
    assert against_published(0.3000, 0.012, 0.3100) == "matches"
    assert against_published(0.2900, 0.012, 0.3100) == "falls short of"
