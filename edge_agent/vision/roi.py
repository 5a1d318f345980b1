# SPDX-License-Identifier: Apache-2.0
"""The region of interest: what of a frame the model sees, and nothing else ever is stored of it.

Pure. Does not resize: that lives inside the graph, so that stored evidence is the model's own field of view.
Used by the recipe and the loop.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_agent.errors import ImageFaultError


@dataclass(frozen=True)
class Roi:
    """Rectangle in pixels of the frame; `x_px`, `y_px` is its upper left corner."""

    x_px: int
    y_px: int
    width_px: int
    height_px: int


def crop(pixels: NDArray[np.uint8], roi: Roi | None) -> NDArray[np.uint8]:
    """The model's field of view, contiguous; the whole frame without a ROI.

    Args:
        pixels: uint8 H × W × 3 BGR.
        roi: rectangle inside the frame, or None.

    Raises:
        ImageFaultError: the ROI reaches outside the frame (camera changed, wrong recipe). The part becomes
            NO_DECISION: judging what is left of the ROI would pass what was cut away.
    """
    if roi is None:
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    if roi.x_px + roi.width_px > width or roi.y_px + roi.height_px > height:
        msg = f"the ROI {roi} reaches outside the frame of {width} × {height} px"
        raise ImageFaultError(msg, remedy="correct roi_xywh in the recipe, or the camera's resolution")
    rows = slice(roi.y_px, roi.y_px + roi.height_px)
    columns = slice(roi.x_px, roi.x_px + roi.width_px)
    # A copy: evidence may wait on disk for long, and a view would keep the whole frame alive.
    return pixels[rows, columns].copy()
