# SPDX-License-Identifier: Apache-2.0
"""What people set for the rollouts of products, and how one is ended. Sets none: the API does. Called by `rollouts`."""

from html import escape

import streamlit as st

from dashboard import frame, marks, words
from dashboard.access import Viewer
from dashboard.client import CentralError
from dashboard.lifecycle import RolloutPolicy

_RISK = {"STANDARD": "idle", "ELEVATED": "warn", "CRITICAL": "bad"}


def draw(view: Viewer, policies: tuple[RolloutPolicy, ...]) -> None:
    """One row a product; one that central has not heard of is marked, its name may be mistyped."""
    frame.section(
        "Policies", note="by product; one without a policy follows the settings of central, without approvals"
    )
    for item in policies:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.html(_row(view, item))
            with st.popover(
                "End", help="Rollouts that begin from then on need no approval. Needs an engineer's token."
            ):
                st.write(f"End the policy of {item.product}? One under way keeps its plan.")
                if st.button("End it", key=f"policy-{item.product}-end", type="primary"):
                    _end(view, item)
    if not policies:
        st.html('<div class="sl-below">None.</div>')


def _row(view: Viewer, item: RolloutPolicy) -> str:
    risk = marks.badge(item.risk.lower(), _RISK.get(item.risk, "busy"))
    strange = "" if item.is_product_known else marks.badge("never heard of", "warn")
    begins = "begins by itself" if item.is_automatic else "begins by hand"
    waves = words.plural(len(item.plan.waves), "wave")
    said = f"{item.note} ({item.changed_by}, {words.day_time(item.changed_at, view.zone)})"
    return (
        f"<b>{escape(item.product)}</b> {risk} {strange} {escape(begins)}, {escape(waves)}"
        f'<div class="sl-below">{escape(said)}</div>'
    )


def _end(view: Viewer, item: RolloutPolicy) -> None:
    try:
        view.feed.client.end_rollout_policy(item.product)
    except CentralError as error:
        frame.tell(view, f"The policy was not ended: {error}")
    view.feed.forget()
    st.rerun()
