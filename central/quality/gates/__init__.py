# SPDX-License-Identifier: Apache-2.0
"""Gates of a rollout: may a challenger go on, must it go back, or is there not enough evidence yet?

Pure rules on single observations, one class for each question. Each answers `CONTINUE`, `PROMOTE` or `ABORT` after
every observation, and its error rates hold however often one looks (e-processes: Ramdas, Grünwald, Vovk and Shafer,
Statistical Science 2023). No numpy, clock, chance or I/O; a state goes to JSON and back without loss. They do not know
waves or rollouts: `domain/rollout_gates.py` brings the answers of one wave together.

    DiscordanceGate   who is right where champion and challenger differ          discordance.py
    MarginGate        not worse than a margin, over all parts                     margin.py
    CostGate          the same where escapes and overkills cost differently       margin.py
    LatencyGate       the champion's p99, exceeded more often than by itself      latency.py
    ControlGate       rejects, image faults, health against the stations' past    control.py
"""

from central.quality.gates.control import ControlGate
from central.quality.gates.decision import Decision, Json
from central.quality.gates.discordance import DiscordanceGate
from central.quality.gates.latency import LatencyGate
from central.quality.gates.margin import CostGate, MarginGate
from central.quality.gates.reading import Gate, gate_from_dict

__all__ = [
    "ControlGate",
    "CostGate",
    "Decision",
    "DiscordanceGate",
    "Gate",
    "Json",
    "LatencyGate",
    "MarginGate",
    "gate_from_dict",
]
