# SPDX-License-Identifier: Apache-2.0
"""The station's recipes and the product made now: taken from central, kept on disk, switched between two parts.

A part belongs to what held when it was captured. So every frame is bound to one recipe as it is grabbed, by its capture
time; the judge never looks the recipe up later. What is in force is one immutable page, exchanged whole: a part is
judged by one page and never by a mixture. Both the signed assignment and the product survive a restart, so a station
starts with its last recipe when central is away. Sets no camera; the grabber does, before it binds by a new page.
"""

import json
import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final

from contracts.ids import StationAddress
from contracts.recipes import ActiveRecipe
from contracts.reports import ActivePackage, StationFault
from contracts.vocabulary import RefusalReason
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.output_settings import OutputSettings
from edge_agent.packages.store import write_whole
from edge_agent.packages.trust import PackageRefused, Signatory
from edge_agent.recipes.assigned import Assigned, from_file
from edge_agent.recipes.from_central import Opened, open_recipes
from edge_agent.recipes.page import Page
from edge_agent.recipes.recipe import Recipes
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

_ASSIGNED: Final = "assigned.json"
_PRODUCT: Final = "product.json"
_REFUSED: Final = "recipes-refused"
_UNKNOWN: Final = "product-unknown"
_DISK: Final = "recipes-disk"
_ONE_REFUSED: Final = "recipe-refused"
_UNKNOWN_REMEDY: Final = "check the product's name at the line's controller, or assign a recipe or package for it"
_NAMELESS_REMEDY: Final = "let the line's controller name a product that changeover.products has, or add it there"
_NOT_ASKED: Final = "the line's controller has not been asked yet what is made"
# Between two products a line's controller may name none; a part of the first may still be in the camera's buffers.
_PAGES_BACK: Final = 8


class RecipeBook:
    """See the module.

    Args:
        folder: where assignment and product are kept; made when absent.
        key: the public assignment key.
        own: recipes of the station's settings; central's replace them product by product.
        product: of the settings: made until somebody switches.
        packages: products that have a package now; a product needs that or a recipe. The only one of them is what a
            station makes that nobody told.
        outputs: of the station; a recipe may use no others.
        is_led: the line's controller says what is made (`recipes.changeover`), and nobody else does. Until it was asked
            once, nothing is judged.
    """

    def __init__(
        self,
        folder: Path,
        station: StationAddress,
        clock: Clock,
        *,
        key: Signatory,
        own: Recipes,
        product: str | None = None,
        packages: Callable[[], Sequence[str]] = tuple,
        outputs: OutputSettings | None = None,
        is_led: bool = False,
    ) -> None:
        self._folder = folder
        self._station = station
        self._clock = clock
        self._key = key
        self._own = own
        self._packages = packages
        self._outputs = outputs
        self._is_led = is_led
        self._faults = FaultBook(clock)
        self._writing = threading.Lock()
        self._page = Page(own, product, Assigned(), clock.monotonic())
        self._set_up: Page | None = None
        self._blocked_at_start = ""
        self._product_on_disk = b""
        self._last_sealed = b""
        self._is_damaged = False
        self._on_switch: list[Callable[[], None]] = []
        self.switches_refused = 0
        self._start_from_disk(product)

    @property
    def page(self) -> Page:
        """What is in force now."""
        return self._page

    def on_switch(self, callback: Callable[[], None]) -> None:
        """Call back after every change of page, on the thread that made it; must be quick."""
        self._on_switch.append(callback)

    def set_up(self, page: Page) -> None:
        """The camera is set up for this page: the next frames are taken for it."""
        self._set_up = page

    @property
    def is_set_up(self) -> bool:
        """Whether the camera is set up for what is in force."""
        return self._set_up is not None and self._set_up.turn == self._page.turn

    def bind(self, frame: Frame, page: Page | None = None) -> Frame:
        """The frame with the product and the recipe that held when it was captured.

        A frame captured after a change for which the camera was not set up yet fits no recipe: it shows the new
        product as the old one is exposed. Of another product, it is not judged; of the same one, the old recipe fits.

        Args:
            frame: as its source gave it.
            page: what the camera is set up for; None: what is in force.
        """
        chosen = self._page.at(frame.captured_monotonic)
        refusal = ""
        if page is not None and chosen.turn > page.turn and not chosen.blocked and not chosen.exposes_like(page):
            if frame.product is None and chosen.product != page.product:
                refusal = "it was captured while the camera was set up for the product before"
            else:
                chosen = page
        if frame.product is None and chosen.blocked:
            return replace(frame, recipe=chosen.current)
        product = frame.product or chosen.product or self._only_package()
        recipe = chosen.recipes.of(product)
        return replace(frame, product=product, recipe=replace(recipe, refusal=refusal) if refusal else recipe)

    def _only_package(self) -> str | None:
        packages = self._packages()
        return packages[0] if len(packages) == 1 else None

    def active(self) -> ActiveRecipe:
        """For the status."""
        page = self._page
        return ActiveRecipe(
            product=None if page.blocked else page.product,
            version=page.current.version,
            number=page.number,
            refused=list(page.assigned.refused),
            is_led=self._is_led,
        )

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        return self._faults.current()

    def switch(self, product: str) -> bool:
        """From the next captured part on make this product. Durable before it holds. Returns whether it was taken."""
        if self._is_led:
            self.switches_refused += 1
            _log.warning(
                "switch refused product=%s refused=%d: the line's controller says what is made",
                product,
                self.switches_refused,
            )
            return False
        with self._writing:
            if product == self._page.product:
                return True
            if not self.knows(product):
                self._faults.add(_UNKNOWN, self._unknown(repr(product)), _UNKNOWN_REMEDY)
                _log.error("switch refused product=%s", product)
                return False
            if not self._keep_product(product):
                return False
            self._turn(replace(self._page, product=product))
            self._faults.clear(_UNKNOWN)
        self._tell()
        return True

    def knows(self, product: str) -> bool:
        """Whether there is a recipe or a package for it."""
        return product in self._page.recipes.by_product or product in self._packages()

    def follow(self, product: str | None, since_s: float, *, why: str = "") -> bool:
        """The line's controller says what is made from `since_s` on; told again and again.

        What it says holds at once, kept or not: any other recipe would be the wrong one. Where it names no product,
        parts get no decision until it does.

        Args:
            product: None: what it says stands for none.
            since_s: monotonic time from which on captured parts belong to it.
            why: what it says, where that stands for none.

        Returns whether that product is made and can be judged, and will be made after a restart.
        """
        with self._writing:
            if product is None:
                self._faults.add(_UNKNOWN, f"{why}: parts get no decision and are held", _NAMELESS_REMEDY)
                product = self._page.product
            elif self.knows(product):
                self._faults.clear(_UNKNOWN)
            else:
                self._faults.add(_UNKNOWN, self._unknown(repr(product)), _UNKNOWN_REMEDY)
            is_new = (product, why) != (self._page.product, self._page.blocked)
            if is_new:
                self._turn(replace(self._page, product=product, blocked=why), since_s)
            is_kept = self._keep_product(product, why)
        if is_new:
            self._tell()
        recipe = self._page.current
        return is_kept and not recipe.refusal and (recipe.package_family or product) in self._packages()

    def go_on(self) -> None:
        """The line's controller cannot be asked: what was made last is made, if that is known."""
        with self._writing:
            if self._page.blocked != _NOT_ASKED:
                return
            page = self._page
            never = "" if page.product is not None else "the line's controller was never asked what is made"
            self._turn(replace(page, blocked=self._blocked_at_start or never))
            if self._page.blocked:
                self._faults.add(_UNKNOWN, self._page.blocked, "bring the line's controller back")
        self._tell()

    def take(self, sealed: bytes) -> bool:
        """Take an assignment of recipes as it came from the broker. Returns whether it holds now."""
        if not sealed or sealed == self._last_sealed:
            # Brokers repeat what is retained; a topic that was cleared says nothing.
            return bool(sealed)
        try:
            with self._writing:
                page = self._read(sealed)
                if page is None:
                    self._last_sealed = sealed
                    return True
                if not self._kept(_ASSIGNED, page.assigned.to_file()):
                    return False
                self._turn(page)
                self._tell_refused(page.assigned)
                self._last_sealed = sealed
                self._is_damaged = False
        except PackageRefused as error:
            self._faults.add(_REFUSED, error.message, "look at central's recipes of this station")
            _log.warning("recipes refused reason=%s: %s", error.reason, error.message)
            return False
        self._faults.clear(_REFUSED)
        self._tell()
        return True

    def _read(self, sealed: bytes) -> Page | None:
        """The next page; None for a repeat of what holds.

        Raises:
            PackageRefused: not signed, not readable, for another station, or older than what holds.
        """
        opened, held = self._open(sealed), self._page.assigned
        assigned = opened.assigned
        if assigned.station != self._station:
            msg = f"recipes {assigned.number}: expected station {self._station}, got {assigned.station}"
            raise PackageRefused(RefusalReason.WRONG_STATION, msg)
        taken = held.followed_by(opened, sealed, self._own)
        if taken.number == held.number and taken.versions == held.versions and not self._is_damaged:
            return None
        if taken.number < held.number or (taken.number == held.number and not self._is_damaged):
            msg = f"recipes: expected a number above {held.number}, got {taken.number}"
            raise PackageRefused(RefusalReason.ROLLBACK, msg)
        return replace(self._page, recipes=taken.laid_over(self._own), assigned=taken)

    def _open(self, sealed: bytes) -> Opened:
        return open_recipes(sealed, self._key, self._outputs)

    def _turn(self, page: Page, since_s: float | None = None) -> None:
        since_s = self._clock.monotonic() if since_s is None else max(since_s, self._page.since_s)
        self._page = replace(page, since_s=since_s, turn=self._page.turn + 1, before=self._page.shortened(_PAGES_BACK))
        _log.info(
            "recipes in force product=%s number=%d version=%d blocked=%s",
            page.product,
            page.number,
            page.current.version,
            page.blocked or "no",
        )

    def _unknown(self, said: str) -> str:
        known = ", ".join(sorted({*self._page.recipes.by_product, *self._packages()})) or "none"
        return f"asked to make {said}, for which there is neither a recipe nor a package; known: {known}"

    def _tell_refused(self, assigned: Assigned) -> None:
        if assigned.refused:
            self._faults.add(_ONE_REFUSED, assigned.in_words(), "correct these recipes at central; the others hold")
            _log.warning("recipes not followed number=%d: %s", assigned.number, assigned.in_words())
        else:
            self._faults.clear(_ONE_REFUSED)

    def _tell(self) -> None:
        for callback in self._on_switch:
            callback()

    def _kept(self, name: str, content: bytes) -> bool:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._folder / name, content)
        except OSError as error:
            # What would be forgotten at the next start must not hold until then.
            self._faults.add(_DISK, f"recipes cannot be kept: {error}", "check the disk and the rights of data_dir")
            return False
        self._faults.clear(_DISK)
        return True

    def _keep_product(self, product: str | None, blocked: str = "") -> bool:
        content = json.dumps({"product": product, **({"blocked": blocked} if blocked else {})}).encode()
        if content != self._product_on_disk and self._kept(_PRODUCT, content):
            self._product_on_disk = content
        return content == self._product_on_disk

    def _start_from_disk(self, product: str | None) -> None:
        assigned = Assigned()
        try:
            content = (self._folder / _ASSIGNED).read_bytes()
            assigned = Assigned(number=int(json.loads(content)["number"]))
            assigned = from_file(content, self._open, self._own)
            self._last_sealed = assigned.sealed
            self._tell_refused(assigned)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, PackageRefused) as error:
            # The number counts all the same: an older assignment must not come back by a damaged file.
            message = f"the stored recipes cannot be used: {error}; those of the settings are in force"
            self._faults.add(_REFUSED, message, "assign this station's recipes anew at central")
            self._is_damaged = True
            _log.error("stored recipes unusable number=%d: %s", assigned.number, error)
        try:
            content = (self._folder / _PRODUCT).read_bytes()
            said = json.loads(content)
            product = said["product"] if isinstance(said["product"], str) else product
            self._blocked_at_start = str(said.get("blocked", ""))
            self._product_on_disk = content
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError) as error:
            message = f"the product made last cannot be read: {error}; that of the settings is made: {product}"
            self._faults.add(_DISK, message, "switch to the product that is made")
        self._page = replace(
            self._page,
            recipes=assigned.laid_over(self._own),
            product=product,
            assigned=assigned,
            blocked=_NOT_ASKED if self._is_led else "",
        )


def shortest_deadline_ms(page: Page, family: str) -> float:
    """The shortest deadline among recipes of parts that this product's package judges."""
    named = [
        recipe.deadline_ms
        for product, recipe in page.recipes.by_product.items()
        if (recipe.package_family or product) == family
    ]
    return min(named, default=page.recipes.of(family).deadline_ms)


def lapsed_limits(page: Page, active: Sequence[ActivePackage], now: datetime) -> list[StationFault]:
    """Recipes whose limits are those of another package than the one that judges: they are not in force."""
    running = {each.product: each.package_id for each in active}
    found = []
    for product, recipe in sorted(page.recipes.by_product.items()):
        runs = running.get(recipe.package_family or product)
        if recipe.limits is not None and runs is not None and recipe.limits.package_id != runs:
            found.append(
                StationFault(
                    code="recipe-limits-lapsed",
                    message=f"the limits in the recipe of {product} are of package {recipe.limits.package_id[:12]}, "
                    f"{runs[:12]} judges: its own limits are in force",
                    remedy="set limits for the package that judges, or take them out of the recipe",
                    since=now,
                )
            )
    return found[:1]
