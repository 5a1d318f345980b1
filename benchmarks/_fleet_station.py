# SPDX-License-Identifier: Apache-2.0
"""A station of the fleet benchmark: the real package installer on a light bus, heartbeats, reports; no camera.

Real: the assignment's envelope opened, verified and kept on disk, TUF metadata and files fetched and verified by a
client of the station's own, store, self-test, switch, every package status, a broker connection with its last will.
Played: the graph (its formula in numpy instead of ONNX Runtime), the line (a part every so often, reported once and
not kept in an outbox), the heartbeat (a typical status). One loop serves the connections of all stations of a process;
each station has one thread more, its installer's. Used by `_fleet_player`.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import paho.mqtt.client as mqtt
from numpy.typing import NDArray
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import encode
from contracts.ids import StationAddress
from contracts.manifest import PackageManifest
from contracts.reports import InspectionReported, InspectionsReported, StageLatency, StationReported
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, PackageState, SignalState, StationState, Variant, Verdict, VerdictCause
from edge_agent.clock import SystemClock
from edge_agent.inference.session import Inference, InferenceSession
from edge_agent.inference.shadow import Shadow
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime
from edge_agent.packages.download import Transfer
from edge_agent.packages.fetch import PackageFetcher, TufPackageFetcher, untold
from edge_agent.packages.installer import PackageInstaller
from edge_agent.packages.store import PackageStore
from edge_agent.packages.trust import Signatory
from edge_agent.reporting.bus import BrokerAddress, Handler, client_id
from tests.edge.tiny_package import EMBEDDING, HEATMAP_PX

PRODUCT: Final = "ring"
_PROVIDER: Final = "CPUExecutionProvider"
_MAX_PACKAGE_BYTES: Final = 2**20
# As a station's.
_KEEPALIVE_S: Final = 15
_DOWN: Final = (Channel.ASSIGNMENT, Channel.RECIPES, Channel.COMMAND, Channel.RECEIPT)


@dataclass
class Traffic:
    """What crossed a station's link: topics and payloads of MQTT messages, bodies of HTTP answers."""

    messages_up: int = 0
    bytes_up: int = 0
    messages_down: int = 0
    bytes_down: int = 0
    requests: int = 0
    http_bytes: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, **counts: int) -> None:
        """Raise these counts."""
        with self.lock:
            for name, count in counts.items():
                setattr(self, name, getattr(self, name) + count)

    def told(self) -> dict[str, int]:
        """As JSON."""
        with self.lock:
            return {name: value for name, value in vars(self).items() if name != "lock"}


class LightBus:
    """`MessageBus` on paho without a thread of its own: the loop reads and writes for it."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, station: StationAddress, login: tuple[str, str, str], traffic: Traffic
    ) -> None:
        url, username, password = login
        self._loop = loop
        self._traffic = traffic
        self._broker = BrokerAddress.parse(url)
        self._handlers: dict[str, Handler] = {}
        self._callbacks: list[Callable[[], None]] = []
        self.is_connected = False
        self.disconnects = 0
        self._client = client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id(station), protocol=mqtt.MQTTv311)
        client.username_pw_set(username, password)
        will = StationReported(station=station, at=datetime.now(UTC), is_connected=False, state=StationState.HALTED)
        client.will_set(topic(station, Channel.STATUS), encode(will), qos=1, retain=True)
        client.max_inflight_messages_set(200)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_message = self._arrived
        client.on_socket_open = lambda _client, _data, sock: loop.add_reader(sock, client.loop_read)
        client.on_socket_close = lambda _client, _data, sock: _quietly(loop.remove_reader(sock))
        client.on_socket_register_write = lambda _client, _data, sock: loop.add_writer(sock, client.loop_write)
        client.on_socket_unregister_write = lambda _client, _data, sock: _quietly(loop.remove_writer(sock))

    def start(self) -> None:
        """Connect; on the loop's thread."""
        self._client.connect(self._broker.host, self._broker.port, keepalive=_KEEPALIVE_S)

    def stop(self) -> None:
        """Say goodbye; on the loop's thread."""
        self._client.disconnect()

    def tend(self) -> None:
        """Keepalive; once a second, on the loop's thread."""
        self._client.loop_misc()

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        """Hand over to the loop."""
        if not self.is_connected:
            return False
        self._traffic.add(messages_up=1, bytes_up=len(topic) + len(payload))
        self._loop.call_soon_threadsafe(lambda: self._client.publish(topic, payload, qos=qos, retain=retain))
        return True

    def subscribe(self, topic: str, handler: Handler) -> None:
        """Before `start`."""
        self._handlers[topic] = handler

    def on_connect(self, callback: Callable[[], None]) -> None:
        """Before `start`."""
        self._callbacks.append(callback)

    def _connected(self, client: mqtt.Client, *_rest: Any) -> None:
        client.subscribe([(topic, 1) for topic in self._handlers])
        self.is_connected = True
        for callback in self._callbacks:
            callback()

    def _disconnected(self, *_rest: Any) -> None:
        self.is_connected = False
        self.disconnects += 1

    def _arrived(self, _client: mqtt.Client, _user: Any, message: mqtt.MQTTMessage) -> None:
        self._traffic.add(messages_down=1, bytes_down=len(message.topic) + len(message.payload))
        self._handlers[message.topic](message.topic, bytes(message.payload))


def _quietly(_was_there: bool) -> None:
    """The loop tells whether it knew the socket; nobody asks."""


class PlayedSession:
    """The graph of `tests.edge.tiny_package` as a formula: the mean brightness."""

    provider = _PROVIDER

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        """Judge one image."""
        score = float(image_bgr.mean() / 255)
        heatmap = np.full((HEATMAP_PX, HEATMAP_PX), score, np.float32)
        return Inference(score, heatmap, np.full(EMBEDDING, score, np.float32))


def _open(path: Path, *, provider: str, threads: int) -> InferenceSession:
    del path, provider, threads
    return PlayedSession()


class InTurns:
    """A `PackageFetcher` that waits for its turn: few cores play all stations, real ones have their own."""

    def __init__(self, fetcher: PackageFetcher, turns: threading.Semaphore) -> None:
        self._fetcher = fetcher
        self._turns = turns

    def fetch(
        self,
        package_id: str,
        product: str,
        folder: Path,
        choose: Callable[[PackageManifest], list[Variant]],
        is_called_off: Callable[[], bool],
        *,
        have: Sequence[Path] = (),
        is_urgent: bool = False,
        on_progress: Callable[[Transfer], None] = untold,
    ) -> PackageManifest:
        """See `PackageFetcher`."""
        with self._turns:
            return self._fetcher.fetch(
                package_id,
                product,
                folder,
                choose,
                is_called_off,
                have=have,
                is_urgent=is_urgent,
                on_progress=on_progress,
            )

    def check_published(self, package_id: str, product: str, is_called_off: Callable[[], bool]) -> None:
        """See `PackageFetcher`."""
        with self._turns:
            self._fetcher.check_published(package_id, product, is_called_off)


@dataclass(frozen=True)
class Plant:
    """What all stations of a process share. `login`: broker URL, user, password. `turns`: downloads at once."""

    loop: asyncio.AbstractEventLoop
    login: tuple[str, str, str]
    central_url: str
    token: str
    root: bytes
    assignment_key: Signatory
    folder: Path
    turns: threading.Semaphore
    heartbeat_s: float
    part_s: float
    traffic: Traffic


@dataclass
class Moments:
    """When a station said what of the package that it was last assigned, monotonic s."""

    number: int = 0
    told: dict[int, float] = field(default_factory=dict)
    active: dict[int, tuple[float, str]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


class PlayedStation:
    """One station; see the module."""

    def __init__(self, plant: Plant, address: StationAddress) -> None:
        self.address = address
        self.moments = Moments()
        self._plant = plant
        self._sequence = 0
        self._epoch = int(time.time() * 1e3)
        self._folder = plant.folder / address.station
        self.bus = LightBus(plant.loop, address, plant.login, plant.traffic)
        self._slots = PackageSlots()
        clock = SystemClock()
        self._fetcher = TufPackageFetcher(
            plant.central_url,
            plant.token,
            root=plant.root,
            metadata_dir=self._folder / "trust" / "tuf",
            clock=clock,
            max_package_bytes=_MAX_PACKAGE_BYTES,
        )
        self.installer = PackageInstaller(
            address,
            bus=_Overheard(self.bus, self._heard),
            clock=clock,
            slots=self._slots,
            store=PackageStore(self._folder / "packages", max_package_bytes=_MAX_PACKAGE_BYTES),
            fetcher=InTurns(self._fetcher, plant.turns),
            accepted=AcceptedAssignment(self._folder / "trust" / "assignment.json", plant.assignment_key),
            assignment_key=plant.assignment_key,
            runtime=Runtime(_PROVIDER, variant=Variant.FP32.value, open_session=_open, available=lambda: [_PROVIDER]),
            shadow=Shadow(clock, waiting=lambda: 0, ask_picture=lambda _inspection: None),
        )

    async def live(self, phase: float) -> None:
        """Connect, then beat and make parts until cancelled. `phase`: 0 to 1, so that not all beat at once."""
        for channel in _DOWN[1:]:
            self.bus.subscribe(topic(self.address, channel), lambda _topic, _payload: None)
        self.installer.start()
        self.bus.start()
        await asyncio.gather(
            self._every(self._plant.heartbeat_s, phase, self._beat), self._every(self._plant.part_s, phase, self._part)
        )

    def stop(self) -> None:
        """End the installer; the bus is the loop's."""
        self.installer.stop()
        self._fetcher.close()

    async def _every(self, period_s: float, phase: float, do: Callable[[], None]) -> None:
        if period_s <= 0:
            return
        due_s = time.monotonic() + phase * period_s
        while True:
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            do()
            # What a busy machine was late with is not made up for.
            due_s = max(due_s + period_s, time.monotonic())

    def _beat(self) -> None:
        status = StationReported(
            station=self.address,
            at=datetime.now(UTC),
            is_connected=True,
            state=StationState.INSPECTING,
            epoch=self._epoch,
            agent_version="0",
            active=self._slots.snapshot(),
            parts_total=self._sequence,
            verdict_counts={Verdict.OK: self._sequence},
            parts_per_minute=60 / self._plant.part_s if self._plant.part_s > 0 else 0.0,
            is_simulated=True,
        )
        self.bus.publish(topic(self.address, Channel.STATUS), encode(status), qos=1, retain=True)

    def _part(self) -> None:
        loaded = self._slots.active(PRODUCT)
        if loaded is None:
            return
        self._sequence += 1
        report = InspectionReported(
            sequence=self._sequence,
            trigger_number=self._sequence,
            product=PRODUCT,
            captured_at=datetime.now(UTC),
            verdict=Verdict.OK,
            cause=VerdictCause.SCORE,
            score=0.2,
            ok_limit=0.3,
            ng_limit=0.6,
            package_id=loaded.package_id,
            variant=loaded.variant,
            provider=_PROVIDER,
            disposition=Disposition.PASSED,
            signal=SignalState.SENT,
            latency=StageLatency(infer_ms=5.0, verdict_ms=8.0, reject_ms=8.5),
            is_simulated=True,
        )
        message = InspectionsReported(station=self.address, epoch=self._epoch, reports=[report])
        self.bus.publish(topic(self.address, Channel.REPORT), encode(message), qos=1)

    def _heard(self, payload: bytes) -> None:
        """A package status leaves: what it says for the first time is noted."""
        now, said = time.monotonic(), json.loads(payload)
        number = int(said["assignment_number"])
        if number > self.moments.number:
            self.moments.number = number
            self.moments.told[number] = now
        if said.get("refused"):
            self.moments.faults.append(str(said.get("detail")))
        for row in said["packages"]:
            if row["state"] == PackageState.ACTIVE.value:
                # The first word on a new assignment still names the package of before.
                if self.moments.active.get(number, (0.0, ""))[1] != row["package_id"]:
                    self.moments.active[number] = (now, row["package_id"])
            elif row.get("reason"):
                self.moments.faults.append(f"{row['state']} {row['reason']} {row.get('detail')}")


class _Overheard:
    """The station's bus, with an ear on the package status."""

    def __init__(self, bus: LightBus, hear: Callable[[bytes], None]) -> None:
        self._bus = bus
        self._hear = hear
        self.start, self.stop = bus.start, bus.stop
        self.subscribe, self.on_connect = bus.subscribe, bus.on_connect

    @property
    def is_connected(self) -> bool:
        return self._bus.is_connected

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> bool:
        if topic.endswith(f"/{Channel.PACKAGE_STATUS.value}"):
            self._hear(payload)
        return self._bus.publish(topic, payload, qos=qos, retain=retain)
