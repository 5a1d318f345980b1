# SPDX-License-Identifier: Apache-2.0
"""What a page needs to draw itself: the feed, the viewer's time zone, the settings.

The one place that knows where the token of this session comes from. Draws only the sign-in page's needs
through `app`; pages call `viewer()`.
"""

import os
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import streamlit as st

from dashboard.client import CentralClient
from dashboard.clock import SystemClock
from dashboard.feed import Feed
from dashboard.settings import Settings, read_settings

SESSION_SIGN_IN: Final = "sightline_signed_in"
SESSION_PERSON: Final = "sightline_person"


@dataclass(frozen=True)
class Viewer:
    """One browser session's way to central."""

    feed: Feed
    settings: Settings
    zone: tzinfo
    now: datetime


@st.cache_resource(show_spinner=False)
def settings() -> Settings:
    """Settings of this process, read once.

    Raises:
        SettingsError: shown by `app` as text.
    """
    return read_settings(os.environ)


@st.cache_resource(show_spinner=False, max_entries=64, on_release=lambda feed: feed.client.close())
def _feed(url: str, token: str, timeout_s: float) -> Feed:
    return Feed(CentralClient(url, token, timeout_s=timeout_s), SystemClock())


def token() -> str | None:
    """The token of this session: typed in, or configured, or None."""
    typed = st.session_state.get(SESSION_SIGN_IN)
    return str(typed) if typed else settings().token()


def feed_for(secret: str) -> Feed:
    """The shared feed of a token."""
    return _feed(settings().central_url, secret, settings().timeout_s)


def viewer() -> Viewer:
    """Everything a page needs. Only called once `app` has found a token."""
    return Viewer(feed=feed_for(token() or ""), settings=settings(), zone=_zone(), now=SystemClock().now())


def _zone() -> tzinfo:
    name = settings().time_zone or st.context.timezone
    try:
        return ZoneInfo(name) if name else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def person() -> str:
    """The name under which this session acts; empty until somebody gave one."""
    return str(st.session_state.get(SESSION_PERSON) or st.query_params.get("name", ""))
