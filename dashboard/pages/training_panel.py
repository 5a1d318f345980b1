# SPDX-License-Identifier: Apache-2.0
"""Trainings on the page of packages: how far each is and where it runs, what it learns from, what it says.

Draws what central knows; starts and cancels nothing. Called by `packages`.
"""

from html import escape

import streamlit as st

from contracts.vocabulary import TrainingState
from dashboard import frame, marks, palette, words
from dashboard.access import Viewer
from dashboard.lifecycle import Training, TrainingCosts, TrainingCostsTold, TrainingQueue
from dashboard.shapes import Alarm

MAX_TRAININGS = 6
MAX_LINE = 20
LOG_BYTES = 16_384
_ALIVE = frozenset({TrainingState.RUNNING, TrainingState.QUEUED})


def trainings(view: Viewer, items: tuple[Training, ...], alarms: tuple[Alarm, ...]) -> None:
    """The newest ones, and what alarms call for but is held back."""
    frame.section("Trainings")
    held = [item for item in alarms if item.training_held]
    for alarm in held:
        told = f"Training of {alarm.product} for alarm {alarm.id} is held back: {alarm.training_held}."
        st.html(marks.banner(f"{told} An engineer may start one all the same."))
    if not items and not held:
        st.html(
            marks.empty(
                "No training yet",
                "One starts by itself when an alarm on escapes is open and enough parts were judged defective.",
            )
        )
        return
    queue = view.feed.get("training-queue", lambda central: central.training_queue(), 2.0)
    if queue.value is not None and len(queue.value.trainings) > 1:
        st.html(line(view, queue.value))
    spent = view.feed.get("training-costs", lambda central: central.training_costs(), 30.0)
    if spent.value is not None and spent.value.products:
        with st.expander("What trainings cost"):
            st.caption(
                f"Asked for since {words.day_time(spent.value.since, view.zone)}. Failed and refused ones count."
            )
            st.html(costs(spent.value))
    for item in items[:MAX_TRAININGS]:
        st.html(card(view, item))
        if item.starts and st.toggle("What it says", key=f"log-of-{item.training_id}"):
            _log(view, item)


def card(view: Viewer, item: Training) -> str:
    """One training."""
    tone = palette.tone(item.state)
    spent = ""
    if item.started_at is not None:
        spent = words.seconds(((item.finished_at or view.now) - item.started_at).total_seconds())
    learnt = (
        f"{words.count(item.good)} good and {words.count(item.defective)} defective parts, "
        f"{words.count(item.audit_labels)} from audits"
    )
    bar = marks.progress(item.fraction, tone) if item.state in _ALIVE else ""
    error = marks.banner(item.error, "bad") if item.error else ""
    result = f" · gave package {marks.package(item.package_id)}" if item.package_id else ""
    return (
        f'<div class="sl-card"><div class="sl-station"><b>{escape(item.product)}</b>{marks.state(item.state)}'
        f"{marks.simulated(item.is_simulated)}<span>{escape(item.stage)}</span>"
        f'<span class="sl-right">{escape(spent)} · began {words.ago(item.created_at, view.now)}</span></div>{bar}'
        f'<div class="sl-below">{escape(item.reason)}<br>{escape(learnt)}{result}'
        f"<br>{escape(place(item))}{escape(used(item))}</div>{error}</div>"
    )


def line(view: Viewer, queue: TrainingQueue) -> str:
    """The queue, first come first."""
    head = ("Training", "Product", "Asked for by", "Site", "State", "Since", "Waits for")
    rows = (
        (
            escape(item.training_id),
            escape(item.product),
            escape(item.trigger.lower()),
            escape(item.site),
            marks.state(item.state),
            words.ago(item.queued_at, view.now),
            escape(item.waits_for.removeprefix("waiting: ")),
        )
        for item in queue.trainings[:MAX_LINE]
    )
    return marks.table(head, rows)


def place(item: Training) -> str:
    """Where it runs and how it got on there."""
    told = [f"on {item.backend}", f"attempt {item.starts}"] if item.starts else ["not begun"]
    if item.losses:
        told.append(f"lost {_times(item.losses)}")
    if item.preemptions:
        told.append(f"gave way {_times(item.preemptions)}")
    return " · ".join(told)


def used(item: Training) -> str:
    """What it took, as far as that is known."""
    if item.spent is None or not item.starts:
        return ""
    spent = item.spent
    told = [f"waited {words.seconds(spent.queue_wait_s)}", f"ran {words.seconds(spent.wall_s)}"]
    if spent.cpu_s is not None:
        told.append(f"CPU {words.seconds(spent.cpu_s)}")
    if spent.gpu_hours:
        told.append(f"{spent.gpu_hours:.2g} GPU-hours")
    if spent.peak_memory_bytes is not None:
        told.append(f"{words.size(spent.peak_memory_bytes)} at most")
    if spent.energy_wh is not None:
        told.append(f"about {spent.energy_wh:.2g} Wh (estimated)")
    if spent.cost is not None:
        told.append(_money(spent.cost, spent.currency))
    return "".join(f" · {word}" for word in told)


def costs(told: TrainingCostsTold) -> str:
    """By product: what an accepted improvement cost, the refused and failed trainings with it."""
    head = ("Product", "Trainings", "Promoted", "Ran", "CPU", "Energy (estimated)", "Cost", "For each promoted")
    rows = (
        (
            escape(item.product) + marks.simulated(item.is_simulated),
            words.count(item.trainings),
            words.count(item.accepted),
            words.seconds(item.spent.wall_s),
            "not known" if item.spent.cpu_s is None else words.seconds(item.spent.cpu_s),
            "not known" if item.spent.energy_wh is None else f"{item.spent.energy_wh:.3g} Wh",
            "no prices set" if item.spent.cost is None else escape(_money(item.spent.cost, item.spent.currency)),
            escape(_each(item)),
        )
        for item in told.products
    )
    return marks.table(head, rows)


def _each(item: TrainingCosts) -> str:
    if item.wall_s_per_accepted is None:
        return "none promoted"
    money = "" if item.cost_per_accepted is None else f", {_money(item.cost_per_accepted, item.spent.currency)}"
    return words.seconds(item.wall_s_per_accepted) + money


def _money(amount: float, currency: str) -> str:
    return f"{amount:.3g} {currency}" if 0 < amount < 1 else f"{amount:,.2f} {currency}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _log(view: Viewer, item: Training) -> None:
    age_s = 3.0 if item.state in _ALIVE else 60.0
    key = ("training-log", item.training_id, item.state)
    found = view.feed.get(key, lambda central: central.training_log(item.training_id, LOG_BYTES), age_s)
    if found.value is None:
        st.caption(str(found.error))
        return
    cut = f"the last {words.size(found.value.size_bytes - found.value.offset)} of it" if found.value.offset else ""
    st.code(found.value.text or "nothing yet", language=None)
    if cut:
        st.caption(f"{cut}; all of it: GET /trainings/{item.training_id}/log")
