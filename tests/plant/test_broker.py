# SPDX-License-Identifier: Apache-2.0
"""One battery for both brokers: what the plant needs of a broker, on a real connection."""

import dataclasses
import queue
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from plant.errors import ChildError, UsageError
from plant.processes.broker import (
    LOOPBACK,
    BrokerKind,
    BrokerPlan,
    broker_answers,
    choose_broker,
    find_mosquitto,
    free_port,
    plan_broker,
    require_free_port,
    wait_for_broker,
)
from plant.processes.supervisor import Supervisor

Eventually = Callable[[Callable[[], object], str], None]
BROKERS = [
    pytest.param(BrokerKind.AMQTT, id="amqtt"),
    pytest.param(
        BrokerKind.MOSQUITTO,
        id="mosquitto",
        marks=[
            pytest.mark.broker,
            pytest.mark.skipif(find_mosquitto() is None, reason="mosquitto is not installed on this machine"),
        ],
    ),
]


@pytest.fixture(name="plan", params=BROKERS)
def _plan(request: pytest.FixtureRequest, tmp_path: Path, supervisor: Supervisor) -> BrokerPlan:
    plan = plan_broker(request.param, free_port(), tmp_path / "broker")
    supervisor.start(plan.spec)
    wait_for_broker(plan)
    return plan


class _Client:
    """A client that collects what it receives."""

    def __init__(self, plan: BrokerPlan, subscription: str | None = None) -> None:
        self.received: queue.Queue[tuple[str, bytes, bool]] = queue.Queue()
        self._mqtt = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=f"test-{secrets.token_hex(4)}")
        self._mqtt.username_pw_set(plan.username, plan.password)
        self._mqtt.on_message = lambda _c, _d, got: self.received.put((got.topic, bytes(got.payload), got.retain))
        subscribed: queue.Queue[object] = queue.Queue()
        self._mqtt.on_subscribe = lambda *_: subscribed.put(None)
        self._mqtt.connect(LOOPBACK, plan.port)
        self._mqtt.loop_start()
        if subscription is not None:
            self._mqtt.subscribe(subscription, qos=1)
            subscribed.get(timeout=10)

    def publish(self, topic: str, payload: bytes, *, is_retained: bool = False) -> None:
        self._mqtt.publish(topic, payload, qos=1, retain=is_retained).wait_for_publish(10)

    def close(self) -> None:
        self._mqtt.disconnect()
        self._mqtt.loop_stop()


@pytest.fixture(name="connect")
def _connect(plan: BrokerPlan) -> Iterator[Callable[[str | None], _Client]]:
    clients: list[_Client] = []

    def connect(subscription: str | None) -> _Client:
        clients.append(_Client(plan, subscription))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


def test_message_reaches_a_subscriber(connect: Callable[[str | None], _Client]) -> None:
    subscriber, publisher = connect("sightline/v1/+/+/+/report"), connect(None)
    publisher.publish("sightline/v1/a/b/c/report", b"x" * 200_000)
    assert subscriber.received.get(timeout=10) == ("sightline/v1/a/b/c/report", b"x" * 200_000, False)


def test_retained_message_waits_for_a_late_subscriber(connect: Callable[[str | None], _Client]) -> None:
    connect(None).publish("sightline/v1/a/b/c/assignment", b"7", is_retained=True)
    assert connect("sightline/v1/a/b/c/assignment").received.get(timeout=10)[1:] == (b"7", True)


def test_many_messages_arrive_in_order(connect: Callable[[str | None], _Client]) -> None:
    subscriber, publisher = connect("sightline/v1/a/b/c/report"), connect(None)
    for index in range(500):
        publisher.publish("sightline/v1/a/b/c/report", str(index).encode())
    assert [int(subscriber.received.get(timeout=10)[1]) for _ in range(500)] == list(range(500))


def test_wrong_password_is_refused(plan: BrokerPlan) -> None:
    assert broker_answers(plan)
    assert not broker_answers(dataclasses.replace(plan, password="guess"))


def test_client_without_a_name_is_refused(plan: BrokerPlan) -> None:
    outcome: queue.Queue[bool] = queue.Queue()
    client = mqtt.Client(CallbackAPIVersion.VERSION2)
    client.on_connect = lambda _c, _d, _f, reason, _p: outcome.put(reason.is_failure)
    client.connect(LOOPBACK, plan.port)
    client.loop_start()
    assert outcome.get(timeout=10)
    client.disconnect()
    client.loop_stop()


def test_broker_answers_on_the_same_port_after_a_kill(
    plan: BrokerPlan, supervisor: Supervisor, eventually: Eventually
) -> None:
    supervisor.kill("broker")
    eventually(lambda: supervisor.restarts["broker"] == 1, "the broker was not started again")
    wait_for_broker(plan)


def test_password_survives_a_restart_of_the_plant(tmp_path: Path) -> None:
    first = plan_broker(BrokerKind.AMQTT, 1, tmp_path)
    assert plan_broker(BrokerKind.AMQTT, 2, tmp_path).password == first.password
    assert (tmp_path / "password").stat().st_mode & 0o077 == 0


def test_silent_port_is_reported_with_the_log_to_read(tmp_path: Path) -> None:
    plan = plan_broker(BrokerKind.AMQTT, free_port(), tmp_path)
    with pytest.raises(ChildError, match=r"amqtt broker did not answer.*broker\.log"):
        wait_for_broker(plan, timeout_s=0.1)


def test_unknown_broker_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="expected auto, mosquitto or amqtt, got 'rabbit'"):
        choose_broker("rabbit")


def test_taken_port_is_a_usage_error_that_names_the_option(plan: BrokerPlan) -> None:
    with pytest.raises(UsageError, match=rf"port {plan.port} cannot be used .*--broker-port"):
        require_free_port(plan.port, "--broker-port")


def test_free_ports_are_distinct_and_below_the_range_of_outgoing_connections() -> None:
    taken: set[int] = set()
    for _ in range(50):
        taken.add(free_port(taken))
    assert len(taken) == 50
    assert all(20_000 <= port < 32_768 for port in taken)


def test_no_free_port_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no free port"):
        free_port(frozenset(range(65_536)))
