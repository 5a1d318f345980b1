# SPDX-License-Identifier: Apache-2.0
"""The wire of a simulated camera: one station at a time, frames or nothing.

Each message goes as `u32 big-endian length + packed frame`. Frames are handed over without waiting; with no
station connected, or one that does not read fast enough, they are lost and counted. Knows nothing of parts.
Used by `plant.line.camera`.
"""

import contextlib
import logging
import queue
import socket
import struct
import threading
from typing import Final

_log = logging.getLogger(__name__)
# Two raw frames of 256 px: more would let a slow station fall seconds behind instead of losing frames.
_SEND_BUFFER_BYTES: Final = 512 * 1024
# A station that takes nothing for so long hangs; it must connect anew.
_SEND_TIMEOUT_S: Final = 10.0
_POLL_S: Final = 0.05


class FrameServer:
    """Listens, and sends to the newest connection: a killed station's may linger."""

    def __init__(self, name: str, host: str, port: int, queue_frames: int) -> None:
        self._name = name
        self._listener = socket.create_server((host, port))
        self.port = int(self._listener.getsockname()[1])
        self._outgoing: queue.Queue[bytes] = queue.Queue(queue_frames)
        self._is_connected, self._stopping = threading.Event(), threading.Event()
        self._station: socket.socket | None = None
        self._lock = threading.Lock()
        self._counts = {"sent": 0, "no_station": 0, "slow": 0, "connections": 0}
        self._thread = threading.Thread(target=self._serve, name=f"frames-{name}", daemon=True)

    def start(self) -> None:
        """Begin to accept."""
        self._thread.start()

    def stop(self) -> None:
        """Close the connection and the port."""
        self._stopping.set()
        station = self._station
        if station is not None:
            # Wakes a send that waits for a station which does not read.
            with contextlib.suppress(OSError):
                station.shutdown(socket.SHUT_RDWR)
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        self._listener.close()

    def offer(self, message: bytes) -> None:
        """Hand a frame over without waiting. It is lost, and counted, when nobody takes it."""
        if not self._is_connected.is_set():
            self._count("no_station")
            return
        try:
            self._outgoing.put_nowait(message)
        except queue.Full:
            self._count("slow")

    def counts(self) -> dict[str, int]:
        """sent, no_station, slow, connections since the start."""
        with self._lock:
            return dict(self._counts)

    def _count(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1

    def _serve(self) -> None:
        while not self._stopping.is_set():
            station = self._station = self._accept(self._station)
            if station is not None and not self._send_next(station):
                self._lose(station)
                self._station = None
        if self._station is not None:
            self._lose(self._station)

    def _accept(self, station: socket.socket | None) -> socket.socket | None:
        # With a station connected only a glance: frames must not wait for strangers.
        self._listener.settimeout(0.0 if station else _POLL_S)
        try:
            newcomer, _ = self._listener.accept()
        except OSError:
            return station
        if station is not None:
            self._lose(station)
        newcomer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        newcomer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        newcomer.settimeout(_SEND_TIMEOUT_S)
        self._is_connected.set()
        self._count("connections")
        _log.info("station connected camera=%s", self._name)
        return newcomer

    def _send_next(self, station: socket.socket) -> bool:
        """Send what is next, if anything. False when the station is gone."""
        try:
            message = self._outgoing.get(timeout=_POLL_S)
        except queue.Empty:
            return _is_open(station)
        try:
            station.sendall(struct.pack(">I", len(message)) + message)
        except OSError:
            # A frame cut in the middle cannot be resumed: the station must connect anew.
            self._count("slow")
            return False
        self._count("sent")
        return True

    def _lose(self, station: socket.socket) -> None:
        self._is_connected.clear()
        station.close()
        _log.info("station gone camera=%s", self._name)
        # Frames meant for a station that left are lost, and counted so.
        while not self._outgoing.empty():
            self._outgoing.get_nowait()
            self._count("no_station")


def _is_open(station: socket.socket) -> bool:
    """Whether the other end still holds the connection; stations send nothing, so readable means closed."""
    station.settimeout(0.0)
    try:
        return station.recv(1) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        station.settimeout(_SEND_TIMEOUT_S)
