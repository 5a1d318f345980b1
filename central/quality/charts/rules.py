# SPDX-License-Identifier: Apache-2.0
"""Run rules with names: patterns that a chart of independent points hardly ever shows while in control.

Each rule adds false alarms: the first alone gives one in 370 points, all four of Western Electric one in 92 (Champ and
Woodall, Technometrics 1987). So the caller says which rules are on. Raises no alarm.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunRule:
    """At least `points` of `of` consecutive points beyond `sigmas` on one side, or a shape of its own.

    shape: "beyond" as said; "trend": each above (below) the one before; "zigzag": up and down in turn; "hugging": all
    within `sigmas`; "avoiding": all beyond `sigmas`, on whichever side.
    """

    name: str
    meaning: str
    points: int
    of: int
    sigmas: float = 0.0
    shape: str = "beyond"


@dataclass(frozen=True)
class RuleSignal:
    """A rule that held at point `at`, for the first time in a row; `points` are those that made it so."""

    rule: str
    meaning: str
    at: int
    points: tuple[int, ...]


# Western Electric, Statistical Quality Control Handbook, 1956.
WESTERN_ELECTRIC: Final = (
    RunRule("Western Electric 1", "one point beyond 3 sigma", 1, 1, 3.0),
    RunRule("Western Electric 2", "two of three points beyond 2 sigma on one side", 2, 3, 2.0),
    RunRule("Western Electric 3", "four of five points beyond 1 sigma on one side", 4, 5, 1.0),
    RunRule("Western Electric 4", "eight points in a row on one side of the centre line", 8, 8, 0.0),
)
# L. S. Nelson, The Shewhart Control Chart: Tests for Special Causes, Journal of Quality Technology 16, 1984.
NELSON: Final = (
    RunRule("Nelson 1", "one point beyond 3 sigma", 1, 1, 3.0),
    RunRule("Nelson 2", "nine points in a row on one side of the centre line", 9, 9, 0.0),
    RunRule("Nelson 3", "six points in a row steadily rising or falling", 6, 6, shape="trend"),
    RunRule("Nelson 4", "fourteen points in a row going up and down in turn", 14, 14, shape="zigzag"),
    RunRule("Nelson 5", "two of three points beyond 2 sigma on one side", 2, 3, 2.0),
    RunRule("Nelson 6", "four of five points beyond 1 sigma on one side", 4, 5, 1.0),
    RunRule("Nelson 7", "fifteen points in a row within 1 sigma", 15, 15, 1.0, "hugging"),
    RunRule("Nelson 8", "eight points in a row beyond 1 sigma, on either side", 8, 8, 1.0, "avoiding"),
)


def run_rules(standardized: Floats, rules: Iterable[RunRule] = NELSON) -> list[RuleSignal]:
    """Where rules hold, by point and then by rule.

    Args:
        standardized: float [n], points in standard deviations from the centre line (zones A, B, C are 2–3, 1–2, 0–1).
        rules: those that are on.

    A rule that goes on holding is told once. Assumes independent, about normal points: for counts of small shares take
    the limits of the chart instead of rule 1.
    """
    found = []
    for rule in rules:
        holds, sides = _holds(rule, standardized)
        begins = np.flatnonzero(holds & ~np.concatenate([[False], holds[:-1]])).tolist()
        found += [
            RuleSignal(rule.name, rule.meaning, at, _points(rule, standardized, at, float(sides[at]))) for at in begins
        ]
    # Stable: rules of one point stay in the order in which they were given.
    return sorted(found, key=lambda signal: signal.at)


def _holds(rule: RunRule, z: Floats) -> tuple[npt.NDArray[np.bool_], Floats]:
    """Whether the rule holds at each point, and on which side (1, −1; 0 where sides do not matter)."""
    none = np.zeros(len(z))
    if rule.shape == "trend":
        # Six points are five steps.
        rising, falling = (_counted(np.concatenate([[False], s * np.diff(z) > 0]), rule.of - 1) for s in (1, -1))
        return (rising >= rule.of - 1) | (falling >= rule.of - 1), none
    if rule.shape == "zigzag":
        steps = np.sign(np.diff(z))
        turns = np.concatenate([[False, False], steps[1:] * steps[:-1] < 0])[: len(z)]
        return _counted(turns, rule.of - 2) >= rule.of - 2, none
    if rule.shape == "hugging":
        return _counted(np.abs(z) < rule.sigmas, rule.of) >= rule.points, none
    if rule.shape == "avoiding":
        return _counted(np.abs(z) > rule.sigmas, rule.of) >= rule.points, none
    above, below = z > rule.sigmas, z < -rule.sigmas
    # The last point must itself lie beyond, or the rule would go on telling of what is over.
    high = above & (_counted(above, rule.of) >= rule.points)
    low = below & (_counted(below, rule.of) >= rule.points)
    return high | low, np.where(high, 1.0, -1.0)


def _counted(flags: npt.NDArray[np.bool_], last: int) -> npt.NDArray[np.int64]:
    """How many of the `last` points up to each one."""
    total = np.concatenate([[0], np.cumsum(flags)])
    ends = np.arange(1, len(flags) + 1)
    return np.asarray(total[ends] - total[np.maximum(ends - last, 0)], dtype=np.int64)


def _points(rule: RunRule, z: Floats, at: int, side: float) -> tuple[int, ...]:
    window = range(max(0, at - rule.of + 1), at + 1)
    if rule.shape != "beyond":
        return tuple(window)
    return tuple(index for index in window if side * z[index] > rule.sigmas)
