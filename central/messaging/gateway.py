# SPDX-License-Identifier: Apache-2.0
"""The MQTT seam: what comes from stations goes to handlers, what goes to stations is published.

Acknowledges a message to the broker only when its reader says so (reports: after the commit). Reads no payload,
knows no table. Built by `central.app`; services are handed a `Gateway` (or, in tests, anything with `publish`).
"""

import logging
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from central.settings import BrokerSettings, without_login
from contracts.topics import ROOT, Channel, every_station

log = logging.getLogger(__name__)

_SHARE: Final = "$share/central/"
_PROBE_S: Final = 2.0
_RECEIVED_CHANNELS: Final = (Channel.REPORT, Channel.STATUS, Channel.PACKAGE_STATUS)


class Publisher(Protocol):
    """What services need of the gateway."""

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message over; False: dropped (queue full), try again later."""
        ...


@dataclass(frozen=True)
class Delivery:
    """One message from the broker. `acknowledge` once it is durable here, and only then."""

    topic: str
    payload: bytes
    is_retained: bool
    acknowledge: Callable[[], None]


Handler = Callable[[Delivery], None]


@dataclass
class GatewayCounts:
    """Since start."""

    received: int = 0
    published: int = 0
    publish_dropped: int = 0
    handler_failures: int = 0
    connects: int = 0
    disconnects: int = 0


@dataclass
class _Probe:
    topic: str = field(default_factory=lambda: f"sightline/probe/{uuid.uuid4().hex}")
    delivered: threading.Event = field(default_factory=threading.Event)


class Gateway:
    """One connection to the broker, reconnecting for ever."""

    def __init__(self, settings: BrokerSettings) -> None:
        self._settings: Final = settings
        self._handlers: Final[dict[Channel, Handler]] = {}
        self._on_connected: Final[list[Callable[[], None]]] = []
        self._probe = _Probe()
        # Packet numbers start again with every connection: an acknowledgement must not cross over to the next one.
        self._connection = 0
        self.counts: Final = GatewayCounts()
        self.is_shared = False
        self._client: Final = self._make_client()

    @property
    def is_connected(self) -> bool:
        """Whether the broker is there right now."""
        return self._client.is_connected()

    def on(self, channel: Channel, handler: Handler) -> None:
        """Who reads a channel. Call before `start`. The handler must be quick and must acknowledge the delivery."""
        self._handlers[channel] = handler

    def on_connected(self, call: Callable[[], None]) -> None:
        """Called after every (re)connect, in a thread of its own (for example to publish retained state again)."""
        self._on_connected.append(call)

    def start(self) -> None:
        """Connect in the background; never fails because the broker is away."""
        self._client.connect_async(self._settings.host, self._settings.port, keepalive=self._settings.keepalive_s)
        self._client.loop_start()

    def stop(self) -> None:
        """Say goodbye. What was not acknowledged comes again."""
        self._client.disconnect()
        self._client.loop_stop()

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Hand a message to the network thread.

        Returns:
            False when it was dropped: the queue towards the broker is full. Everything sent this way is either
            repeated on demand (receipts) or retained state that is published again after a reconnect.
        """
        answer = self._client.publish(topic, payload, qos=qos, retain=retain)
        is_taken = answer.rc in (paho.MQTT_ERR_SUCCESS, paho.MQTT_ERR_NO_CONN) and not (
            qos == 0 and answer.rc == paho.MQTT_ERR_NO_CONN
        )
        if is_taken:
            self.counts.published += 1
        else:
            self.counts.publish_dropped += 1
            log.warning("publish dropped topic=%s rc=%s dropped=%s", topic, answer.rc, self.counts.publish_dropped)
        return is_taken

    def publish_confirmed(self, topic: str, payload: bytes, *, retain: bool, timeout_s: float) -> bool:
        """Publish and wait for the broker's acknowledgement; blocks, so not for the network thread.

        Returns:
            False: the broker is away, or has not acknowledged in time. It may arrive all the same, so a message that
            is sent again must be told as the same by what is in it.
        """
        # Nothing is queued for a broker that is away: the caller tries again, and it would come twice.
        if not self._client.is_connected():
            return False
        answer = self._client.publish(topic, payload, qos=1, retain=retain)
        if answer.rc != paho.MQTT_ERR_SUCCESS:
            return False
        try:
            answer.wait_for_publish(timeout_s)
        except (RuntimeError, ValueError):
            return False
        if answer.is_published():
            self.counts.published += 1
        return answer.is_published()

    def _make_client(self) -> paho.Client:
        # 3.1.1 is what every broker of ours speaks; nothing here needs 5.
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"central-{uuid.uuid4().hex[:12]}",
            protocol=paho.MQTTv311,
            # A clean session: what is missed while away comes again, because no receipt was sent for it.
            clean_session=True,
            manual_ack=True,
        )
        client.max_queued_messages_set(self._settings.max_queued_messages)
        client.reconnect_delay_set(min_delay=1, max_delay=5)
        if self._settings.username:
            client.username_pw_set(self._settings.username, self._settings.password or None)
        if self._settings.is_tls:
            client.tls_set(ca_certs=self._settings.ca_file or None)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._received
        return client

    def _connected(
        self,
        client: paho.Client,
        _userdata: Any,
        _flags: paho.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            log.error("broker refused the connection url=%s reason=%s", without_login(self._settings.url), reason)
            return
        self._connection += 1
        self.counts.connects += 1
        self.is_shared = False
        # A fresh topic, so that an answer from an earlier connection proves nothing.
        self._probe = _Probe()
        for channel in _RECEIVED_CHANNELS:
            if channel in self._handlers and channel is not Channel.REPORT:
                client.subscribe(every_station(channel), qos=1)
        if Channel.REPORT in self._handlers:
            # Reports first come plainly; they move to the shared subscription once that is proved to deliver.
            client.subscribe(every_station(Channel.REPORT), qos=1)
        log.info("broker connected url=%s", without_login(self._settings.url))
        threading.Thread(
            target=self._after_connect, args=(self._connection,), name="gateway-connected", daemon=True
        ).start()

    def _after_connect(self, connection: int) -> None:
        # Who reads no reports must not take a share of them away from those who do.
        if Channel.REPORT in self._handlers:
            self._prove_shared_subscription(connection)
        for call in self._on_connected:
            try:
                call()
            except Exception:
                self.counts.handler_failures += 1
                log.exception("after-connect call failed failures=%s", self.counts.handler_failures)

    def _prove_shared_subscription(self, connection: int) -> None:
        # One broker grants `$share` and never delivers, so only an arrived message counts as an offer.
        probe = self._probe
        self._client.subscribe(_SHARE + probe.topic, qos=1)
        self._client.publish(probe.topic, b"probe", qos=1)
        is_delivered = probe.delivered.wait(_PROBE_S)
        self._client.unsubscribe(_SHARE + probe.topic)
        if not is_delivered or connection != self._connection:
            log.info("shared subscription delivered nothing: reports are subscribed plainly")
            return
        # The shared one first: for a moment reports come twice, which counts once; a gap would cost a resend.
        self._client.subscribe(_SHARE + every_station(Channel.REPORT), qos=1)
        self._client.unsubscribe(every_station(Channel.REPORT))
        self.is_shared = True
        log.info("shared subscription proved: reports are shared between ingest workers")

    def _disconnected(
        self,
        _client: paho.Client,
        _userdata: Any,
        _flags: paho.DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._connection += 1
        self.counts.disconnects += 1
        if reason.is_failure:
            log.warning("broker lost url=%s reason=%s; trying again", without_login(self._settings.url), reason)

    def _received(self, client: paho.Client, _userdata: Any, message: paho.MQTTMessage) -> None:
        connection, mid, qos = self._connection, message.mid, message.qos

        def acknowledge() -> None:
            if qos and connection == self._connection:
                client.ack(mid, qos)

        topic = message.topic
        if topic == self._probe.topic:
            self._probe.delivered.set()
            acknowledge()
            return
        self.counts.received += 1
        channel = _channel_of(topic)
        handler = None if channel is None else self._handlers.get(channel)
        if handler is None:
            acknowledge()
            return
        try:
            handler(Delivery(topic, bytes(message.payload), message.retain, acknowledge))
        except Exception:
            # A handler that fails must not end the network thread; unacknowledged, the message comes again.
            self.counts.handler_failures += 1
            log.exception("handler failed topic=%s failures=%s", topic, self.counts.handler_failures)


def _channel_of(topic: str) -> Channel | None:
    """The channel, even when the address in the topic is not one of ours: such a message is for the quarantine."""
    try:
        return Channel(topic.rpartition("/")[2]) if topic.startswith(ROOT) else None
    except ValueError:
        return None
