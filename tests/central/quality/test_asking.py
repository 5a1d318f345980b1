# SPDX-License-Identifier: Apache-2.0
"""Which parts are asked about: near the limit, unlike what was judged, disputed, and unlike each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.asking import (
    Asked,
    AskReason,
    choose,
    disagreement,
    novelty,
    standardised,
    uncertainty,
)

U, N, D = AskReason.UNCERTAIN, AskReason.NOVEL, AskReason.DISAGREEMENT
EVEN = {U: 1.0, N: 1.0, D: 1.0}
NOTHING = np.empty((0, 2))


def picks(
    strength: list[float], features: np.ndarray, groups: list[str], budget: int, seen: np.ndarray = NOTHING
) -> list[int]:
    """Rows that are chosen for one reason."""
    return [each.index for each in choose({U: np.array(strength)}, features, seen, groups, budget, shares={U: 1.0})]


def test_between_the_limits_nothing_is_more_uncertain_and_farther_is_less() -> None:
    score = np.array([0.1, 0.3, 0.49, 0.6, 0.76, 0.9])
    found = uncertainty(score, np.full(6, 0.5), np.full(6, 0.75))
    assert found[3] == 1.0
    assert found[2] > found[1] > found[0]
    assert found[4] > found[5]


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40, unique=True))
def test_uncertainty_is_the_same_in_whatever_unit_a_package_scores(scores: list[float]) -> None:
    score = np.round(np.array(scores), 3)
    low, high = np.full(len(score), -0.5), np.full(len(score), 0.5)
    there = uncertainty(np.exp(score), np.exp(low), np.exp(high))
    assert np.array_equal(uncertainty(score, low, high), there)


def test_a_part_that_one_package_judged_is_not_disputed() -> None:
    score, other = np.array([1.0, 2.0, 3.0, 4.0]), np.array([30.0, 20.0, np.nan, 10.0])
    found = disagreement(score, other)
    assert found[2] == 0.0
    assert found[0] == found[3] > found[1] == 0.0
    assert not disagreement(score, np.full(4, np.nan)).any()


def test_novel_is_what_lies_far_from_what_was_judged_in_the_parts_own_units() -> None:
    rng = np.random.default_rng(1)
    features, seen = rng.normal(size=(60, 2)), rng.normal(size=(30, 2))
    features[7] = (0.0, 9.0)
    scale = np.array([1.0, 1000.0])
    found = novelty(*standardised(features, seen))
    assert int(found.argmax()) == 7
    assert np.array_equal(found, novelty(*standardised(features * scale + 5, seen * scale + 5)))
    # Once such a part was judged it is new no more.
    again = novelty(*standardised(features, np.vstack([seen, features[7] + 0.01])))
    assert int(again.argmax()) != 7


def test_what_was_not_measured_or_never_varies_tells_nothing() -> None:
    features = np.array([[1.0, np.nan, 5.0], [2.0, np.nan, 5.0], [np.nan, np.nan, 5.0]])
    made, seen = standardised(features, np.array([[3.0, 4.0, 9.0]]))
    assert np.isfinite(made).all()
    assert not made[:, 1:].any()
    assert not seen[:, 1:].any()
    assert made[2, 0] == 0.0


def test_twenty_pictures_of_one_part_are_one_question() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(30, 2))
    groups = ["the same"] * 20 + [f"part {number}" for number in range(10)]
    # Its pictures speak loudest.
    chosen = picks([1.0] * 20 + [0.5] * 10, features, groups, 6)
    assert len(chosen) == 6
    assert sum(row < 20 for row in chosen) == 1


def test_pictures_that_look_alike_are_asked_about_once_though_their_names_differ() -> None:
    rng = np.random.default_rng(3)
    middles = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], float)
    features = np.repeat(middles, 2, axis=0) + rng.normal(size=(8, 2)) * 0.01
    chosen = picks([0.9] * 8, features, [str(row) for row in range(8)], 4)
    assert {row // 2 for row in chosen} == {0, 1, 2, 3}
    # What is unlike anything that was judged goes first; with nothing judged it would be the first of equals.
    names = [str(row) for row in range(8)]
    assert picks([0.9] * 8, features, names, 2)[0] == 0
    assert picks([0.9] * 8, features, names, 2, seen=middles[:1])[0] // 2 == 1


def test_how_different_parts_are_never_brings_in_those_that_no_reason_speaks_for() -> None:
    features = np.zeros((40, 2))
    features[39] = 100.0
    strength = [0.9] * 20 + [0.1] * 19 + [0.0]
    chosen = picks(strength, features, [str(row) for row in range(40)], 4)
    assert max(chosen) < 20


def test_a_far_part_is_not_taken_for_one_that_speaks_twice_as_loudly() -> None:
    features, seen = np.array([[0.0, 0.1], [9.0, 9.0]]), np.zeros((1, 2))
    assert picks([1.0, 0.4], features, ["a", "b"], 1, seen=seen) == [0]
    assert picks([1.0, 0.6], features, ["a", "b"], 1, seen=seen) == [1]


def test_each_reason_gets_its_share_and_a_silent_one_gives_it_away() -> None:
    rng = np.random.default_rng(4)
    features = rng.normal(size=(200, 2))
    strengths = {U: rng.random(200), N: rng.random(200), D: np.zeros(200)}
    names = [str(row) for row in range(200)]
    shares = {U: 0.5, N: 0.25, D: 0.25}
    counted = [each.reason for each in choose(strengths, features, NOTHING, names, 12, shares=shares)]
    assert (counted.count(U), counted.count(N), counted.count(D)) == (8, 4, 0)
    strengths[D] = rng.random(200)
    counted = [each.reason for each in choose(strengths, features, NOTHING, names, 12, shares=shares)]
    assert (counted.count(U), counted.count(N), counted.count(D)) == (6, 3, 3)


def test_few_parts_or_none_are_all_that_is_asked_about() -> None:
    two = np.zeros((2, 2))
    assert len(picks([0.5, 0.4], two, ["a", "b"], 9)) == 2
    assert picks([], NOTHING, [], 9) == []
    assert picks([0.5, 0.4], two, ["a", "b"], 0) == []
    assert picks([0.0, 0.0], two, ["a", "b"], 2) == []


def test_the_loudest_begins_and_its_strength_is_told() -> None:
    (first, *_) = choose({U: np.array([0.2, 0.8, 0.5])}, np.eye(3)[:, :2], NOTHING, ["a", "b", "c"], 2, shares=EVEN)
    assert first == Asked(1, U, 0.8)


@pytest.mark.parametrize(
    ("strength", "budget", "shares", "words"),
    [
        ([0.5], 1, EVEN, "expected 2 of everything"),
        ([0.5, 0.5], -1, EVEN, "0 or more, got -1"),
        ([0.5, 0.5], 1, {U: -1.0}, "0 or more, got 1"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_words(
    strength: list[float], budget: int, shares: dict[AskReason, float], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        choose({U: np.array(strength)}, np.zeros((2, 2)), NOTHING, ["a", "b"], budget, shares=shares)
