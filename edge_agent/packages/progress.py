# SPDX-License-Identifier: Apache-2.0
"""What the station says about its packages: the retained `PackageStatus`, kept current.

Decides nothing; the installer tells it each change. A status that the bus does not take is sent after the next
connect, so the last word always arrives. Used by the package installer alone.

`refused` answers one assignment, the one that `assignment_number` names. What cannot be trusted to be an assignment of
this station, or is an old one, has no number that could be answered: it is told in `detail` and never as `refused`,
else a stray message would pass for the refusal of the present assignment and end its rollout.
"""

import logging
import threading

from contracts import codec
from contracts.ids import StationAddress
from contracts.reports import PackageProgress, PackageStatus
from contracts.topics import Channel, topic
from contracts.vocabulary import PackageState, RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.reporting.bus import MessageBus

_log = logging.getLogger(__name__)
_MAX_DETAIL = 1000


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
        self._packages: dict[str, PackageProgress] = {}

    def begin(self, number: int, products: set[str]) -> None:
        """An assignment was accepted: its number, and only its products, from now on."""
        with self._lock:
            self._number = number
            self._refused = self._refused_number = None
            self._detail = self._ignored = ""
            self._packages = {product: row for product, row in self._packages.items() if product in products}
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
            row = self._packages.get(product)
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
        worst_error: float | None = None,
        infer_p50_ms: float | None = None,
    ) -> None:
        """A package has come to a state."""
        row = PackageProgress(
            product=product,
            package_id=package_id,
            state=state,
            reason=reason,
            detail=detail[:_MAX_DETAIL],
            variant=variant,
            provider=provider,
            self_test_worst_error=worst_error,
            infer_p50_ms=infer_p50_ms,
            at=self._clock.now(),
        )
        with self._lock:
            self._packages[product] = row
        level = logging.WARNING if reason is not None else logging.INFO
        _log.log(level, "package %s product=%s package=%s reason=%s %s", state, product, package_id, reason, detail)
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
                packages=[self._packages[product] for product in sorted(self._packages)],
            )

    def publish(self) -> None:
        """Send the status now; if the bus is away the connect callback sends it later."""
        self._bus.publish(self._topic, codec.encode(self.current()), qos=1, retain=True)
