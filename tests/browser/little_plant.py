# SPDX-License-Identifier: Apache-2.0
"""A real broker, central and dashboard with one station that the test itself plays.

The station reports parts by MQTT, answers requests for evidence by HTTP and says what it runs, all with the
project's own message shapes; nothing is written behind central's back. Used by the browser tests.
"""

from __future__ import annotations

import hashlib
import queue
import random
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from contracts.codec import decode, encode
from contracts.commands import RequestEvidence, StationCommand
from contracts.ids import InspectionId, StationAddress
from contracts.reports import (
    ActivePackage,
    EvidenceOffered,
    ImageMeasures,
    InspectionReported,
    InspectionsReported,
    LatencySummary,
    StageLatency,
    StationReported,
)
from contracts.topics import Channel, topic
from contracts.vocabulary import (
    Disposition,
    EvidenceKind,
    Role,
    SignalState,
    StationState,
    Variant,
    Verdict,
    VerdictCause,
)
from plant.processes.broker import LOOPBACK, BrokerKind, find_mosquitto
from plant.processes.site import Site, SiteOptions
from tests.dashboard.learning_story import OLD, PRODUCT
from tests.dashboard.plant_story import ring_picture

STATION = StationAddress(site="demo", line="line-1", station="st-1")
EPOCH = 1_770_000_000_000
PARTS = 240


class LittlePlant:
    """Start, report, answer, stop. Use as a context."""

    def __init__(self, folder: Path) -> None:
        kind = BrokerKind.MOSQUITTO if find_mosquitto() else BrokerKind.AMQTT
        central: dict[str, dict[str, Any]] = {
            "audit": {"period_s": 1.0, "accepted_share": 0.3, "lost_after_s": 600.0},
            "learning": {"is_automatic": False},
        }
        self.site = Site(SiteOptions(folder=folder, broker=kind, central=central))
        self._commands: queue.Queue[StationCommand] = queue.Queue()
        self._mqtt: mqtt.Client | None = None

    def __enter__(self) -> Self:
        try:
            self.site.start_broker()
            self.site.start_central()
            self.site.start_dashboard()
            self._connect()
        except BaseException:
            self.site.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mqtt is not None:
            self._mqtt.disconnect()
            self._mqtt.loop_stop()
        self.site.close()

    def api(self, role: Role = Role.ENGINEER) -> httpx.Client:
        """A plain client of central, for looking behind the pages."""
        return httpx.Client(
            base_url=f"{self.site.central_url}/api/v1",
            headers={"Authorization": f"Bearer {self.site.state.tokens[role.value]}"},
            timeout=20,
            trust_env=False,
        )

    def run_line(self) -> None:
        """Report parts, upload the NG ones' pictures, and bring the pictures that audits ask for."""
        self._status()
        reports = [_report(number) for number in range(1, PARTS + 1)]
        for first in range(0, PARTS, 60):
            batch = InspectionsReported(station=STATION, epoch=EPOCH, reports=reports[first : first + 60])
            self._publish(Channel.REPORT, encode(batch))
        with self.api() as api:
            until(
                lambda: [item["inspections"] for item in api.get("/stations").json()] == [PARTS], "reports are stored"
            )
        for report in [item for item in reports if item.verdict is Verdict.NG][-4:]:
            self._upload(report.sequence, is_defective=True)
        asked = self._commands.get(timeout=30)
        assert isinstance(asked.command, RequestEvidence)
        for key in asked.command.inspections[:8]:
            self._upload(key.sequence, is_defective=key.sequence % 3 == 0)
        with self.api() as api:
            until(lambda: api.get("/audits/summary").json()["open"] >= 3, "audits are open")

    def _connect(self) -> None:
        assert self.site.broker is not None
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="st-1")
        client.username_pw_set(self.site.broker.username, self.site.broker.password)
        client.on_message = lambda _c, _d, got: self._commands.put(decode(StationCommand, bytes(got.payload)))
        subscribed: queue.Queue[object] = queue.Queue()
        client.on_subscribe = lambda *_: subscribed.put(None)
        client.connect(LOOPBACK, self.site.broker.port)
        client.loop_start()
        self._mqtt = client
        client.subscribe(topic(STATION, Channel.COMMAND), qos=1)
        subscribed.get(timeout=20)

    def _publish(self, channel: Channel, payload: bytes, *, retain: bool = False) -> None:
        assert self._mqtt is not None
        self._mqtt.publish(topic(STATION, channel), payload, qos=1, retain=retain).wait_for_publish(20)

    def _status(self) -> None:
        latency = LatencySummary(count=PARTS, p50_ms=14, p99_ms=30, max_ms=41)
        active = ActivePackage(
            product=PRODUCT, package_id=OLD, variant=Variant.INT8_U8S8, provider="CPUExecutionProvider"
        )
        status = StationReported(
            station=STATION,
            at=datetime.now(UTC),
            is_connected=True,
            state=StationState.INSPECTING,
            epoch=EPOCH,
            active=[active],
            parts_total=PARTS,
            parts_per_minute=212,
            verdict_latency=latency,
            reject_latency=latency,
            is_simulated=True,
        )
        self._publish(Channel.STATUS, encode(status), retain=True)

    def _upload(self, sequence: int, *, is_defective: bool) -> None:
        crop, heat = ring_picture(sequence, with_scratch=is_defective)
        inspection = InspectionId(station=STATION, epoch=EPOCH, sequence=sequence)
        with self.api(Role.STATION) as api:
            for kind, content in ((EvidenceKind.CROP, crop), (EvidenceKind.HEATMAP, heat)):
                digest = hashlib.sha256(content).hexdigest()
                offered = EvidenceOffered(
                    inspection=inspection,
                    kind=kind,
                    sha256=digest,
                    size_bytes=len(content),
                    media_type="image/png",
                    is_simulated=True,
                )
                json_type = {"Content-Type": "application/json"}
                api.post("/evidence", content=encode(offered), headers=json_type).raise_for_status()
                sent = api.put(f"/evidence/{digest}", content=content, headers={"Upload-Offset": "0"})
                assert sent.status_code in {200, 409}, sent.text


def _report(number: int) -> InspectionReported:
    draw = random.Random(number)
    is_bad = number % 17 == 0
    score = draw.uniform(1.05, 1.4) if is_bad else draw.uniform(0.2, 0.6)
    return InspectionReported(
        sequence=number,
        trigger_number=number,
        part_id=f"p-{number}",
        product=PRODUCT,
        captured_at=datetime.now(UTC) - timedelta(seconds=(PARTS - number) * 0.3),
        verdict=Verdict.NG if is_bad else Verdict.OK,
        cause=VerdictCause.SCORE,
        score=score,
        ok_limit=0.8,
        ng_limit=1.0,
        defect_class="scratch" if is_bad else None,
        package_id=OLD,
        variant=Variant.INT8_U8S8,
        provider="CPUExecutionProvider",
        disposition=Disposition.REJECTED if is_bad else Disposition.PASSED,
        signal=SignalState.SENT,
        latency=StageLatency(verdict_ms=14, reject_ms=14.5),
        image=ImageMeasures(brightness=118, contrast=30, blur=200, colour=1),
        is_simulated=True,
    )


def until(condition: Callable[[], object], what: str, timeout_s: float = 60) -> None:
    """Poll until it is so.

    Raises:
        TimeoutError: it did not become so.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {timeout_s:.0f} s until {what}")
        time.sleep(0.1)
