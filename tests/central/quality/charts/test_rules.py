# SPDX-License-Identifier: Apache-2.0
"""Run rules: each holds on its pattern and not on what is one short of it, and together they alarm as published."""

import numpy as np
import pytest

from central.quality.charts import NELSON, WESTERN_ELECTRIC, RunRule, run_rules

BY_NAME = {rule.name: rule for rule in (*NELSON, *WESTERN_ELECTRIC)}
ZIGZAG = [0.3 if index % 2 else -0.3 for index in range(14)]
PATTERNS: dict[str, tuple[list[float], list[float]]] = {
    "Nelson 1": ([0, 3.1], [0, 2.9]),
    "Nelson 2": ([0.1] * 9, [0.1] * 8 + [-0.1]),
    "Nelson 3": ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 4]),
    "Nelson 4": (ZIGZAG, ZIGZAG[:13]),
    "Nelson 5": ([2.1, 0, 2.2], [2.1, 0, -2.2]),
    "Nelson 6": ([1.1, 1.2, 0, 1.1, 1.3], [1.1, 1.2, 0, 0, 1.3]),
    "Nelson 7": ([0.9, -0.5, 0.1] * 5, [0.9, -0.5, 0.1] * 4 + [0.9, -0.5, 1.1]),
    "Nelson 8": ([1.1, -1.2] * 4, [1.1, -1.2] * 3 + [1.1, 0.2]),
    "Western Electric 1": ([-3.2], [-3.0]),
    "Western Electric 2": ([-2.1, -2.1], [-2.1, 2.1]),
    "Western Electric 3": ([-1.1, 0, -1.1, -1.1, -1.1], [-1.1, 0, 0, -1.1, -1.1]),
    "Western Electric 4": ([-0.1] * 8, [-0.1] * 7),
}


@pytest.mark.parametrize("name", BY_NAME)
def test_a_rule_holds_on_its_pattern_and_not_on_what_is_one_short_of_it(name: str) -> None:
    holds, short = PATTERNS[name]
    found = run_rules(np.array(holds, dtype=float), [BY_NAME[name]])
    assert [(signal.rule, signal.at) for signal in found] == [(name, len(holds) - 1)]
    assert run_rules(np.array(short, dtype=float), [BY_NAME[name]]) == []


def test_a_signal_names_the_points_that_made_it() -> None:
    found = run_rules(np.array([0.0, 2.1, 0.5, 2.2]), [BY_NAME["Nelson 5"]])
    assert found[0].points == (1, 3)
    assert run_rules(np.arange(6.0), [BY_NAME["Nelson 3"]])[0].points == tuple(range(6))


def test_a_rule_that_goes_on_holding_is_told_once_and_again_when_it_comes_again() -> None:
    z = np.array([0.1] * 12 + [-0.1] + [0.1] * 9)
    assert [signal.at for signal in run_rules(z, [BY_NAME["Nelson 2"]])] == [8, 21]


def test_falling_trends_count_as_rising_ones() -> None:
    assert [signal.at for signal in run_rules(-np.arange(8.0), [BY_NAME["Nelson 3"]])] == [5]


def test_few_points_hold_no_rule() -> None:
    for length in range(3):
        assert run_rules(np.zeros(length)) == []


@pytest.mark.parametrize(
    ("rules", "published"),
    [
        (WESTERN_ELECTRIC[:1], 370.40),
        (WESTERN_ELECTRIC[:2], 225.44),
        ((WESTERN_ELECTRIC[0], WESTERN_ELECTRIC[2]), 166.05),
        ((WESTERN_ELECTRIC[0], WESTERN_ELECTRIC[3]), 152.73),
        (WESTERN_ELECTRIC, 91.75),
    ],
)
def test_points_between_false_alarms_are_those_of_champ_and_woodall(
    rules: tuple[RunRule, ...], published: float
) -> None:
    """Mean run length in control, 1,500 runs; run lengths are close to exponential."""
    runs = 1500
    rng = np.random.default_rng(7)
    lengths = []
    for _ in range(runs):
        begun = 0
        while not (found := run_rules(rng.standard_normal(1024), rules)):
            # A run that goes on is begun anew: what the last few points remember is lost, less than one in a hundred.
            begun += 1024
        lengths.append(begun + found[0].at + 1)
    assert np.mean(lengths) == pytest.approx(published, rel=4 / np.sqrt(runs))
