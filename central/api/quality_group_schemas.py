# SPDX-License-Identifier: Apache-2.0
"""Bodies of `/quality/figures` and `/quality/attribute-charts`."""

from enum import StrEnum

from central.api.schemas import Rate
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
    """A figure that is no share, with its interval. `estimate` None: not known."""

    low: float
    estimate: float | None
    high: float
    unit: str
    method: str


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
    overkill: good ones among audited rejects. overkill_cost: with the cost of a part, if one was given.
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
