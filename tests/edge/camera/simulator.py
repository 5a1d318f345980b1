# SPDX-License-Identifier: Apache-2.0
"""A camera simulator in the test's own process: a TCP server that sends packed frames to one client."""

import contextlib
import socket
import struct
import threading
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from contracts.frames import FrameHeader, PictureEncoding, pack_frame


def packed(number: int, pixels: NDArray[np.uint8], **header: object) -> bytes:
    """A raw packed frame."""
    values: dict[str, object] = {
        "trigger_number": number,
        "captured_at": datetime.now(UTC),
        "product": "ring",
        "part_id": f"part-{number}",
        "encoding": PictureEncoding.RAW,
        "height_px": pixels.shape[0],
        "width_px": pixels.shape[1],
        "channels": 1 if pixels.ndim == 2 else pixels.shape[2],
        "is_simulated": True,
    }
    return pack_frame(FrameHeader.model_validate({**values, **header}), pixels.tobytes())


class CameraSimulator:
    """Listens on a port, a free one by default; `send` goes to the client that is connected."""

    def __init__(self, port: int = 0) -> None:
        self._server = socket.create_server(("127.0.0.1", port))
        self._clients: list[socket.socket] = []
        self._connected = threading.Condition()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    @property
    def url(self) -> str:
        """Where to connect."""
        return f"tcp://127.0.0.1:{self.port}"

    def send(self, payload: bytes, *, pieces: int = 1) -> None:
        """One frame, optionally in several writes."""
        self.send_bytes(struct.pack(">I", len(payload)) + payload, pieces=pieces)

    def send_bytes(self, message: bytes, *, pieces: int = 1) -> None:
        """Anything."""
        client = self.client()
        step = -(-len(message) // pieces)
        for start in range(0, len(message), step):
            client.sendall(message[start : start + step])

    def client(self, timeout_s: float = 20) -> socket.socket:
        """The newest connection, once it is one that the other end still holds."""
        with self._connected:
            assert self._connected.wait_for(lambda: bool(self._clients) and _is_held(self._clients[-1]), timeout_s)
            return self._clients[-1]

    def hang_up(self) -> None:
        """Close every connection, also those whose other end is gone; go on listening."""
        with self._connected:
            assert self._connected.wait_for(lambda: bool(self._clients), 20)
            for client in self._clients:
                client.close()
            self._clients.clear()

    def close(self) -> None:
        """Stop listening and hang up."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join()
        for client in self._clients:
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._connected:
                self._clients.append(client)
                self._connected.notify_all()


def _is_held(client: socket.socket) -> bool:
    """Whether the other end has not closed: a source that opened anew may not have been accepted yet."""
    try:
        return client.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
