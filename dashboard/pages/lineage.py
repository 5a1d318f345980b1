# SPDX-License-Identifier: Apache-2.0
"""Lineage: which labels, of whom, taught what judges at a station now, and what else came of the same labels.

Central tells; here people read and follow the links. Called by `app`.
"""

import re
from html import escape

import streamlit as st

from contracts.vocabulary import PartUse
from dashboard import frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.experiment_shapes import PictureInVersion
from dashboard.gate_shapes import Lineage, TaughtBy

_KEEP_S = 10.0
_MOST_PEOPLE = 12


def page() -> None:
    """Draw the page: of a station that is chosen, or of the dataset version that the address names."""
    view = viewer()
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    known = stations.or_else(())
    frame.heading("Lineage", view, is_simulated=any(item.is_simulated for item in known))
    frame.banner(view, (stations,))
    frame.told(view)
    _picture(view)
    dataset = st.query_params.get("dataset")
    if dataset:
        _all(view, f"datasets/{dataset}", f"What came of dataset version {words.short(dataset)}")
        return
    if not known:
        st.html(marks.empty("No station has reported yet", "Its packages and what taught them will stand here."))
        return
    names = [item.station for item in known]
    asked = st.query_params.get("station")
    index = names.index(asked) if asked in names else 0
    chosen = st.selectbox("Station", names, index, key=f"lineage_station_{asked}") or names[0]
    _all(view, f"stations/{chosen}", f"What judges at {chosen} now, and what taught it")


def _picture(view: Viewer) -> None:
    """What a picture taught, where one is named."""
    asked = st.text_input("Picture (its SHA-256)", st.query_params.get("picture", ""), key="lineage_picture").strip()
    if not asked:
        return
    if not re.fullmatch(r"[0-9a-f]{64}", asked):
        st.html(marks.banner(f"Expected the 64 letters and digits of a picture's SHA-256, got {asked[:80]!r}"))
        return
    reading = view.feed.get(("picture", asked), lambda central: central.picture_lineage(asked), _KEEP_S)
    frame.section(f"What picture {words.short(asked)} taught")
    frame.banner(view, (reading,))
    if (told := reading.value) is None:
        return
    if told.inspections:
        st.html(f'<div class="sl-below">Taken at {escape(", ".join(told.inspections))}</div>')
    if told.versions_looked_into < told.versions_of_product:
        seen = f"Only the newest {told.versions_looked_into} of {told.versions_of_product} dataset versions were read."
        st.html(marks.banner(seen))
    if not told.versions:
        st.html(marks.empty("In no dataset version", "It was judged or taken, and no training has been given it."))
        return
    head = ("Dataset version", "Made", "Side", "Label then", "By", "Part", "Packages")
    st.html(marks.table(head, [_version(view, each) for each in told.versions]))


def _version(view: Viewer, each: PictureInVersion) -> tuple[str, ...]:
    link = f'<a href="lineage?dataset={escape(each.dataset_id)}">{escape(words.short(each.dataset_id))}</a>'
    by = ", ".join(each.labelled_by) or "nobody by name"
    return (
        link,
        escape(words.day_time(each.created_at, view.zone)),
        "taught" if each.use is PartUse.TRAIN else "held out: tested, taught nothing",
        escape(each.defect_class or each.judgement.value.lower()),
        escape(f"{by} ({each.source.value.lower()})"),
        escape(each.part),
        ", ".join(marks.package(package_id) for package_id in each.package_ids) or "none",
    )


def _all(view: Viewer, of: str, title: str) -> None:
    reading = view.feed.get(("lineage", of), lambda central: central.lineage(of), _KEEP_S)
    frame.section(title, note="by the station's own last word")
    frame.banner(view, (reading,))
    found = reading.or_else(())
    if not found and reading.value is not None:
        st.html(marks.empty("No package", "Nothing judges there now, or nothing came of it."))
    for item in found:
        st.html(_card(view, item))


def _card(view: Viewer, item: Lineage) -> str:
    crown = marks.badge("champion", "good") if item.is_champion else ""
    lines = [_labels(view, item), _training(view, item), _gate(item), _rollouts(view, item), _stations(item)]
    if item.challenged_by:
        others = ", ".join(marks.package(each) for each in item.challenged_by)
        lines.append(f"<b>Challenged by</b> {others}")
    return (
        f'<div class="sl-card"><div class="sl-station"><b>{escape(item.product)}</b>{marks.package(item.package_id)}'
        f"{crown}{marks.simulated(item.is_simulated)}"
        f'<span class="sl-right">made {escape(words.day_time(item.created_at, view.zone))}</span></div>'
        f'<div class="sl-below">{"<br>".join(lines)}</div></div>'
    )


def _labels(view: Viewer, item: Lineage) -> str:
    if item.labels is None or item.dataset_id is None:
        return "<b>Labels</b> not known: it came from outside, or from before there were dataset versions"
    labels = item.labels
    link = f'<a href="lineage?dataset={escape(item.dataset_id)}">{escape(words.short(item.dataset_id))}</a>'
    when = ""
    if labels.first_at is not None and labels.last_at is not None:
        first, last = (words.day_time(each, view.zone) for each in (labels.first_at, labels.last_at))
        when = f", given {escape(first)} to {escape(last)}"
    return (
        f"<b>Labels</b> dataset version {link}: {words.plural(labels.pictures, 'picture')} of "
        f"{words.plural(labels.parts, 'part')} taught, {words.count(labels.held_out)} were held out; confirmed by a "
        f"second inspector: {words.count(labels.confirmed)}{when}<br>{_counted(labels)}"
    )


def _counted(labels: TaughtBy) -> str:
    people = sorted(labels.by_person.items(), key=lambda each: (-each[1], each[0]))
    more = f", and {len(people) - _MOST_PEOPLE} more" if len(people) > _MOST_PEOPLE else ""
    told = [
        ("by", ", ".join(f"{name} {count}" for name, count in people[:_MOST_PEOPLE]) + more or "nobody by name"),
        ("from", ", ".join(f"{name.lower()} {count}" for name, count in labels.by_source.items())),
        ("of", ", ".join(f"{name} {count}" for name, count in labels.by_class.items())),
    ]
    return "; ".join(f"{word} {escape(text)}" for word, text in told)


def _training(view: Viewer, item: Lineage) -> str:
    if item.training is None:
        return "<b>Training</b> none of this central"
    began = words.day_time(item.training.created_at, view.zone)
    beside = f", champion then {marks.package(item.training.champion_package_id)}"
    return (
        f'<b>Training</b> <code class="sl-id">{escape(item.training.training_id)}</code> {escape(began)}: '
        f"{escape(item.training.reason)}{beside if item.training.champion_package_id else ''}"
    )


def _gate(item: Lineage) -> str:
    said = "not decided" if item.outcome is None else marks.state(item.outcome.value)
    link = f' <a href="gate?package={escape(item.package_id)}">evidence</a>' if item.gate is not None else ""
    over = f", overruled by {escape(item.overruled_by)}" if item.overruled_by else ""
    return f"<b>Gate</b> {said}{over}{link}"


def _rollouts(view: Viewer, item: Lineage) -> str:
    told = ", ".join(
        f"{each.id} {marks.state(each.state.value)} {escape(words.day_time(each.created_at, view.zone))}"
        for each in item.rollouts
    )
    return f"<b>Rollouts</b> {told or 'none'}"


def _stations(item: Lineage) -> str:
    words_of = {True: "judges with it", False: "does not judge with it yet", None: "has not said"}
    told = ", ".join(f"{escape(each.station)} ({words_of[each.is_judging]})" for each in item.stations)
    return f"<b>Stations</b> {told or 'none'}"
