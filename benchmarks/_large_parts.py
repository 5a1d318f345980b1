# SPDX-License-Identifier: Apache-2.0
"""Large parts with small defects, made up: a finely ground plate, and dents of 12 px on some of them.

A dent is light on one side and dark on the other, so that its mean is that of the plate: shrunk to a few pixels it is
no darker and no lighter than the grinding. Truth is known, nobody took a picture. For `decide_tiles`.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

HEIGHT_PX: Final = 2048
WIDTH_PX: Final = 2448
DENT_PX: Final = 12
_DEPTH: Final = 60.0
_COUNTS: Final = {("train", "good"): 60, ("test", "good"): 30, ("test", "dent"): 30}


def write_parts(root: Path, *, seed: int = 0) -> Path:
    """The parts as an mvtec folder, with masks: one dent on each defective part."""
    rng = np.random.default_rng(seed)
    ground = ground_metal(rng)
    for (side, kind), count in _COUNTS.items():
        for number in range(count):
            picture, mask = draw_part(rng, ground, is_dented=kind == "dent")
            _write(root / side / kind / f"{number:03}.jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            if kind == "dent":
                _write(root / "ground_truth" / kind / f"{number:03}_mask.png", mask, [])
    return root


def draw_part(
    rng: np.random.Generator, ground: NDArray[np.float32], *, is_dented: bool
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """One part, uint8 BGR [h, w, 3], and its mask, uint8 [h, w]."""
    height, width = ground.shape
    shift = rng.integers(0, height), rng.integers(0, width)
    plate = np.roll(ground, shift, axis=(0, 1)) + rng.normal(128, 2)
    mask = np.zeros(ground.shape, np.uint8)
    if is_dented:
        y, x = (int(rng.integers(2 * DENT_PX, side - 2 * DENT_PX)) for side in ground.shape)
        rows, columns = np.mgrid[-DENT_PX : DENT_PX + 1, -DENT_PX : DENT_PX + 1].astype(np.float32)
        angle, radius = rng.uniform(0, 2 * np.pi), DENT_PX / 2
        along = (np.cos(angle) * columns + np.sin(angle) * rows) / radius
        dent = along * np.exp(-(rows**2 + columns**2) / (2 * (radius / 2) ** 2))
        plate[y - DENT_PX : y + DENT_PX + 1, x - DENT_PX : x + DENT_PX + 1] += _DEPTH * dent / np.abs(dent).max()
        cv2.circle(mask, (x, y), DENT_PX // 2, 255, -1)
    grey = np.clip(plate + 0.5, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2), mask


def ground_metal(rng: np.random.Generator) -> NDArray[np.float32]:
    """Ground metal: fine grain, lines of grinding, clouds."""
    shape = HEIGHT_PX, WIDTH_PX
    field = 4 * rng.standard_normal(shape, np.float32)
    for spread_x, spread_y, depth in ((9.0, 0.8, 6.0), (5.0, 5.0, 5.0), (60.0, 60.0, 3.0)):
        layer = cv2.GaussianBlur(rng.standard_normal(shape, np.float32), (0, 0), spread_x, sigmaY=spread_y)
        field += depth * layer / layer.std()
    return field


def _write(path: Path, picture: NDArray[np.uint8], options: list[int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture, options)[1].tobytes())
