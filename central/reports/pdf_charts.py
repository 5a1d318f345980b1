# SPDX-License-Identifier: Apache-2.0
"""Drawings of a report: a p chart with its limits and marks, a Pareto of classes. They compute nothing."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from reportlab.graphics.shapes import Circle, Drawing, Line, Polygon, PolyLine, Rect, String
from reportlab.lib import colors

from central.api.quality_group_schemas import AttributeChartView
from central.reports.pdf_text import fonts

_HEIGHT: Final = 112.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 40.0, 12.0, 12.0, 20.0
_INK: Final = colors.HexColor("#1f2a37")
_GREY: Final = colors.HexColor("#9aa5b1")
_LIMIT: Final = colors.HexColor("#b45309")
_BAD: Final = colors.HexColor("#c81e1e")
_MARK: Final = colors.HexColor("#1d4ed8")
_SIZE: Final = 6.5
_MOST_TIMES: Final = 8


def p_chart(chart: AttributeChartView, width: float, zone: ZoneInfo, since: datetime, until: datetime) -> Drawing:
    """Rejected share of each sample, centre line, limits; package changes ◆ and alarms ▲ above the frame."""
    drawing = Drawing(width, _HEIGHT)
    across, up = width - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    highest = 1.15 * max(*(max(point.value, point.high) for point in chart.points), 1e-4)
    seconds = (until - since).total_seconds()

    def x(at: datetime) -> float:
        return _LEFT + across * min(1.0, max(0.0, (at - since).total_seconds() / seconds))

    def y(value: float) -> float:
        return _BOTTOM + up * min(value, highest) / highest

    drawing.add(Rect(_LEFT, _BOTTOM, across, up, fillColor=None, strokeColor=_GREY, strokeWidth=0.5))
    for step in range(5):
        value = highest * step / 4
        drawing.add(Line(_LEFT - 2, y(value), _LEFT, y(value), strokeColor=_GREY, strokeWidth=0.5))
        drawing.add(_text(_LEFT - 4, y(value) - 2, f"{100 * value:.2g} %", "end"))
    for step in range(_MOST_TIMES + 1):
        at = since + (until - since) * step / _MOST_TIMES
        drawing.add(_text(x(at), _BOTTOM - 9, f"{at.astimezone(zone):%H:%M}", "middle"))
    learnt = chart.points[chart.reference - 1].at
    drawing.add(Line(x(learnt), _BOTTOM, x(learnt), _BOTTOM + up, strokeColor=_GREY, strokeDashArray=(1, 2)))
    drawing.add(_text(x(learnt) - 2, _BOTTOM + up - 8, "limits learnt up to here", "end", _GREY))
    for values, colour, dashes in (
        ([point.low for point in chart.points], _LIMIT, (3, 2)),
        ([point.high for point in chart.points], _LIMIT, (3, 2)),
        ([chart.centre_line] * len(chart.points), _GREY, None),
        ([point.value for point in chart.points], _INK, None),
    ):
        points = [
            number for point, value in zip(chart.points, values, strict=True) for number in (x(point.at), y(value))
        ]
        drawing.add(PolyLine(points, strokeColor=colour, strokeWidth=0.8, strokeDashArray=dashes))
    for point in chart.points:
        colour, size = (_BAD, 2.4) if point.rules else (_INK, 1.2)
        drawing.add(Circle(x(point.at), y(point.value), size, fillColor=colour, strokeColor=colour))
    for mark in chart.marks:
        middle, above = x(mark.at), _BOTTOM + up + 2
        is_alarm = mark.kind == "alarm"
        shape = [middle - 3, above, middle + 3, above, middle, above + 6]
        if not is_alarm:
            shape = [middle - 3, above + 3, middle, above, middle + 3, above + 3, middle, above + 6]
        drawing.add(Polygon(shape, fillColor=_BAD if is_alarm else _MARK, strokeColor=None))
    return drawing


def bars(classes: Sequence[tuple[float, float]], width: float) -> list[Drawing]:
    """A bar for each class: its share, 0 to 1, and the share of all up to it as a fine mark."""
    drawn = []
    for share, cumulative in classes:
        drawing = Drawing(width, 8)
        drawing.add(Rect(0, 1, max(0.5, width * share), 6, fillColor=_MARK, strokeColor=None))
        drawing.add(Line(width * cumulative, 0, width * cumulative, 8, strokeColor=_LIMIT, strokeWidth=1))
        drawn.append(drawing)
    return drawn


def _text(x: float, y: float, said: str, anchor: str, colour: colors.Color = _INK) -> String:
    return String(x, y, said, fontName=fonts().plain, fontSize=_SIZE, textAnchor=anchor, fillColor=colour)
