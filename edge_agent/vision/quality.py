# SPDX-License-Identifier: Apache-2.0
"""The guard before judging: is this picture fit to be judged at all?

Too dark, saturated, empty, blurred or frozen pictures are faults of light, lens or camera, never of the part: the part
becomes NO_DECISION with the fault's name. Works on the model's field of view, so that what is outside it decides
nothing. Whether the camera moved or the part is absent is found by `vision.registration`. Called by `vision.prepare`.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault
from edge_agent.errors import ImageFaultError
from edge_agent.vision.measures import contrast, sharpness

# From here on an 8-bit value holds no structure any more.
SATURATED_FROM: Final = 250
_ROUNDING: Final = 0.5
_FIRST_ROWS: Final = 8


@dataclass(frozen=True)
class Guard:
    """What a picture must keep. The defaults catch what no product looks like.

    Args:
        min_brightness: mean grey, 0–255.
        max_saturated: share of pixels at or above 250, 0–1.
        min_contrast: largest standard deviation of the three colours, 8-bit values.
        min_sharpness: variance of the Laplacian of grey (`ImageMeasures.blur`); 0: not held against anything.
        max_identical: so many pictures in a row may equal each other to the last bit; 0: any number. A sensor has
            noise, so a camera that repeats itself is stuck, and would let every further part pass on an old picture.
    """

    min_brightness: float = 2.0
    max_saturated: float = 0.98
    min_contrast: float = 1.0
    min_sharpness: float = 0.0
    max_identical: int = 2


USUAL_GUARD: Final = Guard()


def check_picture(view: NDArray[np.uint8], guard: Guard) -> None:
    """Hold one picture, uint8 H × W × 3 BGR, against the guard.

    Raises:
        ImageFaultError: with the fault, what was found and what was expected.
    """
    grey = cv2.cvtColor(view, cv2.COLOR_BGR2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    brightness, spread = float(mean.flat[0]), float(deviation.flat[0])
    if brightness < guard.min_brightness:
        raise ImageFaultError(
            f"the picture is too dark: brightness {brightness:.1f}, expected at least {guard.min_brightness:g}",
            remedy="check lamp, lens cap and exposure",
            fault=ImageFault.TOO_DARK,
        )
    # A share of white pixels alone gives this brightness: a darker picture need not be counted.
    is_countable = brightness > guard.max_saturated * SATURATED_FROM
    saturated = float(np.count_nonzero(grey >= SATURATED_FROM)) / grey.size if is_countable else 0.0
    if saturated > guard.max_saturated:
        raise ImageFaultError(
            f"the picture is saturated: {saturated:.1%} of it is white, expected at most {guard.max_saturated:.1%}",
            remedy="shorten the exposure, lower the gain, or look for stray light",
            fault=ImageFault.SATURATED,
        )
    # Grey is a mean of the colours, so it varies no more than the one that varies most, but for its rounding.
    found = spread if spread >= guard.min_contrast + _ROUNDING else contrast(view)
    if found < guard.min_contrast:
        raise ImageFaultError(
            f"the picture is empty: contrast {found:.2f}, expected at least {guard.min_contrast:g}",
            remedy="check lamp, lens cap and exposure",
            fault=ImageFault.EMPTY,
        )
    if guard.min_sharpness > 0:
        found = sharpness(grey)
        if found < guard.min_sharpness:
            raise ImageFaultError(
                f"the picture is blurred: sharpness {found:.1f}, expected at least {guard.min_sharpness:g}",
                remedy="focus the lens, clean it, and check that part and camera do not shake",
                fault=ImageFault.BLURRED,
            )


class Repeats:
    """Counts how often one camera has shown the very same picture in a row; takes its frames in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.uint8] | None = None
        self._identical = 0

    def check(self, view: NDArray[np.uint8], max_identical: int) -> None:
        """Take in the next picture.

        Raises:
            ImageFaultError: FROZEN.
        """
        last, self._last = self._last, view
        is_same = (
            last is not None
            and last.shape == view.shape
            # A few rows tell almost every two pictures apart.
            and np.array_equal(last[:_FIRST_ROWS], view[:_FIRST_ROWS])
            and np.array_equal(last, view)
        )
        self._identical = self._identical + 1 if is_same else 1
        if max_identical and self._identical > max_identical:
            raise ImageFaultError(
                f"the camera shows the same picture for the {self._identical}th time, to the last bit",
                remedy="restart the camera; it repeats an old picture",
                fault=ImageFault.FROZEN,
            )
