# SPDX-License-Identifier: Apache-2.0
"""The gateway on real brokers: who really delivers shared subscriptions, and that acknowledgement is ours to give."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from central.messaging.gateway import Delivery, Gateway
from central.settings import BrokerSettings
from contracts.topics import Channel, topic
from plant.processes.broker import BrokerKind, BrokerPlan, find_mosquitto
from tests.central.conftest import STATION
from tests.central.ingest.brokers import start_broker, wait_until

REPORT = topic(STATION, Channel.REPORT)


@pytest.fixture(name="plan", params=[pytest.param("mosquitto", marks=pytest.mark.broker), "amqtt"])
def _plan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BrokerPlan]:
    kind = BrokerKind(request.param)
    if kind is BrokerKind.MOSQUITTO and find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    plan, process = start_broker(kind, tmp_path)
    yield plan
    process.kill()


class Reader:
    """A gateway whose deliveries are kept and acknowledged only when told."""

    def __init__(self, plan: BrokerPlan) -> None:
        self.deliveries: list[Delivery] = []
        self.is_settled = threading.Event()
        self.gateway = Gateway(BrokerSettings(url=plan.url, username=plan.username, password=plan.password))
        self.gateway.on(Channel.REPORT, self.deliveries.append)
        self.gateway.on(Channel.STATUS, self._acknowledge)
        self.gateway.on_connected(self.is_settled.set)
        self.gateway.start()
        assert self.is_settled.wait(30), "the gateway did not connect"

    def _acknowledge(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        delivery.acknowledge()

    @property
    def payloads(self) -> set[bytes]:
        return {delivery.payload for delivery in self.deliveries}


@pytest.fixture(name="sender")
def _sender(plan: BrokerPlan) -> Iterator[paho.Client]:
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="station")
    client.username_pw_set(plan.username, plan.password)
    client.connect("127.0.0.1", plan.port)
    client.loop_start()
    yield client
    client.disconnect()
    client.loop_stop()


def _send(client: paho.Client, name: str, payload: bytes, **how: Any) -> None:
    client.publish(name, payload, qos=1, **how).wait_for_publish(20)


def _wait_for_hand_over(readers: list[Reader], sender: paho.Client) -> None:
    """Until the plain subscriptions are gone: while they go, a report may reach two workers, which counts once."""
    for number in range(100):
        report, fence = f"early {number}".encode(), f"fence {number}".encode()
        _send(sender, REPORT, report)
        # Both get the fence, and only after the report if they got that.
        _send(sender, topic(STATION, Channel.STATUS), fence)
        wait_until(lambda fence=fence: all(fence in reader.payloads for reader in readers), lambda: "no fence")  # type: ignore[misc]
        if sum(report in reader.payloads for reader in readers) == 1:
            return
    raise AssertionError("reports still reach both workers")


def test_shared_subscription_is_used_only_where_it_delivers(
    plan: BrokerPlan, sender: paho.Client, request: pytest.FixtureRequest
) -> None:
    readers = [Reader(plan), Reader(plan)]
    try:
        is_shared = plan.kind is BrokerKind.MOSQUITTO
        assert [reader.gateway.is_shared for reader in readers] == [is_shared, is_shared]
        if is_shared:
            _wait_for_hand_over(readers, sender)
        sent = {f"report {number}".encode() for number in range(20)}
        for payload in sorted(sent):
            _send(sender, REPORT, payload)
        # Whatever the broker offers, every report reaches an ingest worker; shared, each reaches exactly one.
        wait_until(lambda: sent <= readers[0].payloads | readers[1].payloads, lambda: request.node.name)
        if is_shared:
            assert readers[0].payloads & readers[1].payloads & sent == set()
            assert readers[0].payloads & sent
            assert readers[1].payloads & sent
    finally:
        for reader in readers:
            reader.gateway.stop()


def test_retained_status_reaches_a_gateway_that_comes_later(plan: BrokerPlan, sender: paho.Client) -> None:
    _send(sender, topic(STATION, Channel.STATUS), b"status", retain=True)
    reader = Reader(plan)
    try:
        wait_until(lambda: reader.payloads == {b"status"}, lambda: str(reader.payloads))
        assert reader.deliveries[0].is_retained
    finally:
        reader.gateway.stop()


def test_late_acknowledgement_of_an_earlier_connection_is_not_sent(plan: BrokerPlan, sender: paho.Client) -> None:
    reader = Reader(plan)
    try:
        _send(sender, REPORT, b"one")
        wait_until(lambda: reader.payloads == {b"one"}, lambda: str(reader.payloads))
        delivery = reader.deliveries[0]
        reader.is_settled.clear()
        sent: list[int] = []
        acknowledge = reader.gateway._client.ack

        def watched(mid: int, qos: int) -> Any:
            sent.append(mid)
            return acknowledge(mid, qos)

        reader.gateway._client.ack = watched  # type: ignore[method-assign]
        reader.gateway._client.reconnect()
        assert reader.is_settled.wait(30)
        sent.clear()
        delivery.acknowledge()
        assert sent == []
        _send(sender, REPORT, b"two")
        wait_until(lambda: b"two" in reader.payloads, lambda: str(reader.payloads))
        next(item for item in reader.deliveries if item.payload == b"two").acknowledge()
        assert len(sent) == 1
    finally:
        reader.gateway.stop()


def test_handler_that_fails_does_not_end_the_connection(plan: BrokerPlan, sender: paho.Client) -> None:
    reader = Reader(plan)

    def failing(delivery: Delivery) -> None:
        if delivery.payload == b"bad":
            raise RuntimeError("handler is broken")
        reader.deliveries.append(delivery)

    reader.gateway.on(Channel.REPORT, failing)
    try:
        _send(sender, REPORT, b"bad")
        _send(sender, REPORT, b"good")
        wait_until(lambda: b"good" in reader.payloads, lambda: str(reader.payloads))
        assert reader.gateway.counts.handler_failures == 1
    finally:
        reader.gateway.stop()


def test_gateway_without_a_broker_keeps_trying_and_says_so() -> None:
    gateway = Gateway(BrokerSettings(url="mqtt://127.0.0.1:1"))
    gateway.start()
    try:
        assert not gateway.is_connected
        # Taken for later: paho sends it once connected. At most once and fleeting is dropped.
        assert gateway.publish("sightline/v1/a/b/c/receipt", b"x")
        assert not gateway.publish("sightline/v1/a/b/c/receipt", b"x", qos=0)
        assert gateway.counts.publish_dropped == 1
    finally:
        gateway.stop()
