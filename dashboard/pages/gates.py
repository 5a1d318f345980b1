# SPDX-License-Identifier: Apache-2.0
"""Gate: what each package showed beside its champion before any station saw it, and the word of a person over it.

Central measures and decides; here people read every condition, look at the pictures on which the two differ, take the
evidence with them, and may overrule. Called by `app`.
"""

from html import escape
from typing import Any

import streamlit as st

from contracts.vocabulary import PromotionOutcome, TrainingState
from dashboard import frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.client import CentralError
from dashboard.gate_shapes import DifferingPicture, Gate, GateCondition

MOST_PICTURES = 12
_COLUMNS = 4
_KEEP_S = 3_600.0


def page() -> None:
    """Draw the page."""
    view = viewer()
    gates = view.feed.get("gates", lambda central: central.gates(), 2.0)
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    known = gates.or_else(())
    simulated = any(item.is_simulated for item in stations.or_else(()))
    simulated = simulated or any(item.is_simulated for item in known)
    frame.heading("Gate", view, is_simulated=simulated)
    frame.banner(view, (gates,))
    frame.told(view)
    if not known:
        st.html(
            marks.empty(
                "No package was measured yet",
                "Each trained package is held against the champion here before any station sees it.",
            )
        )
        return
    titles = {item.package_id: _title(item, view) for item in known}
    asked = st.query_params.get("package")
    index = list(titles).index(asked) if asked in titles else 0
    chosen = st.selectbox(
        "Package", list(titles), index, format_func=lambda key: titles[key], key=f"gate_package_{asked}"
    )
    _one(view, next(item for item in known if item.package_id == (chosen or known[0].package_id)))


def _title(item: Gate, view: Viewer) -> str:
    said = item.outcome.value if item.outcome is not None else item.state.value
    when = words.day_time(item.asked_at, view.zone)
    return f"{words.short(item.package_id)} · {item.product} · {said.replace('_', ' ').lower()} · {when}"


def _one(view: Viewer, item: Gate) -> None:
    st.html(_head(view, item))
    if item.error:
        st.html(marks.banner(item.error, "bad"))
    _conditions(item)
    _denominators(item)
    _pictures(view, item)
    with st.container(horizontal=True):
        st.download_button(
            "Evidence (JSON)",
            lambda: view.feed.client.gate_file(item.package_id),
            file_name=f"gate-{item.package_id[:12]}.json",
            mime="application/json",
            key=f"gate-{item.package_id}-evidence",
            icon=":material/download:",
        )
        if item.outcome in (PromotionOutcome.REFUSED, PromotionOutcome.NOT_ENOUGH_EVIDENCE):
            _overrule(view, item)


def _head(view: Viewer, item: Gate) -> str:
    said = marks.state(item.outcome.value if item.outcome is not None else item.state.value)
    beside = f"beside {marks.package(item.champion_package_id)}" if item.champion_package_id else "the product's first"
    lines = [f"Held against the terms of: {item.terms_by}"] if item.terms_by else []
    if item.outcome is None and item.state in (TrainingState.QUEUED, TrainingState.RUNNING):
        lines.append("Being measured; no station has it.")
    if item.asks_person:
        lines.append("Evidence is all that is missing: an engineer may let it out, with a reason.")
    if (over := item.overruled) is not None:
        was = over.outcome.value.replace("_", " ").lower()
        when = words.day_time(over.at, view.zone)
        lines.append(f"The gate said {was}; overruled by {over.by} ({over.role.value.lower()}), {when}: {over.reason}")
    below = "<br>".join(escape(line) for line in lines)
    return (
        f'<div class="sl-card"><div class="sl-station"><b>{escape(item.product)}</b>{marks.package(item.package_id)}'
        f"{said}{marks.simulated(item.is_simulated)}<span>{beside}</span></div>"
        f'<div class="sl-below">{below}</div></div>'
    )


def _conditions(item: Gate) -> None:
    frame.section("Conditions", note="what is missing is never a pass; bounds are one-sided, margins are the product's")
    if not item.conditions:
        st.html(marks.empty("Not decided yet", "The package is being measured beside its champion."))
        return
    head = ("Condition", "Says", "Parts", "Newly wrong", "Mended", "Worse by", "Margin", "Found")
    st.html(marks.table(head, [_row(condition) for condition in item.conditions]))


def _row(condition: GateCondition) -> tuple[str, ...]:
    figures = condition.figures
    demanded = "" if condition.is_demanded else '<div class="sl-below">shown, not demanded</div>'
    is_paired = "worse_by" in figures
    return (
        f"<b>{escape(condition.name)}</b>{demanded}",
        marks.state(condition.state.value),
        words.count(int(figures["parts"])) if is_paired else "",
        words.count(int(figures["newly"])) if is_paired else "",
        words.count(int(figures["mended"])) if is_paired else "",
        _worse_by(figures) if is_paired else "",
        words.percent(figures["margin"]) if is_paired else "",
        f'<span class="sl-below">{escape(condition.detail)}</span>',
    )


def _worse_by(figures: dict[str, Any]) -> str:
    if figures["worse_by"] is None:
        return words.NOT_KNOWN
    low, high = words.percent(figures["low"]), words.percent(figures["high"])
    return escape(f"{words.percent(figures['worse_by'])} ({low} to {high})")


def _denominators(item: Gate) -> None:
    told = []
    for key, name in (("test_set", "Frozen test set"), ("audited", "Recent audited parts")):
        each = item.denominators.get(key)
        if not each:
            continue
        classes = ", ".join(f"{escape(word)} {count}" for word, count in each["by_class"].items())
        by_class = f" ({classes})" if classes else ""
        chance = ""
        if each.get("lowest_chance") is not None:
            low, high = words.percent(each["lowest_chance"]), words.percent(each["highest_chance"])
            chance = f"; drawn with a chance of {low} to {high}, they stand for {words.count(round(each['stand_for']))}"
        told.append(
            f"<b>{name}</b>: {words.count(each['good_parts'])} good and {words.count(each['defective_parts'])} "
            f"defective parts{by_class} in {words.plural(each['pictures'], 'picture')}{chance}"
        )
    told += [f"Left out: {escape(line)}" for line in item.left_out[:5]]
    if told:
        st.html(f'<div class="sl-below">{"<br>".join(told)}</div>')


def _pictures(view: Viewer, item: Gate) -> None:
    if not item.worst_differing:
        return
    shown = item.worst_differing[:MOST_PICTURES]
    frame.section("Where the two differ most", note=f"{len(shown)} of {len(item.worst_differing)}, new escapes first")
    for start in range(0, len(shown), _COLUMNS):
        for column, picture in zip(st.columns(_COLUMNS), shown[start : start + _COLUMNS], strict=False):
            with column:
                _picture(view, picture)


def _picture(view: Viewer, picture: DifferingPicture) -> None:
    reading = view.feed.get(("blob", picture.sha256), lambda central: central.evidence(picture.sha256), _KEEP_S)
    if reading.value is not None:
        st.image(reading.value, width="stretch")
    st.html(
        f"<b>{escape(picture.why)}</b>"
        f'<div class="sl-below">truth {escape(picture.truth)}; challenger {escape(picture.challenger)}, champion '
        f"{escape(picture.champion or 'none')}; part {escape(picture.part)}</div>"
    )


def _overrule(view: Viewer, item: Gate) -> None:
    needed = "an engineer's" if item.asks_person else "an administrator's"
    with st.popover("Overrule", icon=":material/gavel:"), st.form(f"overrule-{item.package_id}", border=False):
        st.markdown(f"Its rollout begins as the product's plan says. Needs {needed} token; the reason is stored.")
        reason = st.text_input("Reason", key=f"overrule-{item.package_id}-reason")
        if not st.form_submit_button("Let it out", type="primary"):
            return
    try:
        view.feed.client.overrule_gate(item.package_id, reason=reason)
    except CentralError as error:
        frame.tell(view, f"The gate was not overruled: {error}")
    view.feed.forget()
    st.rerun()
