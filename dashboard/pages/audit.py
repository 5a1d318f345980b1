# SPDX-License-Identifier: Apache-2.0
"""Audit: a person judges accepted parts drawn by chance, by keyboard, without seeing the verdict.

The answers are what every escape figure rests on, so the page shows nothing that could lean on the answer.
Called by `app`.
"""

import re
from html import escape

import streamlit as st

from contracts.vocabulary import Judgement
from dashboard import access, frame, marks, palette, pictures, words
from dashboard.access import Viewer, viewer
from dashboard.client import CentralError, RefusedError, UnreachableError
from dashboard.pages import asked_panel, switching_panel
from dashboard.shapes import AuditRecorded, AuditSummary, AuditTask
from dashboard.widgets.judge import Answer, judging_desk

_TASK = "audit_task"
_LAST = "audit_last"
_COUNT = "audit_count"
_CLASSES = "audit_classes"
_ATTEMPT = "audit_attempt"
_TROUBLE = "audit_trouble"
_NAME = re.compile(r"^[a-z0-9][a-z0-9_-]{0,62}$")


def page() -> None:
    """Draw the page: one part at a time."""
    view = viewer()
    person = access.person()
    task: AuditTask | None = st.session_state.get(_TASK)
    trouble = st.session_state.pop(_TROUBLE, None)
    if task is None and person:
        task, trouble = _next(view, person, trouble)
    frame.heading("Audit", view, is_simulated=task is not None and task.is_simulated)
    if not person:
        _ask_name()
        return
    summary = view.feed.get("audit-summary", lambda central: central.audit_summary(), 2.0)
    frame.banner(view, (summary,))
    if trouble:
        st.html(marks.banner(trouble))
    desk, side = st.columns([2.2, 1], gap="medium")
    with side:
        _side(person, task, summary.value)
    with desk:
        if task is None:
            _nothing_waiting(summary.value)
        else:
            _judge(view, person, task, summary.value)
    switching_panel.draw(view)


def _ask_name() -> None:
    st.html(
        '<p class="sl-lead">Your name stands beside each of your judgements. Small letters, digits, '
        "hyphen and underscore.</p>"
    )
    with st.form("person", border=False):
        name = st.text_input("Your name", placeholder="anna", max_chars=63)
        if st.form_submit_button("Begin judging", type="primary"):
            if _NAME.match(name.strip().lower()):
                st.session_state[access.SESSION_PERSON] = name.strip().lower()
                st.query_params["name"] = name.strip().lower()
                st.rerun()
            st.html(marks.banner(f"Expected a name like anna or shift-2, got {name!r}."))


def _next(view: Viewer, person: str, trouble: str | None) -> tuple[AuditTask | None, str | None]:
    try:
        task = view.feed.client.next_audit(person)
    except UnreachableError:
        # The banner of the summary says so already.
        return None, trouble
    except CentralError as error:
        return None, str(error)
    st.session_state[_TASK] = task
    return task, trouble


def _nothing_waiting(summary: AuditSummary | None) -> None:
    coming = 0 if summary is None else summary.awaiting_evidence
    advice = (
        f"{words.plural(coming, 'drawn part')} still waits for its picture from the station."
        if coming
        else "Accepted parts are drawn by chance while the line runs; the next one appears here by itself."
    )
    st.html(marks.empty("No part is waiting to be judged", advice))

    @st.fragment(run_every=3.0)
    def look_again() -> None:
        view = viewer()
        if view.feed.get("audit-summary", lambda central: central.audit_summary(), 2.0).or_else(_NO_AUDITS).open:
            st.rerun()

    look_again()


_NO_AUDITS = AuditSummary(0, 0, 0, 0, {}, ())


def _judge(view: Viewer, person: str, task: AuditTask, summary: AuditSummary | None) -> None:
    crop = view.feed.audit_picture(task.audit_id) if task.has_picture else None
    if crop is None:
        st.html(marks.empty("The picture of this part cannot be had right now", "Try again, or reload the page."))
        if st.button("Try again", icon=":material/refresh:"):
            st.session_state.pop(_TASK, None)
            st.rerun()
        return
    known = set(summary.known_defect_classes if summary else ()) | set(st.session_state.get(_CLASSES, ()))
    attempt = int(st.session_state.get(_ATTEMPT, 0))
    answer = judging_desk(task.audit_id, pictures.as_url(crop), sorted(known), attempt=attempt)
    if answer is not None and answer.audit_id == task.audit_id:
        _store(view, person, answer)


def _store(view: Viewer, person: str, answer: Answer) -> None:
    try:
        recorded = view.feed.client.judge(
            answer.audit_id, answer.judgement, inspector=person, defect_class=answer.defect_class
        )
    except RefusedError as error:
        # Somebody else was faster, or the audit is gone: the next part, and say why.
        st.session_state[_TROUBLE] = f"Not stored: {error}"
        st.session_state.pop(_TASK, None)
    except CentralError as error:
        st.session_state[_TROUBLE] = f"Not stored, please judge again: {error}"
        st.session_state[_ATTEMPT] = int(st.session_state.get(_ATTEMPT, 0)) + 1
    else:
        st.session_state[_LAST] = (recorded, answer.defect_class)
        st.session_state[_COUNT] = int(st.session_state.get(_COUNT, 0)) + 1
        st.session_state.pop(_TASK, None)
        view.feed.forget()
    st.rerun()


def _side(person: str, task: AuditTask | None, summary: AuditSummary | None) -> None:
    done = int(st.session_state.get(_COUNT, 0))
    waiting = words.NOT_KNOWN if summary is None else words.count(summary.open)
    judged = words.NOT_KNOWN if summary is None else words.count(summary.judged)
    st.html(
        marks.tiles(
            (
                marks.figure("Waiting", waiting, "parts"),
                marks.figure("Judged by you now", words.count(done), "parts", below=(f"{judged} by everybody",)),
            )
        )
    )
    if task is not None:
        st.html(f'<div class="sl-card">{_about(task)}</div>')
    _last_answer()
    if summary is not None and (summary.asked_budget or summary.asked_waiting):
        st.html(f'<div class="sl-card">{asked_panel.asked(summary)}</div>')
    if summary is not None and summary.judged:
        st.html(f'<div class="sl-card">{_judged_so_far(summary)}</div>')
    with st.expander("Defect classes and name"):
        _add_class()
        st.caption(f"Judging as {person}.")
        if st.button("Judge under another name", type="tertiary"):
            st.session_state.pop(access.SESSION_PERSON, None)
            st.query_params.pop("name", None)
            st.rerun()


def _about(task: AuditTask) -> str:
    rows = [
        ("Product", escape(task.product or "not known")),
        ("Station", escape(task.station)),
    ]
    facts = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    return (
        f'<b>Is this part good?</b> {marks.simulated(task.is_simulated)}<dl class="sl-facts">{facts}</dl>'
        '<div class="sl-below" style="margin-top:.5rem">You do not see what the machine said, nor whether somebody '
        "judged this part before: an independent answer is worth more.</div>"
    )


def _last_answer() -> None:
    last: tuple[AuditRecorded, str | None] | None = st.session_state.get(_LAST)
    if last is None:
        return
    recorded, defect = last
    said = recorded.judgement.value.lower() + (f" ({defect.replace('_', ' ')})" if defect else "")
    lines = [f"<b>Stored:</b> {escape(said)}"]
    if st.session_state.get("audit_reveal"):
        lines.append(f"The machine said {marks.verdict(recorded.verdict)}")
        if recorded.is_escape:
            lines.append(marks.badge("an escape, if another inspector agrees", "bad"))
    if recorded.asked_because is not None:
        lines.append(f"asked for because {escape(asked_panel.why(recorded.asked_because))}, so it is in no rate")
    st.html(f'<div class="sl-card sl-edge-good">{" · ".join(lines)}</div>')
    st.toggle(
        "Show the machine's verdict after I judged",
        key="audit_reveal",
        help="Off by default: knowing the machine's habits makes the next judgements less independent.",
    )


def _judged_so_far(summary: AuditSummary) -> str:
    total = max(1, sum(summary.by_judgement.values()))
    colours = {Judgement.GOOD: palette.GOOD, Judgement.DEFECTIVE: palette.BAD, Judgement.UNSURE: palette.IDLE}
    parts = "".join(
        f'<div style="display:inline-block;height:8px;background:{colours[word]};'
        f'width:{100 * summary.by_judgement.get(word, 0) / total:.2f}%"></div>'
        for word in Judgement
    )
    text = " · ".join(f"{word.value.lower()} {words.count(summary.by_judgement.get(word, 0))}" for word in Judgement)
    lost = f" · {words.plural(summary.lost, 'picture')} lost" if summary.lost else ""
    waiting = f" · {words.plural(summary.unsettled, 'part')} in no figure before another inspector has judged"
    text += lost + (waiting if summary.unsettled else "")
    return f'<b>All judgements</b><div class="sl-shares">{parts}</div><div class="sl-below">{escape(text)}</div>'


def _add_class() -> None:
    name = st.text_input("Add a defect class", placeholder="scratch", max_chars=64, key="audit_new_class")
    if name.strip():
        classes: list[str] = st.session_state.setdefault(_CLASSES, [])
        if name.strip() not in classes:
            classes.append(name.strip())
            st.rerun()
