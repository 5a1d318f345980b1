# SPDX-License-Identifier: Apache-2.0
"""What the stub central says of figures and attribute charts: central's own shapes, so a change of them is noticed."""

from datetime import datetime, timedelta
from typing import Any

from central.api import quality_group_schemas as shapes
from central.api.agreement import AgreementView, InspectorPair
from central.api.hints import EscapeHint
from central.api.views import plain_rate
from contracts.vocabulary import Verdict
from tests.dashboard.learning_story import STATIONS


def figures(story: Any, by: str) -> shapes.FiguresView:
    """One group for each station; people judged parts of the first alone."""
    now: datetime = story.now
    groups = [_group(story, name, is_judged=name == STATIONS[0]) for name in STATIONS] if story.has_stations else []
    return shapes.FiguresView(since=now - timedelta(hours=24), until=now, by=shapes.GroupedBy(by), groups=groups)


def agreement(story: Any) -> list[AgreementView]:
    """Two inspectors, of whom one judged his own parts again."""
    if not story.has_stations:
        return []
    return [
        AgreementView(
            since=story.now - timedelta(days=30),
            until=story.now,
            is_simulated=story.is_simulated,
            pairs=[
                InspectorPair(first="anna", second="anna", differ=plain_rate(1, 40), unsure=0),
                InspectorPair(first="anna", second="bert", differ=plain_rate(3, 60), unsure=2),
            ],
            repeats=plain_rate(4, 100),
            error_rate=plain_rate(2, 100),
            refuted=plain_rate(5, 9),
        )
    ]


def _group(story: Any, name: str, *, is_judged: bool) -> shapes.GroupFigures:
    unknown = shapes.Amount(low=0, estimate=None, high=1e6, unit="ppm of accepted parts", method="")
    known = shapes.Amount(low=310, estimate=1250, high=4800, unit="ppm of accepted parts", method="Clopper-Pearson")
    verdicts = dict.fromkeys(Verdict, 0) | {Verdict.OK: 1880, Verdict.NG: 120}
    return shapes.GroupFigures(
        group=name,
        is_simulated=story.is_simulated,
        parts=2000,
        verdicts=verdicts,
        first_pass_yield=plain_rate(1880, 2000),
        reject_rate=plain_rate(120, 2000),
        escapes=known if is_judged else unknown,
        overkill=plain_rate(3, 40) if is_judged else plain_rate(0, 0),
        pareto=[
            shapes.ParetoEntry(defect_class="<scratch>", count=9, share=plain_rate(9, 12), cumulative=0.75),
            shapes.ParetoEntry(defect_class="pit", count=3, share=plain_rate(3, 12), cumulative=1.0),
        ]
        if is_judged
        else [],
    )


def attribute_charts(story: Any) -> list[shapes.AttributeChartView]:
    """A chart of the first station: one sample outside, one package change, one alarm."""
    if not story.has_stations:
        return []
    now: datetime = story.now
    points = [
        shapes.AttributePoint(
            at=now - timedelta(minutes=30 * (40 - index)),
            value=0.3 if index == 31 else 0.06,
            count=30 if index == 31 else 6,
            of=100,
            low=0.01,
            high=0.15,
            rules=["outside exact limits"] if index == 31 else [],
        )
        for index in range(40)
    ]
    marks = [
        shapes.ChartMark(at=points[25].at, kind="package", text="package 1234"),
        shapes.ChartMark(at=points[31].at, kind="alarm", text="REJECT_RATE: more than usual"),
    ]
    return [
        shapes.AttributeChartView(
            group=STATIONS[0],
            kind="p",
            unit="share of parts",
            is_simulated=story.is_simulated,
            centre_line=0.06,
            reference=20,
            points=points,
            marks=marks,
        )
    ]


def memory_charts(story: Any, kind: str) -> list[shapes.MemoryChartView]:
    """A chart of the first station whose last five samples are above the limit, by a rise from sample 30 on."""
    if not story.has_stations:
        return []
    now: datetime = story.now
    begin = [now - timedelta(minutes=30 * (40 - index)) for index in range(40)]
    points = []
    for index, at in enumerate(begin):
        risen = max(0.0, index - 29.0)
        said = {"up": risen, "down": 0.5} if kind == "cusum" else {"level": risen / 3}
        phase_ii = {**said, "low": -5.0, "high": 5.0 if kind == "cusum" else 1.7} if index >= 20 else {}
        is_signal = index >= 35
        points.append(
            shapes.MemoryPoint(
                at=at,
                value=0.06,
                count=6,
                of=100,
                **phase_ii,
                began_at=begin[30] if is_signal and kind == "cusum" else None,
                rules=[f"{kind.upper()}: more rejects than in phase I"] if is_signal else [],
            )
        )
    return [
        shapes.MemoryChartView(
            group=STATIONS[0],
            kind=kind,
            unit="standard deviations",
            is_simulated=story.is_simulated,
            centre_line=0.06,
            reference=20,
            limit=5.0,
            samples_between_false_alarms=465 if kind == "cusum" else None,
            points=points,
            marks=[shapes.ChartMark(at=begin[25], kind="package", text="package 1234")],
        )
    ]


def hints(story: Any) -> list[EscapeHint]:
    """One that could be worked out, one that could not."""
    if not story.has_stations:
        return []
    now: datetime = story.now
    about: dict[str, Any] = {
        "product": "ring",
        "is_simulated": story.is_simulated,
        "package_id": "a" * 64,
        "since": now - timedelta(hours=24),
        "until": now,
        "accepted": 1880,
    }
    figures: dict[str, Any] = {"expected_share": 0.004, "low": 0.002, "high": 0.008, "beyond_calibration": 0.03}
    known = EscapeHint(station=STATIONS[0], audits=120, defective=14, **figures, **about)
    return [known, EscapeHint(station=STATIONS[1], audits=9, defective=0, why="expected at least <10> audits", **about)]
