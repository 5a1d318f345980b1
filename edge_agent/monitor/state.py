# SPDX-License-Identifier: Apache-2.0
"""From what is known of a station to its state and its passing faults. Pure.

Reads no clock and keeps nothing; `monitor.health` gathers the conditions. A fault that a person must clear by
doing something outlives the window; those found here go away by themselves when the trouble does.
"""

from dataclasses import dataclass
from typing import Final

from contracts.reports import StageSummary
from contracts.vocabulary import SignalState, Stage, StationState, VerdictCause

# A stage beyond its budget in more than one part of so many is no accident of one part.
_OVER_BUDGET_SHARE: Final = 0.01
_STAGE_REMEDIES: Final = {
    Stage.CAPTURE: "check exposure, the camera's link and whether the judge keeps up with the takt",
    Stage.PREPARE: "check the ROI's size and the load of this machine",
    Stage.INFER: "check the load of this machine, and which variant and provider run",
    Stage.DECIDE: "check the load of this machine",
    Stage.ACTUATE: "check the link to the reject output",
}

# This many parts in a row without a judgement is no accident of one picture.
FAILING_IN_A_ROW: Final = 5


@dataclass(frozen=True)
class Conditions:
    """What the state follows from. `causes` and `signals`: parts of the window, oldest first."""

    has_started: bool = True
    is_halted: bool = False
    has_source: bool = True
    has_package: bool = True
    has_product: bool = True
    is_inspecting: bool = False
    is_outbox_faulty: bool = False
    is_stalled: bool = False
    source_fault: bool = False
    evidence_dropped_lately: int = 0
    causes: tuple[VerdictCause, ...] = ()
    signals: tuple[SignalState, ...] = ()
    stages: tuple[StageSummary, ...] = ()

    @property
    def is_failing(self) -> bool:
        """The last parts all failed inside the graph or as pictures."""
        last = self.causes[-FAILING_IN_A_ROW:]
        broken = (VerdictCause.INFERENCE_ERROR, VerdictCause.IMAGE_FAULT)
        return len(last) == FAILING_IN_A_ROW and all(cause in broken for cause in last)


def station_state(conditions: Conditions, *, has_faults: bool) -> StationState:
    """One state, the gravest that holds.

    STARTING: not all rooms are up. FAULT: parts cannot be seen, judged or recorded; a person is needed. HALTED:
    nothing to judge with, not known what is made, or stopped on purpose. DEGRADED: judging, but something is wrong.
    INSPECTING: judging parts. READY: waiting for parts.
    """
    if not conditions.has_started:
        return StationState.STARTING
    if conditions.is_halted:
        return StationState.HALTED
    if conditions.source_fault or conditions.is_outbox_faulty or conditions.is_stalled or conditions.is_failing:
        return StationState.FAULT
    if not (conditions.has_source and conditions.has_package and conditions.has_product):
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
        owed = max(conditions.stages, key=lambda each: each.late, default=None)
        where = f", {owed.late} of them by stage {owed.stage}" if owed is not None and owed.late else ""
        first = "check load" if owed is None else _STAGE_REMEDIES[owed.stage]
        message = f"{late} of {of} recent verdicts were late{where}"
        found.append(("verdicts-late", message, f"{first}, or raise deadline_ms"))
    over = [each for each in conditions.stages if each.over_budget > max(1, _OVER_BUDGET_SHARE * each.count)]
    if over:
        worst = max(over, key=lambda each: each.over_budget)
        told = ", ".join(f"{each.stage} in {each.over_budget} of {each.count}" for each in over)
        found.append(("over-budget", f"stages beyond their budget: {told} recent parts", _STAGE_REMEDIES[worst.stage]))
    failed = conditions.signals.count(SignalState.FAILED)
    if failed:
        remedy = "check the reject output: the gate hears nothing of these parts (one that is fail-safe holds them)"
        found.append(("signals-failed", f"{failed} of {of} recent reject signals were not taken", remedy))
    if conditions.evidence_dropped_lately:
        message = f"{conditions.evidence_dropped_lately} recent pictures were not kept"
        found.append(("evidence-dropped", message, "check the disk, or raise bounds.evidence_max_pending"))
    return found
