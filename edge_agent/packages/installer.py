# SPDX-License-Identifier: Apache-2.0
"""Makes the station run what is assigned to it: verify, fetch, self-test, switch, report.

A thread of its own; the loop is never held up. It brings the active packages towards the last accepted assignment
and tries again only when the link was at fault. Whatever is refused leaves the station with the package it had.
Rules of trust are in `packages.trust`, downloads in `packages.fetch`, files in `packages.store`. Built by the
composition root.

The order of a switch: downloaded and verified (VERIFIED), renamed to its place (INSTALLED), self-test and benchmark on
this station's own runtime (`packages.readying`), `current` moved on disk, then the active table swapped between two
frames (ACTIVE, `packages.switching`). A challenger goes the same way into shadow (`packages.shadowing`).
"""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from contracts.commands import AssignPackage
from contracts.ids import StationAddress
from contracts.reports import PackageStatus, StationFault
from contracts.topics import Channel, topic
from contracts.vocabulary import RefusalReason
from edge_agent.clock import Clock
from edge_agent.inference.shadow import Shadow
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.accepted import AcceptedAssignment, Unnoted
from edge_agent.packages.activation import Runtime
from edge_agent.packages.arriving import PackageDownload
from edge_agent.packages.bringing import DISK_FAULT, DISK_REMEDY, FAULT, Bringing, InstallerCounters
from edge_agent.packages.fetch import Interrupted, PackageFetcher
from edge_agent.packages.notes import PackageNotes
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.rate import Backoff
from edge_agent.packages.readying import Readying
from edge_agent.packages.shadowing import Challengers
from edge_agent.packages.store import PackageStore
from edge_agent.packages.switching import PackageSwitch
from edge_agent.packages.trial import Admit, check_graphs
from edge_agent.packages.trust import PackageRefused, Signatory, judge_assignment, open_envelope
from edge_agent.reporting.bus import MessageBus
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_MAILBOX: Final = 8
_STOP_TIMEOUT_S: Final = 3.0
_IGNORED_FAULT: Final = "assignment-ignored"
_DISK_FAULT: Final = "assignment-disk"
# How often a closed window is looked at again: the wall clock may be put right meanwhile.
_LOOK_AGAIN_S: Final = 60.0


class PackageInstaller:
    """See the module.

    Args:
        accepted: the last accepted assignment on disk.
        assignment_key: public key that alone may assign.
        runtime: what the station runs graphs with.
        admit: refuses what was downloaded and must not even be opened here.
        shadow: where challengers judge; it is closed with `challengers`.
        deadline_ms: the shortest deadline among recipes whose parts a product's package judges; None: none.
        keeps_warm: hold the previous package of a product open.
        retry_first_s: pause after the first download that failed for the link's sake, about; doubles.
        retry_longest_s: longest pause, about.
        rng: spreads the attempts of many stations.
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
        assignment_key: Signatory,
        runtime: Runtime,
        shadow: Shadow,
        deadline_ms: Callable[[str], float | None] = lambda _product: None,
        keeps_warm: bool = True,
        admit: Admit = check_graphs,
        retry_first_s: float = 1.0,
        retry_longest_s: float = 60.0,
        rng: random.Random | None = None,
    ) -> None:
        self.counters = InstallerCounters()
        self._station = station
        self._bus = bus
        self._clock = clock
        self._slots = slots
        self._store = store
        self._accepted = accepted
        self._key = assignment_key
        self._runtime = runtime
        rng = rng or random.Random(str(station))  # noqa: S311 - spreads attempts, keeps no secret
        self._backoff = Backoff(retry_first_s, retry_longest_s, rng)
        self._disk_backoff = Backoff(retry_first_s, retry_longest_s, rng)
        self._progress = ProgressReport(bus, station, clock)
        self._faults = FaultBook(clock)
        notes = PackageNotes(store.notes_path)
        self.readying = Readying(runtime, clock, store, notes, deadline_ms)
        self.switch = PackageSwitch(
            slots=slots,
            store=store,
            readying=self.readying,
            notes=notes,
            progress=self._progress,
            faults=self._faults,
            keeps_warm=keeps_warm,
        )
        self.challengers = Challengers(
            shadow, store=store, readying=self.readying, notes=notes, progress=self._progress, faults=self._faults
        )
        self._bringing = Bringing(
            slots=slots,
            store=store,
            downloads=PackageDownload(
                store=store,
                fetcher=fetcher,
                runtime=runtime,
                progress=self._progress,
                clock=clock,
                admit=admit,
            ),
            runtime=runtime,
            progress=self._progress,
            faults=self._faults,
            switch=self.switch,
            challengers=self.challengers,
            counters=self.counters,
            is_called_off=self._is_called_off,
        )
        self._state = threading.Condition()
        self._mailbox: deque[bytes] = deque(maxlen=_MAILBOX)
        self._is_stopping = False
        self._target: AssignPackage | None = None
        self._has_new_target = False
        self._must_look = False
        self._retry_at: float | None = None
        # The newest that the disk would not note; the installer's thread alone.
        self._unnoted: Unnoted | None = None
        self._unnoted_told = 0
        self._thread = threading.Thread(target=self._run, name="package-installer", daemon=True)

    def start(self) -> None:
        """Load the current packages from disk, then follow the assignments."""
        self._bus.on_connect(self._on_connect)
        self._bus.subscribe(topic(self._station, Channel.ASSIGNMENT), self.hear)
        self._thread.start()

    def stop(self) -> None:
        """Call off what is under way and end the thread. May be called twice."""
        with self._state:
            self._is_stopping = True
            self._state.notify_all()
        if self._thread.is_alive():
            # A read from a dead link ends by its time-out; the thread holds nothing that must be closed.
            self._thread.join(_STOP_TIMEOUT_S)
        self.switch.stop()

    def status(self) -> PackageStatus:
        """The package status as it stands."""
        return self._progress.current()

    def report_now(self) -> None:
        """Send the package status again."""
        self._progress.publish()

    def look_again(self) -> None:
        """What should run may have changed without an assignment: a challenger is through. Does not wait."""
        with self._state:
            self._must_look = self._target is not None
            self._state.notify_all()

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        return [*self._faults.current(), *self._accepted.lapsed(self._clock.now())]

    def _on_connect(self) -> None:
        self._progress.publish()
        with self._state:
            if self._retry_at is not None:
                # The broker is back, so central may be.
                self._retry_at = self._clock.monotonic() + self._backoff.soon_s()
            self._state.notify_all()

    def hear(self, _topic: str, sealed: bytes) -> None:
        """Something came on the assignment topic, or comes again since its signer is known now."""
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
                if not self._mailbox and not self._is_stopping and not self._must_look:
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
            is_due = self._has_new_target or is_retry or self._must_look
            if is_due:
                self._has_new_target = self._must_look = False
                self._retry_at = None
            return is_due

    def _wait_s(self) -> float | None:
        due = [self._retry_at, None if self._unnoted is None else self._unnoted.again_at_s]
        next_s = min((at_s for at_s in due if at_s is not None), default=None)
        return None if next_s is None else max(0.0, next_s - self._clock.monotonic())

    def _retry_later(self, pause_s: float | None = None) -> None:
        with self._state:
            self._retry_at = self._clock.monotonic() + (self._backoff.next_s() if pause_s is None else pause_s)

    def _is_called_off(self) -> bool:
        """Asked between chunks and between variants: a newer assignment makes the present work pointless."""
        if not self._has_new_target:
            self._take_assignments()
        return self._is_stopping or self._has_new_target

    def _take_assignments(self) -> None:
        while True:
            with self._state:
                unnoted = self._unnoted
                if self._mailbox:
                    sealed = self._mailbox.popleft()
                elif unnoted is not None and self._clock.monotonic() >= unnoted.again_at_s:
                    sealed, self._unnoted = unnoted.sealed, None
                else:
                    return
            try:
                self._take(sealed)
            except PackageRefused as refusal:
                self._answer(refusal)
            except Exception as error:  # noqa: BLE001 - no message may end the thread that every later one needs
                _log.exception("assignment failed unforeseen station=%s", self._station)
                msg = f"assignment: could not be taken: {type(error).__name__}: {error}"
                self._answer(PackageRefused(RefusalReason.UNREADABLE, msg))

    def _answer(self, refusal: PackageRefused) -> None:
        if self._unnoted is None:
            self._faults.clear(_DISK_FAULT)
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
                self._note_later(sealed, number, error)
                return
            self._unnoted = None
            self._disk_backoff.reset()
            self._faults.clear(_DISK_FAULT)
            self.counters.assignments_accepted += 1
            self._bringing.forget_refusals()
            self._backoff.reset()
            _log.info("assignment accepted station=%s number=%d", self._station, number)
        else:
            self.counters.assignments_repeated += 1
            if self._target is not None:
                self._faults.clear(_IGNORED_FAULT)
                self._progress.forgive()
                return
        self._aim_at(offered.assignment)

    def _note_later(self, sealed: bytes, number: int, error: OSError) -> None:
        """Without its number on the disk it must not be followed; central says it only once, so it is kept here.

        Raises:
            PackageRefused: DISK, the first time that this number is met.
        """
        if self._unnoted is None or number >= self._unnoted.number:
            self._unnoted = Unnoted(number, sealed, self._clock.monotonic() + self._disk_backoff.next_s())
        msg = f"assignment {number}: its number cannot be stored: {error}"
        self._faults.add(_DISK_FAULT, msg, DISK_REMEDY)
        if number != self._unnoted_told:
            self._unnoted_told = number
            raise PackageRefused(RefusalReason.DISK, f"{msg}; tried again until it is done", number=number) from error

    def _aim_at(self, assignment: AssignPackage) -> None:
        self._progress.begin(assignment.number, {package.product for package in assignment.packages})
        self._faults.clear(FAULT)
        self._faults.clear(_IGNORED_FAULT)
        self.switch.begin(assignment)
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
                current = self.switch.to_begin_with(product, current)
                if current is None:
                    continue
                stored = self._store.load(product, current, variants=self._runtime.variants())
                if stored is not None:
                    # Not even a newer assignment calls this off: its download may take hours.
                    self._bringing.activate(stored, is_called_off=lambda: self._is_stopping)
            except (PackageRefused, OSError) as error:
                # Never the previous one instead: going back is a signed assignment.
                _log.error("current package is not usable product=%s package=%s: %s", product, current, error)
                name = (current or "")[:12]
                self._faults.add(FAULT, f"{product}: package {name} on disk: {error}", "assign it again")

    def _converge(self) -> None:
        """Bring every product to the package that the target names."""
        assert self._target is not None  # noqa: S101 - set before anything can be due
        try:
            outcome = self._bringing.converge(self._target.packages)
        except OSError as error:
            # A slot could not be cleared, so no product was looked at.
            self._faults.add(DISK_FAULT, f"the station's disk: {error}", DISK_REMEDY)
            _log.error("packages wait for the disk station=%s: %s", self._station, error)
            self._retry_later()
            return
        if outcome.is_to_retry:
            self._retry_later()
        elif outcome.opens_at is not None:
            opens_in_s = max(0.0, (outcome.opens_at - self._clock.now()).total_seconds())
            self._retry_later(min(opens_in_s, _LOOK_AGAIN_S))
        self.switch.warm_up(self._is_called_off)
