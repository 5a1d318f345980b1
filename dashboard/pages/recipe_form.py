# SPDX-License-Identifier: Apache-2.0
"""The form for a product's next recipe version, beside the newest picture with the region drawn on it.

Changes deadline, guard values and region; everything else of the document goes back to central as it came. Checks
nothing itself: central's words are shown. Called by `pages.recipes`.
"""

import copy
from collections.abc import Callable
from typing import Any, Final

import streamlit as st

from contracts.recipes import MIN_ROI_PX, ProductRecipe
from contracts.vocabulary import EvidenceKind
from dashboard import access, frame, marks, pictures, words
from dashboard.access import Viewer
from dashboard.client import CentralError
from dashboard.recipe_shapes import RecipeHead, RecipeHistory, RecipeVersion
from dashboard.shapes import Inspection

Make = Callable[[], RecipeHead]
EVERY: Final = "every station"
WHOLE: Final = "whole frame"
RECTANGLE: Final = "rectangle"
LOOKED_AT: Final = 200
# Field of the guard, what it is called here, its step, its highest value.
GUARD: Final = (
    ("min_brightness", "Least mean grey (0–255)", 1.0, 255.0),
    ("max_saturated", "Most saturated pixels (share)", 0.01, 1.0),
    ("min_contrast", "Least contrast (0–255)", 1.0, 255.0),
    ("min_sharpness", "Least sharpness", 10.0, 1e6),
)
XYWH: Final = (("x", 0), ("y", 0), ("width", MIN_ROI_PX), ("height", MIN_ROI_PX))


def draw(view: Viewer, product: str, history: RecipeHistory, stations: tuple[str, ...]) -> None:
    """The form; its fields begin with what is newest for the chosen stations."""
    frame.section("Next version", note="needs an engineer's token; stations use it from their next captured part on")
    scope = st.selectbox("For", [EVERY, *stations], key=f"recipe-scope-{product}") or EVERY
    station = None if scope == EVERY else scope
    newest = next((item for item in history.versions if item.station == station), None)
    # A station's first recipe begins with what it uses until then.
    start = newest or next((item for item in history.versions if item.station is None), None)
    before = start.recipe if start else ProductRecipe(product=product, version=1).model_dump(mode="json")
    # A new version begins a new form.
    key = f"recipe-{product}-{scope}-{newest.version if newest else 0}"
    fields, shown = st.columns([1, 1.2], gap="medium")
    with fields:
        document = _fields(before, key)
        note = st.text_input("Why", key=f"{key}-note", help="Stands in the history.")
        if st.button("Make this version", key=f"{key}-make", type="primary", icon=":material/save:"):
            tell_of(
                view,
                lambda: view.feed.client.make_recipe(
                    product,
                    document,
                    based_on=newest.version if newest else None,
                    note=note,
                    by=access.person() or "dashboard",
                    station=station,
                ),
            )
    with shown:
        _picture(view, product, history.versions, (document.get("region") or {}).get("xywh"))


def tell_of(view: Viewer, make: Make) -> None:
    """Make a version and say what came of it."""
    try:
        made = make()
    except CentralError as error:
        frame.tell(view, f"No version was made: {error}")
    else:
        warnings = (f"Warning: {text}." for text in made.warnings)
        frame.tell(view, " ".join((f"Version {made.version} was made.", *warnings)))
    view.feed.forget()
    st.rerun()


def _fields(before: dict[str, Any], key: str) -> dict[str, Any]:
    document = copy.deepcopy(before)
    document.pop("version", None)
    document["deadline_ms"] = st.number_input(
        "Deadline (ms from capture to verdict)",
        1.0,
        600_000.0,
        float(before["deadline_ms"]),
        10.0,
        key=f"{key}-deadline",
    )
    guard = document["guard"]
    for (name, label, step, most), column in zip(GUARD, [*st.columns(2), *st.columns(2)], strict=True):
        guard[name] = column.number_input(label, 0.0, most, float(guard[name]), step, key=f"{key}-{name}")
    guard["max_identical"] = st.number_input(
        "Most identical pictures in a row (0: never asked)",
        0,
        1000,
        int(guard["max_identical"]),
        key=f"{key}-identical",
    )
    document["region"] = _region(document.get("region"), key)
    return document


def _region(before: dict[str, Any] | None, key: str) -> dict[str, Any] | None:
    """What is looked at, in px of the frame."""
    polygon = (before or {}).get("polygon")
    kept = f"polygon of {len(polygon)} corners" if polygon else ""
    choices = [WHOLE, RECTANGLE, *([kept] if kept else [])]
    xywh = (before or {}).get("xywh")
    index = 0 if before is None else 1 if xywh is not None else 2
    chosen = st.selectbox("Region of interest", choices, index=index, key=f"{key}-region")
    if chosen == WHOLE:
        return None
    if chosen != RECTANGLE:
        return before
    values = [
        column.number_input(f"{label} (px)", least, 65_535, int(value), key=f"{key}-{label}")
        for (label, least), value, column in zip(XYWH, xywh or (0, 0, 256, 256), st.columns(4), strict=True)
    ]
    return {"xywh": values}


def _picture(view: Viewer, product: str, versions: tuple[RecipeVersion, ...], xywh: list[int] | None) -> None:
    """The newest stored picture of the product, with the region of the form where its place is known."""
    parts = view.feed.get(
        ("recipe-parts", product), lambda central: central.inspections(product=product, limit=LOOKED_AT), 10.0
    ).or_else(())
    part = next((item for item in parts if item.picture(EvidenceKind.CROP) is not None), None)
    crop = part.picture(EvidenceKind.CROP) if part is not None else None
    content = view.feed.picture(crop.sha256) if crop is not None else None
    if part is None or content is None:
        st.html(marks.empty("No picture yet", "The newest stored picture of this product will stand here."))
        return
    origin, told = _origin(part, versions)
    drawn = None
    if xywh is not None and origin is not None:
        drawn = pictures.with_region(content, origin, (xywh[0], xywh[1], xywh[2], xywh[3]))
    st.image(drawn or content, width="stretch")
    simulated = " SIMULATED." if part.is_simulated else ""
    st.caption(
        f"Captured {words.when(part.captured_at, view.now, view.zone)} at {part.station}.{simulated} {told}"
        + (" The region above is drawn in yellow." if drawn is not None else "")
    )


def _origin(part: Inspection, versions: tuple[RecipeVersion, ...]) -> tuple[tuple[int, int] | None, str]:
    """Where in the frame the stored crop lay, and that in words."""
    made_by = next((item for item in versions if item.version == part.recipe_version), None)
    if made_by is None:
        return None, "It was cut out by the station's own settings, so where it lies in the frame is not known here."
    region = made_by.recipe.get("region")
    if region is None:
        return (0, 0), f"It is the whole frame (version {made_by.version})."
    follows = ", moved with its landmarks" if made_by.recipe.get("registration") else ""
    if region.get("xywh"):
        x, y = region["xywh"][:2]
    else:
        x, y = (min(corner[axis] for corner in region["polygon"]) for axis in (0, 1))
    return (int(x), int(y)), f"It is the region of version {made_by.version}, from x {x}, y {y}{follows}."
