# SPDX-License-Identifier: Apache-2.0
"""One look of the installer: every product and every challenger of an assignment, step by step towards what it names.

Takes packages from the disk or downloads them, hands them to `packages.switching` and `packages.shadowing`, and tells
what went wrong; one product holds up no other. Reads no assignment and knows no time. Used by the package installer.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from contracts.commands import ProductAssignment
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.errors import TransportError
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.activation import Runtime
from edge_agent.packages.arriving import PackageDownload, Wanted
from edge_agent.packages.fetch import WindowClosed
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.shadowing import Challengers
from edge_agent.packages.store import PackageStore, StoredPackage
from edge_agent.packages.switching import PackageSwitch
from edge_agent.packages.trust import PackageRefused
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

FAULT: Final = "package-refused"
_LINK_FAULT: Final = "package-unreachable"
DISK_FAULT: Final = "package-disk"
DISK_REMEDY: Final = "make room on the disk of data_dir; it is tried again by itself, at most a minute apart"


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


@dataclass(frozen=True)
class Outcome:
    """What stands in the way of a look that is not through: link or disk, or a window that opens then."""

    is_to_retry: bool
    opens_at: datetime | None


@dataclass(frozen=True)
class _Step:
    """One package of one product, on its way to judge or into shadow."""

    item: ProductAssignment
    package_id: str
    is_challenger: bool


class Bringing:
    """See the module. `is_called_off`: asked between chunks and variants."""

    def __init__(
        self,
        *,
        slots: PackageSlots,
        store: PackageStore,
        downloads: PackageDownload,
        runtime: Runtime,
        progress: ProgressReport,
        faults: FaultBook,
        switch: PackageSwitch,
        challengers: Challengers,
        counters: InstallerCounters,
        is_called_off: Callable[[], bool],
    ) -> None:
        self._slots = slots
        self._store = store
        self._downloads = downloads
        self._runtime = runtime
        self._progress = progress
        self._faults = faults
        self._switch = switch
        self._challengers = challengers
        self._counters = counters
        self._is_called_off = is_called_off
        # (product, package) pairs of the present assignment that were refused for good.
        self._refused: dict[tuple[str, str], PackageRefused] = {}
        self._opens_at: datetime | None = None
        self._is_disk_full = False

    def forget_refusals(self) -> None:
        """Another assignment was accepted."""
        self._refused.clear()

    def converge(self, items: Sequence[ProductAssignment]) -> Outcome:
        """Bring every product to the package that its item names.

        Raises:
            Interrupted: called off.
        """
        assigned = {item.product for item in items}
        self._slots.deactivate_missing(assigned)
        for product in self._store.products():
            if product not in assigned:
                self._store.clear_current(product)
        for product in self._challengers.products():
            if product not in assigned:
                self._challengers.end(product)
        steps = [_Step(item, self._switch.wanted(item.product, item.package_id), is_challenger=False) for item in items]
        for step in tuple(steps):
            order = step.item.challenger
            if order is not None and order.package_id not in (step.package_id, step.item.package_id):
                # After all that decide: whoever watches comes last.
                steps.append(_Step(step.item, order.package_id, is_challenger=True))
            elif step.item.product in self._challengers.products():
                self._challengers.end(step.item.product)
        # A way back waits for no download of another product. Challengers stay last.
        steps.sort(key=lambda step: (step.is_challenger, not step.item.is_urgent))
        self._store.drop_partials([step.package_id for step in steps])
        self._opens_at, self._is_disk_full = None, False
        results = [self._take(step) for step in steps]
        if all(results):
            self._faults.clear(_LINK_FAULT)
        if not self._is_disk_full:
            self._faults.clear(DISK_FAULT)
        return Outcome(is_to_retry=self._is_disk_full or not all(results), opens_at=self._opens_at)

    def activate(self, stored: StoredPackage, *, is_called_off: Callable[[], bool]) -> None:
        """Let a package of this disk judge.

        Raises:
            PackageRefused: it is not fit to.
            Interrupted: called off.
        """
        self._switch.to(stored, is_called_off=is_called_off)
        self._counters.activated += 1

    def _take(self, step: _Step) -> bool:
        """Take one step; False: try again, the link was at fault. `_is_disk_full`: try again, the disk was."""
        if (step.item.product, step.package_id) in self._refused:
            return True
        try:
            if step.is_challenger:
                self._bring_challenger(step)
            else:
                self._bring(step)
        except PackageRefused as refusal:
            if refusal.reason is RefusalReason.DISK:
                self._wait_for_disk(step, refusal.message)
            else:
                self._refuse(step, refusal)
        except WindowClosed as closed:
            self._opens_at = closed.opens_at if self._opens_at is None else min(self._opens_at, closed.opens_at)
        except TransportError as error:
            self._tell(step, PackageState.DOWNLOADING, RefusalReason.UNREACHABLE, str(error))
            self._faults.add(_LINK_FAULT, f"{step.item.product}: {error.message}", error.remedy)
            return False
        except OSError as error:
            self._wait_for_disk(step, f"the station's disk: {error}")
        return True

    def _bring(self, step: _Step) -> None:
        product = step.item.product
        if self._switch.is_given_up(product, step.package_id):
            return
        active = self._slots.active(product)
        if active is not None and active.package_id == step.package_id:
            self._switch.report_active(active)
            return
        self.activate(self._stored(step), is_called_off=self._is_called_off)

    def _bring_challenger(self, step: _Step) -> None:
        order, number = step.item.challenger, self._switch.number
        if order is None or self._challengers.is_followed(step.item.product, order, number):
            return
        self._challengers.begin(self._stored(step), order, number, is_called_off=self._is_called_off)

    def _wait_for_disk(self, step: _Step, why: str) -> None:
        # Refused as far as central goes, and not for good: going back must not hang on one moment of a full disk.
        self._is_disk_full = True
        self._faults.add(DISK_FAULT, f"{step.item.product}: package {step.package_id[:12]}: {why}", DISK_REMEDY)
        self._tell(step, PackageState.REFUSED, RefusalReason.DISK, f"{why}; tried again until it is done")

    def _refuse(self, step: _Step, refusal: PackageRefused) -> None:
        self._counters.refused += 1
        self._refused[step.item.product, step.package_id] = refusal
        self._store.forget(step.item.product, step.package_id)
        self._faults.add(FAULT, f"{step.item.product}: {refusal.reason}: {refusal.message}", refusal.remedy)
        self._tell(step, PackageState.REFUSED, refusal.reason, refusal.message)

    def _stored(self, step: _Step) -> StoredPackage:
        stored = self._from_disk(step)
        if stored is None:
            return self._download(step)
        # It lay here before it was withdrawn, from the shadow or from when it judged.
        self._downloads.check_published(self._wanted(step), self._is_called_off)
        return stored

    def _wanted(self, step: _Step) -> Wanted:
        return Wanted(
            step.item.product, step.package_id, is_urgent=step.item.is_urgent, is_challenger=step.is_challenger
        )

    def _from_disk(self, step: _Step) -> StoredPackage | None:
        """Going back to the previous package needs no network."""
        product, package_id = step.item.product, step.package_id
        try:
            return self._store.load(product, package_id, variants=self._runtime.variants())
        except PackageRefused as refusal:
            _log.warning("copy on disk is damaged product=%s package=%s: %s", product, package_id, refusal)
            return None

    def _download(self, step: _Step) -> StoredPackage:
        product, package_id = step.item.product, step.package_id
        self._downloads.bring(self._wanted(step), self._is_called_off)
        stored = self._store.load(product, package_id, variants=self._runtime.variants())
        if stored is None:
            raise PackageRefused(RefusalReason.DISK, f"package {package_id[:12]} vanished from the disk")
        return stored

    def _tell(self, step: _Step, state: PackageState, reason: RefusalReason | None = None, detail: str = "") -> None:
        self._progress.set(
            step.item.product, step.package_id, state, reason=reason, detail=detail, is_challenger=step.is_challenger
        )
