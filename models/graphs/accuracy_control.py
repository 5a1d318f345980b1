# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a quantized trunk do the harm, and putting the worst back to float, step by step.

A unit (a convolution with its activation, or another node) is ranked by the damage it does alone: the heatmap's error
on a few training pictures when nothing else is quantized, in the units of the scores, a common shift taken off. Then
the worst one, and the worst 1/16, 1/8, 1/4 and 1/2 of the units stay in float, in turn, and the first step that is
accepted ends the search. Bounded by that: beyond half of the nodes in float there is little left to gain.

The idea is that of OpenVINO's "quantization with accuracy control" (NNCF), which also ranks by the damage of single
operations and reverts them one by one; ranked here by putting nodes in, not out, since one bad node hides the others.
Knows no held-out picture and no rule: whether a step is accepted the caller says. Called by `training`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import onnx
from numpy.typing import NDArray

from models.graphs.features import INPUT_NAME, open_session

Picture = NDArray[np.uint8]
Share = Callable[[float], None]
RANKING_PICTURES: Final = 8
_MOST_UNITS: Final = 48
# The worst one alone first: early convolutions harm the most and cost the most in float.
SHARES: Final = (1 / _MOST_UNITS, 1 / 16, 1 / 8, 1 / 4, 1 / 2)
_ACTIVATIONS: Final = ("Relu", "Clip")


@dataclass(frozen=True)
class Unit:
    """Nodes that are put back together, by name in the graph's order, and the harm they did alone."""

    names: tuple[str, ...]
    damage: float = math.nan


def units_of(nodes: Sequence[onnx.NodeProto]) -> list[Unit]:
    """Nodes in the graph's order as units: an activation goes with the one node it follows.

    A long graph has its neighbours joined, so that ranking takes a bounded time.
    """
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    units: list[tuple[str, ...]] = []
    taken: set[str] = set()
    for node in nodes:
        if node.name in taken:
            continue
        after = readers.get(node.output[0], [])
        follows = [each.name for each in after if len(after) == 1 and each.op_type in _ACTIVATIONS]
        units.append((node.name, *follows))
        taken.update(units[-1])
    size = math.ceil(len(units) / _MOST_UNITS)
    joined = [units[start : start + size] for start in range(0, len(units), size)] if units else []
    return [Unit(tuple(name for unit in group for name in unit)) for group in joined]


class Damage:
    """How far a graph's heatmaps lie from the exact ones on a few pictures.

    Args:
        exact: the float graph, whole.
        pictures: training pictures, uint8 BGR.
        threads: of the sessions.
    """

    def __init__(self, exact: bytes, pictures: Sequence[Picture], threads: int) -> None:
        self._pictures, self._threads = pictures, threads
        self._exact = self._heatmaps(exact)

    def _heatmaps(self, model: bytes) -> NDArray[np.float64]:
        session = open_session(model, self._threads)
        told = [session.run(["heatmap"], {INPUT_NAME: picture[None]})[0][0] for picture in self._pictures]
        return np.stack(told).astype(np.float64)

    def of(self, model: bytes) -> float:
        """Root of the mean squared error of the heatmaps, their median shift taken off; infinite for no numbers."""
        apart = self._heatmaps(model) - self._exact
        if not np.isfinite(apart).all():
            return math.inf
        return float(np.sqrt(((apart - np.median(apart)) ** 2).mean()))


def rank(units: Sequence[Unit], damage_of: Callable[[Sequence[str]], float], check: Share) -> list[Unit]:
    """Units with their damage, the worst first; equal ones in the graph's order.

    Args:
        units: as of `units_of`.
        damage_of: given names of nodes, the damage when they alone are quantized.
        check: told the share done after each; may raise to stop.
    """
    found = []
    for index, unit in enumerate(units):
        found.append(Unit(unit.names, damage_of(unit.names)))
        check((index + 1) / len(units))
    return sorted(found, key=lambda unit: -unit.damage)


def steps_of(ranked: Sequence[Unit]) -> list[list[Unit]]:
    """Units that stay in float at each step of the search, the worst first, ever more; never over half of the nodes."""
    nodes = np.cumsum([len(unit.names) for unit in ranked])
    most = int((2 * nodes <= nodes[-1]).sum()) if len(ranked) else 0
    counts = [min(math.ceil(share * len(ranked)), most) for share in SHARES]
    return [list(ranked[:count]) for count in dict.fromkeys(counts) if count]


def names_of(units: Sequence[Unit]) -> list[str]:
    """The nodes of units, in their order."""
    return [name for unit in units for name in unit.names]
