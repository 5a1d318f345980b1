# SPDX-License-Identifier: Apache-2.0
"""The proxy of the station's HTTP clients, from its settings. Sends nothing; called by who opens one to central."""

import httpx

from edge_agent.download_settings import ProxySettings


def proxy_of(settings: ProxySettings | None) -> httpx.Proxy | None:
    """None: straight to central, whatever the environment says."""
    return None if settings is None else httpx.Proxy(settings.url, auth=settings.auth)
