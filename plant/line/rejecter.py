# SPDX-License-Identifier: Apache-2.0
"""The gate at the end of the line: passes a part only on an explicit PASSED in time, else diverts it.

The rule (`FailSafeGate`) is pure, with time as a parameter; `RejectListener` feeds it from the reject topics of
a broker. It counts what really went down the line, independently of what stations report, so that "never
passed silently" can be proved from outside. Knows no truth. Used by the `sightline` command and by tests.
"""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import urlsplit

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import CodecError, decode
from contracts.commands import RejectSignal
from contracts.ids import StationAddress
from contracts.topics import Channel, every_station
from contracts.vocabulary import Disposition, Verdict

_log = logging.getLogger(__name__)
_MAX_WAITING: Final = 10_000
# Process starts of all stations that are remembered, oldest forgotten first.
_MAX_EPOCHS: Final = 1000
_TICK_S: Final = 0.05


class GateMove(StrEnum):
    """What the gate did with a part, and why."""

    PASSED = "PASSED"
    DIVERTED = "DIVERTED"
    # No word in time: the fail-safe case.
    DIVERTED_SILENCE = "DIVERTED_SILENCE"


@dataclass(frozen=True)
class PassingWord:
    """The word on which a part passed: the epoch and verdict it carried, and when it came (monotonic seconds)."""

    epoch: int
    verdict: Verdict
    at: float


@dataclass(frozen=True)
class GateCounts:
    """passed + diverted + diverted_silence + waiting = triggers.

    too_late: signals for parts that had been diverted already. unexpected: signals for triggers that the gate
    did not see, or a second one for the same part. unreadable: messages that were no signal.
    """

    triggers: int
    passed: int
    diverted: int
    diverted_silence: int
    waiting: int
    too_late: int
    unexpected: int
    unreadable: int
    forgotten: int = 0


class FailSafeGate:
    """The rule for the parts of all stations. Times are monotonic seconds, given by the caller. Thread-safe."""

    def __init__(self, window_s: float, remembered: int = _MAX_WAITING) -> None:
        self._window_s, self._remembered = window_s, remembered
        self._lock = threading.Lock()
        self._waiting: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._moves: OrderedDict[tuple[str, int], GateMove] = OrderedDict()
        self._words: dict[tuple[str, int], PassingWord] = {}
        self._last_heard: OrderedDict[tuple[str, int], float] = OrderedDict()
        self._counts = dict.fromkeys(
            (
                "triggers", "passed", "diverted", "diverted_silence", "too_late", "unexpected", "unreadable",
                "forgotten",
            ),
            0,
        )  # fmt: skip

    def trigger(self, station: StationAddress, trigger_number: int, at: float) -> None:
        """A part left the camera and will reach the gate after the window."""
        with self._lock:
            self._counts["triggers"] += 1
            self._waiting[str(station), trigger_number] = at + self._window_s
            while len(self._waiting) > self._remembered:
                # Bounded: the oldest part is decided now, on the safe side.
                oldest, _ = self._waiting.popitem(last=False)
                self._decide(oldest, GateMove.DIVERTED_SILENCE)

    def signal(self, signal: RejectSignal, at: float) -> GateMove | None:
        """A station's word. Returns what it decided; None when it came too late, twice, or for no part."""
        if signal.trigger_number is None:
            with self._lock:
                self._counts["unexpected"] += 1
            return None
        key = (str(signal.station), signal.trigger_number)
        with self._lock:
            self._hear(key[0], signal.epoch, at)
            due = self._waiting.get(key)
            if due is None:
                is_late = self._moves.get(key) is GateMove.DIVERTED_SILENCE
                self._counts["too_late" if is_late else "unexpected"] += 1
                return None
            del self._waiting[key]
            if at > due:
                self._counts["too_late"] += 1
                self._decide(key, GateMove.DIVERTED_SILENCE)
                return None
            is_passed = signal.disposition is Disposition.PASSED
            move = GateMove.PASSED if is_passed else GateMove.DIVERTED
            self._decide(key, move)
            if is_passed:
                self._words[key] = PassingWord(signal.epoch, signal.verdict, at)
            return move

    def unreadable(self) -> None:
        """A message came that is no signal. It opens nothing."""
        with self._lock:
            self._counts["unreadable"] += 1

    def tick(self, at: float) -> None:
        """Divert every part that reached the gate without a word."""
        with self._lock:
            for key in [key for key, due in self._waiting.items() if at > due]:
                del self._waiting[key]
                self._decide(key, GateMove.DIVERTED_SILENCE)

    def move(self, station: str, trigger_number: int) -> GateMove | None:
        """What happened to one of the last parts; None while it is on its way."""
        with self._lock:
            return self._moves.get((station, trigger_number))

    def passing_word(self, station: str, trigger_number: int) -> PassingWord | None:
        """The word on which one of the last parts passed; None when it did not pass."""
        with self._lock:
            return self._words.get((station, trigger_number))

    def last_heard(self, station: str, epoch: int) -> float | None:
        """When a process start of a station was heard last, in monotonic seconds; None when it never was."""
        with self._lock:
            return self._last_heard.get((station, epoch))

    def counts(self) -> GateCounts:
        """Numbers since the start."""
        with self._lock:
            return GateCounts(waiting=len(self._waiting), **self._counts)

    def _decide(self, key: tuple[str, int], move: GateMove) -> None:
        self._counts[move.value.lower()] += 1
        self._moves[key] = move
        while len(self._moves) > self._remembered:
            forgotten, _ = self._moves.popitem(last=False)
            self._words.pop(forgotten, None)
            self._counts["forgotten"] += 1

    def _hear(self, station: str, epoch: int, at: float) -> None:
        self._last_heard[station, epoch] = at
        self._last_heard.move_to_end((station, epoch))
        while len(self._last_heard) > _MAX_EPOCHS:
            self._last_heard.popitem(last=False)


class RejectListener:
    """Feeds a gate from the reject topics of all stations, and lets its time pass.

    Hand `on_trigger` to the cameras. While the broker is away every part is diverted: that is the point.
    """

    def __init__(
        self,
        broker_url: str,
        window_s: float = 1.0,
        *,
        username: str | None = None,
        password: str | None = None,
        client_id: str = "plant-gate",
        remembered: int = _MAX_WAITING,
    ) -> None:
        self.gate = FailSafeGate(window_s, remembered)
        parts = urlsplit(broker_url)
        if parts.scheme not in {"mqtt", "mqtts"} or not parts.hostname:
            raise ValueError(f"broker: expected mqtt://host:port or mqtts://host:port, got {broker_url!r}")
        self._host, self._port = parts.hostname, parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id=client_id)
        if username is not None:
            self._client.username_pw_set(username, password)
        if parts.scheme == "mqtts":
            self._client.tls_set()
        self._client.reconnect_delay_set(1, 5)
        self._client.on_connect = self._subscribe
        self._client.on_message = self._receive
        self._is_listening = threading.Event()
        self._client.on_subscribe = lambda *_: self._is_listening.set()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._pass_time, name="gate", daemon=True)

    def start(self) -> None:
        """Connect in the background; a missing broker is no error."""
        self._client.connect_async(self._host, self._port, keepalive=10)
        self._client.loop_start()
        self._thread.start()

    def stop(self) -> None:
        """Leave the broker and stop the clock."""
        self._stopping.set()
        self._client.disconnect()
        self._client.loop_stop()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def wait_until_listening(self, timeout_s: float) -> bool:
        """Whether the broker has granted the subscription within this time."""
        return self._is_listening.wait(timeout_s)

    def on_trigger(self, station: StationAddress, trigger_number: int) -> None:
        """A part left a camera."""
        self.gate.trigger(station, trigger_number, time.monotonic())

    def _subscribe(self, client: mqtt.Client, *_: object) -> None:
        client.subscribe(every_station(Channel.REJECT), qos=0)

    def _receive(self, _client: mqtt.Client, _userdata: object, message: mqtt.MQTTMessage) -> None:
        at = time.monotonic()
        try:
            signal = decode(RejectSignal, bytes(message.payload))
        except CodecError as error:
            self.gate.unreadable()
            _log.warning("reject topic: %s", error)
            return
        self.gate.signal(signal, at)

    def _pass_time(self) -> None:
        while not self._stopping.wait(_TICK_S):
            self.gate.tick(time.monotonic())
