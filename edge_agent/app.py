# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds the rooms of one station, wires them, starts and stops them in order.

Holds no rule of its own. What the loop touches never waits: outbox, evidence and bus have threads of their own,
and so have packages and heartbeat. Called by `__main__` and by whole-process tests.
"""

import logging
import threading
from collections.abc import Callable
from importlib import metadata
from typing import Final

import cv2

from contracts.codec import encode
from contracts.topics import Channel, topic
from edge_agent.actuators.base import NoOutput, RejectOutput
from edge_agent.actuators.mqtt import MqttRejectOutput
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.opening import make_source
from edge_agent.clock import Clock, SystemClock
from edge_agent.enrolment import Enrolment, enrol
from edge_agent.errors import DeviceError
from edge_agent.frame_queue import FrameQueue
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.loop import InspectionLoop
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.monitor.heartbeat import Heartbeat
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime
from edge_agent.packages.fetch import TufPackageFetcher
from edge_agent.packages.installer import PackageInstaller
from edge_agent.packages.store import PackageStore
from edge_agent.reporting.bus import PahoBus
from edge_agent.reporting.commands import CommandHandler
from edge_agent.reporting.evidence import EvidenceRecorder
from edge_agent.reporting.outbox import Outbox
from edge_agent.reporting.reporter import Reporter
from edge_agent.reporting.uploader import EvidenceUploader
from edge_agent.settings import Settings
from edge_agent.triggers import TriggerWatch

_log = logging.getLogger(__name__)

# Faults of the outbox that mean "records do not reach the disk"; the others are for a person at leisure.
_BLOCKING_FAULTS: Final = frozenset({"outbox-blocked", "outbox-disk", "outbox-full"})
# With more reports than this on the way, pictures wait.
_REPORTS_BEFORE_PICTURES: Final = 1000
_FLUSH_S: Final = 1.5
_PART_STOP_S: Final = 0.6
# For what goes on at the next start anyway: a download, an upload, a connection attempt.
_SIDE_STOP_S: Final = 1.0


class Station:
    """One running station.

    Raises:
        EdgeError: it cannot be built: enrolment, outbox or folder; the text says what to do.
    """

    def __init__(self, settings: Settings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock = clock or SystemClock()
        station, bounds = settings.station, settings.bounds
        # OpenCV would start a thread per core for crops of a few hundred pixels.
        cv2.setNumThreads(settings.inference.threads)
        enrolment = enrol(settings.trust, settings.data_dir / "trust")
        self.outbox = Outbox(settings.data_dir / "outbox.db", clock, max_rows=bounds.outbox_max_rows)
        last_recorded = self.outbox.last_trigger_number()
        self.slots = PackageSlots()
        self.health = HealthMonitor(
            station,
            epoch=self.outbox.epoch,
            version=_version(),
            clock=clock,
            gauges=self._gauges,
            is_simulated=settings.is_simulated,
        )
        for key in enrolment.differing:
            self.health.set_fault(
                "enrolment-differs",
                f"{key} is not the file that this station was enrolled with; the enrolled one counts",
                "to enrol anew, stop the station and remove the folder trust in its data_dir",
            )
        status_topic = topic(station, Channel.STATUS)
        self.bus = self._make_bus((status_topic, encode(self.health.gone(is_planned=False))))
        self.heartbeat = Heartbeat(self.bus, status_topic, self.health.status, settings.heartbeat_s)
        self.reporter = Reporter(self.outbox, self.bus, station, bounds.resend_after_s, clock=clock)
        self.evidence, self.installer = self._make_storage(enrolment)
        self.commands = CommandHandler(
            self.bus, station, request_evidence=self.evidence.request, report_status=self._report_status
        )
        self.queue = FrameQueue(bounds.queue_frames)
        self.loop = InspectionLoop(
            station,
            queue=self.queue,
            judge=Judge(self.slots, settings.recipes, clock, default_product=settings.source.product),
            triggers=TriggerWatch(last_recorded, bounds.max_gap_parts),
            output=self._make_output(),
            outbox=self.outbox,
            evidence=self.evidence,
            health=self.health,
            clock=clock,
            is_simulated=settings.is_simulated,
            default_product=settings.source.product,
        )
        source = make_source(
            settings.source,
            station=station,
            bus=self.bus,
            clock=clock,
            first_trigger=0 if last_recorded is None else last_recorded + 1,
            capacity=bounds.queue_frames,
        )
        self.grabber = Grabber(source, self.queue, self.health, retry_max_s=settings.source.retry_max_s)

    def start(self) -> None:
        """Start every room; the camera comes last, when somebody is there to judge its frames."""
        self.reporter.start()
        self.evidence.start()
        self.commands.start()
        self.heartbeat.start()
        self.installer.start()
        self.bus.start()
        self.loop.start()
        self.grabber.start()
        self.health.started()
        self.heartbeat.beat_soon()
        _log.info("station started station=%s epoch=%d", self._settings.station, self.outbox.epoch)

    def stop(self) -> bool:
        """Judge what waits, make every report durable, say goodbye. Returns whether all of it ended in time.

        The order is by worth: reports first, then the status, then what goes on at the next start anyway.
        """
        self.health.halted()
        side = [_in_background(self.installer.stop), _in_background(self.evidence.stop)]
        self.grabber.stop(_PART_STOP_S)
        is_clean = self.loop.stop(_PART_STOP_S)
        is_durable = self.outbox.flush(_FLUSH_S)
        if not is_durable:
            _log.error("reports not durable at stop rows_waiting=%d", self.outbox.row_count)
        self.heartbeat.stop(self.health.gone(is_planned=True))
        self.reporter.stop()
        side.append(_in_background(self.bus.stop))
        self.outbox.close(_PART_STOP_S)
        give_up_at = self._clock.monotonic() + _SIDE_STOP_S
        for thread in side:
            thread.join(max(0.0, give_up_at - self._clock.monotonic()))
        is_clean = is_clean and is_durable
        _log.info("station stopped station=%s is_clean=%s", self._settings.station, is_clean)
        return is_clean

    def _make_bus(self, last_will: tuple[str, bytes]) -> PahoBus:
        broker = self._settings.broker
        return PahoBus(
            broker.url,
            # One name per station: a broker that still holds a dead connection lets go of it for the new one.
            f"sightline-{str(self._settings.station).replace('/', '-')}",
            broker.username,
            broker.password,
            last_will=last_will,
            keepalive_s=broker.keepalive_s,
            ca_file=_text(broker.ca_file),
            cert_file=_text(broker.cert_file),
            key_file=_text(broker.key_file),
        )

    def _make_storage(self, enrolment: Enrolment) -> tuple[EvidenceRecorder, PackageInstaller]:
        settings, clock, bounds = self._settings, self._clock, self._settings.bounds
        central, folder = settings.central, settings.data_dir
        try:
            evidence = EvidenceRecorder(
                folder / "evidence",
                settings.station,
                EvidenceUploader(central.url, central.token, ca_file=central.ca_file),
                clock,
                max_inspections=bounds.evidence_max_frames,
                max_bytes=bounds.evidence_max_bytes,
                max_pending=bounds.evidence_max_pending,
                may_upload=lambda: self.outbox.row_count < _REPORTS_BEFORE_PICTURES,
            )
            store = PackageStore(folder / "packages", max_package_bytes=bounds.max_package_bytes)
        except OSError as error:
            msg = f"{folder}: the station's folder cannot be used: {error}"
            raise DeviceError(msg, remedy="check the disk and the rights of data_dir") from error
        installer = PackageInstaller(
            settings.station,
            bus=self.bus,
            clock=clock,
            slots=self.slots,
            store=store,
            fetcher=TufPackageFetcher(
                central.url,
                central.token,
                root=enrolment.root,
                metadata_dir=folder / "trust" / "tuf",
                clock=clock,
                max_package_bytes=bounds.max_package_bytes,
                ca_file=central.ca_file,
            ),
            accepted=AcceptedAssignment(folder / "trust" / "assignment.json", enrolment.assignment_key),
            assignment_key=enrolment.assignment_key,
            runtime=Runtime(
                settings.inference.provider, threads=settings.inference.threads, variant=settings.inference.variant
            ),
        )
        return evidence, installer

    def _make_output(self) -> RejectOutput:
        if self._settings.output == "none":
            return NoOutput()
        return MqttRejectOutput(self.bus, topic(self._settings.station, Channel.REJECT))

    def _gauges(self) -> Gauges:
        outbox_faults = self.outbox.faults()
        return Gauges(
            active=self.slots.snapshot(),
            outbox_rows=self.outbox.row_count,
            evidence_pending=self.evidence.pending,
            evidence_dropped=self.evidence.dropped,
            faults=[*outbox_faults, *self.evidence.faults(), *self.installer.faults()],
            is_outbox_faulty=any(fault.code in _BLOCKING_FAULTS for fault in outbox_faults),
        )

    def _report_status(self) -> None:
        self.heartbeat.beat_soon()
        self.installer.report_now()


def _in_background(stop: Callable[[], None]) -> threading.Thread:
    """Rooms that may hang on a dead link end beside the ones that must not wait for them."""
    thread = threading.Thread(target=stop, daemon=True)
    thread.start()
    return thread


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _version() -> str:
    try:
        return metadata.version("sightline")
    except metadata.PackageNotFoundError:
        return "0+unknown"
