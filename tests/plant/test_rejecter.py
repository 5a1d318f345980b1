# SPDX-License-Identifier: Apache-2.0
"""The gate passes a part only on an explicit PASSED in time; everything else diverts it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.vocabulary import Disposition, Verdict
from plant.line.rejecter import FailSafeGate, GateMove, RejectListener

STATION = StationAddress(site="demo", line="line-1", station="st-1")
WINDOW_S = 1.0


def signal(number: int | None, disposition: Disposition = Disposition.PASSED) -> RejectSignal:
    return RejectSignal(
        station=STATION,
        epoch=1,
        trigger_number=number,
        verdict=Verdict.OK if disposition is Disposition.PASSED else Verdict.NG,
        disposition=disposition,
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_a_part_passes_on_an_explicit_word_in_time() -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    assert gate.signal(signal(1), 10.9) is GateMove.PASSED
    assert gate.counts().passed == 1


@pytest.mark.parametrize("disposition", [d for d in Disposition if d is not Disposition.PASSED])
def test_any_other_word_diverts(disposition: Disposition) -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    assert gate.signal(signal(1, disposition), 10.1) is GateMove.DIVERTED
    assert gate.counts().passed == 0


def test_silence_diverts() -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    gate.tick(10.9)
    assert gate.move(str(STATION), 1) is None
    gate.tick(11.1)
    assert gate.move(str(STATION), 1) is GateMove.DIVERTED_SILENCE


def test_a_word_that_comes_too_late_changes_nothing() -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    gate.trigger(STATION, 2, 10.0)
    gate.tick(11.5)
    assert gate.signal(signal(1), 11.6) is None
    assert gate.signal(signal(2), 12.0) is None
    counts = gate.counts()
    assert (counts.passed, counts.diverted_silence, counts.too_late) == (0, 2, 2)


def test_a_late_word_diverts_even_before_the_clock_has_ticked() -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    assert gate.signal(signal(1), 11.01) is None
    assert gate.move(str(STATION), 1) is GateMove.DIVERTED_SILENCE


def test_a_second_word_or_one_for_no_part_opens_nothing() -> None:
    gate = FailSafeGate(WINDOW_S)
    gate.trigger(STATION, 1, 10.0)
    gate.signal(signal(1, Disposition.REJECTED), 10.1)
    assert gate.signal(signal(1), 10.2) is None
    assert gate.signal(signal(77), 10.2) is None
    assert gate.signal(signal(None), 10.2) is None
    counts = gate.counts()
    assert (counts.passed, counts.diverted, counts.unexpected) == (0, 1, 3)


def test_what_is_remembered_is_bounded_and_falls_on_the_safe_side() -> None:
    gate = FailSafeGate(WINDOW_S, remembered=10)
    for number in range(25):
        gate.trigger(STATION, number, 10.0)
    counts = gate.counts()
    assert (counts.waiting, counts.diverted_silence, counts.passed) == (10, 15, 0)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["trigger", "signal", "tick"]),
            st.integers(0, 6),
            st.sampled_from(list(Disposition)),
            st.floats(0, 2),
        ),
        max_size=60,
    )
)
def test_every_trigger_is_counted_exactly_once_and_only_passed_words_pass(
    story: list[tuple[str, int, Disposition, float]],
) -> None:
    gate, now, said_passed, triggered = FailSafeGate(WINDOW_S), 0.0, 0, set[int]()
    for action, number, disposition, pause in story:
        now += pause
        if action == "trigger" and number not in triggered:
            triggered.add(number)
            gate.trigger(STATION, number, now)
        elif action == "signal":
            said_passed += disposition is Disposition.PASSED
            gate.signal(signal(number, disposition), now)
        else:
            gate.tick(now)
    counts = gate.counts()
    assert counts.passed + counts.diverted + counts.diverted_silence + counts.waiting == counts.triggers
    assert counts.triggers == len(triggered)
    assert counts.passed <= said_passed


def test_a_broker_address_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="expected mqtt://host:port"):
        RejectListener("localhost:1883")


def test_the_gate_keeps_the_word_on_which_a_part_passed_and_no_other() -> None:
    gate = FailSafeGate(WINDOW_S)
    for number, disposition in ((1, Disposition.PASSED), (2, Disposition.REJECTED)):
        gate.trigger(STATION, number, 10.0)
        gate.signal(signal(number, disposition), 10.0 + number / 10)
    word = gate.passing_word(str(STATION), 1)
    assert word is not None
    assert (word.epoch, word.verdict) == (1, Verdict.OK)
    assert word.at == pytest.approx(10.1)
    assert gate.passing_word(str(STATION), 2) is None
    assert gate.last_heard(str(STATION), 1) == pytest.approx(10.2)
    assert gate.last_heard(str(STATION), 2) is None


def test_words_are_forgotten_with_their_parts() -> None:
    gate = FailSafeGate(WINDOW_S, remembered=2)
    for number in (1, 2, 3):
        gate.trigger(STATION, number, 10.0)
        gate.signal(signal(number), 10.1)
    assert [gate.passing_word(str(STATION), number) is not None for number in (1, 2, 3)] == [False, True, True]
    assert gate.counts().forgotten == 1
