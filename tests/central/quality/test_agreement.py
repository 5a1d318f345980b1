# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from central.quality.agreement import (
    allow_for_errors,
    by_majority,
    confirmed,
    disagreement,
    error_rate,
    plant_repeats,
)
from central.quality.rates import Interval


def test_a_part_is_defective_when_the_second_agrees() -> None:
    first, second = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert confirmed(first, second).tolist() == [True, False, False, False]


def test_majority_of_three() -> None:
    answers = np.array([[True, True, False, False], [True, False, True, False], [False, True, False, False]])
    assert by_majority(answers).tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    "answers", [np.zeros((2, 5), dtype=bool), np.zeros((4, 5), dtype=bool), np.zeros(3, dtype=bool)]
)
def test_a_majority_that_may_be_a_tie_is_refused(answers: np.ndarray) -> None:
    with pytest.raises(ValueError, match="odd number of inspectors"):
        by_majority(answers)


def test_errors_follow_from_contradictions() -> None:
    """2 % wrong answers contradict each other in 2 * .02 * .98 of the repeats."""
    rate = error_rate(Interval(0.0, 2 * 0.02 * 0.98, 0.5))
    assert rate.low == 0.0
    assert rate.estimate == pytest.approx(0.02)
    assert rate.high == 0.5


def test_the_share_behind_an_observed_one_is_found_again() -> None:
    share, error = 0.003, 0.02
    observed = share * (1 - error) ** 2 + (1 - share) * error**2
    found = allow_for_errors(Interval(observed, observed, observed), Interval(error, error, error))
    assert (found.low, found.estimate, found.high) == pytest.approx((share, share, share))


def test_answers_that_say_nothing_leave_nothing_known() -> None:
    found = allow_for_errors(Interval(0.001, 0.002, 0.003), Interval(0.1, 0.3, 0.5))
    assert (found.low, found.high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="plant blind repeats"):
        allow_for_errors(Interval(0.001, 0.002, 0.003), Interval(0.0, None, 1.0))


def test_disagreement_names_its_denominator() -> None:
    found = disagreement(np.array([True, False, True, True]), np.array([True, True, True, False]))
    assert (found.count, found.of, found.interval.estimate) == (2, 4, 0.5)
    nothing = disagreement(np.empty(0, dtype=bool), np.empty(0, dtype=bool))
    assert nothing.interval.estimate is None


def test_answers_on_different_parts_are_refused() -> None:
    with pytest.raises(ValueError, match="same parts"):
        disagreement(np.zeros(3, dtype=bool), np.zeros(4, dtype=bool))


def test_repeats_are_planted_at_any_place_no_part_twice() -> None:
    rng = np.random.default_rng(5)
    planted = plant_repeats(200, 30, 0.1, rng)
    assert 20 <= len(planted) <= 21
    assert len({part for _, part in planted}) == len(planted)
    assert all(0 <= position <= 200 and 0 <= part < 30 for position, part in planted)
    assert [position for position, _ in planted] == sorted(position for position, _ in planted)
    assert plant_repeats(200, 0, 0.1, rng) == []
    assert len(plant_repeats(200, 3, 0.5, rng)) == 3


def test_short_queues_get_their_share_of_repeats_too() -> None:
    rng = np.random.default_rng(5)
    assert np.mean([len(plant_repeats(2, 30, 0.1, rng)) for _ in range(4_000)]) == pytest.approx(0.2, abs=0.03)


@pytest.mark.parametrize(
    ("waiting", "judged", "share"), [(-1, 3, 0.1), (3, -1, 0.1), (3, 3, 1.1), (3, 3, float("nan"))]
)
def test_repeats_that_cannot_be_are_refused(waiting: int, judged: int, share: float) -> None:
    with pytest.raises(ValueError, match="repeats: expected"):
        plant_repeats(waiting, judged, share, np.random.default_rng(0))
