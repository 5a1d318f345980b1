# SPDX-License-Identifier: Apache-2.0
"""Packages and rollouts: what runs where and why, what each package promises, how far a rollout is.

Central decides on promotion and waves; here people read the reasons and may stop it. Called by `app`.
"""

from html import escape

import streamlit as st

from dashboard import frame, marks, panels
from dashboard.access import Viewer, viewer
from dashboard.lifecycle import Package, Rollout, Training
from dashboard.pages import decision_panel, package_card, rollout_panel, stepper, training_panel, ways
from dashboard.shapes import Station

MAX_ROLLOUTS = 6
MAX_PACKAGES = 12


def page() -> None:
    """Draw the page; it refreshes by itself."""
    st.fragment(_draw, run_every=max(5.0, viewer().settings.refresh_s))()


def _draw() -> None:
    view = viewer()
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    packages = view.feed.get("packages", lambda central: central.packages(), 4.0)
    rollouts = view.feed.get("rollouts", lambda central: central.rollouts(), 2.0)
    trainings = view.feed.get("trainings", lambda central: central.trainings(), 2.0)
    simulated = any(item.is_simulated for item in stations.or_else(()))
    simulated = simulated or any(item.is_simulated for item in packages.or_else(()))
    frame.heading("Packages & rollouts", view, is_simulated=simulated)
    alarms = view.feed.get("alarms", lambda central: central.alarms(), 2.0)
    frame.banner(view, (stations, packages, rollouts, trainings, alarms))
    frame.told(view)
    _fleet(stations.or_else(()), packages.or_else(()))
    _rollouts(view, rollouts.or_else(()))
    training_panel.trainings(view, trainings.or_else(()), panels.open_alarms(alarms.or_else(())))
    decision_panel.draw(view)
    measured = {item.package_id: item for item in trainings.or_else(()) if item.package_id}
    _packages(view, packages.or_else(()), measured)


def _fleet(stations: tuple[Station, ...], packages: tuple[Package, ...]) -> None:
    frame.section("What runs where")
    if not stations:
        st.html(
            marks.empty("No station has reported yet", "Start one with: sightline-edge run --settings station.toml")
        )
        return
    champions = {item.package_id for item in packages if item.is_champion}
    head = ("Station", "State", "In step", "Product", "Judging package", "Variant on", "Assigned", "Why")
    st.html(marks.table(head, (row for item in stations for row in _fleet_rows(item, champions))))
    if measured := ways.rows(stations):
        with st.expander("What each station measured, and which way it runs"):
            st.html(marks.table(ways.HEAD, measured))


def _fleet_rows(item: Station, champions: set[str]) -> list[tuple[str, ...]]:
    status = item.status
    is_here = status is not None and status.is_connected
    active = {entry.product: entry for entry in (status.active if status else ())}
    progress = {entry.product: entry for entry in (item.package_status.packages if item.package_status else ())}
    rows: list[tuple[str, ...]] = []
    badge = marks.simulated(item.is_simulated)
    name = f'<b>{escape(item.name)}</b> {badge}<div class="sl-below">{escape(item.line)}</div>'
    for product in sorted({*active, *item.assigned}) or [""]:
        runs, wanted, step = active.get(product), item.assigned.get(product), progress.get(product)
        where = "" if runs is None else f"{escape(runs.variant.value)} · {escape(runs.provider)}"
        how = "" if step is None else ways.runs(step)
        speed = f"<br>{escape(how)}" if how else ""
        crown = marks.badge("champion", "good") if runs is not None and runs.package_id in champions else ""
        number = "" if item.assignment_number is None else f"number {item.assignment_number}"
        rows.append(
            (
                name,
                marks.state(status.state.value if status is not None and is_here else "OFFLINE"),
                marks.state(item.sync),
                escape(product or "none"),
                f"{marks.package(runs.package_id if runs else None)} {crown}",
                where + (f'<span class="sl-muted">{speed}</span>' if speed else ""),
                f'{marks.package(wanted)}<div class="sl-below">{number}</div>',
                f'<span class="sl-below">{escape(_why(item, product))}</span>',
            )
        )
    return rows


def _why(item: Station, product: str) -> str:
    """In one sentence, why this package runs here."""
    report = item.package_status
    if report is None:
        if item.assigned:
            return "Not reported yet."
        runs = item.status is not None and item.status.active
        return "Not assigned by this central." if runs else "Nothing assigned yet: its parts get no decision."
    if report.refused is not None:
        return f"Assignment refused ({report.refused.value.lower()}): {report.detail}"
    steps = [entry for entry in report.packages if entry.product == product]
    if not steps:
        return "Not reported yet."
    # The last one is of the package that decides; one before it is of a challenger.
    step = steps[-1]
    reason = f" ({step.reason.value.replace('_', ' ').lower()})" if step.reason else ""
    error = step.self_test_worst_error
    test = "" if error is None else f"self-test passed, worst error {error:.2g}. "
    return f"{step.state.value.lower()}{reason}: {test}{step.detail}".strip().rstrip(":")


def _rollouts(view: Viewer, rollouts: tuple[Rollout, ...]) -> None:
    frame.section("Rollouts", note="first wave: canary; the next wave opens when its success condition holds")
    if not rollouts:
        st.html(
            marks.empty(
                "No rollout yet",
                "A rollout starts by itself when the promotion gate passes a package, or by an engineer.",
            )
        )
    for index, item in enumerate(rollouts[:MAX_ROLLOUTS]):
        if index == 0:
            rollout_panel.draw(view, item)
            with st.expander("History of this rollout"):
                st.html(stepper.history(item, view.zone))
        else:
            with st.expander(f"Rollout {item.id} · {item.product} · {item.state.value.lower()}"):
                st.html(stepper.rollout(item, view.zone, view.now) + stepper.history(item, view.zone))


def _packages(view: Viewer, packages: tuple[Package, ...], trainings: dict[str, Training]) -> None:
    frame.section(
        "Packages", note="AUROC: 0.5 is guessing, 1.0 parts every held-out sound part from every defective one"
    )
    if not packages:
        st.html(marks.empty("No package yet", "The first one comes from the first training."))
        return
    for item in packages[:MAX_PACKAGES]:
        st.html(package_card.package(item, trainings.get(item.package_id), view.zone))
