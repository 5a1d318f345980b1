# SPDX-License-Identifier: Apache-2.0
"""A shift report as PDF, A4, to be read, printed and signed. Says what `shift_content` holds and no more.

Made by ReportLab, which fetches nothing here: no picture and no link is ever put in.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from reportlab.lib import colors
from reportlab.platypus import Flowable, KeepTogether, Table

from central.api.quality_group_schemas import AttributeChartView, GroupedBy, GroupFigures
from central.reports import wording
from central.reports.pdf_charts import bars, p_chart
from central.reports.pdf_page import WIDTH, Made, build, pairs, section, signature, small, table, title
from central.reports.pdf_text import paragraph, style
from central.reports.shift_content import ShiftReport
from contracts.vocabulary import AuditState, Disposition, Judgement, SignalState, Verdict, VerdictCause

_MOST_CHARTS: Final = 12
_MOST_ROWS: Final = 200
_BAD: Final = colors.HexColor("#c81e1e")


def to_pdf(report: ShiftReport) -> bytes:
    """The file."""
    head = f"Shift report {report.period.name}, {report.asked.at or 'all stations'}"
    return build(
        list(_story(report)),
        title=f"Shift report {report.period.name}",
        head=f"PRELIMINARY: {head}" if report.period.is_preliminary else head,
        made=Made(report.made_at, report.made_by, report.version),
    )


def _story(report: ShiftReport) -> Iterator[Flowable]:
    zone = report.period.zone
    yield title(f"Shift report {report.period.name}")
    for note in report.notes:
        is_loud = note.startswith(("PRELIMINARY", "No part"))
        yield paragraph(note, style(9, bold=is_loud, colour=_BAD if is_loud else None, after=3))
    until = wording.moment(report.period.until, zone)
    if report.period.is_preliminary:
        until += f"; counted up to {wording.moment(report.period.counted_until, zone)}"
    yield pairs(
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
    for by, heading in ((GroupedBy.STATION, "By station"), (GroupedBy.PRODUCT, "By product")):
        yield from section(heading, [_group_table(report.figures[by])] if report.figures[by] else [])
    yield from _pareto(report.figures[GroupedBy.SITE])
    yield from _charts(report)
    yield from _counts(report)
    yield from _events(report)
    yield from _packages(report.figures[GroupedBy.PACKAGE])
    is_preliminary = report.period.is_preliminary
    yield from signature("Not to be signed: the shift is still under way." if is_preliminary else "Seen and accepted:")


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
    yield from section(f"What was made: {name}", [pairs(rows), small("In brackets 95 % intervals, each for itself.")])


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
    return table(head, rows, (100, 38, 38, 32, 46, 42, 72, 68, 64))


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
        body.append(small(wording.name_of(group.group, group.is_simulated)))
        body.append(table(("defect class", "parts", "share (95 %)", "up to here", ""), rows, (150, 40, 110, 50, 150)))
    if not body:
        body.append(small("No defective part was judged in an audit: classes are not known."))
    yield from section("Defect classes, as people named them in audits", body)


def _charts(report: ShiftReport) -> Iterator[Flowable]:
    shown = report.charts[:_MOST_CHARTS]
    note = (
        f"p chart, samples of {report.sample_minutes} min; exact limits learnt from the first 20 samples of this"
        " period; red: outside them; ◆ package change, ▲ alarm."
    )
    body: list[Flowable] = [small(note)]
    body += [KeepTogether(list(_chart(report, chart))) for chart in shown]
    if not shown:
        body.append(small("No station has 20 samples with parts in this period: there is no chart."))
    if len(report.charts) > len(shown):
        body.append(small(f"{len(shown)} of {len(report.charts)} charts are shown; the CSV has all of them."))
    yield from section("Rejects", body)


def _chart(report: ShiftReport, chart: AttributeChartView) -> Iterator[Flowable]:
    outside = sum(bool(point.rules) for point in chart.points)
    said = f"{wording.name_of(chart.group, chart.is_simulated)}: centre line {100 * chart.centre_line:.2f} %, "
    yield small(said + f"{outside} of {len(chart.points)} samples outside the limits")
    yield p_chart(chart, WIDTH, report.period.zone, report.period.since, report.period.until)


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
            body.append(small("simulated parts" if is_simulated else "real parts"))
        body.append(pairs(rows))
    yield from section("No decision, faults, held parts, audits", body)


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
    alarms: list[Flowable] = [table(head, rows, (62, 80, 78, 130, 70, 90))] if rows else [small("None.")]
    yield from section(f"Alarms raised or open ({len(report.alarms)})", [*alarms, *_left_out(len(report.alarms))])
    told = [(wording.short(each.at, zone), each.kind, each.text) for each in report.changes[:_MOST_ROWS]]
    changes: list[Flowable] = [table(("when", "what", "change"), told, (80, 50, 370))] if told else [small("None.")]
    yield from section(
        f"Package and recipe changes ({len(report.changes)})", [*changes, *_left_out(len(report.changes))]
    )


def _packages(groups: Sequence[GroupFigures]) -> Iterator[Flowable]:
    rows = [
        (f"{group.group or 'none (no decision)'}{' SIMULATED' if group.is_simulated else ''}", f"{group.parts:,}")
        for group in groups
    ]
    yield from section("Packages that judged", [table(("package id", "parts"), rows, (440, 60))] if rows else [])


def _left_out(count: int) -> list[Flowable]:
    return [small(f"The first {_MOST_ROWS} are listed; the CSV has all of them.")] if count > _MOST_ROWS else []


def _brief(estimate: float | None, low: float, high: float) -> str:
    return "not known" if estimate is None else f"{100 * estimate:.2f} % ({100 * low:.1f} to {100 * high:.1f})"


def _listed(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts if count) or "none"
