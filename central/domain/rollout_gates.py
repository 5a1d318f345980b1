# SPDX-License-Identifier: Apache-2.0
"""The gates of one wave brought together: passed, failed, or not enough evidence.

Pure: takes gates as they stand, gives one outcome with its reasons and its evidence as a plain dict for a page. Feeds
no gate, moves no rollout. Fails closed: a gate that is demanded and missing, or that has seen nothing, is never a pass;
a single gate that aborts fails the wave, whatever the others say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from central.quality.gates import ControlGate, CostGate, Decision, DiscordanceGate, LatencyGate, MarginGate

AccuracyGate = DiscordanceGate | MarginGate | CostGate


class WaveOutcome(StrEnum):
    """What the gates of a wave say. Not enough evidence is its own answer, never a pass."""

    PASSED = "PASSED"
    FAILED = "FAILED"
    NOT_ENOUGH_EVIDENCE = "NOT_ENOUGH_EVIDENCE"


@dataclass(frozen=True)
class WaveDemands:
    """What a wave must show to pass.

    `quantities`: names of the control limits that must be watched, each for `least_chunks` chunks at every station;
    what one chunk is stands in the gate. `needs_latency` False: only where the champion's p99 cannot be known.
    """

    quantities: tuple[str, ...] = ("rejects", "image faults", "station health")
    least_chunks: int = 10
    needs_latency: bool = True

    def __post_init__(self) -> None:
        """Raises: ValueError: limits that would be kept by watching nothing."""
        if self.least_chunks < 1:
            raise ValueError(f"wave demands: expected least_chunks of at least 1, got {self.least_chunks}")


@dataclass(frozen=True)
class WaveAnswer:
    """One outcome. `reasons`: sentences for people, of a failure what failed, else what is still missing."""

    outcome: WaveOutcome
    reasons: tuple[str, ...]
    evidence: dict[str, Any]


def judge_wave(
    accuracy: Mapping[str, AccuracyGate],
    latency: LatencyGate | None,
    control: Mapping[str, ControlGate],
    demands: WaveDemands,
) -> WaveAnswer:
    """Bring the gates of a wave together.

    Args:
        accuracy: gates on who is right, by a name for people. One that promotes is enough: better where the packages
            differ, or not worse than the margin over all parts; one that aborts fails the wave.
        latency: None where no part, or too few, were timed under both packages.
        control: control limits by quantity.
        demands: what must be shown.

    Errors add up: the chance of a false failure is at most the sum of all alphas here, the one of a false pass at most
    the sum of those of the accuracy gates. Choose them so.
    """
    every: dict[str, AccuracyGate | LatencyGate | ControlGate] = {**accuracy, **control}
    if latency is not None:
        every["latency"] = latency
    if len(every) != len(accuracy) + len(control) + (latency is not None):
        raise ValueError("wave: expected a name of its own for each gate, 'latency' being taken")
    failed = [f"{name}: {_why(gate)}" for name, gate in every.items() if gate.decision is Decision.ABORT]
    missing = _missing(accuracy, latency, control, demands)
    outcome = WaveOutcome.PASSED
    if failed:
        outcome = WaveOutcome.FAILED
    elif missing:
        outcome = WaveOutcome.NOT_ENOUGH_EVIDENCE
    reasons = tuple(failed or missing)
    evidence = {
        "outcome": outcome.value,
        "reasons": list(reasons),
        "demands": {
            "quantities": list(demands.quantities),
            "least_chunks": demands.least_chunks,
            "needs_latency": demands.needs_latency,
        },
        "gates": {name: gate.evidence() for name, gate in every.items()},
    }
    return WaveAnswer(outcome, reasons, evidence)


def _missing(
    accuracy: Mapping[str, AccuracyGate],
    latency: LatencyGate | None,
    control: Mapping[str, ControlGate],
    demands: WaveDemands,
) -> list[str]:
    missing = []
    if not accuracy:
        missing.append("accuracy: no gate")
    elif all(gate.decision is not Decision.PROMOTE for gate in accuracy.values()):
        missing += [f"{name}: undecided after {_seen(gate)}" for name, gate in accuracy.items()]
    if demands.needs_latency and latency is None:
        missing.append("latency: too few parts were timed under both packages as yet")
    elif demands.needs_latency and latency is not None and latency.decision is not Decision.PROMOTE:
        missing.append(f"latency: undecided after {latency.parts} parts")
    for quantity in demands.quantities:
        gate = control.get(quantity)
        if gate is None:
            missing.append(f"{quantity}: no limits from the stations' past")
        elif gate.chunks < demands.least_chunks:
            parts = gate.joined * gate.chunk_parts
            missing.append(
                f"{quantity}: {gate.chunks} of {demands.least_chunks} chunks of {parts} parts at every station"
            )
    return missing


def _seen(gate: AccuracyGate) -> str:
    if isinstance(gate, DiscordanceGate):
        return f"{gate.labels} labelled discordant parts"
    waiting = f", {gate.waiting} more wait for a label" if gate.waiting else ""
    return f"{gate.parts} parts, {gate.labels} of them labelled{waiting}"


def _why(gate: AccuracyGate | LatencyGate | ControlGate) -> str:
    told = gate.evidence()
    if isinstance(gate, DiscordanceGate):
        low, high = told["share_low"], told["share_high"]
        return f"right in {gate.right} of {gate.labels} labelled discordant parts ({low:.1%} to {high:.1%})"
    if isinstance(gate, MarginGate):
        right, wrong = told["challenger_right"], told["champion_right"]
        worse = f"worse by more than {gate.margin:.2%}"
        return f"alone right in {right}, alone wrong in {wrong} of {gate.parts} parts: {worse}"
    if isinstance(gate, CostGate):
        return f"costs {-told['mean_saving']:.4g} a part more than the champion, over {gate.parts} parts"
    if isinstance(gate, LatencyGate):
        above, champion = told["challenger_above"], told["champion_above"]
        return f"{above} of {gate.parts} parts above the champion's p99, the champion itself {champion}"
    station, worst = max(told["stations"].items(), key=lambda row: float(row[1]["log_e_abort"]))
    past = f"{worst['past_hits']} of {worst['past_parts']} in its past"
    return f"{worst['hits']} of {worst['parts']} parts at {station}, {past}"
