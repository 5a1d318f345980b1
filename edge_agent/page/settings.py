# SPDX-License-Identifier: Apache-2.0
"""The settings of the page: table `[page]`.

Reads and checks, opens nothing. Beyond loopback a token is needed: the page shows pictures of parts. Called by
`edge_agent.settings`.
"""

import ipaddress
from dataclasses import dataclass, field
from typing import Final

from edge_agent.settings_reader import SettingsReader

DEFAULT_PORT: Final = 8077
_LOOPBACK: Final = "127.0.0.1"
_LEAST_TOKEN: Final = 16


@dataclass(frozen=True)
class PageSettings:
    """Where the page is. `port` 0: there is none. `token`: asked for from everybody when it is not empty."""

    port: int = DEFAULT_PORT
    host: str = _LOOPBACK
    token: str = field(default="", repr=False)


def read_page(reader: SettingsReader) -> PageSettings:
    """Read `[page]`, with every fault noted."""
    port = reader.integer("page.port", DEFAULT_PORT, low=0, high=65535)
    host = reader.text("page.host", _LOOPBACK)
    token = reader.text("page.token", "", is_secret=True)
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        reader.fault(
            "page.host", f"expected an IP address of this machine, such as {_LOOPBACK} or 0.0.0.0, got {host!r}"
        )
        return PageSettings(port, _LOOPBACK, token)
    if token and len(token) < _LEAST_TOKEN:
        reader.fault("page.token", f"expected at least {_LEAST_TOKEN} characters, got {len(token)}")
    if port and not is_loopback and not token:
        reader.fault(
            "page.token", f"expected a token, because page.host = {host!r} lets other machines in, got nothing"
        )
    return PageSettings(port, host, token)
