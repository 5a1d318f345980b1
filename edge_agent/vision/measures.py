# SPDX-License-Identifier: Apache-2.0
"""Plain measures of the model's field of view, for drift charts, and the test for an empty picture.

Pure. Judges no part: a shift of these is a statement on light and lens, not on quality. Used by the loop, after
the reject signal has left.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.reports import ImageMeasures

# Every eighth pixel of every eighth row shows whether there is a picture at all, at 1/64 of the cost.
_SPARSE: Final = 8


def measure(image_bgr: NDArray[np.uint8]) -> ImageMeasures:
    """Brightness, contrast, blur and colour of an uint8 H × W × 3 BGR image (see `ImageMeasures`)."""
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    # 16-bit signed holds every Laplacian of 8-bit values (−1020 … 1020) and is faster than float.
    _, edge_deviation = cv2.meanStdDev(cv2.Laplacian(grey, cv2.CV_16S))
    blue, _, red, _ = cv2.mean(image_bgr)
    return ImageMeasures(
        brightness=round(float(mean.flat[0]), 3),
        contrast=round(float(deviation.flat[0]), 3),
        blur=round(float(edge_deviation.flat[0]) ** 2, 3),
        colour=round(red - blue, 3),
    )


def sparse_contrast(image_bgr: NDArray[np.uint8]) -> float:
    """Standard deviation of a sparse grid of pixels, 8-bit values. Near 0: nothing is in the picture."""
    return float(image_bgr[::_SPARSE, ::_SPARSE].std())
