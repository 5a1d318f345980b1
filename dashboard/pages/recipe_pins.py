# SPDX-License-Identifier: Apache-2.0
"""Keeping a station at one version of a product's recipe, and letting it go again.

Outside the part of the page that refreshes by itself: a person writes here why. Checks nothing itself: central's words
are shown. Called by `pages.recipes`.
"""

from collections.abc import Callable

import streamlit as st

from dashboard import access, frame
from dashboard.access import Viewer
from dashboard.client import CentralError
from dashboard.recipe_shapes import RecipeAtStation, RecipeHead, RecipesOfProduct


def draw(view: Viewer, of_product: RecipesOfProduct | None) -> None:
    """One control for each station; nothing for a product without a version."""
    if of_product is None or not of_product.versions:
        return
    with st.container(horizontal=True):
        for item in of_product.stations:
            usable = [head for head in of_product.versions if head.station in (None, item.station)]
            if usable:
                _pin(view, of_product.product, item, usable)
            if item.is_pinned:
                _unpin(view, of_product.product, item)


def _pin(view: Viewer, product: str, item: RecipeAtStation, usable: list[RecipeHead]) -> None:
    key = f"pin-{product}-{item.station}"
    with st.popover(f"Pin {item.name}", icon=":material/keep:"):
        st.markdown(
            f"**{item.name}** will inspect **{product}** by this version from its next captured part on, and stay with "
            "it whatever newer ones come, until somebody unpins it. Needs an engineer's token."
        )
        words = {head.version: f"version {head.version}: {head.note}" for head in usable}
        versions = list(words)
        index = versions.index(item.version) if item.version in versions else 0
        version = st.selectbox(
            "Version", versions, index=index, format_func=lambda one: words[one], key=f"{key}-version"
        )
        note = st.text_input("Why", key=f"{key}-note", help="Stands in the history.")
        if st.button(f"Keep {item.name} at this version", key=key, type="primary"):
            by = access.person() or "dashboard"
            _act(
                view,
                lambda: view.feed.client.pin_recipe(item.station, product, version or versions[0], note=note, by=by),
                f"{item.name} stays at version {version} of {product}.",
                f"{item.name} was not pinned",
            )


def _unpin(view: Viewer, product: str, item: RecipeAtStation) -> None:
    key = f"unpin-{product}-{item.station}"
    with st.popover(f"Unpin {item.name}", icon=":material/keep_off:"):
        st.markdown(
            f"**{item.name}** will use the newest version of **{product}** again, from its next captured part on. "
            "Needs an engineer's token."
        )
        note = st.text_input("Why", key=f"{key}-note", help="Stands in the history.")
        if st.button(f"Let {item.name} use the newest", key=key, type="primary"):
            by = access.person() or "dashboard"
            _act(
                view,
                lambda: view.feed.client.unpin_recipe(item.station, product, note=note, by=by),
                f"{item.name} uses the newest version of {product} again.",
                f"{item.name} was not unpinned",
            )


def _act(view: Viewer, act: Callable[[], object], done: str, refused: str) -> None:
    try:
        act()
    except CentralError as error:
        frame.tell(view, f"{refused}: {error}")
    else:
        frame.tell(view, done)
    view.feed.forget()
    st.rerun()
