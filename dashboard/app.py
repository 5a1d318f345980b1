# SPDX-License-Identifier: Apache-2.0
"""The whole screen of one viewer: sign-in, navigation, side bar. The composition root.

Fetches only what says whether central and the token are good; each page fetches its own. Called by
`entry.script`.
"""

from html import escape
from pathlib import Path

import streamlit as st

from dashboard import access, frame, palette, words
from dashboard.client import WrongTokenError
from dashboard.pages import (
    alarm_routes,
    alarms,
    audit,
    experiments,
    gates,
    line,
    lineage,
    overview,
    packages,
    quality,
    recipes,
    rollouts,
)
from dashboard.settings import SettingsError

LOGO = Path(__file__).with_name("theme") / "logo.svg"
ICON = Path(__file__).with_name("theme") / "icon.svg"


def main() -> None:
    """Draw the whole screen once."""
    st.set_page_config(page_title="Sightline", page_icon=str(ICON), layout="wide")
    st.html(f"<style>{frame.style()}</style>")
    st.logo(str(LOGO), size="large", icon_image=str(ICON))
    try:
        secret = access.token()
    except SettingsError as error:
        st.error(f"The dashboard cannot start as configured:\n\n{error}")
        return
    if secret is None:
        _only_sign_in("")
        return
    stations = access.feed_for(secret).get("stations", lambda central: central.stations(), 1.0)
    if isinstance(stations.error, WrongTokenError):
        st.session_state.pop(access.SESSION_SIGN_IN, None)
        _only_sign_in(f"{stations.error} Ask an administrator for a new token.")
        return
    _navigate()


def _only_sign_in(trouble: str) -> None:
    def sign_in() -> None:
        _sign_in(trouble)

    st.navigation([st.Page(sign_in, title="Sign in", url_path="sign-in")], position="hidden").run()


def _navigate() -> None:
    chosen = st.navigation(
        [
            st.Page(overview.page, title="Overview", icon=":material/dashboard:", default=True),
            st.Page(line.page, title="Live line", icon=":material/monitoring:", url_path="line"),
            st.Page(quality.page, title="Quality", icon=":material/query_stats:", url_path="quality"),
            st.Page(audit.page, title="Audit", icon=":material/fact_check:", url_path="audit"),
            st.Page(packages.page, title="Packages & rollouts", icon=":material/deployed_code:", url_path="packages"),
            st.Page(gates.page, title="Gate", icon=":material/verified:", url_path="gate"),
            st.Page(experiments.page, title="Experiments", icon=":material/science:", url_path="experiments"),
            st.Page(lineage.page, title="Lineage", icon=":material/account_tree:", url_path="lineage"),
            st.Page(rollouts.page, title="Rollout evidence", icon=":material/alt_route:", url_path="rollouts"),
            st.Page(recipes.page, title="Recipes", icon=":material/tune:", url_path="recipes"),
            st.Page(alarms.page, title="Alarms", icon=":material/notifications:", url_path="alarms"),
            st.Page(
                alarm_routes.page, title="Alarm routes", icon=":material/forward_to_inbox:", url_path="alarm-routes"
            ),
        ]
    )
    with st.sidebar:
        _side_foot()
    chosen.run()


@st.fragment(run_every=5.0)
def _side_foot() -> None:
    view = access.viewer()
    health = view.feed.get("health", lambda central: central.health(), 4.0)
    known = health.value
    if health.error is not None or known is None:
        colour, word = palette.BAD, "Central is away"
    elif known.status == "ok":
        colour, word = "#3ecfa5", "Connected to central"
    elif known.status == "degraded":
        colour, word = palette.BAD, f"Central fails in part: {escape(', '.join(known.failing))}"
    else:
        colour, word = palette.WARN, "Central is not ready"
    dot = f'<span class="sl-dot" style="background:{colour}"></span>'
    lines = [f"{dot}<b>{word}</b>", escape(view.settings.central_url)]
    if known is not None:
        rest = [f"{name} {text}" for name, text in (("database", known.database), ("broker", known.broker)) if text]
        lines += [f"version {escape(known.version)}", escape(" · ".join(rest))]
    lines.append(f"Times in {escape(words.zone_name(view.zone, view.now))}")
    st.html(f'<div class="sl-side">{"<br>".join(line for line in lines if line)}</div>')
    if st.session_state.get(access.SESSION_SIGN_IN) and st.button(
        "Sign out", icon=":material/logout:", type="tertiary"
    ):
        st.session_state.pop(access.SESSION_SIGN_IN, None)
        st.rerun()


def _sign_in(trouble: str) -> None:
    _, middle, _ = st.columns([1, 1.4, 1])
    with middle:
        st.html('<div class="sl-head" style="margin-top:12vh"><h1>Sign in to Sightline</h1></div>')
        st.html(
            f'<p class="sl-lead">Central: {escape(access.settings().central_url)}<br>'
            "Paste your access token. An administrator makes one on the server with "
            '<code class="sl-id">sightline-central token create --role INSPECTOR --name your-name</code></p>'
        )
        if trouble:
            st.html(f'<div class="sl-banner sl-banner-bad" role="alert">{escape(trouble)}</div>')
        with st.form("sign-in", border=False):
            typed = st.text_input("Access token", type="password", autocomplete="off")
            if st.form_submit_button("Sign in", type="primary") and typed.strip():
                st.session_state[access.SESSION_SIGN_IN] = typed.strip()
                st.rerun()
