# SPDX-License-Identifier: Apache-2.0
"""p, np and u charts: textbook examples, and limits that hold what they say.

The examples are the well-known ones of D. C. Montgomery, Introduction to Statistical Quality Control, chapter 7: cans
of orange juice concentrate (30 samples of 50), and personal computers (20 samples of 5).
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.charts import attribute_chart

CANS = np.array(
    [12, 15, 8, 10, 4, 7, 16, 9, 14, 10, 5, 6, 17, 12, 22, 8, 10, 5, 13, 11, 20, 18, 24, 15, 9, 12, 7, 13, 9, 6]
)
OF_FIFTY = np.full(30, 50)
COMPUTERS = np.array([10, 12, 8, 14, 10, 16, 11, 7, 10, 15, 9, 5, 7, 11, 12, 6, 8, 10, 7, 5])


def test_p_chart_of_the_textbook() -> None:
    chart = attribute_chart("p", CANS, OF_FIFTY, 30, limits="3 sigma")
    assert chart.centre[0] == pytest.approx(0.2313, abs=5e-5)
    assert chart.high[0] == pytest.approx(0.4102, abs=5e-5)
    assert chart.low[0] == pytest.approx(0.0524, abs=5e-5)
    assert [at + 1 for at in chart.signal_at] == [15, 23]


def test_p_chart_of_the_textbook_without_the_samples_whose_cause_was_found() -> None:
    chart = attribute_chart("p", CANS, OF_FIFTY, 30, limits="3 sigma", excluded=(14, 22))
    assert chart.centre[0] == pytest.approx(0.2150, abs=5e-5)
    assert chart.high[0] == pytest.approx(0.3893, abs=1e-4)
    assert chart.low[0] == pytest.approx(0.0407, abs=1e-4)
    assert [at + 1 for at in chart.signal_at] == [15, 21, 23]


def test_np_chart_is_the_p_chart_in_parts() -> None:
    share = attribute_chart("p", CANS, OF_FIFTY, 30, limits="3 sigma")
    number = attribute_chart("np", CANS, OF_FIFTY, 30, limits="3 sigma")
    assert number.value == pytest.approx(CANS)
    assert (number.centre[0], number.high[0], number.low[0]) == pytest.approx((11.57, 20.51, 2.62), abs=0.006)
    assert number.signal_at == share.signal_at
    assert number.standardized == pytest.approx(share.standardized)


def test_u_chart_of_the_textbook() -> None:
    chart = attribute_chart("u", COMPUTERS, np.full(20, 5), 20, limits="3 sigma")
    assert chart.centre[0] == pytest.approx(1.93)
    assert chart.high[0] == pytest.approx(3.79, abs=0.005)
    assert chart.low[0] == pytest.approx(0.07, abs=0.005)
    assert chart.signal_at == ()


def test_limits_follow_the_size_of_each_sample() -> None:
    chart = attribute_chart("p", np.array([5, 10, 2]), np.array([100, 200, 40]), 3, limits="3 sigma")
    assert chart.value.tolist() == [0.05, 0.05, 0.05]
    assert chart.high[1] < chart.high[0] < chart.high[2]


def test_phase_two_teaches_nothing() -> None:
    steady, worse = np.full(20, 3), np.concatenate([np.full(20, 3), np.full(10, 30)])
    assert attribute_chart("p", worse, np.full(30, 100), 20).centre[0] == pytest.approx(
        attribute_chart("p", steady, np.full(20, 100), 20).centre[0]
    )


@pytest.mark.parametrize("kind", ["p", "np", "u"])
@pytest.mark.parametrize("share", [0.002, 0.02, 0.2])
def test_exact_limits_hold_where_three_sigma_does_not(kind: str, share: float) -> None:
    """20,000 samples of 200 parts in control, after as long a reference: at most .27 % may lie outside."""
    rng = np.random.default_rng(4)
    count = rng.poisson(200 * share, 40_000) if kind == "u" else rng.binomial(200, share, 40_000)
    of = np.full(40_000, 200)

    def outside(limits: str) -> float:
        chart = attribute_chart(kind, count, of, 20_000, limits=limits)  # type: ignore[arg-type]
        return float(np.mean(np.array(chart.signal_at) >= 20_000) * len(chart.signal_at) / 20_000)

    assert outside("exact") <= 0.0027 + 3 * np.sqrt(0.0027 / 20_000)
    if share == 0.002:
        assert outside("3 sigma") > 0.0027


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(30, 300)), min_size=2, max_size=40))
def test_the_centre_line_lies_between_limits_for_any_counts(samples: list[tuple[int, int]]) -> None:
    count, of = (np.array(column) for column in zip(*samples, strict=True))
    for kind in ("p", "np", "u"):
        chart = attribute_chart(kind, count, of, len(of))
        assert (chart.low >= 0).all()
        # An exact limit is a whole number of parts: the centre line may lie less than one part beyond it.
        one = 1.0 if kind == "np" else 1.0 / of
        assert (chart.low <= chart.centre + one).all()
        assert (chart.centre <= chart.high + one).all()
        assert (chart.deviation > 0).all()


def test_a_reference_without_any_reject_allows_the_first_one() -> None:
    for kind in ("p", "np", "u"):
        chart = attribute_chart(kind, np.array([0] * 20 + [1]), np.full(21, 50), 20)
        assert chart.signal_at == ()


@pytest.mark.parametrize(
    ("count", "of", "excluded", "message"),
    [
        ([1, 2], [10], (), "two arrays of one length"),
        ([1], [0], (), "at least one part"),
        ([-1], [5], (), "counts >= 0"),
        ([6], [5], (), "take a u chart"),
        ([1, 1], [5, 5], (0, 1), "to learn the centre line from"),
    ],
)
def test_counts_that_cannot_be_are_refused(
    count: list[int], of: list[int], excluded: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        attribute_chart("p", np.array(count), np.array(of), 2, excluded=excluded)
