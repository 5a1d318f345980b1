# SPDX-License-Identifier: Apache-2.0
"""Who judges a product at this station: to a new package, or back to the previous one.

A package judges only once `packages.readying` found it fit. The order of a switch: `current` moved on disk, then the
active table swapped between two frames. The package before stays open, so that falling back takes no longer than that.

Falling back is no going back: it happens once for an assignment, only to the previous package of the same product, and
only when that one has judged well here; the package that erred is tried again by a new assignment alone. Where central
ordered the station away from the previous one (`packages.orders`), none judges instead: fail-safe. Downloads
nothing and trusts nobody; the installer's thread brings packages here, that of `packages.watching` says who erred.
"""

import logging
import threading
from collections.abc import Callable
from typing import Final

from contracts.commands import AssignPackage
from contracts.vocabulary import PackageState, RefusalReason
from edge_agent.errors import DeviceError
from edge_agent.inference.session import LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.packages.activation import Ready
from edge_agent.packages.notes import FellBack, PackageNotes
from edge_agent.packages.orders import Ordered, after
from edge_agent.packages.progress import ProgressReport
from edge_agent.packages.readying import Readying
from edge_agent.packages.store import PackageStore, StoredPackage
from edge_agent.packages.trust import PackageRefused
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_FALLBACK_FAULT: Final = "provider-fallback"
FELL_BACK_FAULT: Final = "package-fell-back"
ERRS_FAULT: Final = "package-errs"
# Processes that may end early with a package before it is blamed.
_MAX_STARTS: Final = 3
_ASSIGN: Final = "look at the package's figures at central, and assign one that judges here"


class PackageSwitch:
    """See the module. Safe for the installer's thread and the watch's.

    Args:
        keeps_warm: hold the previous package open; costs its memory once more.
    """

    def __init__(
        self,
        *,
        slots: PackageSlots,
        store: PackageStore,
        readying: Readying,
        notes: PackageNotes,
        progress: ProgressReport,
        faults: FaultBook,
        keeps_warm: bool,
    ) -> None:
        self._slots = slots
        self._store = store
        self._readying = readying
        self._notes = notes
        self._progress = progress
        self._faults = faults
        self._keeps_warm = keeps_warm
        self._lock = threading.RLock()
        self._ready: dict[str, Ready] = {}
        self._warm: dict[str, LoadedPackage] = {}
        # Of the assignment in force.
        self.number = 0

    def begin(self, assignment: AssignPackage) -> None:
        """Another assignment is in force: what was given up under the last one may be tried again."""
        with self._lock:
            self.number = assignment.number
            self._note_order(assignment)
            for code in (FELL_BACK_FAULT, ERRS_FAULT):
                self._faults.clear(code)

    def wanted(self, product: str, assigned: str) -> str:
        """The package that should judge: the assigned one, or its challenger that has become active since."""
        return self._notes.promoted(product, self.number) or assigned

    def is_given_up(self, product: str, package_id: str) -> bool:
        """Whether the station fell back from this package under the present assignment; says so in the status."""
        note = self._notes.fell_back(product, self.number)
        if note is None or note.package_id != package_id:
            return False
        self._tell_fallen_back(product, note)
        return True

    def to(self, stored: StoredPackage, *, is_called_off: Callable[[], bool]) -> None:
        """Let a package judge its product.

        Raises:
            PackageRefused: it failed its self-test, or is too slow for its recipe.
            Interrupted: called off.
        """
        ready = self._readying.fit(stored, is_called_off)
        loaded = ready.loaded
        product = loaded.manifest.product
        with self._lock:
            before = self._slots.active(product)
            self._store.set_current(product, stored.package_id)
            self._slots.activate(loaded)
            if not self._notes.has_judged_well(product, stored.package_id):
                starts = self._notes.starts(product, stored.package_id)
                self._notes.note_starts(product, stored.package_id, starts + 1)
            # A second way of running the same package holds no session that is of use any more.
            self._ready = {**self._ready, loaded.package_id: ready}
            if self._keeps_warm and before is not None and before.package_id != loaded.package_id:
                self._warm[product] = before
                self._cool(product)
        self._note_fallback(ready)
        self.report_active(loaded)
        # `before` is let go only here, after the new one has been active; the loop may hold it for a frame more.
        del before
        self._store.prune(product)
        kept = self._store.kept()
        self._readying.prune(kept)
        with self._lock:
            self._ready = {each: found for each, found in self._ready.items() if each in kept}

    def warm_up(self, is_called_off: Callable[[], bool]) -> None:
        """After a start: open the previous packages that judged well, so that they need not be when they are wanted."""
        for product in self._slots.products() if self._keeps_warm else ():
            previous = self._store.slots(product).previous
            if previous is None or product in self._warm or not self._notes.has_judged_well(product, previous):
                continue
            if self._notes.is_barred(product, previous):
                continue
            try:
                loaded = self._readying.opened(product, previous, is_called_off)
            except (PackageRefused, DeviceError, OSError) as error:
                _log.warning("previous package is not usable product=%s package=%s: %s", product, previous, error)
                continue
            if loaded is not None:
                with self._lock:
                    self._warm.setdefault(product, loaded)

    def report_active(self, loaded: LoadedPackage) -> None:
        """Say that this package judges, unless that was the last word."""
        product = loaded.manifest.product
        if not self._progress.is_active(product, loaded.package_id):
            self._progress.set(
                product,
                loaded.package_id,
                PackageState.ACTIVE,
                variant=loaded.variant,
                provider=loaded.session.provider,
                ready=self._ready.get(loaded.package_id),
            )

    def levels(self, package_id: str) -> frozenset[float]:
        """Scores at which a package saturates."""
        ready = self._ready.get(package_id)
        return frozenset() if ready is None else ready.tested.levels

    # Falling back

    def judged_well(self, product: str, package_id: str) -> None:
        """A package has shown that it can judge here."""
        with self._lock:
            self._notes.note_judged_well(product, package_id)
            self._notes.note_starts(product, package_id, 0)

    def to_begin_with(self, product: str, current: str) -> str | None:
        """The package to open at a start: the current one, or the previous when processes keep ending with that one.

        None: neither; it was given up, and central ordered the station away from the previous one.

        A graph can take the whole process with it, and then nobody is left to see it err.
        """
        with self._lock:
            starts = self._notes.starts(product, current)
            previous = self._store.slots(product).previous
            fell_back = self._notes.fell_back(product, self.number)
            if fell_back is not None and fell_back.package_id == current and fell_back.judging is None:
                # The disk did not note that none judges.
                return None
            is_barred = previous is not None and self._notes.is_barred(product, previous)
            if (
                starts < _MAX_STARTS
                or previous is None
                or not (is_barred or self._notes.has_judged_well(product, previous))
                or fell_back is not None
            ):
                return current
            why = f"the station's process ended {starts} times before it had judged well"
            if is_barred:
                why = f"{why}; {_barred(previous)}"
                previous = None
            note = FellBack(number=self.number, package_id=current, judging=previous, why=why)
            self._notes.note_fell_back(product, note)
            self._keep_current(product, previous)
            self._notes.note_starts(product, current, 0)
        self._tell_fallen_back(product, note)
        return previous

    def stop(self) -> None:
        """The process ends on purpose: that is held against no package."""
        with self._lock:
            for product in self._slots.products():
                active = self._slots.active(product)
                if active is not None:
                    self._notes.note_starts(product, active.package_id, 0)

    def fall_back(self, product: str, package_id: str, why: str) -> bool:
        """The active package errs: let the previous one judge. Returns whether it does now."""
        with self._lock:
            active = self._slots.active(product)
            if active is None or active.package_id != package_id:
                return False
            previous = self._store.slots(product).previous
            is_first = self._notes.fell_back(product, self.number) is None
            if is_first and previous is not None and self._notes.is_barred(product, previous):
                note = FellBack(
                    number=self.number, package_id=package_id, judging=None, why=f"{why}; {_barred(previous)}"
                )
                self._let_judge(product, None, note)
                self._tell_fallen_back(product, note)
                return True
            loaded, no = self._to_fall_back_to(product)
            if loaded is None:
                text = f"{product}: package {package_id[:12]} errs: {why}; {no}: it judges on"
                if self._faults.add(ERRS_FAULT, text, _ASSIGN):
                    _log.error("package errs product=%s package=%s: %s; %s", product, package_id, why, no)
                return False
            note = FellBack(number=self.number, package_id=package_id, judging=loaded.package_id, why=why)
            self._let_judge(product, loaded, note)
        self._tell_fallen_back(product, note)
        return True

    def _let_judge(self, product: str, loaded: LoadedPackage | None, note: FellBack) -> None:
        # Judging first; the disk may be slow, or the fault itself.
        if loaded is None:
            self._slots.deactivate(product)
        else:
            self._slots.activate(loaded)
        self._warm.pop(product, None)
        self._keep_current(product, note.judging)
        self._notes.note_fell_back(product, note)

    def _keep_current(self, product: str, package_id: str | None) -> None:
        try:
            if package_id is None:
                self._store.clear_current(product)
            else:
                self._store.set_current(product, package_id)
        except OSError as error:
            _log.error("fall back is not on disk product=%s: %s", product, error)

    def _note_order(self, assignment: AssignPackage) -> None:
        noted = self._notes.ordered()
        items = {item.product: item for item in assignment.packages}
        for product in {*noted, *items}:
            item, before = items.get(product), noted.get(product)
            if before is not None and before.number >= assignment.number:
                continue
            if before is None:
                # A station of before such notes: its slots say where it came from.
                slots, fell_back = self._store.slots(product), self._notes.fell_back(product, assignment.number)
                given_up = None if fell_back is None else fell_back.package_id
                had = [each for each in (slots.previous, slots.current) if each is not None and each != given_up]
                before = Ordered(path=had)
            promoted = self._notes.promoted(product, before.number)
            if promoted is not None and promoted not in before.path:
                before = before.model_copy(update={"path": [*before.path, promoted]})
            package_id, is_urgent = (None, False) if item is None else (item.package_id, item.is_urgent)
            noted[product] = after(before, assignment.number, package_id, is_urgent=is_urgent)
        self._notes.note_ordered(noted)
        for product in list(self._warm):
            self._cool(product)

    def _cool(self, product: str) -> None:
        """What may not be fallen back to need not be kept open."""
        if self._notes.is_barred(product, self._warm[product].package_id):
            del self._warm[product]

    def _to_fall_back_to(self, product: str) -> tuple[LoadedPackage | None, str]:
        if self._notes.fell_back(product, self.number) is not None:
            return None, "it fell back under this assignment before, and does so once"
        previous = self._store.slots(product).previous
        if previous is None or not self._notes.has_judged_well(product, previous):
            return None, "there is no previous package that judged well here"
        warm = self._warm.get(product)
        if warm is not None and warm.package_id == previous:
            return warm, ""
        try:
            loaded = self._readying.opened(product, previous, lambda: False)
        except (PackageRefused, DeviceError, OSError) as error:
            return None, f"the previous package is not usable: {error}"
        return loaded, "the previous package is not on the disk"

    def _tell_fallen_back(self, product: str, note: FellBack) -> None:
        judging = "no package judges" if note.judging is None else f"package {note.judging[:12]} judges again"
        detail = f"{note.why}; {judging}"
        if self._faults.add(FELL_BACK_FAULT, f"{product}: package {note.package_id[:12]} erred: {detail}", _ASSIGN):
            _log.error("fell back product=%s package=%s: %s", product, note.package_id, detail)
        self._progress.set(
            product,
            note.package_id,
            PackageState.FELL_BACK,
            reason=RefusalReason.ERRED,
            detail=detail,
            ready=self._ready.get(note.package_id),
            judging=note.judging,
        )

    def _note_fallback(self, ready: Ready) -> None:
        """A provider that this ONNX Runtime has and that does not work here is a fault, although another one judges."""
        if broken := ready.broken:
            told = "; ".join(f"{provider}: {note}" for provider, note in broken.items())
            remedy = "see the remedy in the text, or name the provider to use in inference.provider"
            self._faults.add(_FALLBACK_FAULT, f"{ready.way} judges, since others do not work: {told}", remedy)
        else:
            self._faults.clear(_FALLBACK_FAULT)


def _barred(previous: str) -> str:
    return f"central ordered this station away from the previous one, {previous[:12]}, and did not name it again"
