# SPDX-License-Identifier: Apache-2.0
"""Further looks at a picture: flips, small shifts, light. Sound and defective parts get the same ones.

The same, because a head that saw only flipped defects would learn that flipped means defective. Pure; the generator
is passed in. Called by `training`.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.pictures import marked


@dataclass(frozen=True)
class Look:
    """One way to look at a picture; shifts as shares of its sides."""

    flip_across: bool
    flip_down: bool
    shift_x: float
    shift_y: float
    gain: float

    def apply(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The picture, moved and lit; uint8 BGR in and out."""
        moved = self._moved(picture, cv2.BORDER_REPLICATE)
        lit: NDArray[np.uint8] = np.clip(moved * np.float32(self.gain) + np.float32(0.5), 0, 255).astype(np.uint8)
        return lit

    def apply_to_mask(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The mask, moved the same way; what comes in at the border is sound."""
        return self._moved(mask, cv2.BORDER_CONSTANT)

    def _moved(self, picture: NDArray[np.uint8], border: int) -> NDArray[np.uint8]:
        turned = picture[:: -1 if self.flip_down else 1, :: -1 if self.flip_across else 1]
        height, width = picture.shape[:2]
        matrix = np.array([[1, 0, self.shift_x * width], [0, 1, self.shift_y * height]], np.float64)
        moved = cv2.warpAffine(np.ascontiguousarray(turned), matrix, (width, height), borderMode=border)
        return np.ascontiguousarray(moved, dtype=np.uint8)


def draw_look(rng: np.random.Generator) -> Look:
    """A random look: gentle enough that a sound part stays sound."""
    shift_x, shift_y = rng.uniform(-0.03, 0.03, 2)
    across, down = rng.random(2) < 0.5
    return Look(bool(across), bool(down), float(shift_x), float(shift_y), float(rng.uniform(0.93, 1.07)))


def mask_on_grid(mask: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float32]:
    """A defect mask as 0/1 cells [height, width]: a cell counts when the defect touches it noticeably."""
    share = cv2.resize(marked(mask).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    threshold = min(0.1, float(share.max()) * 0.5)
    return (share > threshold).astype(np.float32)
