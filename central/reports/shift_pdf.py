# SPDX-License-Identifier: Apache-2.0
"""A shift report as PDF, A4, to be read, printed and signed. Says what `shift_content` holds and no more.

Made by ReportLab, which fetches nothing here: no picture and no link is ever put in.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, SimpleDocTemplate, Spacer, Table, TableStyle

from central.api.quality_group_schemas import AttributeChartView, GroupedBy, GroupFigures
from central.reports import wording
from central.reports.pdf_charts import bars, p_chart
from central.reports.pdf_text import fonts, paragraph, style
from central.reports.shift_content import ShiftReport
from contracts.vocabulary import AuditState, Disposition, Judgement, SignalState, Verdict, VerdictCause

_MARGIN: Final = 16 * mm
# Paragraphs keep 6 points from each side of their frame; tables and drawings are as wide as they.
_WIDTH: Final = A4[0] - 2 * _MARGIN - 12
_MOST_CHARTS: Final = 12
_MOST_ROWS: Final = 200
_MUTED: Final = colors.HexColor("#5b6675")
_RULE: Final = colors.HexColor("#d5dbe3")
_HEAD: Final = colors.HexColor("#eef2f6")
_BAD: Final = colors.HexColor("#c81e1e")


def to_pdf(report: ShiftReport) -> bytes:
    """The file."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title=f"Shift report {report.period.name}",
        author=report.made_by,
        creator=f"Sightline {report.version}",
        invariant=1,
    )
    document.build(list(_story(report)), canvasmaker=_numbered(report))
    return out.getvalue()


def _numbered(report: ShiftReport) -> type[Canvas]:
    """A canvas that knows how many pages there are, and says on each what it belongs to."""
    foot = f"Sightline {report.version}; made {report.made_at:%Y-%m-%d %H:%M:%S} UTC"
    head = f"Shift report {report.period.name}, {report.asked.at or 'all stations'}"
    if report.period.is_preliminary:
        head = f"PRELIMINARY: {head}"

    class Numbered(Canvas):  # type: ignore[misc]  # ReportLab has no types
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - ReportLab's name
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._pages, start=1):
                self.__dict__.update(state)
                self.setFont(fonts().plain, 7)
                self.setFillColor(_MUTED)
                self.drawString(_MARGIN, A4[1] - 11 * mm, head)
                self.drawString(_MARGIN, 10 * mm, foot)
                self.drawRightString(A4[0] - _MARGIN, 10 * mm, f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    return Numbered


def _story(report: ShiftReport) -> Iterator[Flowable]:
    zone = report.period.zone
    yield paragraph(f"Shift report {report.period.name}", style(15, bold=True, after=4))
    for note in report.notes:
        is_loud = note.startswith(("PRELIMINARY", "No part"))
        yield paragraph(note, style(9, bold=is_loud, colour=_BAD if is_loud else None, after=3))
    until = wording.moment(report.period.until, zone)
    if report.period.is_preliminary:
        until += f"; counted up to {wording.moment(report.period.counted_until, zone)}"
    yield _pairs(
        (
            ("From", wording.moment(report.period.since, zone)),
            ("To", until),
            ("Stations", report.asked.at or "all"),
            ("Product", report.asked.product or "all"),
            ("Made by", report.made_by),
            ("Made at", wording.moment(report.made_at, zone)),
            ("Software", f"Sightline {report.version}"),
        )
    )
    for group in report.figures[GroupedBy.SITE]:
        yield from _site(report, group)
    for by, title in ((GroupedBy.STATION, "By station"), (GroupedBy.PRODUCT, "By product")):
        yield from _section(title, [_group_table(report.figures[by])] if report.figures[by] else [])
    yield from _pareto(report.figures[GroupedBy.SITE])
    yield from _charts(report)
    yield from _counts(report)
    yield from _events(report)
    yield from _packages(report.figures[GroupedBy.PACKAGE])
    yield from _signature(report)


def _site(report: ShiftReport, group: GroupFigures) -> Iterator[Flowable]:
    verdicts = ", ".join(f"{group.verdicts[verdict]:,} {verdict.value}" for verdict in Verdict)
    rows = (
        ("Parts", f"{group.parts:,}: {verdicts}"),
        ("First-pass yield", wording.share(group.first_pass_yield, "parts")),
        ("Rejected", wording.share(group.reject_rate, "parts")),
        ("Escapes", wording.escapes(group)),
        ("Overkill", wording.overkill(group)),
        ("Cost of overkill", wording.overkill_cost(group, report.cost)),
    )
    name = wording.name_of(group.group, group.is_simulated)
    yield from _section(
        f"What was made: {name}", [_pairs(rows), _small("In brackets 95 % intervals, each for itself.")]
    )


def _group_table(groups: Sequence[GroupFigures]) -> Table:
    head = ("group", "parts", "OK", "NG", "REVIEW", "none", "first-pass yield", "escapes", "overkill of rejects")
    rows = [
        (
            wording.name_of(group.group, group.is_simulated),
            f"{group.parts:,}",
            *(f"{group.verdicts[v]:,}" for v in (Verdict.OK, Verdict.NG, Verdict.REVIEW, Verdict.NO_DECISION)),
            _brief(group.first_pass_yield.estimate, group.first_pass_yield.low, group.first_pass_yield.high),
            "not known"
            if group.escapes.estimate is None
            else wording.amount(group.escapes).replace(" of accepted parts", ""),
            _brief(group.overkill.estimate, group.overkill.low, group.overkill.high),
        )
        for group in groups
    ]
    return _table(head, rows, (100, 38, 38, 32, 46, 42, 72, 68, 64))


def _pareto(groups: Sequence[GroupFigures]) -> Iterator[Flowable]:
    body: list[Flowable] = []
    for group in groups:
        if not group.pareto:
            continue
        drawn = bars([(bar.share.estimate or 0.0, bar.cumulative) for bar in group.pareto], 130)
        rows = [
            (
                bar.defect_class, f"{bar.count:,}", _brief(bar.share.estimate, bar.share.low, bar.share.high),
                f"{100 * bar.cumulative:.0f} %", drawing,
            )
            for bar, drawing in zip(group.pareto, drawn, strict=True)
        ]  # fmt: skip
        body.append(_small(wording.name_of(group.group, group.is_simulated)))
        body.append(_table(("defect class", "parts", "share (95 %)", "up to here", ""), rows, (150, 40, 110, 50, 150)))
    if not body:
        body.append(_small("No defective part was judged in an audit: classes are not known."))
    yield from _section("Defect classes, as people named them in audits", body)


def _charts(report: ShiftReport) -> Iterator[Flowable]:
    shown = report.charts[:_MOST_CHARTS]
    note = (
        f"p chart, samples of {report.sample_minutes} min; exact limits learnt from the first 20 samples of this"
        " period; red: outside them; ◆ package change, ▲ alarm."
    )
    body: list[Flowable] = [_small(note)]
    body += [KeepTogether(list(_chart(report, chart))) for chart in shown]
    if not shown:
        body.append(_small("No station has 20 samples with parts in this period: there is no chart."))
    if len(report.charts) > len(shown):
        body.append(_small(f"{len(shown)} of {len(report.charts)} charts are shown; the CSV has all of them."))
    yield from _section("Rejects", body)


def _chart(report: ShiftReport, chart: AttributeChartView) -> Iterator[Flowable]:
    outside = sum(bool(point.rules) for point in chart.points)
    said = f"{wording.name_of(chart.group, chart.is_simulated)}: centre line {100 * chart.centre_line:.2f} %, "
    yield _small(said + f"{outside} of {len(chart.points)} samples outside the limits")
    yield p_chart(chart, _WIDTH, report.period.zone, report.period.since, report.period.until)


def _counts(report: ShiftReport) -> Iterator[Flowable]:
    body: list[Flowable] = []
    for is_simulated in sorted(report.handled):
        causes, held = report.causes.get(is_simulated, {}), report.handled[is_simulated]
        audits = report.audits.get(is_simulated)
        unanswered = held.dispositions[Disposition.HELD] - held.held_answered
        rows = [
            ("NO_DECISION by cause", _listed((c.value, n) for c, n in causes.items() if c is not VerdictCause.SCORE)),
            ("Image faults", _listed(sorted(held.faults.items()))),
            ("Asked of the line", _listed((each.value, held.dispositions[each]) for each in Disposition)),
            ("Held, not answered", f"{unanswered:,} of {held.dispositions[Disposition.HELD]:,} held parts"),
            ("Signal to the line", _listed((each.value, held.signals[each]) for each in SignalState)),
        ]
        if audits is None:
            rows.append(("Audits", "none drawn"))
        else:
            states = _listed((each.value, audits.states[each]) for each in AuditState)
            rows.append(("Audits drawn", f"{audits.drawn:,} by chance: {states}"))
            rows.append(("Audits judged", _listed((each.value, audits.judgements[each]) for each in Judgement)))
            if audits.discordant:
                rows.append(("Not by chance", f"{audits.discordant:,} where a challenger disagreed; in no estimate"))
        if len(report.handled) > 1:
            body.append(_small("simulated parts" if is_simulated else "real parts"))
        body.append(_pairs(rows))
    yield from _section("No decision, faults, held parts, audits", body)


def _events(report: ShiftReport) -> Iterator[Flowable]:
    zone = report.period.zone
    rows = [
        (
            wording.short(alarm.raised_at, zone) + ("" if alarm.is_raised_here else " (before)"),
            f"{alarm.kind} {'SIMULATED' if alarm.is_simulated else ''}",
            alarm.about,
            alarm.message,
            alarm.state + (f" {wording.short(alarm.closed_at, zone)}" if alarm.closed_at else ""),
            alarm.cause,
        )
        for alarm in report.alarms[:_MOST_ROWS]
    ]
    head = ("raised", "kind", "about", "message", "state now", "cause")
    alarms: list[Flowable] = [_table(head, rows, (62, 80, 78, 130, 70, 90))] if rows else [_small("None.")]
    yield from _section(f"Alarms raised or open ({len(report.alarms)})", [*alarms, *_left_out(len(report.alarms))])
    told = [(wording.short(each.at, zone), each.kind, each.text) for each in report.changes[:_MOST_ROWS]]
    changes: list[Flowable] = [_table(("when", "what", "change"), told, (80, 50, 370))] if told else [_small("None.")]
    yield from _section(
        f"Package and recipe changes ({len(report.changes)})", [*changes, *_left_out(len(report.changes))]
    )


def _packages(groups: Sequence[GroupFigures]) -> Iterator[Flowable]:
    rows = [
        (f"{group.group or 'none (no decision)'}{' SIMULATED' if group.is_simulated else ''}", f"{group.parts:,}")
        for group in groups
    ]
    yield from _section("Packages that judged", [_table(("package id", "parts"), rows, (440, 60))] if rows else [])


def _signature(report: ShiftReport) -> Iterator[Flowable]:
    said = "Not to be signed: the shift is still under way." if report.period.is_preliminary else "Seen and accepted:"
    line = Table(
        [["", "", "", "", ""], ["name", "", "date", "", "signature"]],
        colWidths=(170, 12, 90, 12, _WIDTH - 284),
        rowHeights=(30, 12),
    )
    line.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (0, 0), 0.6, colors.black),
                ("LINEBELOW", (2, 0), (2, 0), 0.6, colors.black),
                ("LINEBELOW", (4, 0), (4, 0), 0.6, colors.black),
                ("FONT", (0, 0), (-1, -1), fonts().plain, 7),
                ("TEXTCOLOR", (0, 0), (-1, -1), _MUTED),
            ]
        )
    )
    yield Spacer(1, 10)
    yield KeepTogether([paragraph(said, style(9)), line])


def _section(title: str, body: Sequence[Flowable]) -> Iterator[Flowable]:
    if body:
        yield Spacer(1, 7)
        yield CondPageBreak(30 * mm)
        yield paragraph(title, style(10.5, bold=True, after=3))
        yield from body


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    made = [(paragraph(name, style(colour=_MUTED)), paragraph(text, style())) for name, text in rows]
    table = Table(made, colWidths=(100, _WIDTH - 100))
    table.setStyle(TableStyle([*_CLOSE, ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE)]))
    return table


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]], widths: Sequence[float]) -> Table:
    look, room = style(7.2), sum(widths)
    cells = [[each if isinstance(each, Flowable) else paragraph(str(each), look) for each in row] for row in rows]
    above = [paragraph(name, style(7.2, bold=True)) for name in head]
    table = Table([above, *cells], colWidths=[_WIDTH * width / room for width in widths], repeatRows=1)
    table.setStyle(
        TableStyle([*_CLOSE, ("BACKGROUND", (0, 0), (-1, 0), _HEAD), ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE)])
    )
    return table


_CLOSE: Final = [
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
]


def _small(text: str) -> Flowable:
    return paragraph(text, style(7.5, colour=_MUTED, after=2))


def _left_out(count: int) -> list[Flowable]:
    return [_small(f"The first {_MOST_ROWS} are listed; the CSV has all of them.")] if count > _MOST_ROWS else []


def _brief(estimate: float | None, low: float, high: float) -> str:
    return "not known" if estimate is None else f"{100 * estimate:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts if count) or "none"
