# SPDX-License-Identifier: Apache-2.0
"""A way to the broker that misbehaves: TCP between a station and mosquitto, which it can make mute or forgetful.

Forgetful is what a broker is that acknowledges a message and loses it (crash before its store is written, full queue):
the proxy answers PUBACK itself and forwards nothing. Speaks as much MQTT 3.1.1 as it needs to tell packets apart.
"""

import contextlib
import random
import socket
import threading
from typing import Final

_PUBLISH: Final = 3
_PUBACK: Final = b"\x40\x02"


class BrokerProxy:
    """Listens on a free port, forwards to `port`.

    `is_mute`: accepts connections and says nothing. `loses`: share of acknowledged messages on topics that end in
    `of_topic` that go nowhere. `lost` counts them.
    """

    def __init__(self, port: int, generator: random.Random, *, of_topic: str) -> None:
        self._port = port
        self._generator = generator
        self._of_topic = of_topic.encode()
        self._server = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        # Two threads write to a station: the broker's answers must not be torn by ours.
        self._writing = threading.Lock()
        self.is_mute = False
        self.loses = 0.0
        self.lost = 0
        self.accepted = 0
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        """Where to connect."""
        return int(self._server.getsockname()[1])

    def hang_up(self) -> None:
        """Break every connection."""
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._open.clear()

    def close(self) -> None:
        """Stop."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._accepting.join()
        self.hang_up()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            self.accepted += 1
            self._open.append(client)
            if self.is_mute:
                continue
            try:
                broker = socket.create_connection(("127.0.0.1", self._port))
            except OSError:
                client.close()
                continue
            self._open.append(broker)
            threading.Thread(target=self._to_station, args=(broker, client), daemon=True).start()
            threading.Thread(target=self._to_broker, args=(client, broker), daemon=True).start()

    def _to_station(self, broker: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := broker.recv(65536):
                with self._writing:
                    client.sendall(chunk)
        _end(broker, client)

    def _to_broker(self, client: socket.socket, broker: socket.socket) -> None:
        waiting = bytearray()
        with contextlib.suppress(OSError):
            while chunk := client.recv(65536):
                waiting += chunk
                while packet := _take(waiting):
                    if (identifier := self._to_lose(packet)) is None:
                        broker.sendall(packet)
                    else:
                        self.lost += 1
                        with self._writing:
                            client.sendall(_PUBACK + identifier)
        _end(client, broker)

    def _to_lose(self, packet: bytes) -> bytes | None:
        """The identifier of a packet that is to be acknowledged and lost."""
        if packet[0] >> 4 != _PUBLISH or not packet[0] & 0b110 or self._generator.random() >= self.loses:
            return None
        start = 2
        while packet[start - 1] & 0x80:
            start += 1
        length = int.from_bytes(packet[start : start + 2])
        name = packet[start + 2 : start + 2 + length]
        return packet[start + 2 + length : start + 4 + length] if name.endswith(self._of_topic) else None


def _take(waiting: bytearray) -> bytes:
    """The first whole packet, taken out; nothing where there is none."""
    size = shift = 0
    for index in range(1, min(5, len(waiting))):
        size |= (waiting[index] & 0x7F) << shift
        shift += 7
        if not waiting[index] & 0x80:
            end = index + 1 + size
            if len(waiting) < end:
                return b""
            packet = bytes(waiting[:end])
            del waiting[:end]
            return packet
    return b""


def _end(*both: socket.socket) -> None:
    for each in both:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
