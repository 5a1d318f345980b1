# SPDX-License-Identifier: Apache-2.0
"""Makes the station run what is assigned to it: verify, fetch, self-test, switch, report.

A thread of its own; the loop is never held up. It brings the active packages towards the last accepted assignment
and tries again only when the link was at fault. Whatever is refused leaves the station with the package it had.
Rules of trust are in `packages.trust`, downloads in `packages.fetch`, files in `packages.store`. Built by the
composition root.

The order of a switch: downloaded and verified (VERIFIED), renamed to its place (INSTALLED), self-test on this
station's own runtime, `current` moved on disk, then the active table swapped between two frames (ACTIVE). The old
session lives until the new one has been active.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from securesystemslib.signer import Key

from contracts.commands import AssignPackage
from contracts.ids import StationAddress
from contracts.reports import PackageStatus, StationFault
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.inference.session import LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.activation import Runtime, prepare
from edge_agent.packages.fetch import Interrupted, PackageFetcher
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.selftest import SelfTestResult
from edge_agent.packages.store import PackageStore, StoredPackage
from edge_agent.packages.trust import PackageRefused, judge_assignment, open_envelope
from edge_agent.reporting.bus import MessageBus
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_MAILBOX: Final = 8
_STOP_TIMEOUT_S: Final = 3.0
_FAULT: Final = "package-refused"
_LINK_FAULT: Final = "package-unreachable"
_IGNORED_FAULT: Final = "assignment-ignored"


@dataclass
class InstallerCounters:
    """What happened since the start. Written by the installer, read by anyone."""

    assignments_accepted: int = 0
    assignments_refused: int = 0
    # Garbage, a bad signature, another station's, an old number: nothing that could be answered.
    assignments_ignored: int = 0
    assignments_repeated: int = 0
    mailbox_dropped: int = 0
    activated: int = 0
    refused: int = 0
    retries: int = 0


class PackageInstaller:
    """See the module.

    Args:
        accepted: the last accepted assignment on disk.
        assignment_key: public key that alone may assign.
        runtime: what the station runs graphs with.
        retry_first_s: pause after the first download that failed for the link's sake; doubles.
        retry_longest_s: longest pause.
    """

    def __init__(
        self,
        station: StationAddress,
        *,
        bus: MessageBus,
        clock: Clock,
        slots: PackageSlots,
        store: PackageStore,
        fetcher: PackageFetcher,
        accepted: AcceptedAssignment,
        assignment_key: Key,
        runtime: Runtime,
        retry_first_s: float = 1.0,
        retry_longest_s: float = 60.0,
    ) -> None:
        self.counters = InstallerCounters()
        self._station = station
        self._bus = bus
        self._clock = clock
        self._slots = slots
        self._store = store
        self._fetcher = fetcher
        self._accepted = accepted
        self._key = assignment_key
        self._runtime = runtime
        self._retry_first_s = retry_first_s
        self._retry_longest_s = retry_longest_s
        self._progress = ProgressReport(bus, station, clock)
        self._faults = FaultBook(clock)
        self._state = threading.Condition()
        self._mailbox: deque[bytes] = deque(maxlen=_MAILBOX)
        self._is_stopping = False
        self._target: AssignPackage | None = None
        self._has_new_target = False
        # (product, package) pairs of the present assignment that were refused for good.
        self._refused: dict[tuple[str, str], PackageRefused] = {}
        self._tested: dict[str, SelfTestResult] = {}
        self._retry_at: float | None = None
        self._pause_s = retry_first_s
        self._thread = threading.Thread(target=self._run, name="package-installer", daemon=True)

    def start(self) -> None:
        """Load the current packages from disk, then follow the assignments."""
        self._bus.on_connect(self._on_connect)
        self._bus.subscribe(topic(self._station, Channel.ASSIGNMENT), self._on_assignment)
        self._thread.start()

    def stop(self) -> None:
        """Call off what is under way and end the thread. May be called twice."""
        with self._state:
            self._is_stopping = True
            self._state.notify_all()
        if self._thread.is_alive():
            # A read from a dead link ends by its time-out; the thread holds nothing that must be closed.
            self._thread.join(_STOP_TIMEOUT_S)

    def status(self) -> PackageStatus:
        """The package status as it stands."""
        return self._progress.current()

    def report_now(self) -> None:
        """Send the package status again."""
        self._progress.publish()

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        return self._faults.current()

    def _on_connect(self) -> None:
        self._progress.publish()
        with self._state:
            if self._retry_at is not None:
                # The broker is back, so central may be.
                self._retry_at = self._clock.monotonic()
                self._pause_s = self._retry_first_s
            self._state.notify_all()

    def _on_assignment(self, _topic: str, sealed: bytes) -> None:
        if not sealed:
            # A retained topic that was cleared says nothing; only a signed assignment changes what runs.
            return
        with self._state:
            if len(self._mailbox) == _MAILBOX:
                self.counters.mailbox_dropped += 1
            self._mailbox.append(sealed)
            self._state.notify_all()

    def _run(self) -> None:
        self._guarded(self._start_from_disk)
        while not self._is_stopping:
            self._take_assignments()
            if self._is_due():
                self._guarded(self._converge)
                continue
            with self._state:
                if not self._mailbox and not self._is_stopping:
                    self._state.wait(self._wait_s())

    def _guarded(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Interrupted:
            _log.info("package installation called off station=%s", self._station)
        except Exception:  # noqa: BLE001 - an installer that ends silently would freeze the station's packages
            _log.exception("package installer failed station=%s", self._station)
            self._retry_later()

    def _is_due(self) -> bool:
        with self._state:
            is_retry = self._retry_at is not None and self._clock.monotonic() >= self._retry_at
            if is_retry:
                self.counters.retries += 1
            is_due = self._has_new_target or is_retry
            if is_due:
                self._has_new_target = False
                self._retry_at = None
            return is_due

    def _wait_s(self) -> float | None:
        return None if self._retry_at is None else max(0.0, self._retry_at - self._clock.monotonic())

    def _retry_later(self) -> None:
        with self._state:
            self._retry_at = self._clock.monotonic() + self._pause_s
            self._pause_s = min(self._pause_s * 2, self._retry_longest_s)

    def _is_called_off(self) -> bool:
        """Asked between chunks and between variants: a newer assignment makes the present work pointless."""
        if not self._has_new_target:
            self._take_assignments()
        return self._is_stopping or self._has_new_target

    def _take_assignments(self) -> None:
        while True:
            with self._state:
                if not self._mailbox:
                    return
                sealed = self._mailbox.popleft()
            try:
                self._take(sealed)
            except PackageRefused as refusal:
                self._answer(refusal)
            except Exception as error:  # noqa: BLE001 - no message may end the thread that every later one needs
                _log.exception("assignment failed unforeseen station=%s", self._station)
                msg = f"assignment: could not be taken: {type(error).__name__}: {error}"
                self._answer(PackageRefused(RefusalReason.UNREADABLE, msg))

    def _answer(self, refusal: PackageRefused) -> None:
        if refusal.number is not None:
            self.counters.assignments_refused += 1
            self._progress.refuse(refusal.reason, refusal.message, refusal.number)
            return
        self.counters.assignments_ignored += 1
        remedy = "find out who else writes to the assignment topic, or whether the station has central's key"
        self._faults.add(_IGNORED_FAULT, f"{refusal.reason}: {refusal.message}", remedy)
        self._progress.ignore(refusal.reason, refusal.message)

    def _take(self, sealed: bytes) -> None:
        offered = open_envelope(sealed, self._key)
        is_new = judge_assignment(
            offered,
            station=self._station,
            last=self._accepted.last,
            last_number=self._accepted.number,
            now=self._clock.now(),
        )
        number = offered.assignment.number
        if is_new:
            try:
                self._accepted.save(sealed, offered)
            except OSError as error:
                msg = f"assignment {number}: its number cannot be stored: {error}"
                raise PackageRefused(RefusalReason.DISK, msg, number=number) from error
            self.counters.assignments_accepted += 1
            self._refused.clear()
            self._pause_s = self._retry_first_s
            _log.info("assignment accepted station=%s number=%d", self._station, number)
        else:
            self.counters.assignments_repeated += 1
            if self._target is not None:
                self._faults.clear(_IGNORED_FAULT)
                self._progress.forgive()
                return
        self._aim_at(offered.assignment)

    def _aim_at(self, assignment: AssignPackage) -> None:
        self._progress.begin(assignment.number, {package.product for package in assignment.packages})
        self._faults.clear(_FAULT)
        self._faults.clear(_IGNORED_FAULT)
        self._target = assignment
        self._has_new_target = True

    def _start_from_disk(self) -> None:
        """Judge as soon as possible: what was current is verified and tested again, without any network."""
        last = self._accepted.last
        wanted = {package.product for package in last.assignment.packages} if last is not None else None
        if self._accepted.damage:
            remedy = "check the disk and trust.assignment_key; assign again with a higher number"
            self._faults.add("assignment-damaged", self._accepted.damage, remedy)
        if last is not None:
            self._aim_at(last.assignment)
        for product in self._store.products():
            current = self._store.slots(product).current
            if current is None or (wanted is not None and product not in wanted):
                continue
            try:
                stored = self._store.load(product, current, variants=self._runtime.variants())
                if stored is not None:
                    # Not even a newer assignment calls this off: its download may take hours.
                    self._switch(stored, is_called_off=lambda: self._is_stopping)
            except (PackageRefused, OSError) as error:
                # Never the previous one instead: going back is a signed assignment.
                _log.error("current package is not usable product=%s package=%s: %s", product, current, error)
                self._faults.add(_FAULT, f"{product}: package {current[:12]} on disk: {error}", "assign it again")

    def _converge(self) -> None:
        """Bring every product to the package that the target names."""
        assert self._target is not None  # noqa: S101 - set before anything can be due
        wanted = {package.product: package.package_id for package in self._target.packages}
        self._slots.deactivate_missing(set(wanted))
        for product in self._store.products():
            if product not in wanted:
                self._store.clear_current(product)
        is_unreachable = False
        for product, package_id in wanted.items():
            if (product, package_id) in self._refused:
                continue
            active = self._slots.active(product)
            if active is not None and active.package_id == package_id:
                self._report_active(active, self._tested.get(package_id))
                continue
            try:
                self._install(product, package_id)
            except PackageRefused as refusal:
                self._refuse(product, package_id, refusal)
            except TransportError as error:
                is_unreachable = True
                reason = RefusalReason.UNREACHABLE
                self._progress.set(product, package_id, PackageState.DOWNLOADING, reason=reason, detail=str(error))
                self._faults.add(_LINK_FAULT, f"{product}: {error.message}", error.remedy)
            except OSError as error:
                self._refuse(product, package_id, PackageRefused(RefusalReason.DISK, f"the station's disk: {error}"))
        if is_unreachable:
            self._retry_later()
        else:
            self._faults.clear(_LINK_FAULT)

    def _refuse(self, product: str, package_id: str, refusal: PackageRefused) -> None:
        self.counters.refused += 1
        self._refused[product, package_id] = refusal
        self._faults.add(_FAULT, f"{product}: {refusal.reason}: {refusal.message}", refusal.remedy)
        self._progress.set(product, package_id, PackageState.REFUSED, reason=refusal.reason, detail=refusal.message)

    def _install(self, product: str, package_id: str) -> None:
        stored = self._from_disk(product, package_id) or self._download(product, package_id)
        self._switch(stored, is_called_off=self._is_called_off)

    def _from_disk(self, product: str, package_id: str) -> StoredPackage | None:
        """Going back to the previous package needs no network."""
        try:
            return self._store.load(product, package_id, variants=self._runtime.variants())
        except PackageRefused as refusal:
            _log.warning("copy on disk is damaged product=%s package=%s: %s", product, package_id, refusal)
            return None

    def _download(self, product: str, package_id: str) -> StoredPackage:
        self._progress.set(product, package_id, PackageState.DOWNLOADING)
        staged = self._store.stage()
        try:
            self._fetcher.fetch(package_id, product, staged, self._runtime.choose, self._is_called_off)
            self._progress.set(product, package_id, PackageState.VERIFIED)
            self._store.keep(staged, product, package_id)
        finally:
            self._store.discard(staged)
        self._progress.set(product, package_id, PackageState.INSTALLED)
        stored = self._store.load(product, package_id, variants=self._runtime.variants())
        if stored is None:
            raise PackageRefused(RefusalReason.DISK, f"package {package_id[:12]} vanished from the disk")
        return stored

    def _switch(self, stored: StoredPackage, *, is_called_off: Callable[[], bool]) -> None:
        prepared = prepare(stored, self._runtime, self._clock, is_called_off)
        if prepared is None:
            raise Interrupted
        loaded, tested = prepared
        product = loaded.manifest.product
        before = self._slots.active(product)
        self._store.set_current(product, stored.package_id)
        self._slots.activate(loaded)
        self._tested[loaded.package_id] = tested
        self.counters.activated += 1
        self._report_active(loaded, tested)
        # `before` is let go only here, after the new one has been active; the loop may hold it for a frame more.
        del before
        self._store.prune(product)

    def _report_active(self, loaded: LoadedPackage, tested: SelfTestResult | None) -> None:
        if self._progress.is_active(loaded.manifest.product, loaded.package_id):
            return
        self._progress.set(
            loaded.manifest.product,
            loaded.package_id,
            PackageState.ACTIVE,
            variant=loaded.variant,
            provider=loaded.session.provider,
            worst_error=tested.worst_error if tested is not None else None,
            infer_p50_ms=tested.infer_p50_ms if tested is not None else None,
        )
