# SPDX-License-Identifier: Apache-2.0
"""Streams of a station with known changes: what issue tables call ambient light, day cycle, batches, faults.

One part a second. Ambient light: Ornstein–Uhlenbeck, standard deviation .4 %, 20 minutes. Day cycle: ± 2 %, its height
another 15 % from day to day. Material batches of 2,000 parts, standard deviation .15 of a part's own. One part in a
hundred is defective and scores two to four standard deviations higher. The light moves brightness in full, contrast
and blur by half, colour by a tenth. What is not in the table (a part's own scatter) is in `Plant` and may be varied.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

Floats = NDArray[np.float64]
Change = Callable[[dict[str, Floats], Floats], None]

DAY: Final = 86_400
BEGAN: Final = 1_760_000_000.0


@dataclass(frozen=True, eq=False)
class Plant:
    """Constants of a station. Scatter of brightness, contrast, blur and colour: share of the level."""

    light_sd: float = 0.004
    light_s: float = 1_200.0
    day: float = 0.02
    day_scatter: float = 0.15
    batch_parts: int = 2_000
    batch_sd: float = 0.15
    defects: float = 0.01
    level: dict[str, float] = field(
        default_factory=lambda: {"score": 0.2, "brightness": 120.0, "contrast": 40.0, "blur": 300.0, "colour": 30.0}
    )
    scatter: dict[str, float] = field(
        default_factory=lambda: {"score": 0.35, "brightness": 0.01, "contrast": 0.03, "blur": 0.05, "colour": 0.02}
    )
    light_on: dict[str, float] = field(
        default_factory=lambda: {"score": 0.0, "brightness": 1.0, "contrast": 0.5, "blur": 0.5, "colour": 0.1}
    )
    batch_on: tuple[str, ...] = ("score", "contrast", "colour")


class Stream:
    """Parts of one station, piece by piece; the light and the batches go on from piece to piece."""

    def __init__(self, seed: int, plant: Plant | None = None, began: float = BEGAN) -> None:
        self.plant = plant or Plant()
        self.rng = np.random.default_rng(seed)
        self.at = began
        self._light = self.rng.standard_normal() * self.plant.light_sd
        self._phase = float(self.rng.uniform(0, 2 * np.pi))
        self._heights: dict[int, float] = {}
        self._made = 0
        self._batch: dict[str, float] = {}

    def parts(self, count: int, change: Change | None = None) -> tuple[Floats, dict[str, Floats]]:
        """The next parts: times [n] and channels [n] each.

        `change` may alter the shares by which brightness, contrast, blur and colour are multiplied, and the log score
        in standard deviations, before they are put together; it is given the number of each part in this piece.
        """
        plant, rng = self.plant, self.rng
        at: Floats = self.at + np.arange(count, dtype=np.float64)
        self.at += count
        light = 1 + self._ambient(count) + self._cycle(at)
        moved = {name: np.zeros(count) for name in plant.level}
        if change is not None:
            change(moved, np.arange(count, dtype=float))
        batch = self._batches(count)
        channels = {}
        for name, level in plant.level.items():
            own = rng.standard_normal(count)
            if name in plant.batch_on:
                own += batch[name]
            if name == "score":
                odd = rng.random(count) < plant.defects
                own += np.where(odd, rng.uniform(2, 4, count), 0.0) + moved[name]
                channels[name] = level * np.exp(plant.scatter[name] * own)
            else:
                lit = 1 + plant.light_on[name] * (light - 1)
                channels[name] = level * lit * (1 + moved[name]) * (1 + plant.scatter[name] * own)
        return at, channels

    def _ambient(self, count: int) -> Floats:
        keep = np.exp(-1 / self.plant.light_s)
        shocks = self.rng.standard_normal(count) * self.plant.light_sd * np.sqrt(1 - keep**2)
        light = np.asarray(lfilter([1], [1, -keep], shocks, zi=[keep * self._light])[0])
        self._light = float(light[-1])
        return light

    def _cycle(self, at: Floats) -> Floats:
        day = (at // DAY).astype(int)
        height = np.empty(len(at))
        for each in np.unique(day).tolist():
            found = self._heights.setdefault(
                each, self.plant.day * (1 + self.plant.day_scatter * self.rng.standard_normal())
            )
            height[day == each] = found
        return np.asarray(height * np.sin(2 * np.pi * (at % DAY) / DAY + self._phase))

    def _batches(self, count: int) -> dict[str, Floats]:
        number = (self._made + np.arange(count)) // self.plant.batch_parts
        first = int(number[0])
        drawn = {}
        for name in self.plant.batch_on:
            values = self.rng.standard_normal(int(number[-1]) - first + 1) * self.plant.batch_sd
            if self._made % self.plant.batch_parts and name in self._batch:
                values[0] = self._batch[name]
            self._batch[name] = float(values[-1])
            drawn[name] = values[number - first]
        self._made += count
        return drawn


def light(share: float) -> Change:
    """A step of the light from the first part on, −0.05 for −5 %: contrast and blur go half of the way."""

    def change(moved: dict[str, Floats], _: Floats) -> None:
        moved["brightness"] += share
        moved["contrast"] += share / 2
        moved["blur"] += share / 2

    return change


def bump(moved: dict[str, Floats], _: Floats) -> None:
    """The camera was pushed: less sharp by a fifth, less contrast, another background, higher scores."""
    moved["blur"] -= 0.2
    moved["contrast"] -= 0.06
    moved["brightness"] += 0.02
    moved["score"] += 1.0


def fouling(parts: float = 200_000) -> Change:
    """The lens goes blind over so many parts: sharpness by a half, contrast by 30 %, brightness by 10 %."""

    def change(moved: dict[str, Floats], number: Floats) -> None:
        share = np.minimum(number / parts, 1)
        moved["blur"] -= 0.5 * share
        moved["contrast"] -= 0.3 * share
        moved["brightness"] -= 0.1 * share

    return change


def score(sd: float) -> Change:
    """Scores higher by so many standard deviations of a part."""

    def change(moved: dict[str, Floats], _: Floats) -> None:
        moved["score"] += sd

    return change
