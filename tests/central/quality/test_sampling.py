# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.sampling import (
    FLOOR_SHARE,
    allocate_budget,
    audit_budget,
    draw_audit,
    draw_expected,
    draw_share,
    inclusion_probabilities,
    spread_draw,
)


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


@given(score=st.lists(st.floats(-1e6, 1e6), max_size=120), budget=st.integers(0, 150), seed=st.integers(0, 2**32))
def test_draw_takes_each_part_once_with_a_chance_that_sums_to_the_budget(
    score: list[float], budget: int, seed: int
) -> None:
    values = np.array(score, dtype=np.float64)
    index, chance = draw_audit(values, budget, np.random.default_rng(seed))
    drawn = min(len(score), budget)
    assert len(index) == len(set(index.tolist())) == len(chance) == drawn
    assert all(0 <= position < len(score) for position in index)
    if drawn:
        every = inclusion_probabilities(values, budget)
        assert chance.tolist() == every[index].tolist()
        assert every.sum() == pytest.approx(drawn)
        assert every.max() <= 1.0
        assert every.min() >= FLOOR_SHARE * drawn / len(score) - 1e-12


@pytest.mark.parametrize("budget", [1, 4, 13, 19])
def test_every_part_is_drawn_as_often_as_stated(budget: int) -> None:
    rng = np.random.default_rng(4)
    score = np.array([1, 9, 2, 2, 50, 3, 3, 3, 0, 7, 8, 8, 90, 4, 5, 5, 6, 6, 1, 2], dtype=np.float64)
    chance = inclusion_probabilities(score, budget)
    hits = np.zeros(20)
    for _ in range(8_000):
        hits[spread_draw(chance, rng)] += 1
    error = np.sqrt(chance * (1 - chance) / 8_000)
    assert (np.abs(hits / 8_000 - chance) <= 4.5 * error + 1e-9).all()


def test_higher_scores_are_drawn_more_often_equal_ones_equally() -> None:
    chance = inclusion_probabilities(np.array([3.0, 1.0, 2.0, 1.0, 3.0, 0.0]), 2)
    assert chance[0] == chance[4] > chance[2] > chance[1] == chance[3] > chance[5]


def test_constant_scores_give_equal_chances() -> None:
    _, chance = draw_audit(np.full(1_000, 0.3), 50, np.random.default_rng(0))
    assert chance == pytest.approx(np.full(50, 0.05))


def test_a_fifth_of_the_budget_follows_the_risk_whatever_the_unit_of_the_score() -> None:
    score = np.random.default_rng(0).normal(size=5_000)
    chance = inclusion_probabilities(score, 200)
    assert chance.tolist() == inclusion_probabilities(np.exp(7 * score), 200).tolist()
    top = np.argsort(score)[-500:]
    assert chance[top].sum() > 0.8 * 20 + 0.7 * 40
    assert (chance - FLOOR_SHARE * 200 / 5_000).sum() == pytest.approx(40)


def test_draw_is_spread_over_the_shift() -> None:
    """No hour without audits: in each tenth of the parts between 15 and 25 of 200, in every one of 200 draws."""
    rng = np.random.default_rng(9)
    chance = inclusion_probabilities(np.random.default_rng(1).permutation(10_000).astype(float), 200)
    expected = chance.reshape(10, 1_000).sum(axis=1)
    for _ in range(200):
        tenths = np.bincount(spread_draw(chance, rng) // 1_000, minlength=10)
        # One part a cell: a stretch can differ by less than 2 from its sum of chances.
        assert (np.abs(tenths - expected) < 2).all()


def test_draw_cannot_fall_into_step_with_a_fixture() -> None:
    """Every tenth part comes from one cavity; a draw of every tenth part would see all of it or nothing."""
    rng = np.random.default_rng(9)
    chance = np.full(1_000, 0.1)
    seen = [np.count_nonzero(spread_draw(chance, rng) % 10 == 3) for _ in range(500)]
    assert np.mean(seen) == pytest.approx(10, abs=0.6)
    assert max(seen) < 30


def test_same_seed_draws_the_same_parts() -> None:
    first = draw_audit(np.arange(50.0), 5, np.random.default_rng(1))[0]
    assert first.tolist() == draw_audit(np.arange(50.0), 5, np.random.default_rng(1))[0].tolist()


@pytest.mark.parametrize("score", [[0.1, float("nan")], [float("inf"), 0.0], [[0.1, 0.2]]])
def test_scores_that_are_none_are_refused(score: list[float]) -> None:
    with pytest.raises(ValueError, match="finite score"):
        draw_audit(np.array(score), 1, np.random.default_rng(0))


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="0 or more"):
        draw_audit(np.zeros(3), -1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="0 or more"):
        allocate_budget([3, 4], -1)


@pytest.mark.parametrize("chance", [[0.5, 0.2], [1.5, 0.5], [0.0, 1.0]])
def test_chances_that_do_not_make_a_draw_are_refused(chance: list[float]) -> None:
    with pytest.raises(ValueError, match="whole sum"):
        spread_draw(np.array(chance), np.random.default_rng(0))


@given(sizes=st.lists(st.integers(0, 5_000), max_size=12), budget=st.integers(0, 300))
def test_budget_is_spent_whole_and_no_stratum_is_forgotten(sizes: list[int], budget: int) -> None:
    given_to = allocate_budget(sizes, budget)
    assert sum(given_to) == min(budget, sum(sizes))
    assert all(0 <= has <= size for has, size in zip(given_to, sizes, strict=True))
    if budget >= sum(size > 0 for size in sizes):
        assert all(has >= 1 for has, size in zip(given_to, sizes, strict=True) if size)


def test_budget_follows_the_number_of_parts() -> None:
    assert allocate_budget([1_000, 3_000, 0, 10], 41) == [11, 29, 0, 1]


@pytest.mark.parametrize(("n", "share", "at_most", "chance"), [(3, 0.1, 20, 0.1), (7, 0.5, 2, 2 / 7), (5, 1.0, 9, 1.0)])
def test_a_share_is_drawn_with_its_chance_however_few_parts_there_are(
    n: int, share: float, at_most: int, chance: float
) -> None:
    rng, runs = np.random.default_rng(3), 4_000
    count = np.zeros(n)
    for _ in range(runs):
        index, said = draw_share(n, share, at_most, rng)
        assert said == pytest.approx(chance)
        assert len(index) <= at_most
        count[index] += 1
    # Four and a half standard deviations of a share of 4,000.
    assert np.all(np.abs(count / runs - chance) <= 4.5 * np.sqrt(chance * (1 - chance) / runs) + 1e-12)


def test_a_whole_number_is_drawn_whole() -> None:
    rng = np.random.default_rng(4)
    assert {len(draw_share(100, 0.29, 99, rng)[0]) for _ in range(2_000)} == {29}
    assert len(draw_share(0, 0.5, 9, rng)[0]) == len(draw_share(9, 0.0, 9, rng)[0]) == 0
    with pytest.raises(ValueError, match="a share in 0 … 1"):
        draw_share(9, 1.2, 9, rng)


@pytest.mark.parametrize("expected", [0.3, 1.0, 2.6, 6.5, 7.0, 9.0])
def test_a_fraction_to_draw_gives_every_part_exactly_the_chance_that_is_stored(expected: float) -> None:
    """Seven parts, so that 9 is more than there are and 6.5 mixes a draw of all with one of six."""
    rng = np.random.default_rng(8)
    score = np.array([5, 1, 9, 9, 2, 70, 3], dtype=np.float64)
    hits, weights, counts = np.zeros(7), np.zeros(7), []
    for _ in range(20_000):
        index, chance, least = draw_expected(score, expected, rng)
        hits[index] += 1
        weights[index] += 1 / chance
        counts.append(len(index))
        assert 0.0 < least <= chance.min(initial=1.0)
    assert set(counts) <= {min(7, int(expected)), min(7, int(expected) + 1)}
    assert np.mean(counts) == pytest.approx(min(expected, 7.0), abs=0.015)
    # Horvitz and Thompson: weights add up to one of each part, on average. The variance of one is 1/pi - 1.
    error = np.sqrt((20_000 / hits) / 20_000)
    assert np.abs(weights / 20_000 - 1.0).max() < 4.5 * error.max()
    assert (hits > 0).all()


def test_an_expected_number_that_is_whole_is_the_draw_of_that_number() -> None:
    score = np.array([1, 9, 2, 2, 50, 3, 3, 3, 0, 7], dtype=np.float64)
    index, chance, least = draw_expected(score, 0.1 * 30, np.random.default_rng(5))
    same, same_chance = draw_audit(score, 3, np.random.default_rng(5))
    assert (index.tolist(), chance.tolist()) == (same.tolist(), same_chance.tolist())
    assert least == inclusion_probabilities(score, 3).min()
    assert draw_expected(score, 0.0, np.random.default_rng(5))[2] == 0.0
    assert draw_expected(np.empty(0), 2.5, np.random.default_rng(5))[2] == 0.0
    for wrong in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="number of 0 or more"):
            draw_expected(score, wrong, np.random.default_rng(5))
