# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from central.quality.charts import (
    block_means,
    ewma_chart,
    follow_cusum,
    mean_run_length,
    p_chart_limits,
    plan_cusum,
)


@given(count=st.integers(0, 200), extra=st.integers(1, 5000), of=st.integers(5, 500))
def test_p_chart_signals_an_unchanged_process_no_more_often_than_stated(count: int, extra: int, of: int) -> None:
    limits = p_chart_limits(count, count + extra, of)
    share = (count + 0.5) / (count + extra + 1.0)
    below = stats.binom.cdf(round(limits.low * of) - 1, of, share)
    above = stats.binom.sf(round(limits.high * of), of, share)
    assert below <= 0.00135 + 1e-9
    assert above <= 0.00135 + 1e-9


def test_p_chart_without_a_reject_in_its_reference_allows_the_first_one() -> None:
    assert p_chart_limits(0, 1000, 50).high >= 1 / 50


@pytest.mark.parametrize(("reference_of", "of"), [(0, 50), (50, 0)])
def test_p_chart_without_parts_has_no_limits(reference_of: int, of: int) -> None:
    with pytest.raises(ValueError, match="expected parts"):
        p_chart_limits(0, reference_of, of)


@pytest.mark.parametrize(
    ("tolerated", "rejected", "every"), [(0.01, 0.05, 1000), (0.01, 0.1, 500), (0.02, 0.1, 200), (0.005, 0.05, 1000)]
)
def test_cusum_alarms_falsely_no_more_often_than_planned(tolerated: float, rejected: float, every: int) -> None:
    """The planned mean run length, by simulation: the process stays at the tolerated share."""
    plan = plan_cusum(tolerated, rejected, every)
    assert plan.false_alarm_every >= every
    assert mean_run_length(plan.up, plan.limit - 1, tolerated) < every
    rng = np.random.default_rng(8)
    runs, length = 400, 40 * every
    lengths = []
    for _ in range(runs):
        defects = np.flatnonzero(rng.random(length) < tolerated)
        lengths.append(_run_length(defects, plan.up, plan.limit, length))
    # Run lengths are close to exponential: their mean has a relative standard error of 1/√runs.
    assert np.mean(lengths) >= every * (1 - 3 / np.sqrt(runs))
    assert np.mean(lengths) == pytest.approx(plan.false_alarm_every, rel=4 / np.sqrt(runs))


def _run_length(defects: "np.typing.NDArray[np.intp]", up: int, limit: int, length: int) -> int:
    """From defect to defect instead of part by part; the same statistic."""
    statistic, last = 0, -1
    for position in defects.tolist():
        statistic = max(0, statistic - (position - last - 1)) + up
        last = position
        if statistic >= limit:
            return int(position) + 1
    return length


def test_cusum_finds_the_share_it_was_designed_for_quickly() -> None:
    plan = plan_cusum(0.01, 0.05, 1000)
    assert mean_run_length(plan.up, plan.limit, 0.05) < 80
    assert mean_run_length(plan.up, plan.limit, 0.2) < 15


@given(st.lists(st.booleans(), max_size=300))
def test_cusum_is_never_negative_and_signals_exactly_at_its_limit(outcomes: list[bool]) -> None:
    plan = plan_cusum(0.01, 0.1, 500)
    path = follow_cusum(outcomes, plan)
    assert len(path.value) == len(outcomes)
    assert (path.value >= 0).all()
    reached = np.flatnonzero(path.value >= plan.limit)
    assert path.signal_at == (int(reached[0]) if len(reached) else None)


@given(st.lists(st.booleans(), min_size=1, max_size=200), st.data())
def test_one_more_defective_part_never_lowers_the_cusum(outcomes: list[bool], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(outcomes) - 1))
    plan = plan_cusum(0.01, 0.1, 500)
    worse = [*outcomes[:position], True, *outcomes[position + 1 :]]
    assert (follow_cusum(worse, plan).value >= follow_cusum(outcomes, plan).value).all()


@pytest.mark.parametrize(("tolerated", "rejected"), [(0.05, 0.01), (0.0, 0.1), (0.1, 1.0), (0.1, 0.1)])
def test_cusum_shares_out_of_order_are_refused(tolerated: float, rejected: float) -> None:
    with pytest.raises(ValueError, match="tolerated share < rejected share"):
        plan_cusum(tolerated, rejected, 500)


def test_ewma_learns_in_phase_one_and_signals_only_in_phase_two() -> None:
    rng = np.random.default_rng(1)
    quiet = rng.normal(100, 1, size=30)
    assert ewma_chart(quiet[:19], reference_blocks=20).centre is None
    steady = ewma_chart(quiet, reference_blocks=20)
    assert len(steady.value) == 10
    assert steady.signal_at == ()
    shifted = ewma_chart(np.concatenate([quiet[:20], quiet[20:] + 2.0]), reference_blocks=20)
    assert shifted.signal_at
    assert shifted.centre == steady.centre


def test_ewma_rarely_signals_an_unchanged_process() -> None:
    """200 references, 100 blocks each: with a width of 3.5 about one chart in ten may signal."""
    rng = np.random.default_rng(6)
    signalled = sum(
        bool(ewma_chart(rng.normal(0, 1, size=120), reference_blocks=20, width=3.5).signal_at) for _ in range(200)
    )
    assert signalled / 200 < 0.2


def test_ewma_of_a_reference_that_was_too_quiet_does_not_alarm_on_every_breath() -> None:
    blocks = np.concatenate([np.full(20, 100.0), np.full(10, 100.1)])
    assert ewma_chart(blocks, 20).signal_at
    assert ewma_chart(blocks, 20, least_deviation=0.25).signal_at == ()


def test_ewma_needs_a_reference() -> None:
    with pytest.raises(ValueError, match="at least 4 reference blocks"):
        ewma_chart(np.zeros(10), 3)


def test_block_means_leave_an_unfinished_block_out() -> None:
    assert block_means(np.array([1.0, 3.0, 5.0, 7.0, 100.0]), 2).tolist() == [2.0, 6.0]
