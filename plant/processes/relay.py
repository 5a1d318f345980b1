# SPDX-License-Identifier: Apache-2.0
"""The way from a station to broker and central, which can be cut: nothing passes, and nobody is told.

A network that is cut sends no farewell. So connections stay open and silent, new ones are taken and lead nowhere; when
the network is back, what was on its way goes on, as TCP would have sent it again. Copies bytes and reads none of them.
Used by `plant.processes.site`.
"""

import contextlib
import socket
import threading
from typing import Final

from plant.processes.broker import LOOPBACK

_CHUNK_BYTES: Final = 65_536
_CONNECT_TIMEOUT_S: Final = 5.0


class Relay:
    """Listens on a free loopback port and forwards to `port`. `close` ends it, also while it is cut."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server((LOOPBACK, 0))
        self._open_way, self._closed = threading.Event(), threading.Event()
        self._open_way.set()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        threading.Thread(target=self._accept, name=f"relay-{port}", daemon=True).start()

    @property
    def port(self) -> int:
        """Where to connect."""
        return int(self._server.getsockname()[1])

    def cut(self) -> None:
        """From now on nothing passes, either way."""
        self._open_way.clear()

    def mend(self) -> None:
        """What waited goes on."""
        self._open_way.set()

    def close(self) -> None:
        """End all connections."""
        self._closed.set()
        self._open_way.set()
        with contextlib.suppress(OSError):
            # Closing alone does not wake a thread that waits for a connection.
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            left = list(self._sockets)
        for each in left:
            _hang_up(each)

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            self._keep(near)
            threading.Thread(target=self._connect, args=(near,), daemon=True).start()

    def _connect(self, near: socket.socket) -> None:
        self._open_way.wait()
        try:
            far = socket.create_connection((LOOPBACK, self._to), timeout=_CONNECT_TIMEOUT_S)
        except OSError:
            # Nobody listens there: the station must see what it would see without us.
            self._drop(near)
            return
        far.settimeout(None)
        self._keep(far)
        threading.Thread(target=self._pump, args=(near, far), daemon=True).start()
        self._pump(far, near)

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK_BYTES):
                self._open_way.wait()
                target.sendall(chunk)
        self._open_way.wait()
        self._drop(source)
        self._drop(target)

    def _keep(self, taken: socket.socket) -> None:
        with self._lock:
            self._sockets.add(taken)
        if self._closed.is_set():
            _hang_up(taken)

    def _drop(self, done: socket.socket) -> None:
        with self._lock:
            self._sockets.discard(done)
        _hang_up(done)


def _hang_up(each: socket.socket) -> None:
    with contextlib.suppress(OSError):
        each.shutdown(socket.SHUT_RDWR)
    each.close()
