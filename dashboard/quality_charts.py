# SPDX-License-Identifier: Apache-2.0
"""Figures of the quality page: attribute, CUSUM and EWMA charts, and the Pareto of defect classes.

Pure: shapes in, plotly figures out; computes no statistic that central did not. Called by `pages.quality`.
"""

from collections.abc import Sequence
from datetime import tzinfo
from typing import Any, Final

import plotly.graph_objects as go

from dashboard import palette
from dashboard.charts import styled
from dashboard.quality_shapes import AttributeChart, ChartMark, MemoryChart, MemoryPoint, ParetoEntry

_MOST_MARKS: Final = 20
_MARK_SIGN: Final = {"alarm": "▲", "package": "◆"}


def attribute_chart(chart: AttributeChart, zone: tzinfo) -> Any:
    """Points, centre line, stepped limits, the end of phase I, signals with their rules, marks along the top."""
    times = [point.at.astimezone(zone) for point in chart.points]
    figure = go.Figure()
    for name, ends in (("upper limit", [p.high for p in chart.points]), ("lower limit", [p.low for p in chart.points])):
        line = {"color": palette.BAD, "width": 1, "dash": "dash", "shape": "hvh"}
        figure.add_trace(go.Scatter(x=times, y=ends, name=name, mode="lines", line=line, hovertemplate="%{y:.4g}"))
    figure.add_trace(
        go.Scatter(
            x=times,
            y=[point.value for point in chart.points],
            name=chart.unit,
            mode="lines+markers",
            line={"color": palette.ACCENT, "width": 1.5},
            marker={"size": 4},
            customdata=[f"{point.count} of {point.of}" for point in chart.points],
            hovertemplate="%{y:.4g} (%{customdata})",
        )
    )
    signals = [point for point in chart.points if point.rules]
    figure.add_trace(
        go.Scatter(
            x=[point.at.astimezone(zone) for point in signals],
            y=[point.value for point in signals],
            name="signal",
            mode="markers",
            marker={"size": 8, "symbol": "x-thin", "line": {"color": palette.BAD, "width": 2}},
            customdata=["; ".join(point.rules) for point in signals],
            hovertemplate="%{customdata}",
        )
    )
    figure.add_hline(y=chart.centre_line, line={"color": palette.MUTED, "width": 1})
    if chart.reference < len(times):
        figure.add_vline(x=times[chart.reference], line={"color": palette.MUTED, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=times[chart.reference], y=0.98, yref="paper", text="phase II", showarrow=False, xanchor="left"
        )
    _mark(figure, chart.marks, zone)
    figure.update_yaxes(title_text=chart.unit, rangemode="tozero")
    figure.update_layout(showlegend=False)
    return styled(figure, 240, top=24)


def memory_chart(chart: MemoryChart, zone: tzinfo) -> Any:
    """Phase II of a CUSUM (rise above, fall below the line) or an EWMA, its limits, signals with when they began."""
    points = chart.points[chart.reference :]
    times = [point.at.astimezone(zone) for point in points]
    figure = go.Figure()
    for name, ends in (("upper limit", [p.high for p in points]), ("lower limit", [p.low for p in points])):
        line = {"color": palette.BAD, "width": 1, "dash": "dash"}
        figure.add_trace(go.Scatter(x=times, y=ends, name=name, mode="lines", line=line, hovertemplate="%{y:.3g}"))
    if chart.kind == "cusum":
        paths = {
            "more rejects": [point.up for point in points],
            "fewer rejects": [None if point.down is None else -point.down for point in points],
        }
    else:
        paths = {"EWMA": [point.level for point in points]}
    for name, values in paths.items():
        figure.add_trace(
            go.Scatter(
                x=times,
                y=values,
                name=name,
                mode="lines+markers",
                line={"color": palette.ACCENT, "width": 1.5},
                marker={"size": 4},
                customdata=[f"{point.count} of {point.of} rejected" for point in points],
                hovertemplate="%{y:.3g} (%{customdata})",
            )
        )
    signals = [(point, values[index]) for values in paths.values() for index, point in enumerate(points) if point.rules]
    shown = [(point, value) for point, value in signals if _is_outside(point, value)]
    figure.add_trace(
        go.Scatter(
            x=[point.at.astimezone(zone) for point, _ in shown],
            y=[value for _, value in shown],
            name="signal",
            mode="markers",
            marker={"size": 8, "symbol": "x-thin", "line": {"color": palette.BAD, "width": 2}},
            customdata=["; ".join(point.rules) + _began(point, zone) for point, _ in shown],
            hovertemplate="%{customdata}",
        )
    )
    figure.add_hline(y=0, line={"color": palette.MUTED, "width": 1})
    _mark(figure, chart.marks, zone)
    figure.update_yaxes(title_text=chart.unit)
    figure.update_layout(showlegend=False)
    return styled(figure, 240, top=24)


def _is_outside(point: MemoryPoint, value: float | None) -> bool:
    return value is not None and not (point.low or 0.0) <= value <= (point.high or 0.0)


def _began(point: MemoryPoint, zone: tzinfo) -> str:
    return f", since {point.began_at.astimezone(zone):%Y-%m-%d %H:%M}" if point.began_at else ""


def _mark(figure: Any, marks: Sequence[ChartMark], zone: tzinfo) -> None:
    for mark in marks[-_MOST_MARKS:]:
        colour = palette.BAD if mark.kind == "alarm" else palette.ACCENT
        figure.add_annotation(
            x=mark.at.astimezone(zone),
            y=1.0,
            yref="paper",
            yshift=9,
            text=_MARK_SIGN.get(mark.kind, "•"),
            hovertext=mark.text,
            showarrow=False,
            font={"color": colour},
        )


def pareto(entries: Sequence[ParetoEntry]) -> Any:
    """Counts as bars, the most frequent first, and the share of all classes up to each as a line."""
    names = [entry.defect_class for entry in entries]
    figure = go.Figure()
    figure.add_trace(
        go.Bar(
            x=names,
            y=[entry.count for entry in entries],
            name="parts",
            marker={"color": palette.ACCENT},
            customdata=[f"{100 * e.share.low:.0f} to {100 * e.share.high:.0f} % of all" for e in entries],
            hovertemplate="%{y} parts (%{customdata})",
        )
    )
    figure.add_trace(
        go.Scatter(
            x=names,
            y=[100 * entry.cumulative for entry in entries],
            name="cumulative",
            yaxis="y2",
            mode="lines+markers",
            line={"color": palette.MUTED, "width": 1.5},
            hovertemplate="%{y:.0f} %",
        )
    )
    second = {"overlaying": "y", "side": "right", "range": [0, 105], "title": {"text": "cumulative, %"}}
    figure.update_layout(showlegend=False, yaxis2=second)
    figure.update_yaxes(title_text="judged defective parts", selector={"side": None})
    return styled(figure, 240, top=18)
