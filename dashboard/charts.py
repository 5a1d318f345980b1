# SPDX-License-Identifier: Apache-2.0
"""Figures: the timeline of a line with what happened to it, and control charts.

Pure: shapes in, plotly figures out; fetches nothing, computes no statistic that central did not. Every axis
names its unit, every title says when the parts are simulated. Called by the pages.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Any, Final

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from contracts.vocabulary import Verdict
from dashboard import palette, words
from dashboard.shapes import Bucket, Chart

_ORDER: Final = (Verdict.OK, Verdict.REVIEW, Verdict.NG, Verdict.NO_DECISION)
_CHART_WORDS: Final = {
    "escapes": "Escapes found by audits (CUSUM)",
    "reject-rate": "Share judged NG or REVIEW",
    "log-score": "Score (logarithm)",
    "brightness": "Brightness of the picture",
}
_PHASE_WORDS: Final = dict.fromkeys(("I", "1"), "phase I: learning its limits") | dict.fromkeys(
    ("II", "2"), "phase II: watching"
)
_MAX_MARKS: Final = 12
_MINUTE_MS: Final = 60_000
# The least span of the timeline, so that three minutes of data do not look like a trend.
_LEAST_SPAN: Final = timedelta(minutes=15)
_TICKS: Final = [
    {"dtickrange": [None, 59_000], "value": "%H:%M:%S"},
    {"dtickrange": [60_000, 86_000_000], "value": "%H:%M"},
    {"dtickrange": [86_400_000, None], "value": "%d %b"},
]


@dataclass(frozen=True)
class Mark:
    """Something that happened, drawn as a line across the timeline."""

    at: datetime
    text: str
    is_alarm: bool = False


@dataclass
class _Minute:
    ok: int = 0
    ng: int = 0
    review: int = 0
    no_decision: int = 0

    @property
    def parts(self) -> int:
        return self.ok + self.ng + self.review + self.no_decision


def per_minute(buckets: Iterable[Bucket]) -> dict[datetime, _Minute]:
    """All stations, products and packages of a minute together, in time order."""
    minutes: dict[datetime, _Minute] = defaultdict(_Minute)
    for bucket in buckets:
        minute = minutes[bucket.minute]
        minute.ok += bucket.ok
        minute.ng += bucket.ng
        minute.review += bucket.review
        minute.no_decision += bucket.no_decision
    return dict(sorted(minutes.items()))


def package_changes(buckets: Iterable[Bucket]) -> tuple[Mark, ...]:
    """Where a station's parts of a product began to be judged by another package."""
    last: dict[tuple[str, str | None], str] = {}
    marks: list[Mark] = []
    for bucket in sorted(buckets, key=lambda item: item.minute):
        if bucket.package_id is None:
            continue
        place = (bucket.station, bucket.product)
        before = last.get(place)
        if before is not None and before != bucket.package_id:
            name = bucket.station.rsplit("/", maxsplit=1)[-1]
            marks.append(Mark(bucket.minute, f"{name}: package {words.short(bucket.package_id)}"))
        last[place] = bucket.package_id
    return tuple(marks)


def timeline(buckets: Sequence[Bucket], marks: Sequence[Mark], zone: tzinfo) -> Any:
    """Shares per minute above, parts per minute below, package changes and alarms across both."""
    minutes = per_minute(buckets)
    times = [at.astimezone(zone) for at in minutes]
    middles = [at + timedelta(seconds=30) for at in times]
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.55, 0.45], vertical_spacing=0.09)
    for word, get in (
        (Verdict.NG, [m.ng for m in minutes.values()]),
        (Verdict.REVIEW, [m.review for m in minutes.values()]),
        (Verdict.NO_DECISION, [m.no_decision for m in minutes.values()]),
    ):
        shares = [100 * n / m.parts if m.parts else None for n, m in zip(get, minutes.values(), strict=True)]
        hover = [f"{n} of {m.parts} parts" for n, m in zip(get, minutes.values(), strict=True)]
        figure.add_trace(_line(word, middles, shares, hover), row=1, col=1)
    for word in _ORDER:
        heights = [getattr(m, word.value.lower()) for m in minutes.values()]
        figure.add_trace(_bars(word, times, heights), row=2, col=1)
    _draw_marks(figure, marks, zone, times)
    figure.update_yaxes(title_text="share of parts, %", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="parts in the minute", rangemode="tozero", row=2, col=1)
    if times:
        end = times[-1] + timedelta(minutes=1)
        figure.update_xaxes(range=[min(times[0], end - _LEAST_SPAN), end])
    legend = {"orientation": "h", "y": -0.13, "x": 0, "traceorder": "normal"}
    figure.update_layout(barmode="stack", legend=legend)
    return styled(figure, 390, top=56)


def _line(word: Verdict, times: list[datetime], shares: list[float | None], hover: list[str]) -> Any:
    return go.Scatter(
        x=times,
        y=shares,
        name=palette.VERDICT_WORD[word],
        mode="lines+markers",
        line={"color": palette.VERDICT_COLOUR[word], "width": 2},
        marker={"size": 5, "symbol": {Verdict.NG: "x", Verdict.REVIEW: "diamond"}.get(word, "square")},
        customdata=hover,
        hovertemplate="%{y:.1f} % (%{customdata})",
        showlegend=False,
    )


def _bars(word: Verdict, times: list[datetime], heights: list[int]) -> Any:
    return go.Bar(
        x=times,
        y=heights,
        width=0.88 * _MINUTE_MS,
        offset=0.06 * _MINUTE_MS,
        name=palette.VERDICT_WORD[word],
        marker={
            "color": palette.VERDICT_COLOUR[word],
            "pattern": {"shape": "/" if word is Verdict.NO_DECISION else "", "fgopacity": 0.6},
        },
        hovertemplate="%{y} parts",
    )


def _draw_marks(figure: Any, marks: Sequence[Mark], zone: tzinfo, times: Sequence[datetime]) -> None:
    # Words near the right end are written to the left of their line, or they would be cut off.
    turn = times[-1] - 0.3 * max(_LEAST_SPAN, times[-1] - times[0]) if times else None
    # Newest first: when there are too many to read, the old ones give way.
    for rank, mark in enumerate(sorted(marks, key=lambda item: item.at, reverse=True)[:_MAX_MARKS]):
        colour = palette.BAD if mark.is_alarm else palette.ACCENT
        at = mark.at.astimezone(zone)
        figure.add_vline(x=at, line={"color": colour, "width": 1.5, "dash": "solid" if mark.is_alarm else "dot"})
        figure.add_annotation(
            x=at,
            y=1.0,
            yshift=10 + 13 * (rank % 3),
            yref="paper",
            text=("▲ " if mark.is_alarm else "◆ ") + mark.text,
            showarrow=False,
            font={"size": 11, "color": colour},
            xanchor="left" if turn is None or at < turn else "right",
        )


def chart_title(chart: Chart) -> str:
    """What a chart watches, in words."""
    return _CHART_WORDS.get(chart.name, chart.name.replace("-", " ").replace("_", " ").capitalize())


def chart_note(chart: Chart) -> str:
    """What a chart's phase means, and what its unit says in brackets."""
    phase = _PHASE_WORDS.get(chart.phase.upper().removeprefix("PHASE_"), chart.phase)
    remark = chart.unit.partition(" (")[2].removesuffix(")")
    return f"{phase} · {remark}" if remark else phase


def control_chart(chart: Chart, zone: tzinfo) -> Any:
    """Points with centre line and limits; a point that signalled is marked and names its rule."""
    times = [point.at.astimezone(zone) for point in chart.points]
    figure = go.Figure()
    figure.add_trace(
        go.Scatter(
            x=times,
            y=[point.value for point in chart.points],
            mode="lines+markers",
            line={"color": palette.ACCENT, "width": 1.5},
            marker={"size": 4},
            customdata=[point.of for point in chart.points],
            hovertemplate="%{y:.4g} " + chart.unit + " (of %{customdata})<extra></extra>",
        )
    )
    signals = [point for point in chart.points if point.rule]
    figure.add_trace(
        go.Scatter(
            x=[point.at.astimezone(zone) for point in signals],
            y=[point.value for point in signals],
            mode="markers",
            marker={"size": 7, "symbol": "x-thin", "line": {"color": palette.BAD, "width": 2}},
            customdata=[point.rule for point in signals],
            hovertemplate="signal: %{customdata}<extra></extra>",
        )
    )
    for value, name in ((chart.upper_limit, "upper limit"), (chart.lower_limit, "lower limit")):
        if value is not None:
            figure.add_hline(
                y=value,
                line={"color": palette.BAD, "width": 1, "dash": "dash"},
                annotation={"text": name, "font": {"size": 10, "color": palette.BAD}},
                annotation_position="top left" if name == "upper limit" else "bottom left",
            )
    if chart.centre_line is not None:
        figure.add_hline(y=chart.centre_line, line={"color": palette.MUTED, "width": 1})
    figure.update_yaxes(title_text=chart.unit.partition(" (")[0])
    figure.update_layout(showlegend=False)
    return styled(figure, 215, top=18)


def styled(figure: Any, height: int, top: int) -> Any:
    """The look that all figures share; `height` and `top` in px."""
    figure.update_layout(
        height=height,
        margin={"l": 62, "r": 14, "t": top, "b": 34},
        paper_bgcolor="#ffffff",
        plot_bgcolor="#ffffff",
        font={"color": palette.INK, "size": 12},
        hovermode="x unified",
        uirevision="keep",
    )
    figure.update_xaxes(gridcolor=palette.RULE, zeroline=False, tickformatstops=_TICKS)
    figure.update_yaxes(gridcolor=palette.RULE, zeroline=False, title_font={"size": 11})
    return figure
