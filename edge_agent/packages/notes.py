# SPDX-License-Identifier: Apache-2.0
"""What a station must remember of its packages over a restart: who judged well, who fell back, how far a shadow is.

And what it was ordered away from. One small file beside the packages, rewritten whole. A disk that refuses costs a
repetition after the next start, no more. Decides nothing; `packages.switching` asks and writes, under its lock.
"""

import logging
from pathlib import Path
from typing import Final

from pydantic import Field, ValidationError

from contracts.base import Shape
from contracts.ids import PackageId
from contracts.reports import ShadowCounts
from edge_agent.packages.orders import Ordered
from edge_agent.packages.store import write_whole

_log = logging.getLogger(__name__)

_KEPT_IDS: Final = 20


class FellBack(Shape):
    """A package that was given up under an assignment, and the one that judges instead; None: none does."""

    number: int
    package_id: PackageId
    judging: PackageId | None
    why: str


class ShadowNote(Shape):
    """A challenger under an assignment. `starts`: processes that began it since it last judged some parts.

    `over`: why it will not judge again under this assignment; empty: it may.
    """

    number: int
    package_id: PackageId
    counts: ShadowCounts = ShadowCounts()
    starts: int = 0
    over: str = ""


class Promoted(Shape):
    """A challenger that became active by itself under an assignment."""

    number: int
    package_id: PackageId


class Starts(Shape):
    """Processes that began with a package as the active one and did not end on purpose, before it judged well."""

    package_id: PackageId
    count: int = 0


class _Content(Shape):
    judged_well: dict[str, list[PackageId]] = Field(default_factory=dict)
    fell_back: dict[str, FellBack] = Field(default_factory=dict)
    shadow: dict[str, ShadowNote] = Field(default_factory=dict)
    promoted: dict[str, Promoted] = Field(default_factory=dict)
    starts: dict[str, Starts] = Field(default_factory=dict)
    ordered: dict[str, Ordered] = Field(default_factory=dict)


class PackageNotes:
    """See the module. By product."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = _Content()
        try:
            self._content = _Content.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            pass
        except (OSError, ValidationError) as error:
            _log.error("package notes unreadable, begun anew path=%s error=%s", path, error)

    def has_judged_well(self, product: str, package_id: str) -> bool:
        """Whether this package has shown here that it can judge."""
        return package_id in self._content.judged_well.get(product, ())

    def note_judged_well(self, product: str, package_id: str) -> None:
        """It has."""
        known = self._content.judged_well.get(product, [])
        if package_id not in known:
            kept = [*known, package_id][-_KEPT_IDS:]
            self._write(judged_well={**self._content.judged_well, product: kept})

    def starts(self, product: str, package_id: str) -> int:
        """Processes that ended early with this package as the active one, the present one included."""
        found = self._content.starts.get(product)
        return found.count if found is not None and found.package_id == package_id else 0

    def note_starts(self, product: str, package_id: str, count: int) -> None:
        """So many of them."""
        if self.starts(product, package_id) != count:
            self._write(starts={**self._content.starts, product: Starts(package_id=package_id, count=count)})

    def fell_back(self, product: str, number: int) -> FellBack | None:
        """What was given up under this assignment."""
        found = self._content.fell_back.get(product)
        return found if found is not None and found.number == number else None

    def note_fell_back(self, product: str, note: FellBack) -> None:
        """A package was given up; it no longer counts as one that judged well."""
        well = [each for each in self._content.judged_well.get(product, ()) if each != note.package_id]
        self._write(
            fell_back={**self._content.fell_back, product: note},
            judged_well={**self._content.judged_well, product: well},
        )

    def ordered(self) -> dict[str, Ordered]:
        """What central ordered so far, by product."""
        return dict(self._content.ordered)

    def note_ordered(self, ordered: dict[str, Ordered]) -> None:
        """What it has ordered now."""
        if self._content.ordered != ordered:
            self._write(ordered=ordered)

    def is_barred(self, product: str, package_id: str) -> bool:
        """Whether central ordered the station away from this package, and did not name it again since."""
        found = self._content.ordered.get(product)
        return found is not None and package_id in found.barred

    def shadow(self, product: str, number: int, package_id: str) -> ShadowNote:
        """How far this challenger is under this assignment."""
        found = self._content.shadow.get(product)
        if found is None or found.package_id != package_id or (found.number != number and found.over):
            return ShadowNote(number=number, package_id=package_id)
        # Another number for the same challenger (an assignment that was renewed) goes on with its counts.
        return found.model_copy(update={"number": number})

    def note_shadow(self, product: str, note: ShadowNote) -> None:
        """How far it is now."""
        if self._content.shadow.get(product) != note:
            self._write(shadow={**self._content.shadow, product: note})

    def promoted(self, product: str, number: int) -> str | None:
        """The challenger that became active under this assignment."""
        found = self._content.promoted.get(product)
        return found.package_id if found is not None and found.number == number else None

    def note_promoted(self, product: str, note: Promoted) -> None:
        """A challenger became active by itself."""
        self._write(promoted={**self._content.promoted, product: note})
        found = self._content.ordered.get(product)
        if found is not None and note.package_id in found.barred:
            barred = [each for each in found.barred if each != note.package_id]
            self.note_ordered({**self._content.ordered, product: found.model_copy(update={"barred": barred})})

    def _write(self, **changes: object) -> None:
        self._content = self._content.model_copy(update=changes)
        try:
            write_whole(self._path, self._content.model_dump_json().encode())
        except OSError as error:
            _log.warning("package notes not kept path=%s error=%s", self._path, error)
