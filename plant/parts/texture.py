# SPDX-License-Identifier: Apache-2.0
"""Textures made once and used for many parts: soft clouds, fine grain, turned metal, a conveyor belt.

Arrays out, randomness from the generator passed in. Knows no product. Called by the makers of rings and
boards when they set up their pools.
"""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.floating[Any]]


def cloud(size_px: int, scale_px: float, rng: np.random.Generator) -> Field:
    """Smooth random field, mean 0, standard deviation 1. float32 [size, size].

    scale_px: how far one has to go until it looks different.
    """
    cells = max(4, int(size_px / scale_px) + 4)
    coarse = rng.standard_normal((cells, cells), dtype=np.float32)
    field = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
    return _standard(field)


def grain(size_px: int, sigma_px: float, rng: np.random.Generator) -> Field:
    """Fine grain, mean 0, standard deviation 1. float32 [size, size]."""
    field = rng.standard_normal((size_px, size_px), dtype=np.float32)
    return _standard(cv2.GaussianBlur(field, (0, 0), sigma_px) if sigma_px > 0.2 else field)


def turned(angles: int, radii: int, rng: np.random.Generator) -> Field:
    """Turning marks in polar form, mean 0, standard deviation about 1. float32 [angles, radii].

    Grooves run along the angle; some fade in and out, as a tool leaves them, and here and there the grain
    crosses them: sound surfaces have both.
    """
    groove = rng.standard_normal((1, radii), dtype=np.float32)
    fine = _along(angles, radii, angles / 9, 0.6, rng)
    medium = _along(angles, radii, angles / 40, 0.9, rng)
    crossing = _along(angles, radii, 1.6, 2.2, rng)
    zone = np.clip(_along(angles, radii, angles / 24, radii / 5, rng), 0, None)
    mixed = (
        0.55 * groove + 0.75 * fine + 0.45 * medium + float(rng.uniform(0.10, 0.42)) * crossing * np.minimum(zone, 1.5)
    )
    return _standard(mixed)


def belt(size_px: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Dark rubber conveyor, uint8 [size, size, 3] BGR."""
    weave = np.sin(np.arange(size_px, dtype=np.float32) * (2 * np.pi / 6.3))
    field = 0.8 * weave[None, :] * weave[:, None] + 1.6 * grain(size_px, 0.7, rng) + 2.2 * cloud(size_px, 60, rng)
    base = np.array([44, 41, 38], np.float32)
    return np.asarray(np.clip(base + field[..., None], 0, 255), np.uint8)


def _along(angles: int, radii: int, sigma_angle: float, sigma_radius: float, rng: np.random.Generator) -> Field:
    """Noise that is smooth along the angle, which closes on itself, and the radius; standard deviation 1."""
    # Long correlations are drawn coarsely and stretched: blurring them at full size takes a hundred times as long.
    coarse = max(8, min(angles, round(angles / max(1.0, sigma_angle * 0.7))))
    noise = rng.standard_normal((coarse, radii), dtype=np.float32)
    left = sigma_angle * coarse / angles
    pad = min(coarse, 6)
    closed = np.concatenate([noise[-pad:], noise, noise[:pad]])
    smooth = cv2.GaussianBlur(closed, (0, 0), sigmaX=sigma_radius, sigmaY=max(left, 0.3))
    reach = round(angles * (coarse + 2 * pad) / coarse)
    stretched = cv2.resize(smooth, (radii, reach), interpolation=cv2.INTER_CUBIC)
    start = (reach - angles) // 2
    return _standard(stretched[start : start + angles])


def _standard(field: NDArray[np.generic]) -> Field:
    values = np.asarray(field, np.float32)
    return np.asarray((values - values.mean()) / max(float(values.std()), 1e-6), np.float32)
