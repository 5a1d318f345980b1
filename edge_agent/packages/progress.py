# SPDX-License-Identifier: Apache-2.0
"""What the station says about its packages: the retained `PackageStatus`, kept current.

Decides nothing; the installer and those who watch packages tell it each change. A status that the bus does not take is
sent after the next connect, so the last word always arrives. Used by the rooms of `edge_agent.packages` alone.

`refused` answers one assignment, the one that `assignment_number` names. What cannot be trusted to be an assignment of
this station, or is an old one, has no number that could be answered: it is told in `detail` and never as `refused`,
else a stray message would pass for the refusal of the present assignment and end its rollout.
"""

import logging
import threading
from datetime import datetime

from contracts import codec
from contracts.ids import StationAddress
from contracts.reports import PackageProgress, PackageStatus, ShadowCounts
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.packages.activation import Ready
from edge_agent.packages.download import Transfer
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)
_MAX_DETAIL = 1000
_MAX_WAYS = 64


class ProgressReport:
    """The package status of one station; every change is published."""

    def __init__(self, bus: MessageBus, station: StationAddress, clock: Clock) -> None:
        self._bus = bus
        self._station = station
        self._clock = clock
        self._topic = topic(station, Channel.PACKAGE_STATUS)
        self._lock = threading.Lock()
        self._number = 0
        self._refused: RefusalReason | None = None
        self._refused_number: int | None = None
        self._detail = ""
        self._ignored = ""
        # By product, and whether it is of the challenger.
        self._packages: dict[tuple[str, bool], PackageProgress] = {}

    def begin(self, number: int, products: set[str]) -> None:
        """An assignment was accepted: its number, and only its products, from now on."""
        with self._lock:
            self._number = number
            self._refused = self._refused_number = None
            self._detail = self._ignored = ""
            self._packages = {key: row for key, row in self._packages.items() if key[0] in products}
        self.publish()

    def refuse(self, reason: RefusalReason, detail: str, number: int) -> None:
        """The assignment with this number, which can be trusted, was refused; what runs goes on."""
        with self._lock:
            self._refused, self._refused_number = reason, number
            self._detail = detail[:_MAX_DETAIL]
        _log.warning(
            "assignment refused station=%s number=%d reason=%s detail=%s", self._station, number, reason, detail
        )
        self.publish()

    def ignore(self, reason: RefusalReason, detail: str) -> None:
        """Something on the assignment topic was no new assignment of this station; it answers no number."""
        with self._lock:
            self._ignored = f"ignored, {reason}: {detail}"[:_MAX_DETAIL]
        _log.warning("assignment ignored station=%s reason=%s detail=%s", self._station, reason, detail)
        self.publish()

    def forgive(self) -> None:
        """The valid assignment was heard again: an earlier refusal is no longer the last word."""
        with self._lock:
            if self._refused is None and not self._ignored:
                return
            self._refused = self._refused_number = None
            self._detail = self._ignored = ""
        self.publish()

    def is_active(self, product: str, package_id: str) -> bool:
        """Whether the status already says that this package judges this product."""
        with self._lock:
            row = self._packages.get((product, False))
        return row is not None and row.package_id == package_id and row.state is PackageState.ACTIVE

    def set(
        self,
        product: str,
        package_id: str,
        state: PackageState,
        *,
        reason: RefusalReason | None = None,
        detail: str = "",
        variant: Variant | None = None,
        provider: str | None = None,
        ready: Ready | None = None,
        shadow: ShadowCounts | None = None,
        judging: str | None = None,
        is_challenger: bool = False,
        transfer: Transfer | None = None,
        waits_until: datetime | None = None,
    ) -> None:
        """A package has come to a state. The same state again is sent, and logged only where its reason is new."""
        row = PackageProgress(
            product=product,
            package_id=package_id,
            state=state,
            reason=reason,
            detail=detail[:_MAX_DETAIL],
            variant=variant,
            provider=provider,
            self_test_worst_error=None if ready is None else ready.tested.worst_error,
            self_test_tolerance=None if ready is None else ready.loaded.manifest.golden.tolerance,
            infer_p50_ms=None if ready is None else ready.tested.infer_p50_ms,
            infer_p99_ms=None if ready is None or ready.benchmark is None else ready.benchmark.p99_ms,
            deadline_ms=None if ready is None else ready.deadline_ms,
            shadow=shadow,
            judging=judging,
            threads=None if ready is None else ready.way.threads,
            measured=[] if ready is None else [each.told() for each in ready.table][:_MAX_WAYS],
            batch=None if ready is None else ready.batch,
            batches=[] if ready is None else [each.told() for each in ready.batches],
            bytes_done=None if transfer is None else transfer.done_bytes,
            bytes_total=None if transfer is None else transfer.total_bytes,
            bytes_reused=None if transfer is None else transfer.reused_bytes,
            waits_until=waits_until,
            at=self._clock.now(),
        )
        with self._lock:
            before = self._packages.get((product, is_challenger))
            self._packages[product, is_challenger] = row
        if before is not None and before.model_copy(update={"at": row.at}) == row and waits_until is not None:
            # Looked again, and still waiting: nothing new to say.
            return
        if before is None or (before.package_id, before.state, before.detail) != (package_id, state, row.detail):
            level = logging.WARNING if reason is not None else logging.INFO
            _log.log(level, "package %s product=%s package=%s reason=%s %s", state, product, package_id, reason, detail)
        self.publish()

    def drop_challenger(self, product: str) -> None:
        """The product has no challenger any more."""
        with self._lock:
            is_gone = self._packages.pop((product, True), None) is not None
        if is_gone:
            self.publish()

    def current(self) -> PackageStatus:
        """The status as it stands."""
        with self._lock:
            return PackageStatus(
                station=self._station,
                assignment_number=self._refused_number or self._number,
                at=self._clock.now(),
                refused=self._refused,
                detail=self._detail or self._ignored,
                # Whoever keeps one row a product keeps the last one: that of the package which decides.
                packages=[self._packages[key] for key in sorted(self._packages, key=lambda key: (key[0], not key[1]))],
            )

    def publish(self) -> None:
        """Send the status now; if the bus is away the connect callback sends it later."""
        self._bus.publish(self._topic, codec.encode(self.current()), qos=1, retain=True)
