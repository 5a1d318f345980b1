# SPDX-License-Identifier: Apache-2.0
"""Figures beside the charts carry their intervals, and what is not known is not 0."""

import numpy as np
import pytest

from central.quality.charts import escape_ppm, first_pass_yield, overkill_cost, pareto, rolled_throughput_yield
from central.quality.rates import Interval, binomial_interval, escape_interval


def test_pareto_is_in_order_and_adds_up() -> None:
    bars = pareto({"pit": 3, "stain": 12, "crack": 3, "burr": 0})
    assert [(bar.defect_class, bar.count) for bar in bars] == [("stain", 12), ("crack", 3), ("pit", 3)]
    assert [bar.cumulative for bar in bars] == pytest.approx([12 / 18, 15 / 18, 1.0])
    assert bars[0].share == binomial_interval(12, 18)
    assert pareto({}) == []


def test_first_pass_yield_counts_all_parts_that_came() -> None:
    assert first_pass_yield(95, 100).estimate == pytest.approx(0.95)
    assert first_pass_yield(0, 0).estimate is None


def test_rolled_throughput_yield_multiplies() -> None:
    assert rolled_throughput_yield([0.9, 0.5]) == pytest.approx(0.45)
    assert rolled_throughput_yield([]) is None


def test_escapes_in_ppm_cover_the_truth_as_often_as_stated() -> None:
    """400 shifts of 5,000 accepted parts with 2,000 ppm escapes, 300 of them audited."""
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(400):
        truth = rng.random(5000) < 0.002
        audited = truth[rng.permutation(5000)[:300]]
        interval = escape_ppm(escape_interval(audited, np.full(300, 300 / 5000), 5000))
        covered += interval.low <= truth.mean() * 1e6 <= interval.high
    assert covered / 400 >= 0.93


def test_escapes_without_audits_are_not_known() -> None:
    assert escape_ppm(Interval(0.0, None, 1.0)) == Interval(0.0, None, 1e6)


def test_overkill_costs_what_good_rejects_cost() -> None:
    cost = overkill_cost(200, binomial_interval(10, 40), 2.5)
    assert cost.estimate == pytest.approx(0.25 * 500)
    assert cost.low < 125 < cost.high <= 500
    assert overkill_cost(200, Interval(0.0, None, 1.0), 2.5).estimate is None
    with pytest.raises(ValueError, match="cost of at least 0"):
        overkill_cost(200, binomial_interval(1, 2), -1)
