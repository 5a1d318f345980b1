# SPDX-License-Identifier: Apache-2.0
"""Plain measures of the model's field of view, for drift charts, and the test for an empty picture.

Pure. Judges no part: a shift of these is a statement on light and lens, not on quality. Used by the loop, after
the reject signal has left.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.reports import ImageMeasures


def measure(image_bgr: NDArray[np.uint8]) -> ImageMeasures:
    """Brightness, contrast, blur and colour of an uint8 H × W × 3 BGR image (see `ImageMeasures`)."""
    grey = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2GRAY)
    mean, deviation = cv2.meanStdDev(grey)
    blue, _, red, _ = cv2.mean(image_bgr)
    return ImageMeasures(
        brightness=round(float(mean.flat[0]), 3),
        contrast=round(float(deviation.flat[0]), 3),
        blur=round(sharpness(grey), 3),
        colour=round(red - blue, 3),
    )


def sharpness(grey: cv2.typing.MatLike) -> float:
    """Variance of the Laplacian of an uint8 H × W picture."""
    # 16-bit signed holds every Laplacian of 8-bit values (−1020 … 1020) and is faster than float. The two sums take a
    # tenth of the time of OpenCV's own deviation of 16-bit values; a Laplacian's mean is next to 0, so nothing cancels.
    edges = cv2.Laplacian(grey, cv2.CV_16S)
    return float(cv2.norm(edges, cv2.NORM_L2SQR) / edges.size - (cv2.sumElems(edges)[0] / edges.size) ** 2)


def contrast(image_bgr: NDArray[np.uint8]) -> float:
    """Largest standard deviation of the three colours, 8-bit values. Near 0: nothing is in the picture."""
    # Over every pixel: a sparse grid sees nothing of a texture that happens to have its period.
    _, deviations = cv2.meanStdDev(image_bgr)
    return float(deviations.max())
