# SPDX-License-Identifier: Apache-2.0
"""Looks whether a GigE Vision camera that sends no frames is still there.

Aravis notices a camera that is gone after some six seconds. Asking it who it is (the discovery request, which every
such camera answers at any time, whoever holds it) shows that sooner and keeps no one waiting: a question is sent, and
the answer is taken when it has come. Changes nothing at the camera. Used by `camera.genicam`.
"""

import socket
import struct
from contextlib import suppress
from typing import Final

from edge_agent.clock import Clock

# GigE Vision 2.0, GVCP: key 0x42, flag "answer", DISCOVERY_CMD, no payload, request id.
_QUESTION: Final = struct.pack(">BBHHH", 0x42, 0x01, 0x0002, 0, 1)
_ANSWER: Final = 0x0003
_PORT: Final = 3956
_ASK_EVERY_S: Final = 0.5
# Four questions without an answer; one or two may get lost in a network that is full of frames.
_GONE_AFTER_S: Final = 2.0


class GigeWatch:
    """Watches one camera.

    Args:
        address: its IP address.
        clock: the station's clock.
        port: where it listens; another one in tests only.
    """

    def __init__(self, address: str, clock: Clock, *, port: int = _PORT) -> None:
        self._clock = clock
        self._heard_at = self._asked_at = clock.monotonic()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.settimeout(0)
        # Connected: answers of others are not heard.
        self._socket.connect((address, port))

    def heard(self) -> None:
        """The camera has just shown that it is there."""
        self._heard_at = self._clock.monotonic()

    def is_there(self) -> bool:
        """False once it has been silent for two seconds, questions included. Never waits."""
        now = self._clock.monotonic()
        # Both may say that nobody listens; what counts is whether an answer comes.
        with suppress(OSError):
            while len(answer := self._socket.recv(1024)) >= 8:
                if struct.unpack_from(">HH", answer, 0)[1] == _ANSWER:
                    self._heard_at = now
        if now - max(self._heard_at, self._asked_at) >= _ASK_EVERY_S:
            self._asked_at = now
            with suppress(OSError):
                self._socket.send(_QUESTION)
        return now - self._heard_at < _GONE_AFTER_S

    def close(self) -> None:
        """Stop watching."""
        self._socket.close()
