# SPDX-License-Identifier: Apache-2.0
"""The message bus seam of a station, and its implementation on paho-mqtt.

Keeps nothing: what cannot be handed to the broker now is refused (`publish` returns False), because the
durable queue is our outbox, not paho's memory. Does not decode messages. Built by the composition root; used
by the reporter, the command handler, the package installer, reject outputs and MQTT cameras.
"""

import contextlib
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from contracts.ids import StationAddress

_log = logging.getLogger(__name__)

Handler = Callable[[str, bytes], None]

_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_MAX_RECONNECT_PAUSE_S: Final = 5
_CONNECT_TIMEOUT_S: Final = 3.0
_STOP_TIMEOUT_S: Final = 2.0
_MAX_IN_FLIGHT: Final = 200
# Handed to paho and not yet written (QoS 0) or acknowledged (QoS 1).
_MAX_PENDING: Final = 2000


class MessageBus(Protocol):
    """Publish and subscribe, whatever carries it.

    Handlers and connect callbacks run on the bus's own thread, one after another: they must be quick and
    must not wait for disk or network. What they raise is logged and counted, never passed on.
    """

    def start(self) -> None:
        """Connect in the background and stay connected. A missing broker is no error."""
        ...

    def stop(self) -> None:
        """Send what is pending if the link is up, disconnect without the last will, end the thread."""
        ...

    @property
    def is_connected(self) -> bool:
        """Whether a `publish` has a chance now."""
        ...

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand a message over without waiting.

        Returns False when it was refused: not connected or too much pending. True means handed over, not
        delivered: a message in flight is lost when the link breaks.
        """
        ...

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Call `handler(topic, payload)` for each message on `topic` (MQTT wildcards allowed).

        May be called at any time, also before `start`; renewed after every reconnect.
        """
        ...

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Call back after every connect, when the subscriptions have been asked for again; now if connected."""
        ...


@dataclass
class BusCounters:
    """What happened since the start. Written by the bus, read by anyone."""

    connects: int = 0
    published: int = 0
    refused: int = 0
    received: int = 0
    handler_errors: int = 0


@dataclass(frozen=True)
class BrokerAddress:
    """A broker URL, taken apart."""

    host: str
    port: int
    is_tls: bool

    @classmethod
    def parse(cls, url: str) -> "BrokerAddress":
        """Read `mqtt://host:port` or `mqtts://host:port`.

        Raises:
            ValueError: another scheme, no host or a bad port; the text says what was expected.
        """
        expected = f"broker url: expected mqtt://host:port or mqtts://host:port, got {url!r}"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise ValueError(expected) from error
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError(expected)
        return cls(parts.hostname, port or _PORTS[parts.scheme], is_tls=parts.scheme == "mqtts")


def client_id(station: StationAddress) -> str:
    """One name per station: a broker that still holds a dead connection lets go of it for the new one.

    Names may hold a dash, so a dot stands between them: two stations of one name would throw each other out for ever.
    """
    return f"sightline-{station.site}.{station.line}.{station.station}"


class PahoBus:
    """`MessageBus` on paho-mqtt 2, MQTT 3.1.1, network loop in a thread.

    Args:
        url: `mqtt://` or `mqtts://`.
        last_will: topic and payload that the broker publishes (QoS 1, retained) if this client vanishes.
        keepalive_s: after about 1.5 × this the broker declares a silent client gone.
        ca_file: certificates to trust for mqtts instead of the system's.
        cert_file: client certificate for mTLS.
        key_file: its private key.
    """

    def __init__(
        self,
        url: str,
        client_id: str,
        username: str | None = None,
        password: str | None = None,
        *,
        last_will: tuple[str, bytes] | None = None,
        keepalive_s: int = 15,
        ca_file: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
        max_pending: int = _MAX_PENDING,
    ) -> None:
        self.counters = BusCounters()
        self._address = BrokerAddress.parse(url)
        self._keepalive_s = keepalive_s
        self._max_pending = max_pending
        self._lock = threading.Lock()
        # Handed to paho and not yet written or acknowledged, of the present connection.
        self._pending = 0
        self._closed = threading.Event()
        self._handlers: dict[str, list[Handler]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._connected = threading.Event()
        # What the broker said when it refused the login; "" when it has accepted us, or was not reached at all.
        self.refusal = ""
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv311)
        if username is not None:
            client.username_pw_set(username, password)
        if last_will is not None:
            client.will_set(last_will[0], last_will[1], qos=1, retain=True)
        if self._address.is_tls:
            client.tls_set(ca_certs=ca_file, certfile=cert_file, keyfile=key_file)
        client.max_inflight_messages_set(_MAX_IN_FLIGHT)
        client.max_queued_messages_set(max_pending)
        client.reconnect_delay_set(min_delay=1, max_delay=_MAX_RECONNECT_PAUSE_S)
        client.connect_timeout = _CONNECT_TIMEOUT_S
        client.on_connect = self._connected_now
        client.on_connect_fail = self._not_reached
        client.on_disconnect = self._disconnected_now
        client.on_message = self._message_arrived
        client.on_publish = self._published

    def start(self) -> None:
        """Connect in the background and stay connected."""
        self._client.connect_async(self._address.host, self._address.port, keepalive=self._keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect cleanly (no last will) and end the thread. May be called twice."""
        self._closed.clear()
        was_connected = self._connected.is_set()
        self._client.disconnect()
        if was_connected and not self._closed.wait(_STOP_TIMEOUT_S) and (link := self._client.socket()) is not None:
            # A stalled link would keep the loop until the keepalive runs out.
            with contextlib.suppress(OSError):
                link.close()
        self._client.loop_stop()
        self._connected.clear()

    @property
    def where(self) -> str:
        """Host and port, for texts."""
        return f"{self._address.host}:{self._address.port}"

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us and the link is up."""
        return self._connected.is_set()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand a message to paho; False when not connected or too much is pending."""
        with self._lock:
            # Bounds QoS 0 as well: paho queues those without limit behind a stalled socket.
            if not self._connected.is_set() or self._pending >= self._max_pending:
                self.counters.refused += 1
                return False
            self._pending += 1
            connection = self.counters.connects
        # Outside our lock: paho holds its own while it calls `_published`.
        sent = self._client.publish(topic, payload, qos=qos, retain=retain)
        with self._lock:
            if sent.rc is MQTTErrorCode.MQTT_ERR_SUCCESS:
                self.counters.published += 1
                return True
            self.counters.refused += 1
            if connection == self.counters.connects and self._pending:
                self._pending -= 1
            return False

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Register a handler; asks the broker at once when connected, and again after every connect."""
        with self._lock:
            self._handlers.setdefault(topic, []).append(handler)
            is_connected = self._connected.is_set()
        if is_connected:
            self._client.subscribe(topic, qos=1)

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Register a callback; called at once, in the caller's thread, when already connected."""
        with self._lock:
            self._callbacks.append(callback)
            is_connected = self._connected.is_set()
        if is_connected:
            self._guarded(callback)

    def _connected_now(
        self, client: mqtt.Client, _user: Any, _flags: mqtt.ConnectFlags, reason: ReasonCode, _more: Properties | None
    ) -> None:
        self.refusal = str(reason) if reason.is_failure else ""
        if reason.is_failure:
            _log.warning("broker refused us broker=%s:%d reason=%s", self._address.host, self._address.port, reason)
            return
        with self._lock:
            self.counters.connects += 1
            self._pending = 0
            topics = list(self._handlers)
        if topics:
            client.subscribe([(topic, 1) for topic in topics])
        with self._lock:
            self._connected.set()
            late = [topic for topic in self._handlers if topic not in topics]
            callbacks = list(self._callbacks)
        for topic in late:
            client.subscribe(topic, qos=1)
        _log.info("broker connected broker=%s:%d", self._address.host, self._address.port)
        for callback in callbacks:
            self._guarded(callback)

    def _not_reached(self, _client: mqtt.Client, _user: Any) -> None:
        self.refusal = ""

    def _disconnected_now(
        self, client: mqtt.Client, _user: Any, _flags: mqtt.DisconnectFlags, reason: ReasonCode, _more: Any
    ) -> None:
        was_connected = self._connected.is_set()
        self._connected.clear()
        # The reporter sends everything without a receipt again; paho repeating it too would double the load.
        dropped = client.drop_out_messages()
        with self._lock:
            self._pending = 0
        self._closed.set()
        if was_connected:
            _log.warning("broker connection ended reason=%s in_flight_dropped=%d", reason, len(dropped))

    def _published(self, _client: mqtt.Client, _user: Any, _mid: int, _reason: ReasonCode, _more: Properties) -> None:
        with self._lock:
            self._pending = max(0, self._pending - 1)

    def _message_arrived(self, _client: mqtt.Client, _user: Any, message: mqtt.MQTTMessage) -> None:
        self.counters.received += 1
        try:
            topic = message.topic
        except UnicodeDecodeError:
            self.counters.handler_errors += 1
            return
        with self._lock:
            handlers = [
                handler
                for wanted, registered in self._handlers.items()
                if mqtt.topic_matches_sub(wanted, topic)
                for handler in registered
            ]
        for handler in handlers:
            self._guarded(handler, topic, bytes(message.payload))

    def _guarded(self, call: Callable[..., None], *arguments: Any) -> None:
        """Run foreign code on the network thread: an exception there would end the thread for good."""
        try:
            call(*arguments)
        except Exception:  # noqa: BLE001 - whatever it is, the thread must live
            self.counters.handler_errors += 1
            _log.exception("bus handler failed handler=%s", getattr(call, "__qualname__", call))
