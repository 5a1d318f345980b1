# SPDX-License-Identifier: Apache-2.0
"""From what is known of a station to its state and its passing faults. Pure.

Reads no clock and keeps nothing; `monitor.health` gathers the conditions. A fault that a person must clear by
doing something outlives the window; those found here go away by themselves when the trouble does.
"""

from dataclasses import dataclass
from typing import Final

from contracts.vocabulary import SignalState, StationState, VerdictCause

# This many parts in a row without a judgement is no accident of one picture.
FAILING_IN_A_ROW: Final = 5


@dataclass(frozen=True)
class Conditions:
    """What the state follows from. `causes` and `signals`: parts of the window, oldest first."""

    has_started: bool = True
    is_halted: bool = False
    has_source: bool = True
    has_package: bool = True
    is_inspecting: bool = False
    is_outbox_faulty: bool = False
    is_stalled: bool = False
    source_fault: bool = False
    evidence_dropped_lately: int = 0
    causes: tuple[VerdictCause, ...] = ()
    signals: tuple[SignalState, ...] = ()

    @property
    def is_failing(self) -> bool:
        """The last parts all failed inside the graph or as pictures."""
        last = self.causes[-FAILING_IN_A_ROW:]
        broken = (VerdictCause.INFERENCE_ERROR, VerdictCause.IMAGE_FAULT)
        return len(last) == FAILING_IN_A_ROW and all(cause in broken for cause in last)


def station_state(conditions: Conditions, *, has_faults: bool) -> StationState:
    """One state, the gravest that holds.

    STARTING: not all rooms are up. FAULT: parts cannot be seen, judged or recorded; a person is needed. HALTED:
    nothing to judge with, or stopped on purpose. DEGRADED: judging, but something is wrong. INSPECTING: judging
    parts. READY: waiting for parts.
    """
    if not conditions.has_started:
        return StationState.STARTING
    if conditions.is_halted:
        return StationState.HALTED
    if conditions.source_fault or conditions.is_outbox_faulty or conditions.is_stalled or conditions.is_failing:
        return StationState.FAULT
    if not conditions.has_source or not conditions.has_package:
        return StationState.HALTED
    if has_faults:
        return StationState.DEGRADED
    return StationState.INSPECTING if conditions.is_inspecting else StationState.READY


def window_faults(conditions: Conditions) -> list[tuple[str, str, str]]:
    """Passing troubles as (code, message, remedy)."""
    found: list[tuple[str, str, str]] = []
    of = len(conditions.causes)
    if conditions.has_started and not conditions.has_package:
        found.append(
            ("no-package", "no package is active: every part is held", "assign a package for this station's product")
        )
    if conditions.is_stalled:
        found.append(
            ("judge-stalled", "one judgement does not end", "restart the station; check the accelerator and its driver")
        )
    if conditions.is_failing:
        found.append(
            (
                "judge-failing",
                f"the last {FAILING_IN_A_ROW} parts could not be judged",
                "look at the camera's picture, the recipe's ROI and the station's log",
            )
        )
    missed = conditions.causes.count(VerdictCause.MISSED_FRAME)
    if missed:
        found.append(("frames-missed", f"{missed} of {of} recent parts were not seen", "check network and load"))
    late = conditions.causes.count(VerdictCause.LATE)
    if late:
        found.append(("verdicts-late", f"{late} of {of} recent verdicts were late", "check load, or raise deadline_ms"))
    failed = conditions.signals.count(SignalState.FAILED)
    if failed:
        remedy = "check the broker: the gate holds every part without a signal"
        found.append(("signals-failed", f"{failed} of {of} recent reject signals were not taken", remedy))
    if conditions.evidence_dropped_lately:
        message = f"{conditions.evidence_dropped_lately} recent pictures were not kept"
        found.append(("evidence-dropped", message, "check the disk, or raise bounds.evidence_max_pending"))
    return found
