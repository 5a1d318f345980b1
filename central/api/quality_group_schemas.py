# SPDX-License-Identifier: Apache-2.0
"""Bodies of `/quality/figures` and `/quality/attribute-charts`."""

from enum import StrEnum

from central.api.schemas import Rate
from central.domain.audit import PoolCut
from contracts.base import Shape, UtcTime
from contracts.vocabulary import Verdict


class GroupedBy(StrEnum):
    """What figures are put together by."""

    SITE = "site"
    LINE = "line"
    STATION = "station"
    PRODUCT = "product"
    SHIFT = "shift"
    PACKAGE = "package"


class Amount(Shape):
    """A figure that is no share, with its interval. `estimate` None: not known.

    count, of: the audits it rests on, how many of how many were found; none where it rests on no audits.
    unsettled: audits that wait for another inspector; the interval holds whatever they turn out to be.
    """

    low: float
    estimate: float | None
    high: float
    unit: str
    method: str
    count: int | None = None
    of: int | None = None
    unsettled: int = 0


class ParetoEntry(Shape):
    """A defect class as people named it. `cumulative`: share of all classes up to this one."""

    defect_class: str
    count: int
    share: Rate
    cumulative: float


class GroupFigures(Shape):
    """One site, line, station, product, shift or package. Simulated and real parts are never put together.

    first_pass_yield: OK of all parts. reject_rate: NG of all parts. escapes: of a million accepted parts, by audits:
    `escapes_found` defective ones among the `escapes_audited` accepted parts that people judged.
    overkill: good ones among NG parts, by audits that chance drew of them, weighted. overkill_cost: with the cost of
    a part, if one was given. pareto: of all audits in the asked period.

    Escapes, overkill and its cost rest on audits since `audits_since` alone, for the reason `audits_since_cut`, as in
    `GET /quality/rates`: of each station and product only what the package judging now judged, and since the last alarm
    on escapes was raised or closed; the earliest of the group is told. A shift or a package is a piece of the past: all
    its audits are put together, whatever changed within it, and both are None.
    """

    group: str
    is_simulated: bool
    parts: int
    verdicts: dict[Verdict, int]
    first_pass_yield: Rate
    reject_rate: Rate
    escapes: Amount
    escapes_found: int = 0
    escapes_audited: int = 0
    overkill: Rate
    overkill_cost: Amount | None = None
    audits_since: UtcTime | None = None
    audits_since_cut: PoolCut | None = None
    pareto: list[ParetoEntry]


class FiguresView(Shape):
    """`GET /quality/figures`."""

    since: UtcTime
    until: UtcTime
    by: GroupedBy
    groups: list[GroupFigures]


class AttributePoint(Shape):
    """A sample: `count` of `of` parts were rejected. Outside `low` … `high` it signals; `rules`: what held here."""

    at: UtcTime
    value: float
    count: int
    of: int
    low: float
    high: float
    rules: list[str] = []


class ChartMark(Shape):
    """Something that happened while the chart ran. `kind`: package or alarm."""

    at: UtcTime
    kind: str
    text: str


class MemoryPoint(Shape):
    """A sample: `count` of `of` parts were rejected, `value` is that share.

    cusum: `up` and `down` are both sums, `began_at` the sample at which the rise or fall began that signals here. ewma:
    `level`, outside `low` … `high` it signals. In standard deviations; None in phase I. `rules`: what held here.
    """

    at: UtcTime
    value: float
    count: int
    of: int
    up: float | None = None
    down: float | None = None
    level: float | None = None
    low: float | None = None
    high: float | None = None
    began_at: UtcTime | None = None
    rules: list[str] = []


class MemoryChartView(Shape):
    """`GET /quality/memory-charts` → list: one CUSUM or EWMA chart of rejects for each group.

    `centre_line`: share of the first `reference` points, phase I. `limit`: of either sum, and of the EWMA at its end.
    `samples_between_false_alarms`: mean, by what the centre line may be off; None: not known (ewma).
    """

    group: str
    kind: str
    unit: str
    is_simulated: bool
    centre_line: float
    reference: int
    limit: float
    samples_between_false_alarms: float | None
    points: list[MemoryPoint]
    marks: list[ChartMark]


class AttributeChartView(Shape):
    """`GET /quality/attribute-charts` → list: one p or np chart of rejects for each group.

    The first `reference` points are phase I: limits were learnt from them.
    """

    group: str
    kind: str
    unit: str
    is_simulated: bool
    centre_line: float
    reference: int
    points: list[AttributePoint]
    marks: list[ChartMark]
