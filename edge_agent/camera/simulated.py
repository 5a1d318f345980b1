# SPDX-License-Identifier: Apache-2.0
"""A camera simulator as a frame source: a TCP client that reads `u32 length + packed frame` for ever.

Does not simulate anything itself; the plant does. Numbers and times are the camera's own, so a frame that the
simulator dropped shows as a gap in the trigger numbers. Reopened by the loop's grab thread.
"""

import socket
import struct
from contextlib import suppress
from urllib.parse import urlsplit

from contracts.codec import CodecError
from contracts.frames import MAX_FRAME_BYTES
from edge_agent.camera.decoding import frame_from_packed
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError

_LENGTH_BYTES = 4
_CHUNK_BYTES = 256 * 1024


class SimulatedSource:
    """TCP client of a camera simulator.

    Args:
        url: `tcp://host:port`.
        clock: the station's clock.
        shares_clock: the simulator's wall clock is the station's (see `frame_from_packed`).
        connect_timeout_s: how long a connection may take.
    """

    def __init__(self, url: str, clock: Clock, *, shares_clock: bool = True, connect_timeout_s: float = 2.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "tcp" or not parts.hostname or not parts.port:
            msg = f"source.url: expected tcp://host:port, got {url!r}"
            raise DeviceError(msg, remedy="correct source.url", code="source-url")
        self._address = (parts.hostname, parts.port)
        self._clock = clock
        self._shares_clock = shares_clock
        self._connect_timeout_s = connect_timeout_s
        self._socket: socket.socket | None = None
        self._pending = bytearray()

    def open(self) -> None:
        """Connect to the simulator.

        Raises:
            DeviceError: nobody listens there.
        """
        self.close()
        try:
            self._socket = socket.create_connection(self._address, timeout=self._connect_timeout_s)
        except OSError as error:
            raise self._gone(f"cannot connect: {error}") from error

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None when it was not complete within `timeout_s`; the rest is kept.

        Raises:
            DeviceError: the simulator hung up or sent something else.
        """
        connection = self._socket
        if connection is None:
            raise self._gone("not connected")
        give_up_at = self._clock.monotonic() + timeout_s
        while (payload := self._take_payload()) is None:
            remaining_s = give_up_at - self._clock.monotonic()
            if remaining_s <= 0:
                return None
            self._receive(connection, remaining_s)
        try:
            return frame_from_packed(payload, self._clock, shares_clock=self._shares_clock)
        except CodecError as error:
            raise self._gone(f"it does not speak our frames ({error})") from error

    def close(self) -> None:
        """Hang up and forget half a frame."""
        self._pending.clear()
        connection, self._socket = self._socket, None
        if connection is not None:
            # Closing alone does not wake a thread that waits in `read`.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _receive(self, connection: socket.socket, timeout_s: float) -> None:
        try:
            connection.settimeout(timeout_s)
            chunk = connection.recv(_CHUNK_BYTES)
        except TimeoutError:
            return
        except OSError as error:
            raise self._gone(str(error)) from error
        if not chunk:
            raise self._gone("the camera hung up")
        self._pending += chunk

    def _take_payload(self) -> bytes | None:
        if len(self._pending) < _LENGTH_BYTES:
            return None
        (length,) = struct.unpack_from(">I", self._pending)
        if not 0 < length <= MAX_FRAME_BYTES:
            raise self._gone(f"a frame of {length} bytes is out of bounds (at most {MAX_FRAME_BYTES})")
        end = _LENGTH_BYTES + length
        if len(self._pending) < end:
            return None
        payload = bytes(memoryview(self._pending)[_LENGTH_BYTES:end])
        del self._pending[:end]
        return payload

    def _gone(self, why: str) -> DeviceError:
        host, port = self._address
        return DeviceError(
            f"camera at tcp://{host}:{port}: {why}",
            remedy="start the camera simulator, or correct source.url",
            code="source-gone",
        )
