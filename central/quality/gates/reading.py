# SPDX-License-Identifier: Apache-2.0
"""Any stored gate back from its state. Knows no storage. Called by `domain/rollout_gates.py`."""

from collections.abc import Mapping
from typing import Any, Final

from central.quality.gates.control import ControlGate
from central.quality.gates.discordance import DiscordanceGate
from central.quality.gates.latency import LatencyGate
from central.quality.gates.margin import CostGate, MarginGate

Gate = DiscordanceGate | MarginGate | CostGate | LatencyGate | ControlGate
_CLASSES: Final[tuple[type[Gate], ...]] = (DiscordanceGate, MarginGate, CostGate, LatencyGate, ControlGate)


def gate_from_dict(state: Mapping[str, Any]) -> Gate:
    """The gate, of whatever kind, that `to_dict` was called on.

    Raises:
        ValueError: no known gate, or a state that cannot be; never read as an undecided gate.
    """
    kind = state.get("gate") if isinstance(state, Mapping) else None
    for gate in _CLASSES:
        if gate.kind == kind:
            return gate.from_dict(state)
    raise ValueError(f"stored gate: expected one of {', '.join(gate.kind for gate in _CLASSES)}, got {kind or state!r}")
