# SPDX-License-Identifier: Apache-2.0
"""Scripts of incidents: a line in order, then one thing goes wrong, of which the cause and the place are known.

Three stations make two products in turn, in lots. Everything about an incident (place, size, beginning, how slowly it
comes) is drawn from the generator passed in; the line itself depends on the seed alone, so that the time before an
incident need be played once for all incidents of a seed. Plays nothing. Called by `play` and the benchmark `incidents`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from central.quality.cause import Cause
from plant.parts.catalogue import KINDS, PRODUCTS
from plant.scenario import Drift, MaterialBatch, NewDefect, Scenario, Severity, StationPlan, Step

STATIONS: Final = ("st-1", "st-2", "st-3")
KNOWN_KINDS: Final = ("pit", "stain", "contamination")
_KIND_RATE: Final = 0.01
_LOT: Final = 300
_SIZE_PX: Final = 96
_TAKT_S: Final = 1.0


@dataclass(frozen=True)
class Length:
    """Parts of the whole line: before the watch begins (`reference`), and in it (`watch`); a day has `day`."""

    reference: int = 3000
    watch: int = 3000
    day: int = 1000


@dataclass(frozen=True)
class NewPackage:
    """A package that takes over at `at_part`: its limit and its scores, as factors of the old one's."""

    at_part: int
    product: str
    limit: float
    scale: float


@dataclass(frozen=True)
class Incident:
    """A story and what is behind it. `cause` None: nothing happens. `recipe_part`: where a recipe changed exposure."""

    name: str
    cause: Cause | None
    scenario: Scenario
    length: Length
    station: str | None = None
    product: str | None = None
    package: NewPackage | None = None
    recipe_part: int | None = None


def draw_incident(
    cause: Cause | None, number: int, seed: int, length: Length | None = None, *, size: float = 1.0
) -> Incident:
    """The `number`-th incident of this cause on the line of this seed; the same arguments give the same one.

    `size`: factor on everything that says how far a thing goes off; below 1 it is harder to see.
    """
    length = length or Length()
    order = 0 if cause is None else 1 + list(Cause).index(cause)
    rng = np.random.default_rng([seed, number, order])
    begins = length.reference + int(rng.integers(60, length.watch // 4))
    station, product = str(rng.choice(STATIONS)), str(rng.choice(PRODUCTS))
    name = f"{cause or 'nothing'}-{seed}-{number}"
    if cause is None:
        return Incident(name, None, _line(seed, length), length)
    if cause is Cause.MODEL_WRONG:
        return _model_wrong(name, rng, (begins, product), (seed, size), length)
    steps, at_station = _STEPS[cause](rng, begins, station, product, length)
    return Incident(
        name,
        cause,
        _line(seed, length, *(_sized(step, size) for step in steps)),
        length,
        station=station if at_station else None,
        product=None if at_station else product,
        recipe_part=begins if cause is Cause.WANTED_CHANGE else None,
    )


def _line(seed: int, length: Length, *steps: Step) -> Scenario:
    parts = length.reference + length.watch
    turns = [
        Step(at_part=at, station=station, changeover=PRODUCTS[(index + turn) % len(PRODUCTS)])
        for index, station in enumerate(STATIONS)
        for turn, at in enumerate(range(_LOT, parts, _LOT), start=1)
    ]
    return Scenario(
        title="an incident",
        seed=seed,
        parts=parts,
        takt_s=_TAKT_S,
        size_px=_SIZE_PX,
        station=tuple(
            StationPlan(name=name, product=PRODUCTS[index % len(PRODUCTS)]) for index, name in enumerate(STATIONS)
        ),
        defects=dict.fromkeys(KNOWN_KINDS, _KIND_RATE),
        severity=Severity(low=0.7, high=1.0),
        drift=Drift(day_parts=length.day, light=0.008, colour=0.005),
        step=(*turns, *steps),
    )


def _sized(step: Step, size: float) -> Step:
    material, new, shift = step.material, step.new_defect, step.shift_px
    return step.model_copy(
        update={
            "light": None if step.light is None else size * step.light,
            "colour": None if step.colour is None else size * step.colour,
            "blur_px": None if step.blur_px is None else size * step.blur_px,
            "soiling": None if step.soiling is None else size * step.soiling,
            "shift_px": None if shift is None else (size * shift[0], size * shift[1]),
            "material": None
            if material is None
            else material.model_copy(
                update={name: size * getattr(material, name) for name in ("tone", "tint", "grain")}
            ),
            "new_defect": None if new is None else new.model_copy(update={"rate": size * new.rate}),
        }
    )


def _sign(rng: np.random.Generator) -> float:
    return float(rng.choice([-1.0, 1.0]))


def _lamp(rng: np.random.Generator, begins: int, station: str, product: str, length: Length) -> tuple[list[Step], bool]:
    del product
    kind = int(rng.integers(3))
    slowly = int(rng.uniform(0.2, 0.6) * length.watch)
    if kind == 0:  # a lamp ages
        step = Step(at_part=begins, station=station, light=-float(rng.uniform(0.04, 0.12)), over_parts=slowly)
    elif kind == 1:  # a lamp jumps
        step = Step(at_part=begins, station=station, light=_sign(rng) * float(rng.uniform(0.03, 0.10)))
    else:  # a lamp's colour goes off
        step = Step(
            at_part=begins,
            station=station,
            colour=_sign(rng) * float(rng.uniform(0.02, 0.05)),
            light=-float(rng.uniform(0.01, 0.03)),
        )
    return [step], True


def _fouling(
    rng: np.random.Generator, begins: int, station: str, product: str, length: Length
) -> tuple[list[Step], bool]:
    del product
    slowly = int(rng.uniform(0.4, 0.9) * length.watch)
    soiling, blur = float(rng.uniform(0.15, 0.5)), float(rng.uniform(0.0, 0.5))
    return [Step(at_part=begins, station=station, soiling=soiling, blur_px=blur, over_parts=slowly)], True


def _bump(rng: np.random.Generator, begins: int, station: str, product: str, length: Length) -> tuple[list[Step], bool]:
    del product, length
    angle, far = float(rng.uniform(0, 2 * np.pi)), float(rng.uniform(2.0, 6.0))
    shift = (round(far * float(np.cos(angle)), 1), round(far * float(np.sin(angle)), 1))
    blur = float(rng.uniform(0.3, 0.7)) if rng.random() < 0.3 else None
    return [Step(at_part=begins, station=station, shift_px=shift, blur_px=blur)], True


def _material(
    rng: np.random.Generator, begins: int, station: str, product: str, length: Length
) -> tuple[list[Step], bool]:
    del station, length
    batch = MaterialBatch(
        product=product,
        tone=_sign(rng) * float(rng.uniform(0.02, 0.08)),
        tint=_sign(rng) * float(rng.uniform(0.0, 0.03)),
        grain=float(rng.uniform(-0.4, 0.6)),
    )
    return [Step(at_part=begins, material=batch)], False


def _new_kind(
    rng: np.random.Generator, begins: int, station: str, product: str, length: Length
) -> tuple[list[Step], bool]:
    del station, length
    kind = str(rng.choice([kind for kind in KINDS[product] if kind not in KNOWN_KINDS]))
    low = float(rng.uniform(0.05, 0.3))
    new = NewDefect(
        kind=kind, rate=float(rng.uniform(0.015, 0.06)), severity=Severity(low=low, high=low + 0.2), product=product
    )
    return [Step(at_part=begins, new_defect=new)], False


def _process(
    rng: np.random.Generator, begins: int, station: str, product: str, length: Length
) -> tuple[list[Step], bool]:
    del station, length
    kinds = rng.choice(KNOWN_KINDS, int(rng.integers(1, 3)), replace=False)
    rate = float(rng.uniform(0.03, 0.10)) / len(kinds)
    more = [
        NewDefect(kind=str(kind), rate=rate, severity=Severity(low=0.7, high=1.0), product=product) for kind in kinds
    ]
    return [Step(at_part=begins, new_defect=each) for each in more], False


def _recipe(
    rng: np.random.Generator, begins: int, station: str, product: str, length: Length
) -> tuple[list[Step], bool]:
    del product, length
    return [Step(at_part=begins, station=station, light=_sign(rng) * float(rng.uniform(0.04, 0.12)))], True


def _model_wrong(
    name: str, rng: np.random.Generator, begins_at: tuple[int, str], seed_size: tuple[int, float], length: Length
) -> Incident:
    """Known kinds too faint for the model, or a package whose limit lies too high or too low."""
    (begins, product), (seed, size) = begins_at, seed_size
    kind = int(rng.integers(3))
    if kind == 0:
        kinds = [str(each) for each in rng.choice(KNOWN_KINDS, 2, replace=False)]
        rate, top = float(rng.uniform(0.015, 0.04)), float(rng.uniform(0.08, 0.2))
        faint = [
            Step(
                at_part=begins,
                new_defect=NewDefect(kind=each, rate=rate, severity=Severity(low=0.0, high=top), product=product),
            )
            for each in kinds
        ]
        smaller = [_sized(step, size) for step in faint]
        return Incident(name, Cause.MODEL_WRONG, _line(seed, length, *smaller), length, product=product)
    limit = float(rng.uniform(1.7, 2.5)) if kind == 1 else float(rng.uniform(0.7, 0.82))
    package = NewPackage(begins, product, 1 + size * (limit - 1), float(rng.uniform(0.8, 1.25)))
    return Incident(name, Cause.MODEL_WRONG, _line(seed, length), length, product=product, package=package)


_STEPS: Final = {
    Cause.CAMERA_OR_LAMP: _lamp,
    Cause.LENS_FOULING: _fouling,
    Cause.CAMERA_MOVED: _bump,
    Cause.MATERIAL_BATCH: _material,
    Cause.NEW_DEFECT_KIND: _new_kind,
    Cause.PROCESS_WORSE: _process,
    Cause.WANTED_CHANGE: _recipe,
}
