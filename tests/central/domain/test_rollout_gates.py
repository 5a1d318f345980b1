# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.rollout_gates import WaveDemands, WaveOutcome, judge_wave
from central.quality.gates import ControlGate, CostGate, Decision, DiscordanceGate, LatencyGate, MarginGate

PAST = {"st-1": [2, 1, 3, 2, 0] * 8, "st-2": [4, 5, 3, 6, 2] * 8}
DEMANDS = WaveDemands(quantities=("rejects",), least_chunks=3)


def _margin(decision: Decision) -> MarginGate:
    gate = MarginGate()
    if decision is Decision.PROMOTE:
        gate.update_equal(5_000)
    elif decision is Decision.ABORT:
        while gate.update(-1) is Decision.CONTINUE:
            pass
    return gate


def _discordance(decision: Decision) -> DiscordanceGate:
    gate = DiscordanceGate()
    for _ in range(50 if decision is not Decision.CONTINUE else 3):
        gate.update(decision is Decision.PROMOTE)
    return gate


def _latency(decision: Decision) -> LatencyGate:
    gate = LatencyGate(0.05, 10.0)
    for _ in range(5_000 if decision is not Decision.CONTINUE else 10):
        gate.update(9.0, 11.0 if decision is Decision.ABORT else 9.0)
    return gate


def _control(decision: Decision) -> ControlGate:
    gate = ControlGate(0.05, PAST, 100)
    for chunk in range(20 if decision is not Decision.CONTINUE else 2):
        for station, past in PAST.items():
            gate.update(station, 90 if decision is Decision.ABORT else past[chunk])
    return gate


_DECISIONS = st.sampled_from(list(Decision))


@given(margin=_DECISIONS, discordance=_DECISIONS, latency=st.none() | _DECISIONS, control=st.none() | _DECISIONS)
def test_wave_passes_only_on_shown_success_and_fails_on_any_abort(
    margin: Decision, discordance: Decision, latency: Decision | None, control: Decision | None
) -> None:
    answer = judge_wave(
        {"margin": _margin(margin), "discordance": _discordance(discordance)},
        None if latency is None else _latency(latency),
        {} if control is None else {"rejects": _control(control)},
        DEMANDS,
    )
    every = (margin, discordance, latency, control)
    if Decision.ABORT in every:
        expected = WaveOutcome.FAILED
    elif Decision.PROMOTE in (margin, discordance) and latency == control == Decision.PROMOTE:
        expected = WaveOutcome.PASSED
    else:
        expected = WaveOutcome.NOT_ENOUGH_EVIDENCE
    assert answer.outcome is expected
    assert bool(answer.reasons) == (expected is not WaveOutcome.PASSED)
    assert json.loads(json.dumps(answer.evidence, allow_nan=False)) == answer.evidence


def test_no_data_is_never_success() -> None:
    nothing = judge_wave({}, None, {}, DEMANDS)
    assert nothing.outcome is WaveOutcome.NOT_ENOUGH_EVIDENCE
    assert nothing.reasons == (
        "accuracy: no gate",
        "latency: too few parts were timed under both packages as yet",
        "rejects: no limits from the stations' past",
    )
    fresh = judge_wave(
        {"margin": MarginGate()}, LatencyGate(0.05, 10.0), {"rejects": ControlGate(0.05, PAST, 100)}, DEMANDS
    )
    assert fresh.outcome is WaveOutcome.NOT_ENOUGH_EVIDENCE
    assert fresh.reasons == (
        "margin: undecided after 0 parts, 0 of them labelled",
        "latency: undecided after 0 parts",
        "rejects: 0 of 3 chunks of 100 parts at every station",
    )


def test_limits_that_would_be_kept_by_watching_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="least_chunks of at least 1, got 0"):
        WaveDemands(least_chunks=0)


def test_two_gates_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="a name of its own"):
        judge_wave({"latency": MarginGate()}, LatencyGate(0.05, 10.0), {}, DEMANDS)


def test_failure_says_what_was_seen() -> None:
    cost = CostGate(0.05, 10.0, 1.0)
    while cost.update(-1, is_defective=True) is Decision.CONTINUE:
        pass
    answer = judge_wave(
        {
            "margin": _margin(Decision.ABORT),
            "discordance": _discordance(Decision.ABORT),
            "cost": cost,
        },
        _latency(Decision.ABORT),
        {"rejects": _control(Decision.ABORT)},
        DEMANDS,
    )
    assert answer.reasons[0].startswith("margin: alone right in 0, alone wrong in 8 of 8 parts")
    assert answer.reasons[1].startswith("discordance: right in 0 of 8 labelled discordant parts (0.0% to ")
    assert answer.reasons[2].startswith("cost: costs 10 a part more")
    assert answer.reasons[3].startswith("rejects: ")
    assert answer.reasons[3].endswith(" of 4000 in its past")
    assert "above the champion's p99, the champion itself 0" in answer.reasons[4]
