# SPDX-License-Identifier: Apache-2.0
"""A shift report as one tidy table: one statement a row, the unit of each number in the name of its column.

RFC 4180 (CRLF, quoted where needed), UTF-8 without a mark at the beginning. Text that a spreadsheet would take for a
formula gets an apostrophe before it. Numbers are written in full; what is not known is an empty cell.
"""

import csv
import io
import unicodedata
from collections.abc import Iterator
from typing import Any, Final

from central.api.quality_group_schemas import Amount, GroupedBy, GroupFigures
from central.api.schemas import Rate
from central.reports.shift_content import ShiftReport
from contracts.vocabulary import AuditState, Disposition, Judgement, SignalState, VerdictCause

COLUMNS: Final = (
    "section", "group_by", "group", "is_simulated", "name", "at_utc", "count_parts", "of_parts",
    "estimate_share", "low_share", "high_share", "estimate_ppm", "low_ppm", "high_ppm",
    "estimate_cost", "low_cost", "high_cost", "cost_unit", "method", "text",
)  # fmt: skip
_FORMULA_STARTS: Final = "=+-@\t\r\n"

Row = dict[str, Any]


def to_csv(report: ShiftReport) -> bytes:
    """The file."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in _rows(report):
        writer.writerow([_cell(row.get(column)) for column in COLUMNS])
    return out.getvalue().encode("utf-8")


def safe(text: str) -> str:
    """A text that no spreadsheet takes for a formula, without control characters."""
    clean = "".join(sign for sign in text if sign in "\n\t" or unicodedata.category(sign) not in {"Cc", "Cs"})
    # Full-width signs and blanks before a sign are read as the sign itself by some programs.
    first = unicodedata.normalize("NFKC", clean).lstrip(" \u00a0")[:1]
    return f"'{clean}" if first and first in _FORMULA_STARTS else clean


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value) if isinstance(value, int | float) else safe(str(value))


def _rows(report: ShiftReport) -> Iterator[Row]:
    period = report.period
    for name, text in (
        ("made_by", report.made_by), ("version", report.version), ("at", report.asked.at or "all"),
        ("product", report.asked.product or "all"), ("shift", period.name), ("time_zone", period.zone.key),
        ("is_preliminary", str(period.is_preliminary).lower()), *(("note", note) for note in report.notes),
    ):  # fmt: skip
        yield {"section": "report", "name": name, "text": text}
    for name, at in (
        ("made", report.made_at), ("since", period.since), ("until", period.until),
        ("counted_until", period.counted_until),
    ):  # fmt: skip
        yield {"section": "report", "name": name, "at_utc": at.isoformat()}
    for by, groups in report.figures.items():
        for group in groups:
            yield from _group_rows(by, group)
    yield from _count_rows(report)
    yield from _audit_rows(report)
    for chart in report.charts:
        for point in chart.points:
            yield {
                "section": "p_chart", "group_by": "station", "group": chart.group, "is_simulated": chart.is_simulated,
                "name": "reject_rate", "at_utc": point.at.isoformat(), "count_parts": point.count,
                "of_parts": point.of, "estimate_share": point.value, "low_share": point.low,
                "high_share": point.high, "text": "; ".join(point.rules),
            }  # fmt: skip
    for alarm in report.alarms:
        closed = f", closed {alarm.closed_at.isoformat()}" if alarm.closed_at else ""
        yield {
            "section": "alarm", "group": alarm.about, "is_simulated": alarm.is_simulated, "name": alarm.kind,
            "at_utc": alarm.raised_at.isoformat(),
            "text": f"{alarm.state}{closed}; {alarm.message}; cause: {alarm.cause}",
        }  # fmt: skip
    for change in report.changes:
        yield {"section": "change", "name": change.kind, "at_utc": change.at.isoformat(), "text": change.text}


def _group_rows(by: GroupedBy, group: GroupFigures) -> Iterator[Row]:
    same = {"section": "figures", "group_by": by.value, "group": group.group, "is_simulated": group.is_simulated}
    for verdict, count in group.verdicts.items():
        yield {**same, "name": f"verdict_{verdict.value}", "count_parts": count, "of_parts": group.parts}
    yield {**same, "name": "first_pass_yield", **_rate(group.first_pass_yield)}
    yield {**same, "name": "reject_rate", **_rate(group.reject_rate)}
    counts = {"count_parts": group.escapes_found, "of_parts": group.escapes_audited}
    yield {**same, "name": "escapes", **counts, **_amount(group.escapes, "ppm"), "method": group.escapes.method}
    yield {**same, "name": "overkill_of_rejects", **_rate(group.overkill)}
    if group.overkill_cost is not None:
        cost = group.overkill_cost
        yield {
            **same, "name": "overkill_cost", **_amount(cost, "cost"), "cost_unit": cost.unit, "method": cost.method,
        }  # fmt: skip
    for bar in group.pareto:
        yield {**same, "section": "pareto", "name": bar.defect_class, **_rate(bar.share)}


def _count_rows(report: ShiftReport) -> Iterator[Row]:
    for is_simulated, causes in sorted(report.causes.items()):
        parts = sum(causes.values())
        for cause, count in causes.items():
            if cause is not VerdictCause.SCORE:
                yield {
                    "section": "no_decision", "is_simulated": is_simulated, "name": cause.value,
                    "count_parts": count, "of_parts": parts,
                }  # fmt: skip
    for is_simulated, held in sorted(report.handled.items()):
        same = {"is_simulated": is_simulated, "of_parts": sum(held.dispositions.values())}
        for fault, count in sorted(held.faults.items()):
            yield {"section": "image_fault", **same, "name": fault, "count_parts": count}
        for disposition in Disposition:
            yield {
                "section": "disposition", **same, "name": disposition.value,
                "count_parts": held.dispositions[disposition],
            }  # fmt: skip
        unanswered = held.dispositions[Disposition.HELD] - held.held_answered
        yield {"section": "disposition", **same, "name": "HELD_unanswered", "count_parts": unanswered}
        for signal in SignalState:
            yield {"section": "signal", **same, "name": signal.value, "count_parts": held.signals[signal]}


def _audit_rows(report: ShiftReport) -> Iterator[Row]:
    for is_simulated, audits in sorted(report.audits.items()):
        same = {"section": "audits", "is_simulated": is_simulated, "of_parts": audits.drawn}
        for state in AuditState:
            yield {**same, "name": state.value, "count_parts": audits.states[state]}
        for judgement in Judgement:
            yield {**same, "name": judgement.value, "count_parts": audits.judgements[judgement]}


def _rate(rate: Rate) -> Row:
    return {
        "count_parts": rate.count, "of_parts": rate.of, "estimate_share": rate.estimate,
        "low_share": None if rate.estimate is None else rate.low,
        "high_share": None if rate.estimate is None else rate.high, "method": rate.method,
    }  # fmt: skip


def _amount(value: Amount, unit: str) -> Row:
    if value.estimate is None:
        return {}
    return {f"estimate_{unit}": value.estimate, f"low_{unit}": value.low, f"high_{unit}": value.high}
