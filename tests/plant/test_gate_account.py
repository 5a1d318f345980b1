# SPDX-License-Identifier: Apache-2.0
"""A part passes the gate only with an OK that its station recorded; the one exception is told apart by its traces."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.vocabulary import Disposition, Verdict
from plant.findings.gate_account import LONGEST_UNRECORDED_S, gate_figures, unexcused
from plant.findings.report import PartReport
from plant.line.rejecter import FailSafeGate

START = datetime(2026, 1, 1, tzinfo=UTC)
ADDRESS = StationAddress(site="demo", line="line-1", station="st-1")
KILLED, NEXT = 1, 2


def _gate() -> FailSafeGate:
    return FailSafeGate(window_s=1.0)


def _say(
    gate: FailSafeGate,
    number: int,
    verdict: Verdict = Verdict.OK,
    disposition: Disposition = Disposition.PASSED,
    *,
    at: float = 0.1,
    epoch: int = KILLED,
) -> None:
    gate.trigger(ADDRESS, number, at - 0.1)
    gate.signal(
        RejectSignal(
            station=ADDRESS, epoch=epoch, trigger_number=number, verdict=verdict, disposition=disposition, at=START
        ),
        at,
    )


def _report(number: int, verdict: Verdict, epoch: int = KILLED) -> PartReport:
    return PartReport(str(ADDRESS), number, START, verdict, epoch=epoch)


def _crashed(number: int) -> PartReport:
    """What the next start reports of a part that the killed one left as a gap."""
    return replace(_report(number, Verdict.NO_DECISION, NEXT), cause="SESSION_CRASHED")


def test_parts_that_passed_without_an_ok_are_counted() -> None:
    gate = _gate()
    _say(gate, 1)
    _say(gate, 2)
    _say(gate, 3, Verdict.NG, Disposition.REJECTED)
    gate.trigger(ADDRESS, 4, 0.0)
    gate.tick(5.0)
    reports = [_report(1, Verdict.OK), _report(2, Verdict.NG), _report(3, Verdict.NG), _report(4, Verdict.OK)]
    figures = gate_figures(gate, reports)
    assert (figures["passed"], figures["diverted"], figures["diverted_silence"]) == (2, 1, 1)
    assert (figures["passed_without_ok"], figures["passed_unrecorded"]) == (1, 0)


def test_an_ok_that_a_killed_station_had_not_recorded_is_told_apart_by_the_start_that_gave_it() -> None:
    gate = _gate()
    _say(gate, 1, at=10.0)
    _say(gate, 2, at=10.25)
    figures = gate_figures(gate, [_crashed(1), _crashed(2)])
    assert (figures["passed_unrecorded"], figures["passed_without_ok"]) == (2, 0)
    assert figures["unrecorded"] == [{"station": str(ADDRESS), "epoch": KILLED, "parts": 2, "longest_ms": 250.0}]


@pytest.mark.parametrize(
    "why",
    [
        "another cause",
        "the same start",
        "an earlier start",
        "no OK was said",
        "said too long before the end",
        "a later part was recorded",
    ],
)
def test_without_every_trace_of_a_kill_a_passed_part_has_no_excuse(why: str) -> None:
    gate, report = _gate(), _crashed(1)
    verdict = Verdict.REVIEW if why == "no OK was said" else Verdict.OK
    _say(gate, 1, verdict, at=10.0)
    if why == "another cause":
        report = replace(report, cause="MISSED_FRAME")
    elif why == "the same start":
        report = replace(report, epoch=KILLED)
    elif why == "an earlier start":
        report = replace(report, epoch=KILLED - 1)
    elif why == "said too long before the end":
        _say(gate, 2, at=10.0 + LONGEST_UNRECORDED_S + 0.01)
    recorded = [_report(2, Verdict.OK)] if why == "a later part was recorded" else []
    figures = gate_figures(gate, [report, *recorded])
    assert (figures["passed_without_ok"], figures["passed_unrecorded"]) == (1, 0)


def test_a_lost_record_is_excused_by_a_restart_of_its_own_station_only() -> None:
    gate = _gate()
    _say(gate, 1)
    figures = gate_figures(gate, [_crashed(1)])
    assert unexcused(figures, {"edge-st-1": 1}) == []
    (found,) = unexcused(figures, {"edge-st-1": 0, "edge-st-2": 3, "broker": 1})
    assert found.startswith("station st-1: 1 process start(s) ended before the OK of a part that passed was recorded")
    assert "restarted 0 time(s)" in found


def test_each_kill_needs_a_restart_of_its_own() -> None:
    gate = _gate()
    _say(gate, 1, at=1.0, epoch=1)
    _say(gate, 9, at=90.0, epoch=2)
    reports = [_crashed(1), replace(_crashed(9), epoch=3)]
    figures = gate_figures(gate, reports)
    assert [each["epoch"] for each in figures["unrecorded"]] == [1, 2]
    assert len(unexcused(figures, {"edge-st-1": 1})) == 1
    assert unexcused(figures, {"edge-st-1": 2}) == []
