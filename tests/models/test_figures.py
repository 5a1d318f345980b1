# SPDX-License-Identifier: Apache-2.0
"""Figures on arrays, against worked examples and against the slow and plain way."""

import numpy as np
import pytest
from scipy import stats

from central.quality.rates import binomial_interval
from models.measuring.figures import (
    WeightedAuroc,
    exact_interval,
    image_auroc,
    is_auroc_lost,
    overkill_at_recall,
    percentile_interval,
    rate_of,
    recall_at_overkill,
    resampled_aurocs,
    resampled_figures,
    sign_test,
)


@pytest.mark.parametrize(
    ("count", "of"), [(0, 1), (1, 1), (0, 30), (30, 30), (1, 30), (15, 30), (29, 30), (236, 392), (9, 5630)]
)
def test_interval_is_the_one_central_shows(count: int, of: int) -> None:
    theirs = binomial_interval(count, of)
    assert exact_interval(count, of) == pytest.approx((theirs.low, theirs.high), abs=1e-9)


def test_interval_of_nothing_is_all_there_is_and_its_rate_is_not_known() -> None:
    assert rate_of(0, 0) == {"count": 0, "of": 0, "rate": None, "low": 0.0, "high": 1.0}


@pytest.mark.parametrize(("count", "of"), [(-1, 3), (4, 3)])
def test_impossible_counts_are_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= count <= of"):
        exact_interval(count, of)


@pytest.mark.parametrize(("better", "worse"), [(0, 1), (5, 5), (1, 9), (12, 25), (40, 3)])
def test_sign_test_is_the_exact_binomial_test(better: int, worse: int) -> None:
    theirs = stats.binomtest(better, better + worse, 0.5).pvalue
    assert sign_test(better, worse) == pytest.approx(theirs)


def test_sign_test_says_nothing_when_nothing_changed() -> None:
    assert sign_test(0, 0) is None
    with pytest.raises(ValueError, match="counts of 0 or more"):
        sign_test(-1, 2)


def test_overkill_at_a_recall_counts_sound_parts_from_the_last_needed_defect_on() -> None:
    scores = np.array([0, 1, 2, 3, 2, 4, 5, 6], np.float32)
    is_defective = np.array([0, 0, 0, 0, 1, 1, 1, 1], np.bool_)
    # All four defects need the limit 2, which the sound scores 2 and 3 reach; three need only 4.
    assert overkill_at_recall(scores, is_defective, 1.0) == pytest.approx(0.5)
    assert overkill_at_recall(scores, is_defective, 0.75) == 0
    assert overkill_at_recall(scores, is_defective, 0.76) == pytest.approx(0.5)
    assert overkill_at_recall(scores[:4], is_defective[:4], 0.95) is None


def test_allowed_overkills_are_whole_parts_despite_binary_fractions() -> None:
    # 0.29 × 100 is 28.999999999999996 in binary; 29 parts may lie above.
    scores = np.r_[np.arange(100), np.full(10, 70.5)].astype(np.float32)
    is_defective = np.r_[np.zeros(100, np.bool_), np.ones(10, np.bool_)]
    assert recall_at_overkill(scores, is_defective, 0.29) == 1.0
    assert recall_at_overkill(scores, is_defective, 0.28) == 0.0


def test_weights_count_like_repeated_pictures() -> None:
    rng = np.random.default_rng(4)
    # Few distinct values, so that ties occur within and between the classes.
    scores = rng.integers(0, 8, 60).astype(np.float32)
    is_defective = rng.random(60) < 0.4
    weights = rng.integers(0, 4, 60)
    repeated = np.repeat(np.arange(60), weights)
    told = WeightedAuroc(scores, is_defective)(weights.astype(np.float64))
    assert told == pytest.approx(image_auroc(scores[repeated], is_defective[repeated]))
    assert np.isnan(WeightedAuroc(scores, is_defective)(is_defective.astype(np.float64)))


def two_classes(parts: int, pictures: int) -> "tuple[np.ndarray[tuple[int], np.dtype[np.float32]], list[str]]":
    """Scores of parts that each have several alike pictures; the first half of the parts is sound."""
    rng = np.random.default_rng(1)
    by_part = rng.normal(0, 1, parts) + np.r_[np.zeros(parts // 2), np.ones(parts // 2)]
    return np.repeat(by_part, pictures).astype(np.float32), [str(part) for part in np.repeat(range(parts), pictures)]


def test_more_pictures_of_the_same_parts_make_no_interval_narrower() -> None:
    widths = {}
    for pictures in (1, 20):
        scores, groups = two_classes(40, pictures)
        is_defective = np.arange(len(scores)) >= len(scores) // 2
        drawn = resampled_aurocs([scores], is_defective, groups, resamples=400, rng=np.random.default_rng(0))
        interval = percentile_interval(drawn[:, 0])
        assert interval is not None
        widths[pictures] = interval[1] - interval[0]
    assert widths[20] == pytest.approx(widths[1], rel=0.15)


def test_interval_by_parts_covers_the_true_auroc_about_as_often_as_stated() -> None:
    rng = np.random.default_rng(7)
    true = float(stats.norm.cdf(1.5 / np.sqrt(2)))
    groups = [str(part) for part in np.repeat(range(80), 3)]
    is_defective = np.arange(240) >= 120
    covered = 0
    for _ in range(100):
        by_part = rng.normal(0, 1, 80) + np.r_[np.zeros(40), np.full(40, 1.5)]
        scores = np.repeat(by_part, 3).astype(np.float32)
        interval = percentile_interval(resampled_aurocs([scores], is_defective, groups, resamples=200, rng=rng)[:, 0])
        assert interval is not None
        covered += interval[0] <= true <= interval[1]
    # 100 trials at 0.95; pictures taken for parts would cover about 0.73.
    assert covered >= 87


def test_packages_that_agree_differ_by_nothing_in_every_draw() -> None:
    scores, groups = two_classes(20, 2)
    is_defective = np.arange(len(scores)) >= len(scores) // 2
    drawn = resampled_aurocs([scores, 3 * scores + 1], is_defective, groups, resamples=50, rng=np.random.default_rng(0))
    assert drawn.shape == (50, 2)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 1])


def test_draws_without_a_class_are_dropped_not_counted_as_chance() -> None:
    # One part holds all sound pictures beside a defect, so some draws of the two mixed parts lack sound ones.
    scores = np.array([0, 1, 2], np.float32)
    is_defective = np.array([False, True, True])
    drawn = resampled_aurocs([scores], is_defective, ["a", "a", "b"], resamples=200, rng=np.random.default_rng(0))
    assert 0 < len(drawn) < 200
    assert (drawn == 1).all()
    assert percentile_interval(np.zeros(0)) is None


def test_any_figure_is_resampled_by_the_same_draws_as_auroc() -> None:
    scores, groups = two_classes(20, 3)
    is_defective = np.arange(len(scores)) >= len(scores) // 2
    quick = resampled_aurocs([scores], is_defective, groups, resamples=20, rng=np.random.default_rng(0))
    plain = resampled_figures([image_auroc], scores, is_defective, groups, resamples=20, rng=np.random.default_rng(0))
    np.testing.assert_allclose(quick, plain)


def test_variant_that_is_as_good_is_seldom_called_worse_however_many_pictures_a_part_has() -> None:
    """Both variants stray from the truth alike, part by part; a bootstrap over pictures would call a quarter worse."""
    rng = np.random.default_rng(5)
    parts, pictures, rounds = 30, 6, 60
    groups = [str(part) for part in range(parts) for _ in range(pictures)]
    of_defects = np.arange(parts) >= 20
    is_defective = np.repeat(of_defects, pictures)
    called_worse = 0
    for _ in range(rounds):
        truth = rng.normal(0, 1, parts) + 1.2 * of_defects
        one, other = (np.repeat(truth + rng.normal(0, 0.3, parts), pictures).astype(np.float32) for _ in range(2))
        called_worse += is_auroc_lost(one, other, is_defective, groups, allowed=0.005)
    assert called_worse / rounds < 0.15


@pytest.mark.parametrize(("shift", "is_lost"), [(0.0, False), (-3.0, True)])
def test_variant_that_no_longer_sees_defects_is_called_worse(shift: float, is_lost: bool) -> None:
    rng = np.random.default_rng(0)
    is_defective = np.arange(80) >= 40
    before = (rng.normal(0, 1, 80) + 3 * is_defective).astype(np.float32)
    after = (before + shift * is_defective).astype(np.float32)
    groups = [str(row // 2) for row in range(80)]
    assert is_auroc_lost(before, after, is_defective, groups, allowed=0.005) is is_lost
