# SPDX-License-Identifier: Apache-2.0
"""Recipes: each product's versions with what they changed, what each station should use and does use, changeovers.

Central checks, numbers and sends; here people read, make the next version and ask for another product. Called by `app`.
"""

import json
from html import escape
from typing import Any

import streamlit as st

from contracts.vocabulary import RecipeAct
from dashboard import access, frame, marks, words
from dashboard.access import Viewer, viewer
from dashboard.client import CentralError, RefusedError
from dashboard.feed import Reading
from dashboard.pages import recipe_form, recipe_pins
from dashboard.recipe_shapes import RecipeAtStation, RecipeHistory, RecipesOfProduct, RecipeVersion
from dashboard.shapes import Station

MAX_VERSIONS = 20
MAX_DEEDS = 10
ACT_WORD = {
    RecipeAct.PINNED: "pinned",
    RecipeAct.UNPINNED: "unpinned",
    RecipeAct.SWITCH_ASKED: "changeover asked",
}


def page() -> None:
    """Draw the page: what stations do refreshes by itself, what a person is writing does not."""
    view = viewer()
    recipes = _recipes(view)
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0)
    known = stations.or_else(())
    frame.heading("Recipes", view, is_simulated=any(item.is_simulated for item in known))
    frame.banner(view, (recipes, stations))
    frame.told(view)
    products = _products(recipes.or_else(()), known)
    if not products:
        st.html(
            marks.empty(
                "No product yet",
                "A product appears here once a station reports it or has a package for it, or with its first recipe: "
                "sightline-central recipe import PRODUCT FILE",
            )
        )
        return
    product = st.selectbox("Product", products, key="recipe_product") or products[0]
    st.fragment(_stations, run_every=max(3.0, view.settings.refresh_s))(product)
    recipe_pins.draw(view, next((item for item in recipes.or_else(()) if item.product == product), None))
    history = _history(view, product, recipes.or_else(()))
    recipe_form.draw(view, product, history, tuple(item.station for item in known))
    _versions(view, product, history)


def _recipes(view: Viewer) -> Reading[tuple[RecipesOfProduct, ...]]:
    return view.feed.get("recipes", lambda central: central.recipes(), 2.0)


def _products(recipes: tuple[RecipesOfProduct, ...], stations: tuple[Station, ...]) -> list[str]:
    """With a recipe, a package, or being made somewhere."""
    found = {item.product for item in recipes}
    for station in stations:
        found |= set(station.assigned)
        if station.status is not None:
            found |= {item.product for item in station.status.active}
            found |= {station.status.recipe.product or ""} if station.status.recipe is not None else set()
    return sorted(found - {""})


def _history(view: Viewer, product: str, recipes: tuple[RecipesOfProduct, ...]) -> RecipeHistory:
    if product not in {item.product for item in recipes}:
        return RecipeHistory(product, ())
    reading = view.feed.get(("recipe-history", product), lambda central: central.recipe_history(product), 2.0)
    if reading.error is not None and not isinstance(reading.error, RefusedError):
        frame.banner(view, (reading,))
    return reading.or_else(RecipeHistory(product, ()))


def _stations(product: str) -> None:
    """What each station should use, what it says, and its changeover."""
    view = viewer()
    frame.section("At the stations", note="a station says which version judges while it makes the product")
    stations = view.feed.get("stations", lambda central: central.stations(), 1.0).or_else(())
    of_product = next((item for item in _recipes(view).or_else(()) if item.product == product), None)
    rows = of_product.stations if of_product is not None else tuple(_without_recipe(item, product) for item in stations)
    if not rows:
        st.html(
            marks.empty("No station has reported yet", "Start one with: sightline-edge run --settings station.toml")
        )
        return
    head = ("Station", "Makes now", "Should use", "Judges by", "In step")
    st.html(marks.table(head, (_row(item, product) for item in rows)))
    with st.container(horizontal=True):
        for item in rows:
            _changeover(view, item, product)


def _without_recipe(item: Station, product: str) -> RecipeAtStation:
    status = item.status
    recipe = status.recipe if status is not None else None
    return RecipeAtStation(
        station=item.station,
        version=None,
        is_pinned=False,
        sync=item.sync,
        is_connected=status is not None and status.is_connected,
        is_simulated=item.is_simulated,
        reported_version=recipe.version if recipe is not None and recipe.product == product else None,
        product_now=recipe.product if recipe is not None else None,
    )


def _row(item: RecipeAtStation, product: str) -> tuple[str, ...]:
    """One station; a version that differs from the wanted one stands out."""
    badge = marks.simulated(item.is_simulated)
    name = f'<b>{escape(item.name)}</b> {badge}<div class="sl-below">{escape(item.line)}</div>'
    wanted = "its own settings" if item.version is None else f"version {item.version}"
    pin = marks.badge("pinned", "warn", "Stays at this version until an engineer unpins it.") if item.is_pinned else ""
    if item.product_now != product or item.reported_version is None:
        judges = f'<span class="sl-muted">{words.NOT_KNOWN}</span>'
    else:
        said = f"version {item.reported_version}" if item.reported_version else "its own settings"
        is_wanted = item.reported_version == (item.version or 0)
        judges = escape(said) if is_wanted else marks.badge(said, "bad", f"It should use {wanted}.")
    if item.refusal is not None:
        told = f"refuses version {item.refused_version}: {item.refusal}"
        judges += f'<div class="sl-below">{escape(told)}</div>'
    now = escape(item.product_now or words.NOT_KNOWN)
    here = now if item.is_connected else f"{now} {marks.state('OFFLINE')}"
    if item.is_led:
        here += '<div class="sl-below">as the line\'s controller says</div>'
    return (name, here, f"{escape(wanted)} {pin}", judges, marks.state(item.sync))


def _changeover(view: Viewer, item: RecipeAtStation, product: str) -> None:
    # Where the line's controller says what is made, nobody else does.
    if item.product_now == product or item.is_led:
        return
    with st.popover(f"Change {item.name} over", icon=":material/swap_horiz:", disabled=not item.is_connected):
        st.markdown(
            f"**{item.name}** makes {item.product_now or 'a product not known'}. From its next captured part on "
            f"it will inspect **{product}**; parts captured before are judged as before. Needs an engineer's token."
        )
        if st.button(f"Make {product} at {item.name}", key=f"switch-{item.station}", type="primary"):
            try:
                asked = view.feed.client.switch_product(item.station, product, by=access.person() or "dashboard")
                told = " ".join(
                    (f"{item.name} was asked to make {product}; its next status confirms.", *asked.warnings)
                )
            except CentralError as error:
                told = f"{item.name} was not asked: {error}"
            frame.tell(view, told)
            view.feed.forget()
            st.rerun()


def _versions(view: Viewer, product: str, history: RecipeHistory) -> None:
    frame.section("History", note=f"times in {words.zone_name(view.zone, view.now)}")
    if not history.versions:
        st.html(
            marks.empty(
                f"No recipe for {product} yet",
                "Stations inspect it by their own settings. Make the first version above.",
            )
        )
        return
    for index, item in enumerate(history.versions[:MAX_VERSIONS]):
        st.html(_version(view, item))
        if index > 0 or item.station is not None:
            _restore(view, product, item)
    if history.deeds:
        head = ("When", "Who", "What", "Station", "Version", "Why")
        st.html(
            marks.table(
                head,
                (
                    (
                        escape(words.when(deed.at, view.now, view.zone)),
                        escape(deed.by),
                        ACT_WORD[deed.act],
                        escape(deed.station),
                        "" if deed.version is None else str(deed.version),
                        escape(deed.note),
                    )
                    for deed in history.deeds[:MAX_DEEDS]
                ),
            )
        )


def _version(view: Viewer, item: RecipeVersion) -> str:
    scope = "every station" if item.station is None else f"{item.station} alone"
    against = "a recipe of defaults" if item.compared_with is None else f"version {item.compared_with}"
    restored = f" · equal to version {item.restored_from}" if item.restored_from is not None else ""
    changes = "".join(
        f"<dt>{escape(change.field)}</dt><dd>{escape(_plain(change.old))} → {escape(_plain(change.new))}</dd>"
        for change in item.changes
    )
    nothing = "" if changes else '<div class="sl-below">no difference</div>'
    warnings = "".join(marks.banner(text) for text in item.warnings)
    return (
        f'<div class="sl-card"><div class="sl-station"><b>Version {item.version}</b><span>{escape(scope)}</span>'
        f'<span class="sl-right">{escape(item.created_by)}, {escape(words.when(item.created_at, view.now, view.zone))}'
        f"</span></div><div>{escape(item.note)}</div>"
        f'<div class="sl-below">against {escape(against)}{escape(restored)}</div>'
        f'<dl class="sl-facts">{changes}</dl>{nothing}{warnings}</div>'
    )


def _plain(value: Any) -> str:
    """A value of a document as people write it."""
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value)


def _restore(view: Viewer, product: str, item: RecipeVersion) -> None:
    key = f"restore-{product}-{item.version}"
    with st.popover(f"Restore version {item.version}", icon=":material/history:"):
        note = st.text_input("Why", key=f"{key}-note")
        if st.button("Make a version equal to it", key=key, type="primary"):
            by = access.person() or "dashboard"
            recipe_form.tell_of(view, lambda: view.feed.client.restore_recipe(product, item.version, note=note, by=by))
