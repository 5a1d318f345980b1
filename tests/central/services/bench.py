# SPDX-License-Identifier: Apache-2.0
"""The whole learning loop on a real database, with stations played by the test: they report, install, refuse, die."""

import hashlib
import json
import random
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from sqlmodel import col, select

from central.audit_settings import AuditSettings
from central.learning_settings import CostSettings, QueueSettings, TriggerSettings
from central.services.audits.auditing import AuditingService
from central.services.audits.switching import AuditSwitching
from central.services.gates.promoting import PromotingService
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.moving import RolloutService
from central.services.trainings.learning import LearningService
from central.services.watches.watching import WatchingService
from central.settings import LearningSettings, PromotionSettings, RolloutSettings, WatchSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.learning_tables import Alarm, Champion, Package, Promotion, RolloutRow, Training
from central.store.repositories import audits, stations
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, Inspection, LabelledPicture, Station
from central.training_backends.seam import TrainingBackend
from central.trust.assignments import open_assignment
from central.trust.enrolment import initialise_trust, open_repository
from central.trust.keys import KeyName, load_signer
from contracts.commands import AssignPackage, RequestEvidence, StationCommand
from contracts.ids import StationAddress
from contracts.reports import PackageProgress, PackageStatus, StationReported
from contracts.vocabulary import (
    AuditState,
    DetectorKind,
    Judgement,
    LabelSource,
    PackageState,
    PromotionOutcome,
    RefusalReason,
    StationState,
    TrainingState,
    Verdict,
)
from tests.central.conftest import RememberingPublisher, StillClock, make_report
from tests.central.services.trainers import children_of, trainer

PRODUCT = "ring"
EPOCH = 1_700_000_000_000


@dataclass
class FakeStation:
    """A station as central sees it: what it was assigned, what it runs, how far it has counted."""

    address: StationAddress
    installs: bool = True
    sequence: int = 0
    running: dict[str, str] = field(default_factory=dict)
    assignments: list[AssignPackage] = field(default_factory=list)


class Bench:
    """Services and stations. `tick` is one round of the worker with everybody's answers."""

    def __init__(self, database: Database, publisher: RememberingPublisher, clock: StillClock, folder: Path) -> None:
        self.database, self.publisher, self.clock = database, publisher, clock
        self.blobs = Blobs((folder / "blobs").as_uri(), folder / "uploads")
        self.trainings_dir = folder / "trainings"
        self.trust_dir = folder / "trust"
        initialise_trust(self.trust_dir, clock.now())
        self.repository = open_repository(self.trust_dir)
        self.assignment_key = load_signer(self.trust_dir / "keys", KeyName.ASSIGNMENT)
        self.stations: dict[str, FakeStation] = {}
        self._read = 0
        self.is_broker_there = True
        # Services that were replaced ("restarted"): their processes are still ours to wait for.
        self.learning_services: list[LearningService] = []
        self.build()

    def build(
        self,
        mode: str = "finish",
        *,
        learning: LearningSettings | None = None,
        rollout: RolloutSettings | None = None,
        watch: WatchSettings | None = None,
        audit: AuditSettings | None = None,
        backends: Mapping[str, TrainingBackend] | None = None,
        queue: QueueSettings | None = None,
        cost: CostSettings | None = None,
    ) -> None:
        """New services over the same rows: also what a restart of central is."""
        self.watch_settings = watch or WatchSettings(
            escape_parts_between_false_alarms=200, block_parts=10, reference_blocks=5
        )
        self.learning_settings = learning or LearningSettings(
            min_defective_labels=6, min_good_labels=10, command=trainer(mode)
        )
        self.rollout_settings = rollout or RolloutSettings(bake_parts=20)
        assigner = Assigner(self.database, self.publisher, self.assignment_key, 30.0)
        self.auditing = AuditingService(self.database, self.publisher, audit or AuditSettings(), random.Random(3))
        self.switching = AuditSwitching(self.database, audit or AuditSettings(), 0.01)
        hears, gone = lambda: self.is_broker_there, self.repository.is_withdrawn
        self.watching = WatchingService(self.database, self.watch_settings, hears)
        self.learning = LearningService(
            self.database,
            self.blobs,
            self.repository,
            self.learning_settings,
            self.trainings_dir,
            # A bench's days are seconds long.
            triggers=TriggerSettings(quiet_hours=0.0),
            backends=backends,
            queue=queue,
            cost=cost,
        )
        self.learning_services.append(self.learning)
        self.promoting = PromotingService(self.database, PromotionSettings(min_holdout_good=2, min_holdout_defective=2))
        self.rollouts = RolloutService(self.database, assigner, self.rollout_settings, 120.0, hears, is_withdrawn=gone)

    # Stations
    def add_station(self, name: str, *, installs: bool = True) -> FakeStation:
        address = StationAddress(site="plant", line="line-1", station=name)
        station = FakeStation(address, installs=installs)
        self.stations[str(address)] = station
        self.heartbeat(station)
        return station

    def heartbeat(
        self,
        station: FakeStation,
        *,
        is_connected: bool = True,
        at: datetime | None = None,
        is_retained: bool = False,
    ) -> None:
        """A status, said at `at` (default: now) and heard now."""
        status = StationReported(
            station=station.address,
            at=at or self.clock.now(),
            is_connected=is_connected,
            state=StationState.INSPECTING,
            is_simulated=True,
        )
        with self.database.begin() as session:
            stations.keep_status(session, status, self.clock.now(), is_retained=is_retained)

    def report(self, station: FakeStation, verdicts: Sequence[Verdict], **changes: object) -> list[int]:
        """Inspections of one station under the package that it runs; gives their ids."""
        package = station.running.get(PRODUCT)
        reports = []
        for verdict in verdicts:
            station.sequence += 1
            values: dict[str, object] = {
                "captured_at": self.clock.now(),
                "part_id": f"{station.address.station}-{station.sequence}",
            }
            if verdict is not Verdict.NO_DECISION:
                values["package_id"] = package
            reports.append(make_report(station.sequence, verdict, **{**values, **changes}))
        first = station.sequence - len(reports) + 1
        with self.database.begin() as session:
            store_batch(session, [StationReports(station.address, EPOCH, reports)], [], self.clock.now())
        with self.database.read() as session:
            station_id = session.exec(select(Station.id).where(Station.address == str(station.address))).one()
            wanted = (
                select(Inspection.id)
                .where(Inspection.station_id == station_id, col(Inspection.sequence) >= first)
                .order_by(col(Inspection.id))
            )
            return [number for number in session.exec(wanted).all() if number is not None]

    def answer(self) -> None:
        """Stations read their assignments and install what they say."""
        fresh, self._read = self.publisher.sent[self._read :], len(self.publisher.sent)
        for topic, payload in fresh:
            if not topic.endswith("/assignment"):
                continue
            assignment = open_assignment(payload, self.assignment_key.public_key)
            station = self.stations.get(str(assignment.station))
            if station is None or (station.assignments and station.assignments[-1].number >= assignment.number):
                continue
            station.assignments.append(assignment)
            if station.installs:
                station.running = {item.product: item.package_id for item in assignment.packages}
                self.say(station, PackageState.ACTIVE)

    def say(
        self,
        station: FakeStation,
        state: PackageState,
        reason: RefusalReason | None = None,
        refused: RefusalReason | None = None,
    ) -> None:
        """The station's package status on its last assignment."""
        rows = [(item.product, item.package_id, state, reason) for item in station.assignments[-1].packages]
        self._keep_said(station, rows, refused)

    def say_challenger(
        self, station: FakeStation, package_id: str, state: PackageState, reason: RefusalReason | None = None
    ) -> None:
        """The station's word on a package in shadow, beside the ones that judge."""
        judging = station.assignments[-1].packages
        rows = [(item.product, item.package_id, PackageState.ACTIVE, None) for item in judging]
        self._keep_said(station, [*rows, (PRODUCT, package_id, state, reason)])

    def _keep_said(
        self,
        station: FakeStation,
        rows: Sequence[tuple[str, str, PackageState, RefusalReason | None]],
        refused: RefusalReason | None = None,
    ) -> None:
        now = self.clock.now()
        status = PackageStatus(
            station=station.address,
            assignment_number=station.assignments[-1].number,
            at=now,
            refused=refused,
            packages=[
                PackageProgress(product=product, package_id=package_id, state=state, reason=reason, at=now)
                for product, package_id, state, reason in rows
            ],
        )
        with self.database.begin() as session:
            stations.keep_package_status(session, station.address, status.model_dump_json(), now)

    def tick(self, rounds: int = 1, seconds: float = 1.0) -> None:
        """All services in order, then the stations' heartbeats and answers."""
        for _ in range(rounds):
            for service in (self.auditing, self.switching, self.watching, self.learning, self.promoting, self.rollouts):
                service.tick(self.clock.now())
            self.answer()
            self.clock.advance(seconds)
            for station in self.stations.values():
                self.heartbeat(station)

    def tick_until(self, is_so: Callable[[], bool], *, wait_s: float = 60.0) -> None:
        """Tick until something holds that a real process brings about."""
        deadline = time.monotonic() + wait_s
        while not is_so():
            assert time.monotonic() < deadline, "it did not happen"
            self.tick(seconds=0.1)
            time.sleep(0.02)

    # People and pictures
    def add_references(self, good: int, defective: int = 0, product: str = PRODUCT) -> None:
        for index in range(good + defective):
            judgement = Judgement.GOOD if index < good else Judgement.DEFECTIVE
            self.add_label(judgement, LabelSource.REFERENCE, f"reference-{index}", product)

    def add_label(
        self, judgement: Judgement, source: LabelSource, part: str, product: str = PRODUCT, *, is_simulated: bool = True
    ) -> None:
        sha256 = self.blobs.put(f"picture of {product} {part}".encode())
        with self.database.begin() as session:
            audits.keep_label(
                session,
                LabelledPicture(
                    product=product,
                    sha256=sha256,
                    judgement=judgement,
                    part_id=part,
                    source=source,
                    added_at=self.clock.now(),
                    is_simulated=is_simulated,
                ),
            )

    def audit(self, inspection_ids: Sequence[int], judgement: Judgement, probability: float = 0.1) -> None:
        """Audits that chance drew and a person judged, without the way there."""
        with self.database.begin() as session:
            for inspection_id in inspection_ids:
                inspection = session.get_one(Inspection, inspection_id)
                session.add(
                    Audit(
                        inspection_id=inspection_id,
                        product=inspection.product,
                        drawn_at=self.clock.now(),
                        inclusion_probability=probability,
                        state=AuditState.JUDGED,
                        judgement=judgement,
                        judged_at=self.clock.now(),
                        outcome=judgement,
                        settled_at=self.clock.now(),
                        is_simulated=inspection.is_simulated,
                    )
                )
        for inspection_id in inspection_ids:
            if judgement is not Judgement.UNSURE:
                self.add_label(judgement, LabelSource.AUDIT, f"audited-{inspection_id}")

    def commission(self, *names: str) -> list[FakeStation]:
        """Reference parts, first training, first rollout; gives the stations, running the champion."""
        added = [self.add_station(name) for name in names]
        self.add_references(good=20, defective=6)
        self.learning.requests.request(PRODUCT, DetectorKind.AUTO, "commissioning", self.clock.now())
        self.tick_until(lambda: self.champion() is not None)
        return added

    def register(self, number: int, folder: Path, *, champion: str | None, is_simulated: bool = True) -> str:
        """A promoted package without the training that made it."""
        from tests.central.trust.packages import make_package  # noqa: PLC0415 - used here alone

        package_dir = folder / f"package-{number}"
        package_id = make_package(
            package_dir, PRODUCT, f"t-made-{number}", fill=f"graph {number}".encode(), is_simulated=is_simulated
        )
        self.repository.publish(package_dir, package_id, self.clock.now())
        now = self.clock.now()
        with self.database.begin() as session:
            session.add(
                Package(
                    package_id=package_id,
                    product=PRODUCT,
                    detector=DetectorKind.MIXED,
                    created_at=now,
                    registered_at=now,
                    size_bytes=1,
                    manifest=(package_dir / "manifest.json").read_text(),
                    is_simulated=is_simulated,
                )
            )
            session.flush()
            session.add(
                Promotion(
                    package_id=package_id,
                    champion_package_id=champion,
                    outcome=PromotionOutcome.PROMOTED,
                    decided_at=now,
                )
            )
        return package_id

    # What the rows say
    def champion(self) -> str | None:
        with self.database.read() as session:
            row = session.get(Champion, (PRODUCT, True))
        return row.package_id if row else None

    def alarms(self) -> list[Alarm]:
        with self.database.read() as session:
            return list(session.exec(select(Alarm).order_by(col(Alarm.id))).all())

    def trainings(self) -> list[Training]:
        with self.database.read() as session:
            return list(session.exec(select(Training).order_by(col(Training.created_at))).all())

    def training_states(self) -> list[TrainingState]:
        return [training.state for training in self.trainings()]

    def rollout(self) -> RolloutRow:
        """The last one."""
        with self.database.read() as session:
            return session.exec(select(RolloutRow).order_by(col(RolloutRow.id).desc())).first() or _nothing()

    def promotions(self) -> list[Promotion]:
        with self.database.read() as session:
            return list(session.exec(select(Promotion).order_by(col(Promotion.decided_at))).all())

    def audit_rows(self) -> list[Audit]:
        with self.database.read() as session:
            return list(session.exec(select(Audit).order_by(col(Audit.id))).all())

    def requested(self) -> list[tuple[str, int]]:
        """Station and sequence of every picture asked for so far."""
        asked = []
        for topic, payload in self.publisher.sent:
            if topic.endswith("/command"):
                command = StationCommand.model_validate_json(payload).command
                assert isinstance(command, RequestEvidence)
                asked += [(topic.split("/")[4], key.sequence) for key in command.inspections]
        return asked

    def job(self, training_id: str) -> dict[str, object]:
        content: dict[str, object] = json.loads((self.trainings_dir / training_id / "job.json").read_text())
        return content

    @property
    def children(self) -> list[subprocess.Popen[bytes]]:
        """Every training process that is still to be waited for."""
        return children_of(backend for service in self.learning_services for backend in service.backends.values())

    def later(self, **delta: float) -> None:
        self.clock.at += timedelta(**delta)


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _nothing() -> RolloutRow:
    raise AssertionError("no rollout was added")
