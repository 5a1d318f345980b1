# SPDX-License-Identifier: Apache-2.0
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks._gate_runs import costs, margin
from central.quality.gates import CostGate, Decision, DiscordanceGate, MarginGate

RUNS = 2_000


def test_equal_packages_are_promoted_within_5000_parts_and_50_labels() -> None:
    seen = margin(0.005, 0.005, RUNS)
    assert seen.promoted >= 0.95
    assert seen.median_promotion <= 5_000
    assert np.median(seen.labels_at_promotion) <= 50


@pytest.mark.parametrize(
    ("right", "wrong", "horizon"), [(0.0025, 0.0075, 6_000), (0, 0.005, 6_000), (0.02, 0.025, 1_500)]
)
def test_challenger_at_the_margin_is_falsely_promoted_or_aborted_in_at_most_5_percent(
    right: float, wrong: float, horizon: int
) -> None:
    seen = margin(right, wrong, RUNS, horizon=horizon)
    assert seen.promoted <= 0.05
    assert seen.aborted <= 0.05


def test_challenger_beyond_the_margin_is_aborted() -> None:
    seen = margin(0.005, 0.025, RUNS)
    assert seen.aborted >= 0.99
    assert seen.median_abort <= 1_500


def test_packages_that_never_differ_are_promoted_without_a_label() -> None:
    seen = margin(0.0, 0.0, 1)
    assert seen.promoted == 1.0
    # The rule of three: no discordant part among 600 shows a share below 0.5 %; not knowing that costs some more.
    assert 600 <= seen.median_promotion <= 1_200
    assert seen.labels_at_promotion.tolist() == [0]


@given(
    differences=st.lists(st.sampled_from([-1, 0, 0, 0, 0, 1]), max_size=400),
    alpha=st.sampled_from([0.05, 0.3]),
    least=st.sampled_from([0.02, 0.2]),
)
def test_decides_as_if_both_wealths_were_worked_out_after_every_part(
    differences: list[int], alpha: float, least: float
) -> None:
    gate = MarginGate(alpha, least)
    shares = [0.02 * (0.95 / 0.02) ** (step / 11) for step in range(12)]
    worth = [[1.0] * 12, [1.0] * 12]
    for difference in differences:
        decision = gate.update(difference)
        worth[0] = [w * (1 - s / (1 + least) * (difference + least)) for w, s in zip(worth[0], shares, strict=True)]
        worth[1] = [w * (1 + s / (1 - least) * (difference + least)) for w, s in zip(worth[1], shares, strict=True)]
        abort, promote = (sum(side) / 12 for side in worth)
        assert tuple(map(math.exp, gate.log_evidence)) == pytest.approx((abort, promote), rel=1e-9)
        assert (decision is Decision.ABORT) == (abort >= 1 / alpha)
        assert (decision is Decision.PROMOTE) == (promote >= 1 / alpha and abort < 1 / alpha)
        if decision is not Decision.CONTINUE:
            break


@given(steps=st.lists(st.tuples(st.integers(0, 700), st.sampled_from([-1, 1])), max_size=12))
def test_equal_parts_in_one_step_are_the_same_as_one_by_one(steps: list[tuple[int, int]]) -> None:
    at_once, one_by_one = MarginGate(), MarginGate()
    for equal, difference in steps:
        at_once.update_equal(equal)
        for _ in range(equal):
            one_by_one.update(0)
        assert at_once.to_dict() == one_by_one.to_dict()
        assert at_once.update(difference) is one_by_one.update(difference)
    assert at_once.to_dict() == one_by_one.to_dict()


def test_parts_that_agree_promote_nothing_while_discordant_ones_wait_for_their_label() -> None:
    gate = MarginGate()
    for _ in range(15):
        gate.wait_for_label()
    gate.update_equal(2_000)
    assert gate.update(0) is Decision.CONTINUE
    assert [gate.settle(1) for _ in range(15)][-1] is Decision.PROMOTE


@given(
    differences=st.lists(st.tuples(st.sampled_from([-1, 0, 0, 0, 1]), st.booleans()), max_size=80),
    order=st.randoms(use_true_random=False),
)
def test_waiting_labels_never_make_either_evidence_stronger(differences: list[tuple[int, bool]], order: Any) -> None:
    known, waiting = MarginGate(1e-30, 0.1), MarginGate(1e-30, 0.1)
    late = []
    for difference, is_late in differences:
        known.update(difference)
        if is_late:
            waiting.wait_for_label()
            late.append(difference)
        else:
            waiting.update(difference)
        assert waiting.log_evidence[0] <= known.log_evidence[0] + 1e-9
        assert waiting.log_evidence[1] <= known.log_evidence[1] + 1e-9
    order.shuffle(late)
    for difference in late:
        waiting.settle(difference)
    assert waiting.to_dict() == known.to_dict()


def test_late_labels_keep_the_false_promotions_below_5_percent() -> None:
    """Labels come 1,000 parts late, and one in five never; the challenger is worse by the margin."""
    rng = np.random.default_rng(8)
    promoted = 0
    for _ in range(RUNS):
        gate, due = MarginGate(), list[tuple[int, int]]()
        while gate.decision is Decision.CONTINUE and gate.parts < 4_000:
            gate.update_equal(int(rng.geometric(0.01)) - 1)
            gate.wait_for_label()
            if rng.random() < 0.8:
                due.append((gate.parts + 1_000, 1 if rng.random() < 0.25 else -1))
            while due and due[0][0] <= gate.parts:
                gate.settle(due.pop(0)[1])
        promoted += gate.decision is Decision.PROMOTE
    assert promoted / RUNS <= 0.05


def test_decided_gate_stays_decided_and_counts_nothing_more() -> None:
    gate = MarginGate()
    gate.update_equal(5_000)
    before = gate.to_dict()
    for _ in range(100):
        assert gate.update(-1) is Decision.PROMOTE
        assert gate.wait_for_label() is Decision.PROMOTE
        assert gate.settle(-1) is Decision.PROMOTE
    assert gate.update_equal(10) is Decision.PROMOTE
    assert gate.to_dict() == before


@pytest.mark.parametrize("difference", [2, -2, 0.5, True, None, math.nan, "1"])
def test_difference_that_cannot_be_is_refused_and_changes_nothing(difference: Any) -> None:
    gate = MarginGate()
    gate.wait_for_label()
    before = gate.to_dict()
    with pytest.raises(ValueError, match="expected a difference of -1, 0 or 1"):
        gate.update(difference)
    with pytest.raises(ValueError, match="expected a difference of -1, 0 or 1"):
        gate.settle(difference)
    assert gate.to_dict() == before


def test_label_without_a_waiting_part_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a part that waits"):
        MarginGate().settle(1)


@pytest.mark.parametrize("least", [0, 1, -0.1, math.nan, None])
def test_margin_that_is_no_share_is_refused(least: Any) -> None:
    with pytest.raises(ValueError, match="expected margin"):
        MarginGate(0.05, least)


@pytest.mark.parametrize("parts", [-1, 1.0, True])
def test_number_of_equal_parts_that_cannot_be_is_refused(parts: Any) -> None:
    with pytest.raises(ValueError, match="expected parts"):
        MarginGate().update_equal(parts)


@pytest.mark.parametrize(
    ("escape_cost", "saved", "caused"),
    [
        (10.0, (0.05, 0.45), (0.05, 0.45)),
        (50.0, (0.01, 0.245), (0.0, 0.745)),
        (50.0, (0.0, 0.745), (0.01, 0.245)),
    ],
)
def test_packages_of_equal_cost_are_falsely_aborted_or_promoted_in_at_most_5_percent(
    escape_cost: float, saved: tuple[float, float], caused: tuple[float, float]
) -> None:
    """Shares of (escapes, overkills) that the challenger saves and causes; their costs add up to the same."""
    assert escape_cost * saved[0] + saved[1] == pytest.approx(escape_cost * caused[0] + caused[1])
    seen = costs(saved, caused, RUNS, cost=(escape_cost, 1.0), horizon=300)
    assert seen.promoted <= 0.05
    assert seen.aborted <= 0.05


def test_counting_an_escape_ten_times_instead_would_break_the_limit() -> None:
    rng = np.random.default_rng(9)
    ended = 0
    for _ in range(500):
        gate = DiscordanceGate()
        for is_right in (rng.random(100) < 0.5).tolist():
            for _ in range(10):
                gate.update(is_right)
        ended += gate.decision is not Decision.CONTINUE
    assert ended / 500 > 0.5
    seen = costs((0.5, 0.0), (0.5, 0.0), RUNS, cost=(10.0, 1.0), horizon=100)
    assert seen.promoted <= 0.05
    assert seen.aborted <= 0.05


def test_dear_escapes_abort_a_challenger_that_is_right_more_often() -> None:
    # Right in 60 of 100 discordant parts, all of them overkills saved; the other 40 are escapes it caused.
    seen = costs((0.0, 0.6), (0.4, 0.0), RUNS, cost=(10.0, 1.0))
    assert seen.aborted >= 0.99
    assert seen.median_abort <= 60
    unweighed = DiscordanceGate()
    for label in range(500):
        unweighed.update(label % 5 < 3)
    assert unweighed.decision is Decision.PROMOTE


def test_equal_costs_decide_about_as_the_discordance_gate_does() -> None:
    seen = costs((0.15, 0.15), (0.35, 0.35), RUNS, cost=(3.0, 3.0))
    assert seen.aborted >= 0.99
    assert seen.aborted_at.mean() <= 60


def test_cost_gate_with_a_margin_counts_parts_that_agree() -> None:
    gate = CostGate(0.05, 10.0, 1.0, margin=0.05)
    gate.update_equal(3_000)
    assert gate.decision is Decision.PROMOTE
    without = CostGate(0.05, 10.0, 1.0)
    without.update_equal(1_000_000)
    assert without.decision is Decision.CONTINUE


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((0.05, 0.0, 1.0), "expected escape_cost above 0"),
        ((0.05, 1.0, math.inf), "expected overkill_cost to be a finite number"),
        ((0.05, 2.0, 1.0, 2.0), "expected a margin from 0 to below 2.0"),
        ((0.05, 2.0, 1.0, -0.1), "expected a margin from 0"),
    ],
)
def test_costs_that_cannot_be_are_refused(given: tuple[float, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        CostGate(*given)


def test_discordant_part_of_unknown_truth_is_refused() -> None:
    with pytest.raises(ValueError, match="expected is_defective True or False"):
        CostGate(0.05, 2.0, 1.0).update(1)
