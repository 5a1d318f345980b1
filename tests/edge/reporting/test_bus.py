# SPDX-License-Identifier: Apache-2.0
"""One battery for every message bus: the fake one must behave as paho with a real broker does."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from edge_agent.reporting.bus import BrokerAddress, BusCounters, MessageBus, PahoBus
from tests.fakes.brokers import MOSQUITTO, Amqtt, Mosquitto, RealBroker
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.certificates import make_certificates
from tests.fakes.waiting import wait_until


class CountingBus(MessageBus, Protocol):
    """A bus that counts; both do."""

    counters: BusCounters


class World(Protocol):
    """A broker and buses on it."""

    def bus(self, name: str, last_will: tuple[str, bytes] | None = None) -> CountingBus: ...
    def stop_broker(self) -> None: ...
    def start_broker(self) -> None: ...
    def break_link(self, bus: CountingBus) -> None: ...
    def close(self) -> None: ...


class FakeWorld:
    def __init__(self) -> None:
        self._broker = FakeBroker()
        self._buses: list[FakeBus] = []

    def bus(self, name: str, last_will: tuple[str, bytes] | None = None) -> CountingBus:
        del name
        self._buses.append(FakeBus(self._broker, last_will))
        return self._buses[-1]

    def stop_broker(self) -> None:
        self._broker.go_down(forget_retained=True)

    def start_broker(self) -> None:
        self._broker.come_up()

    def break_link(self, bus: CountingBus) -> None:
        assert isinstance(bus, FakeBus)
        self._broker.vanish(bus)

    def close(self) -> None:
        for bus in self._buses:
            bus.stop()


class PahoWorld:
    def __init__(self, broker: RealBroker) -> None:
        self._broker = broker
        self._broker.start()
        self._buses: list[PahoBus] = []

    def bus(self, name: str, last_will: tuple[str, bytes] | None = None) -> CountingBus:
        broker = self._broker
        bus = PahoBus(broker.url, name, broker.username, broker.password, last_will=last_will, keepalive_s=5)
        self._buses.append(bus)
        return self._buses[-1]

    def stop_broker(self) -> None:
        self._broker.kill()

    def start_broker(self) -> None:
        self._broker.start()

    def break_link(self, bus: CountingBus) -> None:
        assert isinstance(bus, PahoBus)
        link = bus._client.socket()
        assert link is not None
        link.close()

    def close(self) -> None:
        for bus in self._buses:
            bus.stop()
        self._broker.kill()


@pytest.fixture(
    params=[
        "fake",
        pytest.param("mosquitto", marks=pytest.mark.broker),
        # Starts a Python process for each test.
        pytest.param("amqtt", marks=pytest.mark.slow),
    ]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    if request.param == "mosquitto" and MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    made: World
    if request.param == "fake":
        made = FakeWorld()
    else:
        made = PahoWorld(Amqtt(tmp_path) if request.param == "amqtt" else Mosquitto(tmp_path))
    yield made
    made.close()


class Ear:
    """Remembers what a handler was given."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.threads: set[int] = set()

    def __call__(self, topic: str, payload: bytes) -> None:
        self.threads.add(threading.get_ident())
        self.heard.append((topic, payload))


def connected(world: World, name: str, **more: tuple[str, bytes]) -> CountingBus:
    bus = world.bus(name, **more)
    bus.start()
    wait_until(lambda: bus.is_connected)
    return bus


@pytest.mark.parametrize("qos", [0, 1])
def test_message_reaches_its_subscribers_in_order_on_one_thread(world: World, qos: int) -> None:
    ear = Ear()
    listener = world.bus("listener")
    listener.subscribe("a/b", ear)
    listener.start()
    wait_until(lambda: listener.is_connected)
    sender = connected(world, "sender")
    wait_until(lambda: sender.publish("a/b", b"ping", qos=1) and bool(ear.heard))
    ear.heard.clear()
    for number in range(100):
        assert sender.publish("a/b", b"%d" % number, qos=qos)
    wait_until(lambda: len([one for one in ear.heard if one[1] != b"ping"]) == 100)
    assert [one for one in ear.heard if one[1] != b"ping"] == [("a/b", b"%d" % number) for number in range(100)]
    assert threading.get_ident() not in ear.threads
    assert len(ear.threads) == 1


def test_wildcards_and_several_handlers_are_served(world: World) -> None:
    plus, hash_, other = Ear(), Ear(), Ear()
    bus = connected(world, "one")
    bus.subscribe("site/+/report", plus)
    bus.subscribe("else/#", hash_)
    bus.subscribe("site/+/status", other)
    sender = connected(world, "two")
    wait_until(lambda: sender.publish("site/x/report", b"1", qos=1) and bool(plus.heard))
    wait_until(lambda: sender.publish("else/x/y", b"2", qos=1) and bool(hash_.heard))
    assert not other.heard
    assert plus.heard[0] == ("site/x/report", b"1")


def test_retained_message_reaches_a_late_subscriber_and_can_be_cleared(world: World) -> None:
    sender = connected(world, "sender")
    assert sender.publish("kept", b"old", qos=1, retain=True)
    assert sender.publish("kept", b"new", qos=1, retain=True)
    ear, later = Ear(), Ear()
    late = connected(world, "late")
    late.subscribe("kept", ear)
    wait_until(lambda: ("kept", b"new") in ear.heard)
    assert sender.publish("kept", b"", qos=1, retain=True)
    wait_until(lambda: ear.heard[-1][1] == b"")
    latest = connected(world, "latest")
    latest.subscribe("kept", later)
    latest.subscribe("probe", later)
    wait_until(lambda: sender.publish("probe", b"x", qos=1) and ("probe", b"x") in later.heard)
    assert ("kept", b"new") not in later.heard


def test_publish_while_disconnected_is_refused_and_counted(world: World) -> None:
    bus = world.bus("early")
    assert not bus.is_connected
    assert not bus.publish("a", b"1", qos=1)
    bus.start()
    wait_until(lambda: bus.is_connected)
    world.stop_broker()
    wait_until(lambda: not bus.is_connected)
    assert not bus.publish("a", b"1", qos=0)
    assert bus.counters.refused == 2


def test_missing_broker_at_start_is_no_error_and_the_bus_connects_later(world: World) -> None:
    world.stop_broker()
    bus, calls = world.bus("patient"), Ear()
    bus.on_connect(lambda: calls("", b""))
    bus.start()
    assert not bus.is_connected
    world.start_broker()
    wait_until(lambda: bus.is_connected and len(calls.heard) == 1)


def test_subscriptions_and_callbacks_are_renewed_after_a_broker_restart(world: World) -> None:
    ear, calls = Ear(), Ear()
    listener = connected(world, "listener")
    listener.subscribe("a", ear)
    listener.on_connect(lambda: calls("", b""))
    wait_until(lambda: len(calls.heard) == 1)
    sender = connected(world, "sender")
    wait_until(lambda: sender.publish("a", b"1", qos=1) and bool(ear.heard))
    world.stop_broker()
    wait_until(lambda: not listener.is_connected and not sender.is_connected)
    world.start_broker()
    wait_until(lambda: listener.is_connected and sender.is_connected and len(calls.heard) == 2)
    wait_until(lambda: sender.publish("a", b"2", qos=1) and ("a", b"2") in ear.heard)


def test_handler_that_fails_is_counted_and_the_bus_goes_on(world: World) -> None:
    ear = Ear()

    def fail(_topic: str, _payload: bytes) -> None:
        raise RuntimeError("on purpose")

    bus = connected(world, "one")
    bus.subscribe("a", fail)
    bus.subscribe("b", ear)
    wait_until(lambda: bus.publish("a", b"1", qos=1) and bus.counters.handler_errors > 0)
    wait_until(lambda: bus.publish("b", b"2", qos=1) and bool(ear.heard))
    assert bus.is_connected


def test_last_will_is_published_when_the_link_breaks_but_not_at_a_clean_stop(world: World) -> None:
    ear = Ear()
    listener = connected(world, "listener")
    listener.subscribe("will/+", ear)
    wait_until(lambda: listener.publish("will/probe", b"", qos=1) and bool(ear.heard))
    clean = connected(world, "clean", last_will=("will/clean", b"gone"))
    clean.stop()
    clean.stop()
    broken = connected(world, "broken", last_will=("will/broken", b"gone"))
    world.break_link(broken)
    wait_until(lambda: ("will/broken", b"gone") in ear.heard)
    assert ("will/clean", b"gone") not in ear.heard


def test_message_handed_over_before_stop_is_delivered(world: World) -> None:
    ear = Ear()
    listener = connected(world, "listener")
    listener.subscribe("a", ear)
    wait_until(lambda: listener.publish("a", b"probe", qos=1) and bool(ear.heard))
    sender = connected(world, "sender")
    assert sender.publish("a", b"last words", qos=1)
    sender.stop()
    wait_until(lambda: ("a", b"last words") in ear.heard)


def test_handler_may_publish_and_subscribe(world: World) -> None:
    ear = Ear()
    bus = connected(world, "one")

    def answer(_topic: str, payload: bytes) -> None:
        bus.subscribe("answer", ear)
        bus.publish("answer", payload, qos=1)

    bus.subscribe("question", answer)
    wait_until(lambda: bus.publish("question", b"?", qos=1) and ("answer", b"?") in ear.heard)


@pytest.mark.broker
def test_paho_bus_refuses_beyond_its_bound_of_pending_messages(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    broker = Mosquitto(tmp_path)
    broker.start()
    bus = PahoBus(broker.url, "bounded", max_pending=5)
    entered, release = threading.Event(), threading.Event()

    def hold(_topic: str, _payload: bytes) -> None:
        entered.set()
        release.wait(60)

    try:
        bus.subscribe("hold", hold)
        bus.start()
        wait_until(lambda: bus.publish("hold", b"", qos=1) and entered.wait(0.1))
        # The network thread stands still: acknowledgements are not read, so what is pending only grows.
        results = [bus.publish("a", b"x", qos=1) for _ in range(20)]
        assert not all(results)
        assert sum(results) <= 5
        release.set()
        wait_until(lambda: bus.publish("a", b"x", qos=1))
    finally:
        release.set()
        bus.stop()
        broker.kill()


@pytest.mark.broker
def test_paho_bus_speaks_tls_with_a_private_authority_and_a_client_certificate(tmp_path: Path) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    files = make_certificates(tmp_path)
    broker = Mosquitto(
        tmp_path,
        f"cafile {files.authority}",
        f"certfile {files.server}",
        f"keyfile {files.server_key}",
        "require_certificate true",
    )
    broker.start()
    url = f"mqtts://127.0.0.1:{broker.port}"
    bus = PahoBus(url, "tls", ca_file=files.authority, cert_file=files.client, key_file=files.client_key)
    stranger = PahoBus(url, "stranger", ca_file=files.authority)
    ear = Ear()
    try:
        stranger.start()
        bus.subscribe("a", ear)
        bus.start()
        wait_until(lambda: bus.publish("a", b"1", qos=1) and bool(ear.heard))
        assert not stranger.is_connected
    finally:
        bus.stop()
        stranger.stop()
        broker.kill()


@pytest.mark.broker
def test_paho_bus_with_a_wrong_password_stays_disconnected(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    if MOSQUITTO is None:
        pytest.skip("mosquitto is not installed")
    broker = Mosquitto(tmp_path, anonymous=False)
    broker.start()
    bus = PahoBus(broker.url, "stranger", "somebody", "wrong")
    try:
        bus.start()
        wait_until(lambda: "broker refused us" in caplog.text)
        assert not bus.is_connected
        assert not bus.publish("a", b"1", qos=1)
    finally:
        bus.stop()
        broker.kill()


def test_paho_bus_without_any_broker_starts_and_stops() -> None:
    bus = PahoBus("mqtt://127.0.0.1:1", "nobody")
    bus.start()
    assert not bus.publish("a", b"1")
    bus.stop()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", BrokerAddress("host", 1883, is_tls=False)),
        ("mqtts://host", BrokerAddress("host", 8883, is_tls=True)),
        ("mqtt://[::1]:99", BrokerAddress("::1", 99, is_tls=False)),
        ("mqtts://10.0.0.1:1", BrokerAddress("10.0.0.1", 1, is_tls=True)),
    ],
)
def test_broker_url_is_read(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected


@pytest.mark.parametrize("url", ["", "host", "http://host", "mqtt://", "mqtt://host:port", "mqtt://host:99999"])
def test_bad_broker_url_says_what_was_expected(url: str) -> None:
    with pytest.raises(ValueError, match="expected mqtt://host:port"):
        BrokerAddress.parse(url)
