# SPDX-License-Identifier: Apache-2.0
"""Which part stands in front of which camera: the scenario turned into pictures with known truth.

Pure in (seed, station, trigger number, side): asking twice gives the same part, so a camera may render
ahead, throw away and ask again. Knows no clock and no socket. Called by the camera simulator and, for the
commissioning pictures, by the demo.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from plant.line.effects import CameraCondition, EffectTimeline, Optics
from plant.parts.catalogue import KINDS, DefectSpec, Material, Pixels
from plant.parts.renderer import shared_renderer
from plant.scenario import NewDefect, Scenario

# Streams of random numbers, apart so that an effect more never changes which part is defective.
_WHAT, _SEEN, _LENS = 1, 2, 3
# Commissioning parts are numbered far above any line part, so they are never the same thing.
COMMISSIONING_FROM = 1_000_000_000
# And further examples, which nobody else is shown, above these.
_EXAMPLES_FROM = 1_500_000_000


@dataclass(frozen=True)
class LinePart:
    """A part as its camera sees it, with the truth. `is_dropped`: the camera loses this frame."""

    pixels: Pixels
    part_number: int
    part_id: str
    product: str
    is_defective: bool | None
    defect_class: str | None
    severity: float | None
    mask_px: int | None
    side: str
    is_dropped: bool = False


@dataclass(frozen=True)
class Shown:
    """All that decides how a part of a line looks, besides the line's seed, its number and its camera."""

    product: str
    defect: DefectSpec | None
    material: Material | None
    condition: CameraCondition


class PartFeed(Protocol):
    """Parts of one station."""

    def part(self, trigger_number: int, side: str, since_side: int) -> LinePart:
        """The part of this trigger (1, 2, …); `since_side` counts triggers since the side was chosen."""

    def commissioning(self, product: str, count: int) -> Iterator[LinePart]:
        """Sound parts for the first training, never shown on the line."""


def part_number_of(trigger_number: int, station_index: int, stations: int) -> int:
    """Number of the part on the whole line: the stations take turns. The first part is 1."""
    return (trigger_number - 1) * stations + station_index + 1


class DefectPlan:
    """Decides which part has which defect, and when the line changed over. Pure in the part number."""

    def __init__(self, scenario: Scenario, station: str, product: str) -> None:
        self._scenario = scenario
        self._product = product
        self._steps = tuple(step for step in scenario.steps if step.station in {None, station})

    def product(self, part_number: int) -> str:
        """Product made when this part passes."""
        made = self._product
        for step in self._steps:
            if step.changeover and step.part <= part_number:
                made = step.changeover
        return made

    def defect(self, part_number: int, kinds: tuple[str, ...], rng: np.random.Generator) -> DefectSpec | None:
        """Defect of this part, or None. `kinds`: what this product can have; others count as sound."""
        drawn, place = float(rng.random()), float(rng.random())
        severity = self._scenario.severity
        rates = [(kind, rate, severity) for kind, rate in self._scenario.defects.items()]
        rates += [(new.kind, new.rate, new.severity) for new in self._new(part_number)]
        for kind, rate, bounds in rates:
            if drawn < rate:
                found = DefectSpec(kind, bounds.low + place * (bounds.high - bounds.low))
                return found if kind in kinds else None
            drawn -= rate
        return None

    def material(self, part_number: int) -> Material | None:
        """The batch of material of this part; None: the usual one."""
        made = self.product(part_number)
        batches = [step.material for step in self._steps if step.material and step.part <= part_number]
        mine = [batch.look for batch in batches if batch.product == made]
        return mine[-1] if mine else None

    def _new(self, part_number: int) -> list[NewDefect]:
        known = [step.new_defect for step in self._steps if step.new_defect and step.part <= part_number]
        return [new for new in known if new.product in {None, self.product(part_number)}]


class RenderedFeed:
    """Rendered parts of one station of a scenario."""

    def __init__(self, scenario: Scenario, station: str) -> None:
        names = [plan.name for plan in scenario.stations]
        self._index, self._stations = names.index(station), len(names)
        self._scenario = scenario
        self._plan = DefectPlan(scenario, station, scenario.stations[self._index].product)
        self._timeline = EffectTimeline.of(scenario, station)
        self._renderers = {name: shared_renderer(name, scenario.size_px, scenario.seed) for name in scenario.products}
        size = scenario.size_px
        # One lens for each station: dirt sits elsewhere on another camera.
        self._optics = Optics(size, size, np.random.default_rng([scenario.seed, _LENS, self._index]))

    def part(self, trigger_number: int, side: str, since_side: int) -> LinePart:
        """See `PartFeed`. A rendered part is new each time, so sides differ by name only."""
        del since_side
        number = part_number_of(trigger_number, self._index, self._stations)
        shown = self.shown(trigger_number)
        return self._seen(shown.product, number, shown.defect, f"{shown.product}-{number:08d}", side)

    def shown(self, trigger_number: int) -> Shown:
        """What the picture of this trigger is made of, without making it: equal for two feeds, equal pictures."""
        number = part_number_of(trigger_number, self._index, self._stations)
        product = self._plan.product(number)
        what = np.random.default_rng([self._scenario.seed, _WHAT, number])
        defect = self._plan.defect(number, KINDS[product], what)
        return Shown(product, defect, self._plan.material(number), self._timeline.at(number))

    def commissioning(self, product: str, count: int) -> Iterator[LinePart]:
        """See `PartFeed`: sound parts over one whole day of light."""
        for shown in range(count):
            index = shown * self._stations + self._index
            yield self._seen(product, COMMISSIONING_FROM + index, None, f"{product}-ref-{index:05d}", "commissioning")

    def examples(self, product: str, kind: str | None, count: int, *, first: int = 0) -> Iterator[LinePart]:
        """Further parts of one kind (None: sound), as strong as on the line; never shown on it.

        `first`: the number of the first one. What was given once is never given for another number.
        """
        bounds, place = self._scenario.severity, KINDS[product].index(kind) + 1 if kind is not None else 0
        for number in range(first, first + count):
            strength = float(np.random.default_rng([self._scenario.seed, _WHAT, place, number]).random())
            spec = DefectSpec(kind, bounds.low + strength * (bounds.high - bounds.low)) if kind is not None else None
            at = _EXAMPLES_FROM + (number * (len(KINDS[product]) + 1) + place) * self._stations + self._index
            yield self._seen(product, at, spec, f"{product}-{kind or 'sound'}-{self._index}-{number:05d}", "examples")

    def _seen(self, product: str, number: int, spec: DefectSpec | None, part_id: str, side: str) -> LinePart:
        is_reference = number >= COMMISSIONING_FROM
        material = None if is_reference else self._plan.material(number)
        rendered = self._renderers[product].render(number, spec, material)
        rng = np.random.default_rng([self._scenario.seed, _SEEN, self._index, number])
        # Steps of the scenario lie in the future of commissioning; only the day passes over these parts.
        at = (number - COMMISSIONING_FROM) * 97 % self._scenario.drift.day_parts if is_reference else number
        timeline = EffectTimeline(self._scenario.drift, (), "") if is_reference else self._timeline
        condition = timeline.at(at)
        is_dropped = not is_reference and float(rng.random()) < condition.drop_rate
        return LinePart(
            pixels=self._optics.see(rendered.pixels, condition, rng),
            part_number=number,
            part_id=part_id,
            product=product,
            is_defective=spec is not None,
            defect_class=rendered.defect_class,
            severity=rendered.severity,
            mask_px=rendered.mask_px,
            side=side,
            is_dropped=is_dropped,
        )
