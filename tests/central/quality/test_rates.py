# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from central.quality.rates import METHOD_EXACT, METHOD_WEIGHTED, binomial_interval, escape_interval, overkill_interval


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    [
        # Textbook values of the exact interval at 95 %.
        (0, 10, 0.0, 0.3085),
        (10, 10, 0.6915, 1.0),
        (3, 60, 0.0104, 0.1392),
        (1, 2, 0.0126, 0.9874),
    ],
)
def test_exact_interval_has_the_known_ends(count: int, of: int, low: float, high: float) -> None:
    interval = binomial_interval(count, of)
    assert interval.low == pytest.approx(low, abs=1e-4)
    assert interval.high == pytest.approx(high, abs=1e-4)
    assert interval.estimate == pytest.approx(count / of)


def test_nothing_judged_is_not_known_and_never_zero() -> None:
    interval = binomial_interval(0, 0)
    assert (interval.low, interval.estimate, interval.high) == (0.0, None, 1.0)
    empty = np.empty(0)
    assert escape_interval(empty.astype(bool), empty, accepted=100).estimate is None


@pytest.mark.parametrize(("count", "of"), [(-1, 5), (6, 5), (0, -1)])
def test_impossible_counts_are_refused(count: int, of: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= count <= of"):
        binomial_interval(count, of)


@given(of=st.integers(1, 500), share=st.floats(0, 1), confidence=st.floats(0.5, 0.99))
def test_interval_encloses_its_estimate_and_shrinks_with_less_confidence(
    of: int, share: float, confidence: float
) -> None:
    count = round(share * of)
    narrow, wide = binomial_interval(count, of, confidence), binomial_interval(count, of, 0.999)
    assert 0.0 <= wide.low <= narrow.low <= count / of <= narrow.high <= wide.high <= 1.0


@pytest.mark.parametrize("share", [0.001, 0.01, 0.08, 0.4])
def test_exact_interval_covers_the_truth_as_often_as_it_says(share: float) -> None:
    rng = np.random.default_rng(11)
    intervals = {count: binomial_interval(count, 120) for count in range(121)}
    counts = rng.binomial(120, share, size=4000)
    covered = np.mean([intervals[int(count)].low <= share <= intervals[int(count)].high for count in counts])
    # Three standard errors of a simulated 95 %.
    assert covered >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 4000)


@pytest.mark.parametrize("share", [0.005, 0.03, 0.15])
@pytest.mark.parametrize("tightened", [0.1, 0.5])
def test_weighted_interval_covers_the_truth_as_often_as_it_says(share: float, tightened: float) -> None:
    """Half of the parts audited at 5 %, half at a higher share, as after an alarm."""
    rng = np.random.default_rng(5)
    parts, runs = 2000, 800
    chance = np.where(np.arange(parts) < parts // 2, 0.05, tightened)
    covered = 0
    for _ in range(runs):
        defective = rng.random(parts) < share
        drawn = rng.random(parts) < chance
        interval = escape_interval(defective[drawn], chance[drawn], parts)
        covered += interval.low <= defective.mean() <= interval.high
    assert covered / runs >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)


def test_weights_undo_a_draw_that_looked_where_defects_are() -> None:
    """Auditing the bad hour ten times as often must not make the day look ten times as bad."""
    rng = np.random.default_rng(2)
    parts = 200_000
    is_bad_hour = np.arange(parts) < parts // 10
    defective = rng.random(parts) < np.where(is_bad_hour, 0.2, 0.01)
    chance = np.where(is_bad_hour, 0.2, 0.02)
    drawn = rng.random(parts) < chance
    interval = escape_interval(defective[drawn], chance[drawn], parts)
    assert interval.method == METHOD_WEIGHTED
    assert interval.estimate == pytest.approx(defective.mean(), rel=0.1)
    assert defective[drawn].mean() > 2 * defective.mean()


def test_equal_chances_give_the_exact_interval() -> None:
    interval = escape_interval(np.array([True, False, False, False]), np.full(4, 0.1), accepted=40)
    assert interval.method == METHOD_EXACT
    assert interval.estimate == pytest.approx(0.25)


def test_a_full_audit_leaves_no_doubt() -> None:
    interval = escape_interval(np.array([True, False, False, False]), np.ones(4), accepted=4)
    assert interval.low == interval.estimate == interval.high == pytest.approx(0.25)


@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.sampled_from([0.02, 0.1, 0.5, 1.0])), min_size=1, max_size=60),
    more=st.integers(0, 1000),
)
def test_share_never_contradicts_what_was_found(outcomes: list[tuple[bool, float]], more: int) -> None:
    defective = np.array([outcome[0] for outcome in outcomes])
    chance = np.array([outcome[1] for outcome in outcomes])
    accepted = len(outcomes) + more
    interval = escape_interval(defective, chance, accepted)
    assert interval.estimate is not None
    assert defective.sum() / accepted <= interval.low + 1e-12
    assert interval.low <= interval.estimate <= interval.high <= 1.0
    assert interval.high <= 1 - (~defective).sum() / accepted + 1e-12


@pytest.mark.parametrize(
    ("defective", "chance", "accepted", "message"),
    [
        ([True], [0.0], 5, "probabilities"),
        ([True], [1.5], 5, "probabilities"),
        ([True], [0.5, 0.5], 5, "one length"),
        ([True, False], [0.5, 0.5], 1, "at least the 2 judged"),
        ([True], [float("nan")], 5, "probabilities"),
        ([True], [0.5], 1.5, "whole number"),
        ([2], [0.5], 5, "true or false"),
        ([[True]], [[0.5]], 5, "one length"),
    ],
)
def test_impossible_draws_are_refused(
    defective: list[bool], chance: list[float], accepted: float, message: str
) -> None:
    for interval_of in (escape_interval, overkill_interval):
        with pytest.raises(ValueError, match=message):
            interval_of(np.array(defective), np.array(chance), accepted)  # type: ignore[arg-type]


@pytest.mark.parametrize("confidence", [0.0, 1.0, float("nan"), 95.0])
def test_a_confidence_that_is_none_is_refused(confidence: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        escape_interval(np.array([True]), np.array([0.5]), 9, confidence)


def test_mid_p_ends_are_the_known_ones_when_nothing_is_found() -> None:
    """Mid-p upper end of a Poisson count of 0 is -log(.05) = 2.996; in units of the largest weight's share."""
    chance = np.where(np.arange(200) < 160, 0.01, 0.05)
    interval = escape_interval(np.zeros(200, dtype=bool), chance, 20_000)
    assert interval.high == pytest.approx(-np.log(0.05) * 100 / (160 * 100 + 40 * 20), rel=1e-6)
    assert (interval.low, interval.estimate) == (0.0, 0.0)


def test_mid_p_ends_are_those_of_a_poisson_count_when_weights_are_nearly_equal() -> None:
    """Ends where the chance of a more extreme count plus half that of the count itself is the tail."""
    interval = escape_interval(np.arange(1_000) < 5, np.linspace(0.01, 0.010001, 1_000), 100_000)
    assert interval.method == METHOD_WEIGHTED
    low, high = 1_000 * interval.low, 1_000 * interval.high
    assert stats.poisson.sf(5, low) + stats.poisson.pmf(5, low) / 2 == pytest.approx(0.025, rel=1e-3)
    assert stats.poisson.cdf(4, high) + stats.poisson.pmf(5, high) / 2 == pytest.approx(0.025, rel=1e-3)


def test_good_and_defective_are_mirrored() -> None:
    rng = np.random.default_rng(1)
    chance = rng.uniform(0.01, 0.5, 80)
    found = rng.random(80) < 0.2
    escapes, sound = escape_interval(found, chance, 8_000), overkill_interval(~found, chance, 8_000)
    assert escapes.estimate is not None
    assert sound.estimate is not None
    assert sound.low == pytest.approx(1 - escapes.high)
    assert sound.high == pytest.approx(1 - escapes.low)
    assert sound.estimate == pytest.approx(1 - escapes.estimate)


@given(
    outcomes=st.lists(st.tuples(st.booleans(), st.floats(1e-6, 1.0)), min_size=1, max_size=40),
    confidence=st.sampled_from([0.5, 0.9, 0.95, 0.999]),
)
def test_any_draw_that_can_be_gives_an_interval_in_order(outcomes: list[tuple[bool, float]], confidence: float) -> None:
    found, chance = np.array([o[0] for o in outcomes]), np.array([o[1] for o in outcomes])
    interval = escape_interval(found, chance, 10_000_000, confidence)
    assert interval.estimate is not None
    assert 0.0 <= interval.low <= interval.estimate <= interval.high <= 1.0
