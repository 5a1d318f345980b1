# SPDX-License-Identifier: Apache-2.0
"""The region of interest: what of a frame the model sees, and nothing else ever is stored of it.

Pure. Does not resize: that lives inside the graph, so that stored evidence is the model's own field of view.
Used by the recipe and `vision.prepare`.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import ImageFault
from edge_agent.errors import ImageFaultError
from edge_agent.vision.registration import Place

# What lies outside a polygon: the middle of the scale, the same for every part.
OUTSIDE: Final = 128
_AS_TAUGHT: Final = Place(0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True)
class Roi:
    """Rectangle in pixels of the frame; `x_px`, `y_px` is its upper left corner.

    `outline`: corners of a polygon inside it, in pixels of the frame; what of the rectangle lies outside is grey.
    """

    x_px: int
    y_px: int
    width_px: int
    height_px: int
    outline: tuple[tuple[int, int], ...] = ()

    @classmethod
    def around(cls, outline: tuple[tuple[int, int], ...]) -> "Roi":
        """The smallest rectangle around a polygon, with the polygon in it."""
        xs, ys = [x for x, _ in outline], [y for _, y in outline]
        return cls(min(xs), min(ys), max(xs) - min(xs) + 1, max(ys) - min(ys) + 1, outline)


def crop(pixels: NDArray[np.uint8], roi: Roi | None, place: Place = _AS_TAUGHT) -> NDArray[np.uint8]:
    """The model's field of view, contiguous; the whole frame without a ROI.

    Args:
        pixels: uint8 H × W × 3 BGR.
        roi: region inside the frame, or None.
        place: where the product lies against its taught place; the ROI goes with it.

    Raises:
        ImageFaultError: the ROI reaches outside the frame (camera changed, wrong recipe). The part becomes
            NO_DECISION: judging what is left of the ROI would pass what was cut away.
    """
    if roi is None:
        return np.ascontiguousarray(pixels)
    height, width = pixels.shape[:2]
    if place.turn_deg or not (float(place.dx_px).is_integer() and float(place.dy_px).is_integer()):
        view = _turned(pixels, roi, place)
    else:
        x_px, y_px = roi.x_px + int(place.dx_px), roi.y_px + int(place.dy_px)
        if x_px < 0 or y_px < 0 or x_px + roi.width_px > width or y_px + roi.height_px > height:
            raise _outside(roi, place, width, height)
        # A copy: evidence may wait on disk for long, and a view would keep the whole frame alive.
        view = pixels[y_px : y_px + roi.height_px, x_px : x_px + roi.width_px].copy()
    if roi.outline:
        view[_outside_of(roi)] = OUTSIDE
    return view


def _turned(pixels: NDArray[np.uint8], roi: Roi, place: Place) -> NDArray[np.uint8]:
    """The ROI out of a frame in which the product lies elsewhere by a fraction of a pixel, or turned."""
    angle = math.radians(place.turn_deg)
    cos, sin = math.cos(angle), math.sin(angle)
    x_px, y_px = roi.x_px - place.pivot_px[0], roi.y_px - place.pivot_px[1]
    # From a pixel of the view to where it lies in the frame.
    there = np.array(
        [
            [cos, -sin, cos * x_px - sin * y_px + place.pivot_px[0] + place.dx_px],
            [sin, cos, sin * x_px + cos * y_px + place.pivot_px[1] + place.dy_px],
        ]
    )
    height, width = pixels.shape[:2]
    far_x, far_y = roi.width_px - 1, roi.height_px - 1
    corners = there @ np.array([[0, far_x, 0, far_x], [0, 0, far_y, far_y], [1, 1, 1, 1]], dtype=float)
    if corners.min() < 0 or corners[0].max() > width - 1 or corners[1].max() > height - 1:
        raise _outside(roi, place, width, height)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(pixels, there, (roi.width_px, roi.height_px), flags=flags), np.uint8)


@lru_cache(maxsize=64)
def _outside_of(roi: Roi) -> NDArray[np.bool_]:
    """Bool [height, width]: what of the rectangle lies outside the polygon."""
    inside = np.zeros((roi.height_px, roi.width_px), np.uint8)
    corners = np.array([(x - roi.x_px, y - roi.y_px) for x, y in roi.outline], np.int32)
    cv2.fillPoly(inside, [corners], 1)
    return np.asarray(inside == 0)


def _outside(roi: Roi, place: Place, width: int, height: int) -> ImageFaultError:
    moved = f", moved by ({place.dx_px:.1f}, {place.dy_px:.1f}) px," if place is not _AS_TAUGHT else ""
    where = f"{roi.width_px} × {roi.height_px} px at ({roi.x_px}, {roi.y_px})"
    return ImageFaultError(
        f"the ROI of {where}{moved} reaches outside the frame of {width} × {height} px",
        remedy="correct the ROI in the recipe, or the camera's resolution",
        fault=ImageFault.MOVED,
    )
