# SPDX-License-Identifier: Apache-2.0
"""A restart of central loses nothing: a gate that goes to JSON and back decides as if nothing had happened."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.gates import (
    ControlGate,
    CostGate,
    Decision,
    DiscordanceGate,
    Gate,
    LatencyGate,
    MarginGate,
    gate_from_dict,
)

PAST = {"st-1": [2, 1, 3, 2, 0] * 8, "st-2": [4, 5, 3, 6, 2] * 8}
Step = tuple[int, bool, bool]


def _feed_margin(gate: MarginGate | CostGate, step: Step) -> Decision:
    number, is_odd, is_late = step
    difference = number % 3 - 1
    if is_late and gate.waiting and gate.decision is Decision.CONTINUE:
        return gate.settle(difference) if isinstance(gate, MarginGate) else gate.settle(difference, is_odd)
    if is_late:
        return gate.wait_for_label()
    if number > 150:
        return gate.update_equal(number)
    return gate.update(difference) if isinstance(gate, MarginGate) else gate.update(difference, is_odd)


def _feed(gate: Gate, step: Step) -> Decision:
    number, is_odd, _ = step
    if isinstance(gate, DiscordanceGate):
        return gate.update(is_odd)
    if isinstance(gate, LatencyGate):
        return gate.update(float(number), 120.0 if is_odd else 80.0)
    if isinstance(gate, ControlGate):
        return gate.update("st-1" if is_odd else "st-2", number % 15)
    return _feed_margin(gate, step)


MADE: list[Callable[[], Gate]] = [
    lambda: DiscordanceGate(0.2),
    lambda: MarginGate(0.3, 0.1),
    lambda: CostGate(0.3, 10.0, 3.0, margin=0.7),
    lambda: CostGate(0.3, 1.0, 1.0),
    lambda: LatencyGate(0.3, 100.0),
    lambda: ControlGate(0.3, PAST, 100, is_two_sided=True, tolerated_factor=1.5),
]


@pytest.mark.parametrize("make", MADE)
@given(
    steps=st.lists(st.tuples(st.integers(0, 200), st.booleans(), st.booleans()), max_size=120),
    restart_at=st.integers(0, 119),
)
def test_gate_goes_on_after_a_restart_to_the_last_bit(
    make: Callable[[], Gate], steps: list[Step], restart_at: int
) -> None:
    running, resumed = make(), make()
    for index, step in enumerate(steps):
        if index == restart_at:
            stored = json.dumps(resumed.to_dict(), allow_nan=False)
            resumed = gate_from_dict(json.loads(stored))
            assert json.dumps(resumed.to_dict()) == stored
        assert _feed(running, step) is _feed(resumed, step)
        assert running.to_dict() == resumed.to_dict()
        assert running.evidence() == resumed.evidence()


@pytest.mark.parametrize("make", MADE)
def test_evidence_is_plain_json(make: Callable[[], Gate]) -> None:
    gate = make()
    for number in range(40):
        _feed(gate, (number * 37 % 200, number % 3 == 0, number % 5 == 0))
    assert json.loads(json.dumps(gate.evidence(), allow_nan=False)) == gate.evidence()


@pytest.mark.parametrize("make", MADE)
def test_state_with_a_missing_or_an_impossible_field_is_refused(make: Callable[[], Gate]) -> None:
    whole = make().to_dict()
    for name in whole:
        for spoilt in ({key: value for key, value in whole.items() if key != name}, {**whole, name: "no such thing"}):
            with pytest.raises(ValueError, match="expected"):
                gate_from_dict(spoilt)
    with pytest.raises(ValueError, match="version 1"):
        gate_from_dict({**whole, "version": 2})


def test_sums_that_do_not_fit_the_counts_are_refused() -> None:
    state = DiscordanceGate().to_dict()
    with pytest.raises(ValueError, match="expected sums that fit 7 right and 0 wrong"):
        DiscordanceGate.from_dict({**state, "right": 7})
    with pytest.raises(ValueError, match="expected 3 blocks, got 0"):
        LatencyGate.from_dict({**LatencyGate(0.05, 10.0).to_dict(), "parts": 30})
    with pytest.raises(ValueError, match="expected ABORT, but its chunks say CONTINUE"):
        ControlGate.from_dict({**ControlGate(0.05, PAST, 100).to_dict(), "decision": "ABORT"})


@pytest.mark.parametrize("state", [{}, {"gate": "lottery"}, [], None, "discordance"])
def test_what_is_no_gate_is_refused(state: Any) -> None:
    with pytest.raises(ValueError, match="expected one of discordance"):
        gate_from_dict(state)
