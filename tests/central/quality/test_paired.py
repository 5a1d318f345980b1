# SPDX-License-Identifier: Apache-2.0
"""Bounds on a difference of paired shares: known figures, and how often a package that is too bad passes."""

import numpy as np
import pytest
from scipy import special

from central.quality.paired import MOST_EXACT_PARTS, p_value, paired_bounds, tango_upper, weighted_bounds

RUNS = 20_000


def test_without_any_difference_the_bound_is_that_of_the_score_test() -> None:
    # Closed form where both counts are 0: z² / (n + z²).
    z = 1.6448536269514722
    for parts in (10, 59, 400):
        assert tango_upper(0, 0, parts, 0.95) == pytest.approx(z**2 / (parts + z**2), abs=1e-9)


@pytest.mark.parametrize(("newly", "mended", "parts"), [(1, 0, 44), (7, 3, 60), (0, 4, 30), (12, 12, 40)])
def test_at_the_bound_the_score_is_the_normal_quantile(newly: int, mended: int, parts: int) -> None:
    """Against the definition, with the share of mended parts found by trying them all instead of by a formula."""
    for bound, sign, b, c in (
        (tango_upper(newly, mended, parts, 0.95), 1, newly, mended),
        (-tango_upper(mended, newly, parts, 0.95), -1, newly, mended),
    ):
        shares = np.linspace(max(0.0, -bound), (1 - bound) / 2, 200_001)
        likely = (
            special.xlogy(b, shares + bound)
            + special.xlogy(c, shares)
            + special.xlogy(parts - b - c, np.maximum(1 - 2 * shares - bound, 0.0))
        )
        share = shares[np.argmax(likely)]
        score = (b - c - parts * bound) / np.sqrt(parts * (2 * share + bound - bound**2))
        assert sign * score == pytest.approx(-1.6449, abs=2e-3)


def test_the_two_bounds_mirror_each_other() -> None:
    one, other = (paired_bounds(a, b, 70, margin=0.1, confidence=0.95) for a, b in ((7, 2), (2, 7)))
    assert (one.low, one.high) == (-other.high, -other.low)
    assert one.estimate == pytest.approx(5 / 70)


def test_nothing_judged_is_not_known_and_never_small() -> None:
    found = paired_bounds(0, 0, 0, margin=0.1, confidence=0.95)
    assert (found.low, found.estimate, found.high, found.p_value) == (-1.0, None, 1.0, None)
    empty = np.array([], bool)
    told = weighted_bounds(empty, empty, np.array([]), confidence=0.95)
    assert (told.low, told.estimate, told.high) == (-1.0, None, 1.0)


def test_more_new_errors_never_look_better() -> None:
    for mended in (0, 3, 9):
        told = [paired_bounds(newly, mended, 80, margin=0.1, confidence=0.95) for newly in range(20)]
        assert np.all(np.diff([each.high for each in told]) > 0)
        assert np.all(np.diff([each.p_value or 0.0 for each in told]) >= -1e-12)


@pytest.mark.parametrize("bad", [(-1, 0, 5), (3, 3, 5)])
def test_counts_that_cannot_be_are_refused(bad: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="expected newly"):
        paired_bounds(*bad, margin=0.1, confidence=0.95)
    with pytest.raises(ValueError, match="margin"):
        paired_bounds(0, 0, 5, margin=0.0, confidence=0.95)
    with pytest.raises(ValueError, match="confidence"):
        paired_bounds(0, 0, 5, margin=0.1, confidence=0.5)


@pytest.mark.parametrize("margin", [0.02, 0.05, 0.2])
@pytest.mark.parametrize("parts", [20, 60, 150, 300])
def test_a_package_worse_by_the_margin_passes_at_most_one_time_in_twenty(parts: int, margin: float) -> None:
    """Truths on the edge of what is allowed, from hardly any to many mended parts: the worst of them counts."""
    rng = np.random.default_rng(parts)
    for share in (0.0, 0.002, 0.02, 0.1, 0.3):
        mended = share * (1 - margin)
        drawn = rng.multinomial(parts, [mended + margin, mended, 1 - 2 * mended - margin], size=RUNS)
        tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
        passed = np.array([p_value(int(b), int(c), parts, margin) <= 0.05 for b, c in tables])
        false_passes = times[passed].sum() / RUNS
        assert false_passes <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / RUNS), (share, false_passes)


def test_beyond_the_exact_test_false_passes_stay_near_one_in_twenty() -> None:
    rng = np.random.default_rng(1)
    parts, margin = 4 * MOST_EXACT_PARTS, 0.05
    drawn = rng.multinomial(parts, [0.02 + margin, 0.02, 0.91], size=RUNS)
    tables, times = np.unique(drawn[:, :2], axis=0, return_counts=True)
    passed = np.array([p_value(int(b), int(c), parts, margin) <= 0.05 for b, c in tables])
    assert 0.035 <= times[passed].sum() / RUNS <= 0.056


def test_a_package_that_is_no_worse_passes_with_parts_enough() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.multinomial(200, [0.01, 0.01, 0.98], size=2_000)
    passes = np.mean([p_value(int(b), int(c), 200, 0.05) <= 0.05 for b, c, _ in drawn])
    assert passes > 0.9


@pytest.mark.parametrize("rejected_chance", [0.1, 0.5])
def test_weighted_bounds_hold_where_the_champion_s_rejects_were_drawn_oftener(rejected_chance: float) -> None:
    """Mended parts stand among those that the champion passed, drawn seldom; newly missed ones among its rejects."""
    rng = np.random.default_rng(3)
    population, passed_chance, runs = 4_000, 0.03, 1_000
    # Of defective parts: 70 % rejected by the champion. Truly worse by .10 - .04 = .06.
    is_rejected = np.arange(population) < 0.7 * population
    newly = np.arange(population) < 0.10 * population
    mended = np.arange(population) >= 0.96 * population
    chance = np.where(is_rejected, rejected_chance, passed_chance)
    truth = 0.06
    misses = 0
    for _ in range(runs):
        drawn = rng.random(population) < chance
        told = weighted_bounds(newly[drawn], mended[drawn], chance[drawn], confidence=0.95)
        misses += told.high < truth
    assert misses / runs <= 0.05
