# SPDX-License-Identifier: Apache-2.0
"""A broker in memory and a `MessageBus` on it. The same battery runs on it and on PahoBus with mosquitto.

Delivers on one thread per bus, in order, as paho does. Retains, keeps last wills, can be stopped, started
and told to lose messages.
"""

import logging
import queue
import threading
from collections.abc import Callable
from functools import partial

from edge_agent.reporting.bus import BusCounters, Handler

_log = logging.getLogger(__name__)
Losing = Callable[[str, bytes], bool]


def matches(wanted: str, topic: str) -> bool:
    """Whether an MQTT subscription filter covers a topic."""
    levels, given = wanted.split("/"), topic.split("/")
    for index, level in enumerate(levels):
        if level == "#":
            return True
        if index >= len(given) or level not in ("+", given[index]):
            return False
    return len(levels) == len(given)


class FakeBroker:
    """Routes between its buses. `loses(topic, payload)` True swallows a message after it was handed over."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.is_up = True
        self.retained: dict[str, bytes] = {}
        self.log: list[tuple[str, bytes]] = []
        self.loses: Losing = lambda _topic, _payload: False
        self._buses: list[FakeBus] = []

    def attach(self, bus: "FakeBus") -> None:
        """A bus wants to be connected from now on."""
        with self.lock:
            if bus not in self._buses:
                self._buses.append(bus)
            if self.is_up:
                bus.link_up()

    def detach(self, bus: "FakeBus") -> None:
        """A clean disconnect: no last will."""
        with self.lock:
            if bus in self._buses:
                self._buses.remove(bus)
            bus.link_down()

    def vanish(self, bus: "FakeBus") -> None:
        """The client died: its last will is published."""
        with self.lock:
            self.detach(bus)
            if bus.last_will is not None:
                self.route(bus.last_will[0], bus.last_will[1], retain=True)

    def go_down(self, *, forget_retained: bool = False) -> None:
        """Stop; every link breaks."""
        with self.lock:
            self.is_up = False
            if forget_retained:
                self.retained.clear()
            for bus in self._buses:
                bus.link_down()

    def come_up(self) -> None:
        """Start again; every bus reconnects and subscribes anew."""
        with self.lock:
            self.is_up = True
            for bus in self._buses:
                bus.link_up()

    def route(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Deliver to every subscriber; an empty retained payload clears the topic."""
        with self.lock:
            self.log.append((topic, payload))
            if retain and payload:
                self.retained[topic] = payload
            elif retain:
                self.retained.pop(topic, None)
            if self.loses(topic, payload):
                return
            for bus in self._buses:
                bus.deliver(topic, payload)

    def published(self, topic: str) -> list[bytes]:
        """Payloads handed over on a topic so far, lost ones included, oldest first."""
        with self.lock:
            return [payload for name, payload in self.log if name == topic]


class FakeBus:
    """`MessageBus` on a `FakeBroker`."""

    def __init__(self, broker: FakeBroker, last_will: tuple[str, bytes] | None = None) -> None:
        self.counters = BusCounters()
        self.last_will = last_will
        self._broker = broker
        self._handlers: dict[str, list[Handler]] = {}
        self._callbacks: list[Callable[[], None]] = []
        self._connected = threading.Event()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="fake-bus", daemon=True)
        self._thread.start()
        self._broker.attach(self)

    def stop(self) -> None:
        self._broker.detach(self)
        self._work.put(None)
        if self._thread is not None and threading.current_thread() is not self._thread:
            self._thread.join()

    @property
    def is_connected(self) -> bool:
        return self._connected.is_set()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        del qos
        with self._broker.lock:
            if not self._connected.is_set():
                self.counters.refused += 1
                return False
            self.counters.published += 1
            self._broker.route(topic, payload, retain=retain)
            return True

    def subscribe(self, topic: str, handler: Handler) -> None:
        with self._broker.lock:
            self._handlers.setdefault(topic, []).append(handler)
            if self._connected.is_set():
                self._send_retained(topic)

    def on_connect(self, callback: Callable[[], None]) -> None:
        with self._broker.lock:
            self._callbacks.append(callback)
            if self._connected.is_set():
                self._work.put(callback)

    def link_up(self) -> None:
        """The broker took us: called under its lock."""
        if self._connected.is_set():
            return
        self._connected.set()
        self.counters.connects += 1
        for callback in self._callbacks:
            self._work.put(callback)
        for topic in self._handlers:
            self._send_retained(topic)

    def link_down(self) -> None:
        """The link broke: called under the broker's lock."""
        self._connected.clear()

    def deliver(self, topic: str, payload: bytes) -> None:
        """A message from the broker: called under its lock, handled on our thread."""
        if not self._connected.is_set():
            return
        for wanted, handlers in self._handlers.items():
            if matches(wanted, topic):
                for handler in handlers:
                    self._work.put(partial(self._receive, handler, topic, payload))

    def _send_retained(self, wanted: str) -> None:
        for topic, payload in self._broker.retained.items():
            if matches(wanted, topic):
                for handler in self._handlers[wanted]:
                    self._work.put(partial(self._receive, handler, topic, payload))

    def _receive(self, handler: Handler, topic: str, payload: bytes) -> None:
        self.counters.received += 1
        handler(topic, payload)

    def _run(self) -> None:
        while (call := self._work.get()) is not None:
            try:
                call()
            except Exception:  # noqa: BLE001 - as PahoBus does
                self.counters.handler_errors += 1
                _log.exception("fake bus handler failed")
