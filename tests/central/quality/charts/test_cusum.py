# SPDX-License-Identifier: Apache-2.0
"""CUSUM and EWMA of measured values: the textbook's data, known mean run lengths, and those by simulation."""

import numpy as np
import pytest
from scipy import stats

from central.quality.charts import cusum_limit, cusum_mean_run_length, ewma_chart, normal_scores, tabular_cusum

# D. C. Montgomery, Introduction to Statistical Quality Control, table 9.1: twenty points about 10, ten about 11.
POINTS = np.array(
    [
        *(9.45, 7.99, 9.29, 11.66, 12.16, 10.18, 8.04, 11.46, 9.20, 10.34),
        *(9.03, 11.47, 10.51, 9.40, 10.08, 9.37, 10.62, 10.31, 8.52, 10.84),
        *(10.90, 9.33, 12.29, 11.50, 10.60, 11.08, 10.38, 11.62, 11.31, 10.52),
    ]
)


def test_cusum_of_the_textbook_signals_at_point_29_and_dates_it_back_to_23() -> None:
    chart = tabular_cusum(POINTS, 10.0, 1.0, slack=0.5, limit=5.0)
    assert chart.up[[0, 3, 4, 28]] == pytest.approx([0, 1.16, 2.82, 5.28], abs=0.005)
    assert chart.down[[0, 1, 2]] == pytest.approx([0.05, 1.56, 1.77], abs=0.005)
    assert [at + 1 for at in chart.signal_at] == [29, 30]
    assert chart.began[28] + 1 == 23


@pytest.mark.parametrize(
    ("limit", "shift", "expected"),
    [(4.0, 0.0, 168.0), (5.0, 0.0, 465.0), (4.0, 1.0, 8.38), (5.0, 1.0, 10.4), (5.0, 2.0, 4.01), (4.0, 0.5, 26.6)],
)
def test_mean_run_lengths_are_the_published_ones(limit: float, shift: float, expected: float) -> None:
    """Table of D. M. Hawkins and others, reprinted in every textbook, for a slack of one half."""
    assert cusum_mean_run_length(0.5, limit, shift) == pytest.approx(expected, rel=0.01)


def test_mean_run_length_by_simulation() -> None:
    rng = np.random.default_rng(2)
    lengths = []
    for _ in range(300):
        values = rng.standard_normal(3000)
        signals = tabular_cusum(values, 0.0, 1.0, slack=0.5, limit=3.0).signal_at
        lengths.append(signals[0] + 1 if signals else 3000)
    # Run lengths are close to exponential.
    assert np.mean(lengths) == pytest.approx(cusum_mean_run_length(0.5, 3.0), rel=4 / np.sqrt(300))


def test_a_head_start_signals_sooner_when_the_fault_was_there_at_the_start() -> None:
    values = np.full(20, 1.0)
    plain = tabular_cusum(values, 0.0, 1.0).signal_at[0]
    assert tabular_cusum(values, 0.0, 1.0, head_start=2.5).signal_at[0] < plain


def test_falling_is_seen_as_rising_is() -> None:
    rising, falling = tabular_cusum(POINTS - 10, 0.0, 1.0), tabular_cusum(10 - POINTS, 0.0, 1.0)
    assert falling.down.tolist() == pytest.approx(rising.up.tolist())
    assert falling.signal_at == rising.signal_at


@pytest.mark.parametrize(("deviation", "slack", "limit"), [(0.0, 0.5, 5.0), (1.0, -0.1, 5.0), (1.0, 0.5, 0.0)])
def test_settings_without_sense_are_refused(deviation: float, slack: float, limit: float) -> None:
    with pytest.raises(ValueError, match="expected deviation > 0, slack >= 0, limit > 0"):
        tabular_cusum(POINTS, 10.0, deviation, slack=slack, limit=limit)


def test_ewma_of_the_textbook_has_its_values_and_limits() -> None:
    """Weight .1, width 2.7, centre 10, deviation 1; a very long reference stands for known values."""
    reference = 10 + np.tile([-1.0, 1.0], 50_000)
    path = ewma_chart(np.concatenate([reference, POINTS]), len(reference), smoothing=0.1, width=2.7)
    assert path.value[[0, 1, 2]] == pytest.approx([9.945, 9.7495, 9.70355], abs=1e-4)
    assert path.high[[0, 1]] == pytest.approx([10.27, 10.36], abs=0.006)
    assert path.high[-1] == pytest.approx(10.62, abs=0.006)
    # .1 × 11.31 + .9 × 10.573 is the first above 10.62.
    assert [at + 1 for at in path.signal_at] == [29, 30]


def test_ewma_in_control_runs_as_long_as_published() -> None:
    """Lucas and Saccucci 1990: weight .1 and width 2.703 give 370 points between false alarms."""
    rng = np.random.default_rng(9)
    reference = np.tile([-1.0, 1.0], 5000)
    lengths = []
    for _ in range(200):
        path = ewma_chart(np.concatenate([reference, rng.standard_normal(4000)]), 10_000, smoothing=0.1, width=2.703)
        lengths.append(path.signal_at[0] + 1 if path.signal_at else 4000)
    # Limits that begin narrow alarm somewhat sooner than the published ones, which are wide from the first point.
    assert 370 * (1 - 4 / np.sqrt(200)) < np.mean(lengths) < 370 * (1 + 4 / np.sqrt(200))


def test_the_limit_allows_for_a_centre_that_few_samples_gave() -> None:
    """Nearly known, it is the textbook's 5; what it promises is kept on rare rejects whose share was learnt."""
    assert cusum_limit(0.5, 465.0, 10**6) == pytest.approx(5.0, abs=0.02)
    assert cusum_limit(0.5, 465.0, 10) > cusum_limit(0.5, 465.0, 20) > cusum_limit(0.5, 465.0, 40) > 5.0
    rng = np.random.default_rng(12)
    runs, reference, watched = 500, 20, 100
    cried = {5.0: 0, cusum_limit(0.5, 465.0, reference): 0}
    of = np.full(reference + watched, 300, dtype=np.int64)
    for _ in range(runs):
        count = rng.binomial(300, 0.02, size=reference + watched)
        scores = normal_scores(count, of, float(count[:reference].sum()) / (300 * reference))[reference:]
        for limit in cried:
            cried[limit] += bool(tabular_cusum(scores, 0.0, 1.0, limit=limit).signal_at)
    textbook, allowed = (number / runs for number in cried.values())
    # At most one alarm in 465 samples, so at most 100/465 of these runs; the textbook's limit does not keep that.
    assert 0.02 < allowed <= watched / 465
    assert textbook > 1.3 * watched / 465


def test_normal_scores_have_the_chance_of_the_count() -> None:
    share, of = 0.01, 900
    counts = np.arange(40)
    weight = stats.binom.pmf(counts, of, share)
    scores = normal_scores(counts, np.full(40, of), share)
    assert (np.diff(scores) > 0).all()
    assert weight @ scores == pytest.approx(0.0, abs=0.01)
    assert weight @ scores**2 == pytest.approx(1.0, abs=0.03)
    assert np.isfinite(normal_scores(np.array([0, 900]), np.array([900, 900]), 0.5)).all()
    with pytest.raises(ValueError, match="share between 0 and 1"):
        normal_scores(counts, np.full(40, of), 0.0)


@pytest.mark.parametrize(("slack", "every", "reference"), [(0.0, 465.0, 20), (0.5, 1.0, 20), (0.5, 465.0, 3)])
def test_limits_that_cannot_be_are_refused(slack: float, every: float, reference: int) -> None:
    with pytest.raises(ValueError, match="CUSUM: expected at least 2 samples"):
        cusum_limit(slack, every, reference)
