# SPDX-License-Identifier: Apache-2.0
"""What a camera does to a picture over time: light, colour, blur, noise, soiling, shift, lost frames.

Pure: arrays in, arrays out, randomness from the generator passed in. Knows no sockets and no clock; time is
the number of the part. Called by the feeds just before a frame is sent.
"""

from dataclasses import dataclass, replace
from math import pi, sin

import cv2
import numpy as np
from numpy.typing import NDArray

from plant.parts.catalogue import Pixels
from plant.scenario import Drift, Scenario, Step

Noise = NDArray[np.float32]


@dataclass(frozen=True)
class CameraCondition:
    """How the camera stands at one part.

    light: factor on all grey levels; colour: share by which red rises and blue falls; blur_px: Gaussian
    sigma; noise: standard deviation in grey levels; soiling 0 … 1; shift_px: right and down; drop_rate:
    share of frames that never leave the camera.
    """

    light: float = 1.0
    colour: float = 0.0
    blur_px: float = 0.0
    noise: float = 0.0
    soiling: float = 0.0
    shift_px: tuple[float, float] = (0.0, 0.0)
    drop_rate: float = 0.0


class EffectTimeline:
    """The condition of one camera for every part of a scenario."""

    def __init__(self, drift: Drift, steps: tuple[Step, ...], station: str) -> None:
        self._drift = drift
        self._steps = tuple(s for s in steps if s.is_for_pictures and s.station in {None, station})

    @classmethod
    def of(cls, scenario: Scenario, station: str) -> "EffectTimeline":
        """Timeline of one station of a scenario."""
        return cls(scenario.drift, scenario.steps, station)

    def at(self, part_number: int) -> CameraCondition:
        """Condition when this part of the line passes."""
        day = 2 * pi * part_number / self._drift.day_parts
        condition = CameraCondition(
            light=1 + self._drift.light * sin(day),
            # Colour lags behind light, as lamps and daylight do.
            colour=self._drift.colour * sin(day - 0.9),
            noise=self._drift.noise,
            drop_rate=self._drift.drop_rate,
        )
        for step in self._steps:
            if step.part <= part_number:
                condition = _apply_step(condition, step, _reached(step, part_number))
        return condition


def _reached(step: Step, part_number: int) -> float:
    return 1.0 if step.over_parts == 0 else min(1.0, (part_number - step.part) / step.over_parts)


def _apply_step(now: CameraCondition, step: Step, share: float) -> CameraCondition:
    """Light and colour add to what is; the others move from what is to what the step says."""

    def towards(current: float, target: float | None) -> float:
        return current if target is None else current + share * (target - current)

    shift = step.shift_px or now.shift_px
    return replace(
        now,
        light=now.light + share * (step.light or 0.0),
        colour=now.colour + share * (step.colour or 0.0),
        blur_px=towards(now.blur_px, step.blur_px),
        noise=towards(now.noise, step.noise),
        soiling=towards(now.soiling, step.soiling),
        shift_px=(towards(now.shift_px[0], shift[0]), towards(now.shift_px[1], shift[1])),
        drop_rate=towards(now.drop_rate, step.drop_rate),
    )


def shift_picture(pixels: Pixels, shift_px: tuple[float, float]) -> Pixels:
    """Move the picture right and down; the border repeats. uint8 [H, W, 3] → the same shape."""
    if shift_px == (0.0, 0.0):
        return pixels
    matrix = np.array([[1, 0, shift_px[0]], [0, 1, shift_px[1]]], np.float32)
    size_wh = (pixels.shape[1], pixels.shape[0])
    return np.asarray(cv2.warpAffine(pixels, matrix, size_wh, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def blur_picture(pixels: Pixels, sigma_px: float) -> Pixels:
    """Defocus. uint8 [H, W, 3] → the same shape."""
    if sigma_px < 0.05:
        return pixels
    return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma_px), np.uint8)


def light_picture(pixels: Pixels, light: float, colour: float) -> Pixels:
    """Lamp brightness and colour by one table for each channel; clipped, never wrapped. BGR uint8."""
    if light == 1.0 and colour == 0.0:
        return pixels
    levels = np.arange(256, dtype=np.float32)
    gains = (light * (1 - colour), light, light * (1 + colour))
    table = np.stack([np.clip(levels * gain + 0.5, 0, 255) for gain in gains], axis=1).astype(np.uint8)
    return np.asarray(cv2.LUT(pixels, table[None]), np.uint8)


def soil_picture(pixels: Pixels, soil: Pixels, soiling: float) -> Pixels:
    """Dirt on the lens: veil and out-of-focus drops.

    Args:
        pixels: uint8 [H, W, 3] BGR.
        soil: uint8 [H, W], 255 where the dirt is thickest (`soil_map`).
        soiling: 0 clean … 1 hardly anything to be seen below the thickest dirt.
    """
    if soiling <= 0:
        return pixels
    thickness = soil.astype(np.float32)[..., None] * np.float32(0.85 * soiling / 255)
    blurred = cv2.GaussianBlur(pixels, (0, 0), 1.0 + 4.0 * soiling).astype(np.float32)
    veil = np.float32(70.0)
    mixed = pixels * (1 - thickness) + (0.55 * blurred + 0.45 * veil) * thickness
    return np.clip(mixed + 0.5, 0, 255).astype(np.uint8)


def soil_map(height_px: int, width_px: int, rng: np.random.Generator) -> Pixels:
    """Where dirt sits on one lens: stays the same for a camera. uint8 [H, W]."""
    soil = np.zeros((height_px, width_px), np.float32)
    for _ in range(9):
        centre = (int(rng.integers(0, width_px)), int(rng.integers(0, height_px)))
        cv2.circle(soil, centre, int(rng.uniform(0.03, 0.13) * height_px), float(rng.uniform(0.4, 1.0)), -1)
    soft = cv2.GaussianBlur(soil, (0, 0), height_px / 40)
    veil = cv2.resize(rng.random((4, 4)).astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(255 * (0.8 * soft + 0.35 * np.clip(veil, 0, 1)), 0, 255), np.uint8)


def noise_field(height_px: int, width_px: int, rng: np.random.Generator) -> Noise:
    """Normal noise of standard deviation 1 for `noise_picture`, 100 px larger each way. float32 [H', W', 3]."""
    return rng.standard_normal((height_px + 100, width_px + 100, 3), dtype=np.float32)


def noise_picture(pixels: Pixels, field: Noise, sigma: float, rng: np.random.Generator) -> Pixels:
    """Sensor noise, standard deviation in grey levels; clipped, never wrapped. uint8 [H, W, 3].

    Each frame looks at another place of a field drawn beforehand: drawing anew costs 2 ms a frame, ten times
    as much as all other effects together.
    """
    if sigma <= 0:
        return pixels
    height, width = pixels.shape[:2]
    top, left = rng.integers(0, 100, 2)
    noise = field[top : top + height, left : left + width] * np.float32(sigma)
    return np.asarray(cv2.add(pixels, noise, dtype=cv2.CV_8U), np.uint8)


class Optics:
    """What stays the same for one camera and one picture size: where its dirt sits, and its noise."""

    def __init__(self, height_px: int, width_px: int, rng: np.random.Generator) -> None:
        self._soil = soil_map(height_px, width_px, rng)
        self._noise = noise_field(height_px, width_px, rng)

    def see(self, pixels: Pixels, condition: CameraCondition, rng: np.random.Generator) -> Pixels:
        """All effects in the order of the optical path: mount, lens, dirt, lamp, sensor. uint8 [H, W, 3] BGR."""
        seen = shift_picture(pixels, condition.shift_px)
        seen = blur_picture(seen, condition.blur_px)
        seen = soil_picture(seen, self._soil, condition.soiling)
        seen = light_picture(seen, condition.light, condition.colour)
        return noise_picture(seen, self._noise, condition.noise, rng)
