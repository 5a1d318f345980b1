# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats
from scipy.special import betainc, betaln

from benchmarks._gate_runs import discordance, trace
from central.quality.gates import Decision, DiscordanceGate

RUNS = 4_000


def test_equal_packages_are_falsely_aborted_or_promoted_in_at_most_5_percent_while_every_label_is_looked_at() -> None:
    seen = discordance(0.5, 10_000)
    assert seen.aborted <= 0.05
    assert seen.promoted <= 0.05
    # Not by never deciding: the limits are used up to nearly what they allow.
    assert min(seen.aborted, seen.promoted) > 0.03


@pytest.mark.parametrize("alpha", [0.01, 0.2])
def test_errors_keep_to_the_alpha_that_was_asked_for(alpha: float) -> None:
    seen = discordance(0.5, RUNS, horizon=2_000, alpha=alpha)
    noise = 3 * math.sqrt(alpha * (1 - alpha) / RUNS)
    assert alpha / 2 < seen.aborted <= alpha + noise
    assert alpha / 2 < seen.promoted <= alpha + noise


def test_clearly_worse_challenger_is_aborted_within_60_labels_on_average() -> None:
    seen = discordance(0.3, RUNS)
    assert seen.aborted >= 0.99
    assert seen.aborted_at.mean() <= 60
    assert np.quantile(seen.aborted_at, 0.9) <= 110


def test_slightly_worse_challenger_is_aborted_within_230_labels_on_average() -> None:
    seen = discordance(0.4, RUNS)
    assert seen.aborted >= 0.98
    assert seen.aborted_at.mean() <= 230


def test_better_challenger_is_promoted_as_fast_as_a_worse_one_is_aborted() -> None:
    seen = discordance(0.7, RUNS)
    assert seen.promoted >= 0.99
    assert seen.promoted_at.mean() <= 60


def test_runs_of_the_simulation_decide_as_the_gate_does_label_by_label() -> None:
    abort, promote = trace(400)
    rng = np.random.default_rng(6)
    decided = 0
    for theta in (0.3, 0.5, 0.6):
        for _ in range(40):
            gate = DiscordanceGate()
            for labels, is_right in enumerate((rng.random(400) < theta).tolist(), start=1):
                decision = gate.update(is_right)
                assert (decision is Decision.ABORT) == (gate.right <= abort[labels])
                assert (decision is Decision.PROMOTE) == (gate.right >= promote[labels])
                if decision is not Decision.CONTINUE:
                    decided += 1
                    break
    assert decided > 60


@given(answers=st.lists(st.booleans(), max_size=300))
def test_evidence_is_the_integral_over_the_truncated_prior(answers: list[bool]) -> None:
    gate = DiscordanceGate(1e-12)
    for is_right in answers:
        gate.update(is_right)
    ahead, behind = gate.right + 2, gate.wrong + 2
    whole = betaln(ahead, behind) - betaln(2, 2) + gate.labels * math.log(2) + math.log(2)
    below = betainc(ahead, behind, 0.5)
    abort, promote = gate.log_evidence
    assert math.exp(abort) == pytest.approx(math.exp(whole) * below, rel=1e-9, abs=1e-6)
    assert math.exp(promote) == pytest.approx(math.exp(whole) * (1 - below), rel=1e-9, abs=1e-6)


def test_integral_over_the_truncated_prior_is_the_mixture_of_likelihood_ratios() -> None:
    """The closed form against plain numerical integration of its definition."""
    gate = DiscordanceGate(1e-9)
    for is_right in [False, True, False, False, True, False, False]:
        gate.update(is_right)

    def ratio(theta: float) -> float:
        return float((theta / 0.5) ** 2 * ((1 - theta) / 0.5) ** 5 * stats.beta.pdf(theta, 2, 2) / 0.5)

    assert math.exp(gate.log_evidence[0]) == pytest.approx(integrate.quad(ratio, 0.0, 0.5)[0], rel=1e-9)
    assert math.exp(gate.log_evidence[1]) == pytest.approx(integrate.quad(ratio, 0.5, 1.0)[0], rel=1e-9)


def test_a_million_labels_leave_the_evidence_exact() -> None:
    gate = DiscordanceGate(1e-9)
    for label in range(1_000_000):
        gate.update(label % 2 == 0)
    expected = betaln(500_002, 500_002) - betaln(2, 2) + 1e6 * math.log(2)
    assert gate.decision is Decision.CONTINUE
    assert gate.log_evidence == pytest.approx((expected, expected), abs=1e-6)


@given(answers=st.lists(st.booleans(), min_size=1, max_size=120), index=st.integers(0, 119))
def test_a_label_for_the_challenger_never_brings_an_abort_nearer(answers: list[bool], index: int) -> None:
    changed = [True if place == index else answer for place, answer in enumerate(answers)]
    gates = DiscordanceGate(1e-40), DiscordanceGate(1e-40)
    for one, other in zip(answers, changed, strict=True):
        gates[0].update(one)
        gates[1].update(other)
    assert math.exp(gates[1].log_evidence[0]) <= math.exp(gates[0].log_evidence[0]) * (1 + 1e-6) + 1e-6
    assert math.exp(gates[1].log_evidence[1]) >= math.exp(gates[0].log_evidence[1]) * (1 - 1e-6) - 1e-6


def test_decided_gate_stays_decided_and_counts_nothing_more() -> None:
    gate = DiscordanceGate()
    while gate.update(challenger_right=False) is Decision.CONTINUE:
        pass
    before = gate.to_dict()
    for _ in range(500):
        assert gate.update(challenger_right=True) is Decision.ABORT
    assert gate.to_dict() == before


def test_interval_holds_the_true_share_at_all_times_at_once() -> None:
    rng = np.random.default_rng(7)
    missed = 0
    for _ in range(200):
        gate, is_missed = DiscordanceGate(), False
        for label, is_right in enumerate((rng.random(300) < 0.55).tolist(), start=1):
            gate.update(is_right)
            if label in (3, 10, 30, 60, 100, 150, 200, 250, 300):
                low, high = gate.interval()
                assert low <= gate.right / gate.labels <= high
                is_missed = is_missed or not low <= 0.55 <= high
        missed += is_missed
    assert missed / 200 <= 0.1


@given(answers=st.lists(st.booleans(), max_size=200), alpha=st.sampled_from([0.01, 0.05, 0.3, 0.8]))
def test_decided_gate_has_one_half_outside_its_interval(answers: list[bool], alpha: float) -> None:
    gate = DiscordanceGate(alpha)
    for is_right in [*answers, *[False] * 30]:
        gate.update(is_right)
    low, high = gate.interval()
    assert low <= gate.right / gate.labels <= high
    if gate.decision is not Decision.CONTINUE and alpha < 0.5:
        assert low > 0.5 if gate.decision is Decision.PROMOTE else high < 0.5


def test_without_labels_nothing_is_known() -> None:
    gate = DiscordanceGate()
    assert gate.decision is Decision.CONTINUE
    assert gate.interval() == (0.0, 1.0)
    assert gate.evidence()["share_right"] is None


@pytest.mark.parametrize("answer", [1, 0, None, "yes", 0.5, float("nan")])
def test_answer_that_is_neither_right_nor_wrong_is_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="expected True or False"):
        DiscordanceGate().update(answer)  # type: ignore[arg-type]


@pytest.mark.parametrize("alpha", [0, 1, -0.1, math.nan, math.inf, True, "0.05"])
def test_alpha_that_is_no_share_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="expected alpha"):
        DiscordanceGate(alpha)
