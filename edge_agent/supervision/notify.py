# SPDX-License-Identifier: Apache-2.0
"""The protocol of sd_notify(3): one datagram of `NAME=value` lines to the supervisor's socket.

Knows no state of the station; `supervision.watchdog` says what is said. A supervisor that does not listen is no error.
"""

import logging
import socket
from typing import Final

_log = logging.getLogger(__name__)

_SEND_S: Final = 0.5


class Notifier:
    """Tells a supervisor. `address` "" means that there is none, and nothing is sent."""

    def __init__(self, address: str) -> None:
        # A leading @ stands for the zero byte of Linux' abstract names.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.failed = 0

    def tell(self, *lines: str) -> bool:
        """Send `NAME=value` lines in one message. Returns whether it was sent."""
        if not self._address:
            return False
        # Line breaks inside a value would be further assignments.
        message = "\n".join(line.replace("\n", " ") for line in lines).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
                link.settimeout(_SEND_S)
                link.sendto(message, self._address)
        except OSError as error:
            self.failed += 1
            _log.debug("supervisor not told failed=%d: %s", self.failed, error)
            return False
        return True
