# SPDX-License-Identifier: Apache-2.0
"""Experiments: every training with what it was given and what came of it, and several of them side by side.

Central keeps and compares; here people choose and read. Starts nothing. Called by `app`.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
import streamlit as st

from dashboard import charts, frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.experiment_shapes import ClassResult, Comparison, Experiment

MOST_BESIDE = 8
MOST_SHOWN = 50
_KEEP_S = 10.0


def page() -> None:
    """Draw the page: the list, and what was chosen of it side by side."""
    view = viewer()
    reading = view.feed.get("experiments", lambda central: central.experiments(MOST_SHOWN), 5.0)
    found = reading.value
    items = found.items if found is not None else ()
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    simulated = any(item.is_simulated for item in stations.or_else(()))
    simulated = simulated or any(item.is_simulated for item in items)
    frame.heading("Experiments", view, is_simulated=simulated)
    frame.banner(view, (reading,))
    frame.told(view)
    if not items:
        if found is not None:
            st.html(marks.empty("No training yet", "Each training stands here with all that was given and came of it."))
        return
    more = "; older ones by the API" if found is not None and found.next_id else ""
    frame.section("Trainings", note=f"newest first, the last {len(items)}{more}")
    st.html(marks.table(_HEAD, [_row(view, item) for item in items]))
    titles = {item.training_id: _title(view, item) for item in items}
    chosen = st.multiselect(
        "Side by side", list(titles), list(titles)[:1], format_func=lambda key: titles[key],
        max_selections=MOST_BESIDE, key="experiments_chosen",
    )  # fmt: skip
    if len(chosen) == 1:
        one = view.feed.get(("experiment", chosen[0]), lambda central: central.experiment(chosen[0]), _KEEP_S)
        frame.banner(view, (one,))
        if one.value is not None:
            _beside(Comparison((one.value,), ()))
    elif chosen:
        ids = tuple(chosen)
        told = view.feed.get(("experiments", ids), lambda central: central.compare_experiments(ids), _KEEP_S)
        frame.banner(view, (told,))
        if told.value is not None:
            _beside(told.value)


_HEAD = ("Training", "Product", "Asked for", "State", "Labels", "Gate", "Wrong on held-out parts", "Wall time")


def _row(view: Viewer, item: Experiment) -> tuple[str, ...]:
    gate = marks.state(item.outcome.value) if item.outcome is not None else ""
    over = f'<div class="sl-below">overruled by {escape(item.overruled_by)}</div>' if item.overruled_by else ""
    return (
        f'<code class="sl-id">{escape(item.training_id)}</code>{marks.simulated(item.is_simulated)}',
        escape(item.product),
        f'{escape(words.day_time(item.created_at, view.zone))}<div class="sl-below">{escape(item.reason)}</div>',
        marks.state(item.state.value),
        _labels(item),
        gate + over,
        "<br>".join(_class(each) for each in item.classes),
        words.seconds(item.spent.wall_s) if item.spent.wall_s else "",
    )


def _labels(item: Experiment) -> str:
    sides = [
        f"{escape(side.lower())}: "
        + ", ".join(
            f"{escape(name)} {words.plural(count['pictures'], 'picture')} of {words.plural(count['parts'], 'part')}"
            for name, count in sorted(classes.items())
        )
        for side, classes in sorted(item.labels.items(), reverse=True)
    ]
    return f'<span class="sl-below">{"<br>".join(sides)}</span>'


def _class(each: ClassResult) -> str:
    what = "overkilled" if each.name == "good" else "missed"
    beside = f" (champion {each.champion.count})" if each.champion is not None else ""
    low, high = words.percent(each.wrong.low), words.percent(each.wrong.high)
    return (
        f'<span title="95 % interval {escape(low)} to {escape(high)}">{escape(each.name)}: {each.wrong.count} of '
        f"{each.wrong.of} {what}{beside}</span>"
    )


def _title(view: Viewer, item: Experiment) -> str:
    return f"{item.training_id} · {item.product} · {words.day_time(item.created_at, view.zone)}"


def _beside(told: Comparison) -> None:
    for item in told.experiments:
        if item.error:
            st.html(marks.banner(f"{item.training_id}: {item.error}", "bad"))
    if len(told.experiments) > 1:
        frame.section("What differs", note="parameters, labels, machines; all else is the same in all of them")
        if told.differences:
            head = ("What", *(item.training_id for item in told.experiments))
            rows = [(escape(each.name), *(escape(_plain(value)) for value in each.values)) for each in told.differences]
            st.html(marks.table(head, rows))
        else:
            st.html(marks.empty("Nothing differs", "They were given the same, on the same machine."))
    _figures(told.experiments)
    _curves(told.experiments)
    st.html(f'<div class="sl-below">{"<br>".join(_made(item) for item in told.experiments)}</div>')


def _figures(items: Sequence[Experiment]) -> None:
    frame.section("Figures", note="held-out parts; a part counts once, by its worst picture")
    names = sorted({each.name for item in items for each in item.classes}, key=lambda name: (name != "good", name))
    head = ("Training", "Form", "AUROC", "Session p50", *names)
    rows = []
    for item in items:
        known = {each.name: each for each in item.classes}
        for each in item.variants:
            auroc = words.NOT_KNOWN if each.image_auroc is None else f"{each.image_auroc:.4f}"
            pace = words.NOT_KNOWN if each.infer_p50_ms is None else words.milliseconds(each.infer_p50_ms)
            # Of the form that stations take; the others were not judged class by class.
            is_taken = each.variant is item.candidate_variant
            classes = [_class(known[name]) if name in known and is_taken else "" for name in names]
            title = f'<code class="sl-id">{escape(item.training_id)}</code>'
            rows.append((title, escape(each.variant.value), auroc, pace, *classes))
    if rows:
        st.html(marks.table(head, rows))
    else:
        st.html(marks.empty("No figures", "None of them came to an evaluation."))


def _curves(items: Sequence[Experiment]) -> None:
    names = list(dict.fromkeys(curve.name for item in items for curve in item.curves))
    if not names:
        return
    frame.section("Course", note="as the trainer told it, thinned")
    chosen = st.selectbox("Curve", names, len(names) - 1, key="experiments_curve") or names[-1]
    figure: Any = go.Figure()
    for item in items:
        for curve in item.curves:
            if curve.name == chosen:
                label = f"{item.training_id}{' (SIMULATED)' if item.is_simulated else ''}"
                figure.add_trace(go.Scatter(x=curve.steps, y=curve.values, mode="lines+markers", name=label))
    figure.update_xaxes(title_text="step")
    figure.update_yaxes(title_text=chosen)
    st.plotly_chart(charts.styled(figure, 320, 24), key="experiments_course")


def _made(item: Experiment) -> str:
    parts = [f"<b>{escape(item.training_id)}</b>"]
    if item.made_by is not None:
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(item.made_by.libraries.items()))
        parts.append(escape(f"on {item.made_by.machine}, {item.made_by.cores} cores, Python {item.made_by.python}"))
        parts.append(escape(libraries))
    if item.job_sha256:
        parts.append(f"job {escape(words.short(item.job_sha256))}")
    if item.dataset_id:
        link = f'<a href="lineage?dataset={escape(item.dataset_id)}">{escape(words.short(item.dataset_id))}</a>'
        parts.append(f"dataset version {link}")
    if item.package_id:
        parts.append(f"package {marks.package(item.package_id)}")
    rollouts = ", ".join(f"{each.id} {marks.state(each.state.value)}" for each in item.rollouts)
    if rollouts:
        parts.append(f"rollouts {rollouts}")
    if item.spent.cost is not None:
        parts.append(escape(f"cost {item.spent.cost:.4g} {item.spent.currency}"))
    return "; ".join(parts)


def _plain(value: Any) -> str:
    if value is None:
        return "–"
    return ", ".join(str(each) for each in value) if isinstance(value, list) else str(value)
