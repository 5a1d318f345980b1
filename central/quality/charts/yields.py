# SPDX-License-Identifier: Apache-2.0
"""Figures beside the charts: first-pass yield, Pareto of defect classes, escapes in ppm, cost of overkill.

Each with its interval and its denominator; not known is None, never 0. Pure; called by the API.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from central.quality.rates import Interval, binomial_interval

_MILLION = 1_000_000


def first_pass_yield(passed: int, parts: int, confidence: float = 0.95) -> Interval:
    """Share of parts that passed at their first inspection: OK ÷ all that came, NO_DECISION and REVIEW among them."""
    return binomial_interval(passed, parts, confidence)


def rolled_throughput_yield(yields: Sequence[float]) -> float | None:
    """Chance that a part passes all stations one after the other; assumes that they err independently. None: no one."""
    if not yields:
        return None
    total = 1.0
    for each in yields:
        total *= each
    return total


@dataclass(frozen=True)
class ParetoBar:
    """One defect class: how often, its share of all with interval, and the share of all classes up to this one."""

    defect_class: str
    count: int
    share: Interval
    cumulative: float


def pareto(counts: Mapping[str, int], confidence: float = 0.95) -> list[ParetoBar]:
    """Defect classes by count, the most frequent first; of equal ones by name. Classes without a part are left out.

    Intervals are of each share alone (Clopper–Pearson): neighbours whose intervals overlap may stand in either order.
    """
    known = sorted(((name, n) for name, n in counts.items() if n > 0), key=lambda entry: (-entry[1], entry[0]))
    total, so_far, bars = sum(n for _, n in known), 0, []
    for name, count in known:
        so_far += count
        bars.append(ParetoBar(name, count, binomial_interval(count, total, confidence), so_far / total))
    return bars


def escape_ppm(escape_share: Interval) -> Interval:
    """Escapes of a million parts shipped, from the escape share of accepted parts: what was accepted is shipped."""
    estimate = None if escape_share.estimate is None else escape_share.estimate * _MILLION
    return Interval(escape_share.low * _MILLION, estimate, escape_share.high * _MILLION, escape_share.method)


def overkill_cost(rejected: int, overkill_share: Interval, cost_of_part: float) -> Interval:
    """What good parts among `rejected` ones cost, in the unit of `cost_of_part`, from the good share of rejects.

    Raises:
        ValueError: a negative cost or count.
    """
    if rejected < 0 or cost_of_part < 0:
        msg = f"overkill cost: expected a count and a cost of at least 0, got {rejected} and {cost_of_part}"
        raise ValueError(msg)
    total = rejected * cost_of_part
    estimate = None if overkill_share.estimate is None else overkill_share.estimate * total
    return Interval(overkill_share.low * total, estimate, overkill_share.high * total, overkill_share.method)
