# SPDX-License-Identifier: Apache-2.0
"""What each step of a rollout costs central as stations double, in processor time: settles what must be done in bulk.

Central's own services on a fresh SQLite file in this process; stations are messages handed to ingest, broker and HTTP
are left out. Processor seconds hardly depend on what else the machine does, so these say how cost grows where the times
of `fleet` cannot.
"""

import shutil
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks._fleet_player import address_of
from central.api.rollout_views import rollout_view
from central.collecting import collect_seldom
from central.domain.rollout_plan import RolloutPlan, WavePlan, WaveScope
from central.messaging.gateway import Delivery
from central.services.ingest import IngestService
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.moving import RolloutService
from central.settings import IngestSettings, RolloutSettings
from central.store.database import Database
from central.store.learning_tables import Package, Promotion, RolloutRow
from central.store.schema import migrate
from central.trust.enrolment import initialise_trust
from central.trust.keys import KeyName, load_signer
from contracts.base import Message
from contracts.codec import encode
from contracts.ids import StationAddress
from contracts.reports import (
    InspectionReported,
    InspectionsReported,
    PackageProgress,
    PackageStatus,
    StageLatency,
    StationReported,
)
from contracts.topics import Channel, topic
from contracts.vocabulary import (
    DetectorKind,
    Disposition,
    PackageState,
    PromotionOutcome,
    SignalState,
    StationState,
    Verdict,
    VerdictCause,
)

SIZES: Final = (250, 500, 1_000, 2_000)
_PRODUCT: Final = "ring"
_FIRST: Final = "a" * 64
_SECOND: Final = "b" * 64
_PARTS: Final = 3
_PLAN: Final = RolloutPlan(waves=(WavePlan(WaveScope.ALL, bake_parts=100_000),))


class _Clock:
    """Moves by a second with each tick."""

    def __init__(self) -> None:
        self.at = datetime(2026, 3, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


class _Silent:
    """Takes everything and drops it."""

    def __init__(self) -> None:
        self.published = 0

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        del topic, payload, qos, retain
        self.published += 1
        return True


def run(stations: int) -> dict[str, Any]:
    """Processor seconds of each step, for so many stations in one wave."""
    folder = Path(tempfile.mkdtemp(prefix="sightline-steps-"))
    # As central does; its threshold is that of this process from now on.
    collect_seldom()
    try:
        return _Bench(folder, stations).figures()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Bench:
    def __init__(self, folder: Path, stations: int) -> None:
        self._clock, self._publisher = _Clock(), _Silent()
        self._database = Database(f"sqlite:///{folder / 'central.db'}")
        migrate(self._database)
        initialise_trust(folder / "trust", self._clock.now())
        assigner = Assigner(
            self._database, self._publisher, load_signer(folder / "trust" / "keys", KeyName.ASSIGNMENT), 30.0
        )
        settings = RolloutSettings(is_automatic=False)
        self._rollouts = RolloutService(self._database, assigner, settings, 180.0, lambda: True)
        settings_of_ingest = IngestSettings(queue_messages=10 * stations)
        self._ingest = IngestService(self._database, self._publisher, settings_of_ingest, self._clock)
        self._stations = [address_of(number) for number in range(stations)]
        self._sequence = 0

    def figures(self) -> dict[str, Any]:
        """Play a first package, a second one, and its end."""
        self._register(_FIRST, _SECOND)
        self._beat()
        cpu_s = {"heartbeats": self._timed(self._beat)}
        cpu_s["start_first"] = self._start(_FIRST)[0]
        self._say(_FIRST, 1)
        # Active with the first, finished with the second.
        self._tick()
        self._tick()
        cpu_s["parts"] = self._timed(lambda: self._judge(_FIRST))
        cpu_s["start_second"], rollout_id = self._start(_SECOND)
        cpu_s["package_status"] = self._timed(lambda: self._say(_SECOND, 2))
        cpu_s["tick_active"] = self._timed(self._tick)
        self._judge(_SECOND)
        cpu_s["tick_parts"] = self._timed(self._tick)
        cpu_s["tick_nothing_new"] = self._timed(self._tick)
        cpu_s["view"] = self._timed(lambda: self._view(rollout_id))
        cpu_s["abort"] = self._timed(lambda: self._rollouts.abort(rollout_id, "benchmark", self._clock.now()))
        self._database.close()
        rounded = {name: round(seconds, 3) for name, seconds in cpu_s.items()}
        return {"stations": len(self._stations), "cpu_s": rounded, "published": self._publisher.published}

    def _timed(self, do: Callable[[], object]) -> float:
        began_s = time.process_time()
        do()
        return time.process_time() - began_s

    def _tick(self) -> None:
        self._clock.at += timedelta(seconds=1)
        self._rollouts.tick(self._clock.now())

    def _start(self, package_id: str) -> tuple[float, int]:
        rollout_id = self._rollouts.start(package_id, [], None, "benchmark", self._clock.now(), plan=_PLAN).rollout_id
        return self._timed(self._tick), rollout_id

    def _view(self, rollout_id: int) -> None:
        with self._database.read() as session:
            row = session.get_one(RolloutRow, rollout_id)
            shown = rollout_view(session, row, self._rollouts.policy_of(row))
        assert [each.parts_judged for each in shown.waves[0].stations] == [_PARTS] * len(self._stations)

    def _register(self, *package_ids: str) -> None:
        now = self._clock.now()
        with self._database.begin() as session:
            for package_id in package_ids:
                session.add(
                    Package(
                        package_id=package_id,
                        product=_PRODUCT,
                        detector=DetectorKind.MIXED,
                        created_at=now,
                        registered_at=now,
                        size_bytes=1,
                        manifest="{}",
                        is_simulated=True,
                    )
                )
                session.flush()
                session.add(Promotion(package_id=package_id, outcome=PromotionOutcome.PROMOTED, decided_at=now))

    def _take(self, channel: Channel, message_of: Callable[[StationAddress], Message]) -> None:
        for station in self._stations:
            payload = encode(message_of(station))
            delivery = Delivery(topic(station, channel), payload, is_retained=False, acknowledge=lambda: None)
            self._ingest.on_delivery(delivery)
        while self._ingest.ingest_waiting():
            pass

    def _beat(self) -> None:
        now = self._clock.now()

        def status(station: StationAddress) -> StationReported:
            return StationReported(
                station=station,
                at=now,
                is_connected=True,
                state=StationState.INSPECTING,
                parts_total=5,
                verdict_counts={Verdict.OK: 5},
                is_simulated=True,
            )

        self._take(Channel.STATUS, status)

    def _say(self, package_id: str, number: int) -> None:
        now = self._clock.now()
        row = PackageProgress(product=_PRODUCT, package_id=package_id, state=PackageState.ACTIVE, at=now)
        self._take(
            Channel.PACKAGE_STATUS,
            lambda station: PackageStatus(station=station, assignment_number=number, at=now, packages=[row]),
        )

    def _judge(self, package_id: str) -> None:
        now, first = self._clock.now(), self._sequence + 1
        self._sequence += _PARTS
        reports = [
            InspectionReported(
                sequence=first + index,
                product=_PRODUCT,
                captured_at=now,
                verdict=Verdict.OK,
                cause=VerdictCause.SCORE,
                score=0.2,
                ok_limit=0.3,
                ng_limit=0.6,
                package_id=package_id,
                disposition=Disposition.PASSED,
                signal=SignalState.SENT,
                latency=StageLatency(infer_ms=5.0, verdict_ms=8.0, reject_ms=8.5),
                is_simulated=True,
            )
            for index in range(_PARTS)
        ]
        self._take(Channel.REPORT, lambda station: InspectionsReported(station=station, epoch=1, reports=reports))
