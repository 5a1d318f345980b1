# SPDX-License-Identifier: Apache-2.0
"""Another batch of raw material: the same part with a surface that is lighter, warmer or rougher than before.

Changes sound parts before any defect is drawn, and the part alone: belt and background stay. Called by `renderer`.
"""

from dataclasses import replace

import cv2
import numpy as np

from plant.parts.canvas import Canvas
from plant.parts.catalogue import Material


def of_material(canvas: Canvas, material: Material) -> Canvas:
    """The same part made of another batch. Shape and places stay as they were."""
    pixels = canvas.pixels.astype(np.float32)
    smooth = cv2.GaussianBlur(pixels, (0, 0), 2.0 * canvas.scale)
    gains = np.array([1 - material.tint, 1.0, 1 + material.tint], np.float32) * np.float32(1 + material.tone)
    looks = (smooth + (pixels - smooth) * np.float32(1 + material.grain)) * gains
    share = canvas.body.astype(np.float32)[..., None] / 255
    mixed = pixels + share * (looks - pixels)
    return replace(canvas, pixels=np.clip(mixed + 0.5, 0, 255).astype(np.uint8))
