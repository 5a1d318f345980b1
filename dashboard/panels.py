# SPDX-License-Identifier: Apache-2.0
"""Pieces that more than one page shows: rates of a scope, a station's head line, an overlaid picture.

HTML strings and picks from shapes; only the overlay asks the feed for pictures. Called by the pages.
"""

from html import escape
from typing import Final

from contracts.vocabulary import AlarmState
from dashboard import charts, marks, palette, pictures, words
from dashboard.access import Viewer
from dashboard.lifecycle import Limits
from dashboard.shapes import Alarm, Evidence, LineRates, Rates, Station


def pick_rates(rates: Rates | None, scope: str) -> tuple[LineRates, ...]:
    """The rows of a scope, one a product; real before simulated, which never share a row."""
    if rates is None:
        return ()
    station = "*" if scope == "all" else scope
    rows = [row for row in rates.lines if row.station == station]
    return tuple(sorted(rows, key=lambda row: (row.is_simulated, row.product is None, row.product or "")))


def product_name(product: str | None) -> str:
    """A product for people; parts of a station that was told no product have none."""
    return product or "product not known"


def rate_tiles(row: LineRates) -> tuple[str, ...]:
    """The rates of one row as tiles."""
    nothing = "No parts in this period."
    audits = "No accepted part has been judged by a person yet. Judge audits to find out."
    rejected = "No rejected part that chance drew has been judged yet."
    reviewed = "No part in review that chance drew has been judged yet."
    escape_share = row.escape_share_of_accepted
    of_review = () if row.good_share_of_review is None else (row.good_share_of_review,)
    return (
        marks.rate_figure("Reject rate (NG)", row.reject_rate, "parts", unknown=nothing, colour=palette.BAD),
        marks.rate_figure("Review rate", row.review_rate, "parts", unknown=nothing, colour=palette.WARN),
        marks.rate_figure("No decision", row.no_decision_rate, "parts", unknown=nothing, colour=palette.IDLE),
        marks.rate_figure(
            "Escapes among accepted", escape_share, "audited parts", unknown=audits, colour=palette.ACCENT
        ),
        marks.rate_figure(
            "Overkill among rejected",
            row.overkill_share_of_rejected,
            "judged parts",
            unknown=rejected,
            colour=palette.SIMULATED,
        ),
        *(
            marks.rate_figure("Good among reviewed", rate, "audited parts", unknown=reviewed, colour=palette.WARN)
            for rate in of_review
        ),
    )


_CUTS: Final = {"PACKAGE": "the package was changed then", "ALARM": "an alarm on escapes was raised or closed then"}


def audits_since(row: LineRates, view: Viewer) -> str:
    """From when on audits are in the shares, where that is later than the period; empty otherwise."""
    why = _CUTS.get(row.audits_since_cut or "")
    if why is None or row.audits_since is None:
        return ""
    return f"Audits of parts since {words.when(row.audits_since, view.now, view.zone)} only: {why}."


def station_head(item: Station, view: Viewer) -> str:
    """Name, state, speed, latency and faults of a station on one line."""
    status = item.status
    is_here = status is not None and status.is_connected
    word = status.state.value if status is not None and is_here else "OFFLINE"
    right: list[str] = []
    if status is not None and is_here:
        if status.parts_per_minute is not None:
            right.append(f"{status.parts_per_minute:.0f} parts/min")
        if status.reject_latency is not None:
            right.append(f"capture to reject signal p99 {words.milliseconds(status.reject_latency.p99_ms)}")
        if status.outbox_rows:
            right.append(f"{words.plural(status.outbox_rows, 'report')} waiting to be sent")
    else:
        right.append(f"last heard of {words.ago(item.heard_at, view.now)}")
    faults = "".join(marks.banner(f"{fault.message} {fault.remedy}") for fault in (status.faults if status else ()))
    return (
        f'<div class="sl-station"><b>{escape(item.name)}</b><span class="sl-muted">{escape(item.line)}</span>'
        f"{marks.state(word)}{marks.simulated(item.is_simulated)}"
        f'<span class="sl-right">{escape(" · ".join(right))}</span></div>{faults}'
    )


def overlay_of(view: Viewer, crop: Evidence, heat: Evidence) -> bytes | None:
    """Crop with heatmap, made once."""

    def make() -> bytes | None:
        below, above = view.feed.picture(crop.sha256), view.feed.picture(heat.sha256)
        return None if below is None or above is None else pictures.overlay(below, above)

    return view.feed.made((crop.sha256, heat.sha256), make)


def alarm_marks(alarms: tuple[Alarm, ...]) -> tuple[charts.Mark, ...]:
    """Alarms as lines on a timeline."""
    return tuple(
        charts.Mark(item.raised_at, f"alarm: {item.kind.value.replace('_', ' ').lower()}", is_alarm=True)
        for item in alarms
    )


def open_alarms(alarms: tuple[Alarm, ...]) -> tuple[Alarm, ...]:
    """Alarms that are not closed."""
    return tuple(item for item in alarms if item.state is not AlarmState.CLOSED)


def promise(limits: Limits) -> str:
    """What a package's limits promise, in a few sentences."""
    where = f"OK below {limits.ok_limit:.4g}, NG from {limits.ng_limit:.4g}"
    if limits.overkill is not None:
        escapes = "Nothing promised about escapes: no labelled defects."
        if limits.escapes is not None:
            escapes = limits.escapes.statement
        return f"{where}. Promise: {limits.overkill.statement} {escapes} ({limits.rule})"
    if limits.overkill_bound is None or limits.confidence is None:
        return f"{where}; nothing promised about overkill ({limits.rule})."
    return (
        f"{where}. Promise: at most {words.percent(limits.overkill_bound)} of sound parts judged NG, with "
        f"{limits.confidence * 100:.0f}{words.THIN}% confidence, set on {words.count(limits.sound_parts)} sound parts "
        f"({limits.rule})."
    )
