# SPDX-License-Identifier: Apache-2.0
"""Challengers of this station: begun as assigned, resumed after a restart, told of, and ended.

A challenger ends by another assignment, by becoming active once it judged as many parts as it was told to without an
error, or because it fails: it never comes back under the same assignment then. Since a graph can take the whole process
with it, a challenger that saw several processes end before it judged some parts is over too. Judges nothing itself
(`inference.shadow` does) and activates nothing: the installer does, when `look` says so. Begun and ended on the
installer's thread, looked at on that of `packages.watching`.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from contracts.commands import ChallengerAssignment
from contracts.reports import ShadowCounts
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.inference.challenger import Trial
from edge_agent.inference.shadow import Shadow
from edge_agent.packages.activation import Ready
from edge_agent.packages.notes import PackageNotes, Promoted, ShadowNote
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.readying import Readying
from edge_agent.packages.store import PackageStore, StoredPackage
from edge_agent.packages.trust import PackageRefused
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

SHADOW_FAULT: Final = "challenger-ended"
_MAX_STARTS: Final = 3
# Parts that it must judge before a process's end is no longer held against it.
_PARTS_OF_A_START: Final = 20
_ASSIGN: Final = "look at the challenger's figures at central; the champion is not touched"


@dataclass(frozen=True)
class _Running:
    """A challenger that judges in shadow now. `began_at`: parts that it had judged before this process."""

    order: ChallengerAssignment
    note: ShadowNote
    ready: Ready
    began_at: int


class Challengers:
    """See the module."""

    def __init__(
        self,
        shadow: Shadow,
        *,
        store: PackageStore,
        readying: Readying,
        notes: PackageNotes,
        progress: ProgressReport,
        faults: FaultBook,
    ) -> None:
        self._shadow = shadow
        self._store = store
        self._readying = readying
        self._notes = notes
        self._progress = progress
        self._faults = faults
        self._lock = threading.RLock()
        self._running: dict[str, _Running] = {}

    def is_followed(self, product: str, order: ChallengerAssignment, number: int) -> bool:
        """Whether this very order is being followed."""
        with self._lock:
            running = self._running.get(product)
            return running is not None and running.order == order and running.note.number == number

    def begin(
        self, stored: StoredPackage, order: ChallengerAssignment, number: int, *, is_called_off: Callable[[], bool]
    ) -> None:
        """Let a package judge its product's parts in shadow, or go on with it after a restart.

        Raises:
            PackageRefused: it failed its self-test, is too slow, or failed in shadow under this assignment before.
            Interrupted: called off.
        """
        product = stored.manifest.product
        note = self._notes.shadow(product, number, order.package_id)
        if note.starts >= _MAX_STARTS and not note.over:
            note = note.model_copy(update={"over": f"the station's process ended {note.starts} times while it judged"})
            self._notes.note_shadow(product, note)
        if note.over:
            raise PackageRefused(RefusalReason.ERRED, note.over)
        ready = self._readying.fit(stored, is_called_off)
        counts = note.counts.model_copy(update={"wanted": order.parts})
        note = note.model_copy(update={"starts": note.starts + 1, "counts": counts})
        with self._lock:
            self._faults.clear(SHADOW_FAULT)
            self._store.set_challenger(product, order.package_id)
            self._notes.note_shadow(product, note)
            self._running[product] = _Running(order, note, ready, note.counts.judged)
            self._shadow.set(product, Trial(ready.loaded, ready.tested.infer_p50_ms, counts))
            self._tell(product, counts)
        _log.info("challenger in shadow product=%s package=%s parts=%s", product, order.package_id, order.parts)

    def end(self, product: str) -> None:
        """No challenger of this product any more."""
        with self._lock:
            self._ended(product)
            self._store.set_challenger(product, None)
        self._progress.drop_challenger(product)

    def products(self) -> list[str]:
        """Products that have a challenger on this disk."""
        return [each for each in self._store.products() if self._store.slots(each).challenger is not None]

    def look(self, number: int, *, is_to_tell: bool) -> bool:
        """End challengers that fail or are through. Returns whether one is to become active now.

        Args:
            number: of the assignment in force.
            is_to_tell: put the counts into the status and on the disk.
        """
        is_promoted = False
        with self._lock:
            for product, running in list(self._running.items()):
                counts, trouble = self._shadow.counts(product), self._shadow.trouble(product)
                if counts is None:
                    continue
                is_through = running.order.parts is not None and counts.judged >= running.order.parts
                if is_through and not trouble and counts.errors:
                    trouble = "it is through, and failed on some parts"
                if trouble:
                    self._give_up(product, running, counts, trouble)
                elif is_through:
                    promoted = Promoted(number=number, package_id=running.order.package_id)
                    self._notes.note_promoted(product, promoted)
                    self._ended(product)
                    self._progress.drop_challenger(product)
                    is_promoted = True
                elif is_to_tell and counts != running.note.counts:
                    self._keep_count(product, running, counts)
                    self._tell(product, counts)
        return is_promoted

    def stop(self) -> None:
        """The process ends on purpose: counts are kept, nothing is held against a challenger."""
        with self._lock:
            for product, running in list(self._running.items()):
                counts = self._shadow.counts(product)
                if counts is not None:
                    self._notes.note_shadow(product, running.note.model_copy(update={"counts": counts, "starts": 0}))
        self._shadow.close()

    def _keep_count(self, product: str, running: _Running, counts: ShadowCounts) -> None:
        has_shown = counts.judged - running.began_at >= _PARTS_OF_A_START
        note = running.note.model_copy(update={"counts": counts, "starts": 0 if has_shown else running.note.starts})
        self._running[product] = replace(running, note=note)
        self._notes.note_shadow(product, note)

    def _give_up(self, product: str, running: _Running, counts: ShadowCounts, why: str) -> None:
        detail = f"{why}; {counts.judged} parts judged, {counts.errors} failed, {counts.skipped} skipped"
        self._notes.note_shadow(product, running.note.model_copy(update={"counts": counts, "over": detail}))
        self._ended(product)
        self._faults.add(
            SHADOW_FAULT, f"{product}: challenger {running.order.package_id[:12]} is over: {detail}", _ASSIGN
        )
        self._progress.set(
            product,
            running.order.package_id,
            PackageState.REFUSED,
            reason=RefusalReason.ERRED,
            detail=detail,
            shadow=counts,
            is_challenger=True,
        )

    def _ended(self, product: str) -> None:
        self._running.pop(product, None)
        self._shadow.set(product, None)

    def _tell(self, product: str, counts: ShadowCounts) -> None:
        running = self._running[product]
        self._progress.set(
            product,
            running.order.package_id,
            PackageState.SHADOW,
            variant=running.ready.loaded.variant,
            provider=running.ready.loaded.session.provider,
            ready=running.ready,
            shadow=counts,
            is_challenger=True,
        )
