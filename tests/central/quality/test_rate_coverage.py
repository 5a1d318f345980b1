# SPDX-License-Identifier: Apache-2.0
"""The promises of the intervals, by simulation with the draw that central uses. More runs: `benchmarks/quality_rates`.

300 repetitions a row. A true coverage of 95 % shows less than 93 % of 300 in 5 runs of 100, so the seed is fixed.
"""

import numpy as np
import pytest

from benchmarks._rate_runs import (
    STREAMS,
    STRONG,
    Covered,
    escapes,
    escapes_with_repeats,
    ever_wrong,
    once,
    overkills,
    positives_confirmed,
    two_of_three,
)
from central.quality.rates import escape_interval
from central.quality.sampling import inclusion_probabilities, spread_draw

RUNS = 300


def _must_hold(seen: Covered, width: float | None = None) -> None:
    assert seen.runs == RUNS
    assert seen.coverage >= 0.93
    if width is not None:
        assert seen.median_width <= width


@pytest.mark.parametrize(
    ("name", "labels", "width"),
    [
        ("strong", 200, 2.0),
        ("weak", 200, 3.2),
        ("new defect", 200, 3.2),
        ("strong", 6_000, 0.10),
        ("weak", 6_000, 0.45),
        ("new defect", 6_000, 0.45),
    ],
)
def test_escape_interval_holds_the_truth_of_the_day_and_is_narrow(name: str, labels: int, width: float) -> None:
    _must_hold(escapes(STREAMS[name], labels, RUNS, draws_a_day=10), width)


@pytest.mark.parametrize("name", list(STREAMS))
def test_people_who_err_in_two_of_hundred_do_no_harm_when_positives_are_confirmed(name: str) -> None:
    _must_hold(escapes(STREAMS[name], 200, RUNS, positives_confirmed(0.02), draws_a_day=10))


@pytest.mark.parametrize("name", list(STREAMS))
def test_overkill_interval_holds_with_two_of_three(name: str) -> None:
    _must_hold(overkills(STREAMS[name], 200, RUNS, two_of_three(0.02), draws_a_day=10))


def test_with_thousands_of_labels_the_errors_that_are_left_are_taken_in() -> None:
    """Confirmed twice, .04 % of the good parts are still called defective, as many again as there are escapes."""
    bare = escapes(STRONG, 6_000, RUNS, positives_confirmed(0.02), draws_a_day=30)
    allowed = escapes_with_repeats(STRONG, 6_000, RUNS, 0.02, repeats=300, draws_a_day=30)
    assert bare.coverage < 0.85
    assert allowed.coverage >= 0.95


def test_without_a_second_look_wrong_answers_are_taken_for_escapes() -> None:
    """What confirmation is for: else this file could not tell whether it does anything."""
    assert escapes(STRONG, 200, RUNS, once(0.02), draws_a_day=10).coverage < 0.85


@pytest.mark.parametrize("share", [0.0005, 0.0055, 0.015, 0.1])
def test_watched_interval_is_hardly_ever_wrong_at_any_look(share: float) -> None:
    assert ever_wrong([share], 2_000) <= 0.05


def test_interval_for_one_look_would_not_bear_being_watched() -> None:
    rng = np.random.default_rng(3)
    wrong = 0
    for _ in range(RUNS):
        found = np.cumsum(rng.random(3_000) < 0.015)
        looks = np.unique(np.geomspace(20, 3_000, 25).astype(int))
        intervals = [escape_interval(np.arange(n) < found[n - 1], np.full(n, 0.1), 10 * n) for n in looks]
        wrong += any(not interval.low <= 0.015 <= interval.high for interval in intervals)
    assert wrong / RUNS > 0.05


@pytest.mark.parametrize("budget", [200, 6_000])
@pytest.mark.parametrize("kind", ["independent", "falling", "bursts", "every tenth"])
def test_coverage_does_not_rest_on_defects_that_come_by_chance(kind: str, budget: int) -> None:
    """Defects that gather where the score is low, come in bursts or with every tenth part (a cavity)."""
    rng = np.random.default_rng(8)
    parts = 20_000
    score = rng.normal(size=parts)
    rank = np.argsort(np.argsort(score))
    is_defective = {
        "independent": rng.random(parts) < 0.02,
        "falling": (rank < 1_000) & (rng.random(parts) < 0.4),
        "bursts": np.isin(np.arange(parts) // 50, rng.choice(400, 8, replace=False)),
        "every tenth": (np.arange(parts) % 10 == 3) & (rng.random(parts) < 0.2),
    }[kind]
    chance = inclusion_probabilities(score, budget)
    held = 0
    for _ in range(RUNS):
        index = spread_draw(chance, rng)
        interval = escape_interval(is_defective[index], chance[index], parts)
        held += interval.low <= is_defective.mean() <= interval.high
    assert held / RUNS >= 0.93
