# SPDX-License-Identifier: Apache-2.0
"""Central's figures and attribute charts by group, as the quality page shows them. Mirrors the API's bodies by name."""

from dataclasses import dataclass
from datetime import datetime

from dashboard.shapes import Rate


@dataclass(frozen=True)
class Amount:
    """A figure that is no share, by `count` of `of` audits. `estimate` None: not known."""

    low: float
    estimate: float | None
    high: float
    unit: str
    count: int | None = None
    of: int | None = None
    unsettled: int = 0


@dataclass(frozen=True)
class ParetoEntry:
    """A defect class as people named it."""

    defect_class: str
    count: int
    share: Rate
    cumulative: float


@dataclass(frozen=True)
class GroupFigures:
    """One site, line, station, product, shift or package."""

    group: str
    is_simulated: bool
    parts: int
    first_pass_yield: Rate
    reject_rate: Rate
    escapes: Amount
    overkill: Rate
    pareto: tuple[ParetoEntry, ...] = ()
    overkill_cost: Amount | None = None
    # PERIOD, PACKAGE or ALARM: from when on audits are in escapes and overkill; None: all of the group.
    audits_since_cut: str | None = None


@dataclass(frozen=True)
class Figures:
    """All groups of a period."""

    since: datetime
    until: datetime
    groups: tuple[GroupFigures, ...]


@dataclass(frozen=True)
class AttributePoint:
    """A sample with its own limits; `rules` name what held here."""

    at: datetime
    value: float
    count: int
    of: int
    low: float
    high: float
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChartMark:
    """A package change or an alarm."""

    at: datetime
    kind: str
    text: str


@dataclass(frozen=True)
class AttributeChart:
    """A p or np chart of one group; the first `reference` points are phase I."""

    group: str
    kind: str
    unit: str
    is_simulated: bool
    centre_line: float
    reference: int
    points: tuple[AttributePoint, ...]
    marks: tuple[ChartMark, ...] = ()


@dataclass(frozen=True)
class MemoryPoint:
    """A sample; `up` and `down` of a CUSUM, `level` of an EWMA, in standard deviations; none in phase I."""

    at: datetime
    value: float
    count: int
    of: int
    up: float | None = None
    down: float | None = None
    level: float | None = None
    low: float | None = None
    high: float | None = None
    began_at: datetime | None = None
    rules: tuple[str, ...] = ()


@dataclass(frozen=True)
class MemoryChart:
    """A CUSUM or EWMA chart of rejects of one group; the first `reference` points are phase I."""

    group: str
    kind: str
    unit: str
    is_simulated: bool
    centre_line: float
    reference: int
    limit: float
    points: tuple[MemoryPoint, ...]
    marks: tuple[ChartMark, ...] = ()
    samples_between_false_alarms: float | None = None


@dataclass(frozen=True)
class InspectorPair:
    """Blind repeats that `second` judged of parts that `first` had judged."""

    first: str
    second: str
    differ: Rate
    unsure: int = 0


@dataclass(frozen=True)
class Agreement:
    """How often inspectors differ, of real parts or of simulated ones."""

    since: datetime
    is_simulated: bool
    pairs: tuple[InspectorPair, ...]
    repeats: Rate
    error_rate: Rate
    refuted: Rate


@dataclass(frozen=True)
class EscapeHint:
    """What scores alone let expect, marked as a hint; `assumption` must stand beside it. `why`: why it is not known."""

    assumption: str
    station: str
    product: str | None
    is_simulated: bool
    accepted: int
    audits: int
    defective: int
    low: float
    high: float
    expected_share: float | None = None
    beyond_calibration: float | None = None
    why: str | None = None
