# SPDX-License-Identifier: Apache-2.0
"""Options of the gate before any station sees a package, and what cannot work of them. Reads nothing."""

from dataclasses import dataclass

from contracts.gating import MOST_GATE_PICTURES
from contracts.vocabulary import WhenMissing


@dataclass(frozen=True)
class GateSettings:
    """How the gate measures, and what it demands of products without a policy of their own (`domain/gating.GateTerms`).

    `is_required` False: a trained package is promoted on its training's own held-out pictures alone. `command` measures
    one job file; it is a process of its own. `max_pictures`: of the test set, and as many audited parts; beyond it
    those whose digest comes first, and the audits that are newest. `memory_limit_mb`: of the process; 0: none.
    """

    is_required: bool = True
    period_s: float = 1.0
    command: tuple[str, ...] = ("sightline-models", "run-gate")
    memory_limit_mb: int = 0
    timeout_s: float = 1_800.0
    most_starts: int = 3
    threads: int = 1
    max_pictures: int = 2_000
    audit_days: float = 90.0
    recall_margin: float = 0.05
    overkill_margin: float = 0.02
    confidence: float = 0.95
    when_missing: str = WhenMissing.ASK.value
    needs_audits: bool = True
    deadline_ms: float = 200.0
    most_memory_mb: float = 2_048.0


def gate_faults(gate: GateSettings) -> list[str]:
    """What cannot work, one line each."""
    margins = {"recall_margin": gate.recall_margin, "overkill_margin": gate.overkill_margin}
    faults = [
        f"gate.{name}: expected more than 0 and less than 1, got {value}"
        for name, value in margins.items()
        if not 0 < value < 1
    ]
    if not 0.5 < gate.confidence < 1:
        faults.append(f"gate.confidence: expected more than 0.5 and less than 1, got {gate.confidence}")
    if gate.when_missing not in set(WhenMissing):
        faults.append(f"gate.when_missing: expected {', '.join(WhenMissing)}, got {gate.when_missing!r}")
    if not 1 <= gate.max_pictures <= MOST_GATE_PICTURES // 2:
        faults.append(f"gate.max_pictures: expected 1 … {MOST_GATE_PICTURES // 2}, got {gate.max_pictures}")
    if gate.most_starts < 1:
        faults.append(f"gate.most_starts: expected 1 or more, got {gate.most_starts}")
    return faults
