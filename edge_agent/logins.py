# SPDX-License-Identifier: Apache-2.0
"""Cuts user and password out of addresses before they reach a log, a status or a screen. Pure.

A camera's address may hold its login (`rtsp://name:password@camera`), and texts of errors repeat addresses. Used
wherever texts leave the station: log, faults, page, `init` and `doctor`.
"""

import re
from typing import Final

# Up to the last @ before the path: a password may hold one too.
_LOGIN_IN_URL: Final = re.compile(r"(?<=://)[^\s/'\"]*@")


def without_login(text: str) -> str:
    """The same text; `rtsp://name:password@host` becomes `rtsp://host`."""
    return _LOGIN_IN_URL.sub("", text)
