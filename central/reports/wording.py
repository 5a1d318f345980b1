# SPDX-License-Identifier: Apache-2.0
"""Figures of a report in words: numbers with their intervals, and why something is not known."""

from datetime import datetime
from zoneinfo import ZoneInfo

from central.api.quality_group_schemas import Amount, GroupFigures
from central.api.schemas import Rate
from central.reports.shift_content import Cost
from contracts.vocabulary import Verdict


def share(rate: Rate, of: str) -> str:
    """`96.0 % (95.1 to 96.8 % of 2,000 parts)`."""
    if rate.estimate is None:
        return f"not known: no {of}"
    ends = f"{_percent(rate.low)} to {_percent(rate.high)} %"
    return f"{_percent(rate.estimate)} % ({ends}; {rate.count:,} of {rate.of:,} {of})"


def escapes(group: GroupFigures) -> str:
    """Escapes in ppm with interval, denominator and method."""
    if group.escapes.estimate is None:
        return "not known: no accepted part was judged in an audit"
    return (
        f"{amount(group.escapes)}; {group.escapes_found:,} defective of {group.escapes_audited:,} audited, "
        f"drawn from {group.verdicts[Verdict.OK]:,} accepted; {group.escapes.method}"
    )


def overkill(group: GroupFigures) -> str:
    """Share of good parts among the judged rejects."""
    if group.overkill.estimate is None:
        return "not known: no rejected part was judged in an audit"
    return f"{share(group.overkill, 'judged rejects')}; {group.overkill.method}"


def overkill_cost(group: GroupFigures, cost: Cost) -> str:
    """What good parts among the rejects cost."""
    if cost.of_part is None:
        return "not known: the cost of a part was not given"
    if group.overkill_cost is None or group.overkill_cost.estimate is None:
        return "not known: no rejected part was judged in an audit"
    return f"{amount(group.overkill_cost)}, at {cost.of_part:g} {group.overkill_cost.unit} a part"


def amount(value: Amount) -> str:
    """`1,250 ppm of accepted parts (310 to 4,800)`."""
    if value.estimate is None:
        return "not known"
    return f"{_number(value.estimate)} {value.unit} ({_number(value.low)} to {_number(value.high)})"


def moment(at: datetime, zone: ZoneInfo) -> str:
    """In UTC and by the plant's clock."""
    if zone.key == "UTC":
        return f"{at:%Y-%m-%d %H:%M} UTC"
    return f"{at:%Y-%m-%d %H:%M} UTC ({at.astimezone(zone):%Y-%m-%d %H:%M} {zone.key})"


def short(at: datetime, zone: ZoneInfo) -> str:
    """By the plant's clock, for tables."""
    return f"{at.astimezone(zone):%Y-%m-%d %H:%M}"


def name_of(group: str, is_simulated: bool) -> str:
    """A group; packages by the beginning of their digest."""
    known = group[:12] if len(group) == 64 else group or "none"
    return f"{known} SIMULATED" if is_simulated else known


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}"
