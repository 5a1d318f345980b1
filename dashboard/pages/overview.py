# SPDX-License-Identifier: Apache-2.0
"""Overview: one screen for whoever answers for quality.

Are the lines well, what slips through and how sure is that, which alarms are open, what changed.

Shows central's figures, adds none. Called by `app`.
"""

from html import escape

import streamlit as st

from dashboard import frame, marks, palette, panels, words
from dashboard.access import Viewer, viewer
from dashboard.happenings import happenings
from dashboard.pages import alarms as alarm_page
from dashboard.pages import stepper
from dashboard.shapes import Alarm, AuditSummary, LineRates, Rates, Station

MAX_LINES = 8
MAX_PRODUCTS = 3
MAX_ALARMS = 4
MAX_HAPPENINGS = 14
PERIODS = {"1 h": 60, "8 h": 480, "24 h": 1440}
_ENDED = {"FINISHED", "STOPPED", "ERROR"}


def page() -> None:
    """Draw the page; it refreshes by itself."""
    st.session_state.setdefault("overview_period", "8 h")
    st.fragment(_draw, run_every=max(5.0, viewer().settings.refresh_s))()


def _draw() -> None:
    view = viewer()
    minutes = PERIODS.get(st.session_state.get("overview_period") or "8 h", 480)
    feed = view.feed
    stations = feed.get("stations", lambda central: central.stations(), 1.0)
    rates = feed.get(("rates", minutes), lambda central: central.rates(minutes), 3.0)
    alarms = feed.get("alarms", lambda central: central.alarms(), 2.0)
    audits = feed.get("audit-summary", lambda central: central.audit_summary(), 2.0)
    known = stations.or_else(())
    frame.heading("Overview", view, is_simulated=any(item.is_simulated for item in known))
    frame.banner(view, (stations, rates, alarms, audits))
    if not known:
        st.html(
            marks.empty(
                "No station has reported yet",
                "Start one with: sightline-edge run --settings station.toml, or see it all with: sightline demo.",
            )
        )
        return
    st.segmented_control("Period", list(PERIODS), key="overview_period", required=True, label_visibility="collapsed")
    st.html(marks.tiles(_summary(known, rates.value, alarms.or_else(()), audits.value)))
    left, right = st.columns([1.4, 1], gap="medium")
    with left:
        _lines(view, known, rates.value)
        _escapes(view, rates.value, audits.value, str(st.session_state["overview_period"]))
        _changes(view, alarms.or_else(()))
    with right:
        _alarms(view, alarms.or_else(()))
        _learning(view)


def _summary(
    stations: tuple[Station, ...], rates: Rates | None, alarms: tuple[Alarm, ...], audits: AuditSummary | None
) -> tuple[str, ...]:
    here = [item for item in stations if item.status is not None and item.status.is_connected]
    still_open = panels.open_alarms(alarms)
    rows = panels.pick_rates(rates, "all")
    tiles = [
        marks.figure(
            "Stations connected",
            f"{len(here)} of {len(stations)}",
            tone="good" if len(here) == len(stations) else "bad",
            below=(words.plural(len({item.line for item in stations}), "line"),),
        ),
        marks.figure(
            "Open alarms",
            str(len(still_open)),
            tone="bad" if still_open else "good",
            below=("Nothing needs you now." if not still_open else "Listed under Open alarms.",),
        ),
    ]
    for row in rows[:MAX_PRODUCTS]:
        extra = f"{panels.product_name(row.product)}{', simulated' if row.is_simulated else ''}"
        tiles.append(
            marks.rate_figure(
                f"Escapes among accepted ({extra})",
                row.escape_share_of_accepted,
                "audited parts",
                unknown="No accepted part was judged by a person yet.",
                colour=palette.ACCENT,
            )
        )
        tiles.append(
            marks.rate_figure(
                f"Reject rate ({extra})", row.reject_rate, "parts", unknown="No parts yet.", colour=palette.BAD
            )
        )
    waiting = words.NOT_KNOWN if audits is None else words.count(audits.open)
    judged = "" if audits is None else f"{words.plural(audits.judged, 'part')} judged"
    tiles.append(marks.figure("Audits waiting", waiting, "parts", below=(judged,)))
    return tuple(tiles)


def _lines(view: Viewer, stations: tuple[Station, ...], rates: Rates | None) -> None:
    lines = sorted({item.line for item in stations})
    for line in lines[:MAX_LINES]:
        members = [item for item in stations if item.line == line]
        frame.section(f"Line {line}", is_simulated=any(item.is_simulated for item in members))
        head = ("Station", "State", "Package", "Parts", "Reject rate", "No decision")
        st.html(marks.table(head, [_station_row(view, item, rates) for item in members]))


def _station_row(view: Viewer, item: Station, rates: Rates | None) -> tuple[str, ...]:
    status = item.status
    is_here = status is not None and status.is_connected
    rows = panels.pick_rates(rates, item.station)
    word = status.state.value if status is not None and is_here else "OFFLINE"
    faults = "; ".join(fault.message for fault in status.faults) if status else ""
    heard = faults if is_here else f"last heard of {words.ago(item.heard_at, view.now)}"
    speed = "" if status is None or status.parts_per_minute is None else f"{status.parts_per_minute:.0f} parts/min"
    active = status.active if status else ()
    packages = "<br>".join(
        f'{marks.package(entry.package_id)} <span class="sl-muted">{escape(entry.product)}</span>' for entry in active
    )
    return (
        f'<b>{escape(item.name)}</b><div class="sl-below">{escape(heard)}</div>',
        marks.state(word),
        packages or '<span class="sl-muted">none</span>',
        f'{words.count(sum(row.parts for row in rows))}<div class="sl-below">{speed if is_here else ""}</div>',
        "".join(_rate_cell(row, "reject") for row in rows) or words.NOT_KNOWN,
        "".join(_rate_cell(row, "no_decision") for row in rows) or words.NOT_KNOWN,
    )


def _rate_cell(row: LineRates, which: str) -> str:
    rate = row.reject_rate if which == "reject" else row.no_decision_rate
    return (
        f"<div>{escape(panels.product_name(row.product))}: <b>{escape(words.estimate(rate))}</b>"
        f'<div class="sl-below">{escape(words.rests_on(rate, "parts"))}<br>{escape(words.interval(rate))}</div></div>'
    )


def _escapes(view: Viewer, rates: Rates | None, audits: AuditSummary | None, period: str) -> None:
    rows = panels.pick_rates(rates, "all")
    frame.section("What slips through, and how sure that is", note=f"last {period}")
    if not rows:
        st.html(marks.empty("Not known", "No parts in this period."))
    for row in rows:
        st.html(f'<div class="sl-card">{_sentence(row, audits, panels.audits_since(row, view))}</div>')


def _sentence(row: LineRates, audits: AuditSummary | None, since: str) -> str:
    rate = row.escape_share_of_accepted
    head = marks.simulated(row.is_simulated)
    if rate.estimate is None:
        waiting = (
            "" if audits is None or not audits.open else f" {words.plural(audits.open, 'part')} wait on the Audit page."
        )
        return (
            f"<b>Not known</b> ({escape(panels.product_name(row.product))}). {head} No accepted part of this period "
            f"was judged by a person, so nothing can be said about escapes.{waiting} "
            f"The absence of complaints is not a figure. {escape(since)}"
        )
    name = escape(panels.product_name(row.product))
    return (
        f"<b>Of 1,000 accepted parts about {_per_mille(rate.estimate)} are defective</b> ({name}). {head}"
        f"{marks.whisker(rate, palette.ACCENT)}"
        f"With {rate.confidence * 100:.0f}{words.THIN}% confidence between {_per_mille(rate.low)} and "
        f"{_per_mille(rate.high)}. It rests on {words.plural(rate.of, 'accepted part')} drawn by chance and judged "
        f"by people, {words.count(rate.count)} of them defective. "
        f'<span class="sl-muted">{escape(rate.method)}. {escape(since)} More audits make the interval narrower.</span>'
    )


def _per_mille(share: float) -> str:
    value = share * 1000
    return f"{value:.0f}" if value >= 10 or value == 0 else f"{value:.1f}"


def _alarms(view: Viewer, alarms: tuple[Alarm, ...]) -> None:
    still_open = panels.open_alarms(alarms)
    frame.section("Open alarms")
    if not still_open:
        st.html(marks.empty("No open alarm", "Escapes, reject rate, pictures and silent stations are watched."))
        return
    st.html("".join(alarm_page.card(view, item) for item in still_open[:MAX_ALARMS]))
    if len(still_open) > MAX_ALARMS:
        st.caption(f"{MAX_ALARMS} of {len(still_open)} shown; all of them stand on the Alarms page.")


def _learning(view: Viewer) -> None:
    rollouts = view.feed.get("rollouts", lambda central: central.rollouts(), 3.0).or_else(())
    running = [item for item in rollouts if item.state.value not in _ENDED]
    if running:
        frame.section("Rollout under way")
        st.html(stepper.rollout(running[0], view.zone, view.now))


def _changes(view: Viewer, alarms: tuple[Alarm, ...]) -> None:
    feed = view.feed
    trainings = feed.get("trainings", lambda central: central.trainings(), 3.0).or_else(())
    packages = feed.get("packages", lambda central: central.packages(), 5.0).or_else(())
    rollouts = feed.get("rollouts", lambda central: central.rollouts(), 3.0).or_else(())
    frame.section("What changed")
    lines = happenings(alarms, trainings, packages, rollouts)[:MAX_HAPPENINGS]
    if not lines:
        st.html(marks.empty("Nothing has changed yet", "Alarms, trainings, promotions and rollouts are listed here."))
        return
    rows = "".join(
        "<li><time>"
        f"{escape(words.ago(line.at, view.now))}"
        f"<small>{escape(words.when(line.at, view.now, view.zone))}</small></time>"
        f"<span>{marks.badge(line.kind, line.tone)} {escape(line.text)}</span></li>"
        for line in lines
    )
    st.html(f'<div class="sl-card"><ul class="sl-log">{rows}</ul></div>')
