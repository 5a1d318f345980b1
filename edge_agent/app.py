# SPDX-License-Identifier: Apache-2.0
"""The composition root: builds the rooms of one station, wires them, starts and stops them in order.

Holds no rule of its own. What the loop touches never waits: outbox, evidence and bus have threads of their own,
and so have packages and heartbeat. Called by `__main__` and by whole-process tests.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import metadata
from typing import Final

import cv2

from contracts.codec import encode
from contracts.commands import InspectionKey
from contracts.ids import InspectionId
from contracts.topics import Channel, topic
from edge_agent.actuators.making import make_outputs
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.opening import make_source
from edge_agent.central_client import proxy_of
from edge_agent.clock import Clock, SystemClock
from edge_agent.controller.settings import make_link
from edge_agent.enrolment import enrol
from edge_agent.frame_queue import FrameQueue
from edge_agent.inference.batching import Seat
from edge_agent.inference.pool import Group, SessionPool
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.loop import InspectionLoop
from edge_agent.monitor.broker_watch import BrokerWatch
from edge_agent.monitor.clock_watch import ClockWatch
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.monitor.heartbeat import Heartbeat
from edge_agent.packages.rate import RateLimit
from edge_agent.packages.roots import AssignmentKeys
from edge_agent.packages.rootwatch import HttpRootSource, RootWatch
from edge_agent.packages.watching import PackageWatch
from edge_agent.page.server import Page
from edge_agent.recipes.book import RecipeBook, lapsed_limits, shortest_deadline_ms
from edge_agent.recipes.changeover import ControllerChangeover
from edge_agent.reporting.commands import CommandHandler
from edge_agent.reporting.outbox import Outbox
from edge_agent.reporting.reporter import Reporter
from edge_agent.rooms import make_bus, make_evidence, make_installer, make_shadow
from edge_agent.settings import HALT, Settings
from edge_agent.triggering.making import make_triggered
from edge_agent.triggers import TriggerWatch

_log = logging.getLogger(__name__)
# Faults of the outbox that mean "records do not reach the disk"; the others are for a person at leisure.
_BLOCKING_FAULTS: Final = frozenset({"outbox-behind", "outbox-blocked", "outbox-disk", "outbox-full"})
# With more reports than this on the way, pictures wait.
_REPORTS_BEFORE_PICTURES: Final = 1000
_SIMULATED_KINDS: Final = ("simulated", "replay")
_FLUSH_S: Final = 1.5
_PART_STOP_S: Final = 0.6
# For parts between judgement and gate.
_DRIVE_S: Final = 1.0
# For what goes on at the next start anyway: a download, an upload, a connection attempt.
_SIDE_STOP_S: Final = 1.0


class Station:
    """One running station.

    Args:
        settings: of this station.
        clock: None: the machine's.
        pool: sessions that a group of stations shares; None: it is alone.
        shared_by: stations of this process. Each measures threads up to its share of the cores alone.
        rate: bound on downloads that a group shares; None: of this station alone, as its settings say.

    Raises:
        EdgeError: it cannot be built: enrolment, outbox or folder; the text says what to do.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        *,
        pool: SessionPool | None = None,
        shared_by: int = 1,
        rate: RateLimit | None = None,
    ) -> None:
        self._settings = settings
        self._clock = clock = clock or SystemClock()
        seat = Seat(lambda: len(self.queue), clock)
        self._group = None if pool is None else Group(pool, seat, shared_by)
        self._rate = rate or RateLimit(settings.downloads.max_bytes_per_s, clock)
        station, bounds = settings.station, settings.bounds
        # OpenCV would start a thread per core for crops of a few hundred pixels.
        cv2.setNumThreads(settings.inference.threads or 1)
        enrolment = enrol(settings.trust, settings.data_dir / "trust")
        self.keys = AssignmentKeys(enrolment.root, enrolment.assignment_key, settings.data_dir / "trust" / "roots")
        self.outbox = Outbox(
            settings.data_dir / "outbox.db",
            clock,
            max_rows=bounds.outbox_max_rows,
            max_bytes=bounds.outbox_max_bytes,
            behind_after_s=bounds.outbox_behind_after_s,
        )
        last_recorded = self.outbox.last_trigger_number()
        self.times = ClockWatch(clock)
        self.slots = PackageSlots()
        self.queue = FrameQueue(bounds.queue_frames)
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
        self.bus = make_bus(settings, (status_topic, encode(self.health.gone(is_planned=False))))
        self.broker = BrokerWatch(
            clock,
            self.bus.where,
            is_connected=lambda: self.bus.is_connected,
            refusal=lambda: self.bus.refusal,
        )
        self.heartbeat = Heartbeat(self.bus, status_topic, self.health.status, settings.heartbeat_s)
        self.recipes = RecipeBook(
            settings.data_dir / "recipes",
            station,
            clock,
            key=self.keys,
            own=settings.recipes,
            product=settings.source.product,
            packages=self.slots.products,
            outputs=settings.output,
            is_led=settings.changeover is not None,
        )
        self.changeover = None
        if (changeover := settings.changeover) is not None:
            link = make_link(changeover.controller)
            self.changeover = ControllerChangeover(link, changeover, self.recipes, clock)
        self.recipes.on_switch(self.heartbeat.beat_soon)
        self.reporter = Reporter(self.outbox, self.bus, station, bounds.resend_after_s, clock=clock)
        self.evidence = make_evidence(settings, clock, lambda: self.outbox.row_count < _REPORTS_BEFORE_PICTURES)
        self.shadow = make_shadow(settings, clock, lambda: len(self.queue), self._ask_picture)
        self.installer = make_installer(
            settings,
            clock,
            bus=self.bus,
            slots=self.slots,
            keys=self.keys,
            first_root=enrolment.root,
            rate=self._rate,
            group=self._group,
            shared_by=shared_by,
            shadow=self.shadow,
            deadline_ms=lambda family: shortest_deadline_ms(self.recipes.page, family),
        )
        self.trials = PackageWatch(self.installer, self.shadow, clock, settings.fallback.policy)
        self._root_source = HttpRootSource(
            settings.central.url,
            settings.central.token,
            clock=clock,
            ca_file=settings.central.ca_file,
            proxy=proxy_of(settings.central.proxy),
        )
        self.roots = RootWatch(
            self.keys,
            self._root_source,
            clock,
            relays={Channel.ASSIGNMENT: self.installer.hear, Channel.RECIPES: self._on_recipes},
        )
        self.outbox.on_refusal(self.evidence.make_room)
        self.commands = CommandHandler(
            self.bus,
            station,
            request_evidence=self.evidence.request,
            report_status=self._report_status,
            switch_product=self.recipes.switch,
        )
        self.page = Page(
            settings.page,
            health=self.health,
            recipes=settings.recipes,
            clock=clock,
            queue_length=lambda: len(self.queue),
        )
        self.outputs = make_outputs(
            settings.output, station=station, bus=self.bus, clock=clock, is_able=self.health.is_able
        )
        # Led by the line's controller, a part that nobody saw may be of any product.
        default_product = settings.source.product if settings.changeover is None else None
        self.loop = InspectionLoop(
            station,
            queue=self.queue,
            judge=Judge(self.slots, settings.recipes, clock, default_product=default_product, seat=seat),
            triggers=TriggerWatch(last_recorded, bounds.max_gap_parts),
            output=self.outputs,
            outbox=self.outbox,
            evidence=self.evidence,
            health=self.health,
            clock=clock,
            is_simulated=settings.is_simulated,
            default_product=default_product,
            halts_when_behind=bounds.on_full_disk == HALT,
            watch=self.page.watch,
            trials=self.trials,
            times=self.times,
        )
        first_trigger = 0 if last_recorded is None else last_recorded + 1
        source = make_source(
            # The book says what is made: frames that all bear the settings' product could not be changed over.
            replace(settings.source, product=None),
            station=station,
            bus=self.bus,
            clock=clock,
            first_trigger=first_trigger,
            capacity=bounds.queue_frames,
        )
        self.triggered = make_triggered(
            settings.trigger,
            source,
            station=station,
            bus=self.bus,
            clock=clock,
            first_number=first_trigger,
            capacity=bounds.queue_frames,
            is_simulated=settings.is_simulated or settings.source.kind in _SIMULATED_KINDS,
        )
        self.grabber = Grabber(
            self.triggered or source,
            self.queue,
            self.health,
            retry_max_s=settings.source.retry_max_s,
            book=self.recipes,
        )

    def start(self) -> None:
        """Start every room; the camera comes last, when somebody is there to judge its frames."""
        self.reporter.start()
        self.evidence.start()
        self.commands.start()
        self.bus.subscribe(topic(self._settings.station, Channel.RECIPES), self._on_recipes)
        self.heartbeat.start()
        self.installer.start()
        self.trials.start()
        self.roots.start(self.bus, self._settings.station)
        self.bus.start()
        self.outputs.start()
        self.loop.start()
        if self.changeover is not None:
            self.changeover.start()
        self.grabber.start()
        self.page.start()
        self.health.started()
        self.heartbeat.beat_soon()
        _log.info("station started station=%s epoch=%d", self._settings.station, self.outbox.epoch)

    def stop(self) -> bool:
        """Judge what waits, make every report durable, say goodbye. Returns whether all of it ended in time.

        The order is by worth: reports first, then the status, then what goes on at the next start anyway.
        """
        self.health.halted()
        rooms = (self.installer, self.trials, self.evidence, self.page)
        side = [_in_background(room.stop) for room in rooms]
        side.append(_in_background(self._stop_roots))
        if self.changeover is not None:
            side.append(_in_background(self.changeover.stop))
        self.grabber.stop(_PART_STOP_S)
        if self.triggered is not None:
            side.append(_in_background(self.triggered.end))
        is_clean = self.loop.stop(_PART_STOP_S)
        side.append(_in_background(lambda: self.outputs.stop(_DRIVE_S)))
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

    def _stop_roots(self) -> None:
        self.roots.stop()
        self._root_source.close()

    def _ask_picture(self, inspection: InspectionId) -> None:
        self.evidence.request([InspectionKey(epoch=inspection.epoch, sequence=inspection.sequence)])

    def _on_recipes(self, _topic: str, sealed: bytes) -> None:
        self.recipes.take(sealed)

    def _gauges(self) -> Gauges:
        outbox_faults, triggered = self.outbox.faults(), self.triggered
        active = self.slots.snapshot()
        recipe_faults = [*self.recipes.faults(), *lapsed_limits(self.recipes.page, active, self._clock.now())]
        return Gauges(
            active=active,
            recipe=self.recipes.active(),
            outbox_rows=self.outbox.row_count,
            evidence_pending=self.evidence.pending,
            evidence_dropped=self.evidence.dropped,
            faults=[
                *outbox_faults,
                *self.broker.faults(),
                *self.times.faults(),
                *self.outputs.faults(),
                *(triggered.faults() if triggered is not None else ()),
                *self.evidence.faults(),
                *self.installer.faults(),
                *self.roots.faults(),
                *self.page.faults(),
                *(() if self._group is None else self._group.seat.faults()),
                *recipe_faults,
                *(self.changeover.faults() if self.changeover is not None else ()),
            ],
            has_product=not self.recipes.page.current.refusal,
            is_blind=triggered is not None and triggered.is_deaf,
            triggers=triggered.counts() if triggered is not None else None,
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


def _version() -> str:
    try:
        return metadata.version("sightline")
    except metadata.PackageNotFoundError:
        return "0+unknown"
