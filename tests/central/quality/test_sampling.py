# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.sampling import audit_budget, draw_audit


@pytest.mark.parametrize(
    ("accepted", "share", "at_most", "expected"),
    [
        (0, 0.05, 100, 0),
        (1, 0.05, 100, 1),
        (20, 0.05, 100, 1),
        (21, 0.05, 100, 2),
        (10_000, 0.05, 100, 100),
        (3, 0, 9, 1),
    ],
)
def test_budget_is_the_share_rounded_up_at_least_one_and_bounded(
    accepted: int, share: float, at_most: int, expected: int
) -> None:
    assert audit_budget(accepted, share, at_most) == expected


@given(stratum=st.integers(0, 200), budget=st.integers(0, 250), seed=st.integers(0, 2**32))
def test_draw_takes_each_part_once_with_the_stated_chance(stratum: int, budget: int, seed: int) -> None:
    index, chance = draw_audit(np.zeros(stratum), budget, np.random.default_rng(seed))
    drawn = min(stratum, budget)
    assert len(index) == len(set(index.tolist())) == drawn
    assert all(0 <= position < stratum for position in index)
    assert all(value == pytest.approx(drawn / stratum) for value in chance)


def test_every_part_is_drawn_as_often_as_stated_whatever_its_score() -> None:
    rng = np.random.default_rng(4)
    score = np.linspace(0, 1, 20)
    hits = np.zeros(20)
    for _ in range(5000):
        index, _ = draw_audit(score, 4, rng)
        hits[index] += 1
    assert np.abs(hits / 5000 - 0.2).max() < 4 * np.sqrt(0.2 * 0.8 / 5000)


def test_same_seed_draws_the_same_parts() -> None:
    first = draw_audit(np.zeros(50), 5, np.random.default_rng(1))[0]
    assert first.tolist() == draw_audit(np.zeros(50), 5, np.random.default_rng(1))[0].tolist()


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        draw_audit(np.zeros(3), -1, np.random.default_rng(0))
