# SPDX-License-Identifier: Apache-2.0
"""The live picture as JPEG: scaled down, with the ROI and the heatmap drawn in when asked for.

The ROI is drawn where it was taught; where a recipe finds the product and moves with it, that is a few pixels beside.

Works only when somebody asks, at most so often a second, and on the asker's thread. The frame is not changed. Used by
`page.server`.
"""

import threading
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.clock import Clock
from edge_agent.page.watch import LoopWatch, SeenPart
from edge_agent.recipes.recipe import Recipes
from edge_agent.vision.roi import Roi

_LONGEST_PX: Final = 1024
_QUALITY: Final = 80
_NOT_SOONER_S: Final = 0.3
_ROI_BGR: Final = (0, 200, 255)
_HEAT_WEIGHT: Final = 0.45
# 255 stands for this many times the NG limit, as in stored heatmaps.
_HEADROOM: Final = 1.5


class LivePicture:
    """The newest picture, encoded on request.

    Args:
        watch: has the newest part.
        recipes: have the ROI.
        clock: for the cap on the rate.
    """

    def __init__(self, watch: LoopWatch, recipes: Recipes, clock: Clock) -> None:
        self._watch = watch
        self._recipes = recipes
        self._clock = clock
        self._lock = threading.Lock()
        self._made: dict[tuple[bool, bool], tuple[int, float, bytes]] = {}
        self.encoded = 0

    def jpeg(self, *, with_roi: bool, with_heat: bool) -> bytes | None:
        """JPEG of the newest picture, or of one a moment older; None before the first."""
        wanted = (with_roi, with_heat)
        # One at a time: many who watch must not cost more than one.
        with self._lock:
            seen, now_s = self._watch.newest, self._clock.monotonic()
            number, made_s, content = self._made.get(wanted, (0, -1e9, b""))
            if content and (seen is None or seen.number == number or now_s - made_s < _NOT_SOONER_S):
                return content
            if seen is None or seen.frame.pixels is None:
                return None
            content = _draw(seen, seen.recipe(self._recipes).roi, with_roi=with_roi, with_heat=with_heat)
            self._made[wanted] = (seen.number, now_s, content)
            self.encoded += 1
            return content


def _draw(seen: SeenPart, roi: Roi | None, *, with_roi: bool, with_heat: bool) -> bytes:
    pixels = seen.frame.pixels
    if pixels is None:  # the watch keeps no such frame
        return b""
    height, width = pixels.shape[:2]
    scale = min(1.0, _LONGEST_PX / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # `resize` to the same size gives a copy too, so the frame itself stays as it is.
    small = np.array(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    field = roi or Roi(0, 0, width, height)
    left, top = round(field.x_px * scale), round(field.y_px * scale)
    right = min(size[0], round((field.x_px + field.width_px) * scale))
    bottom = min(size[1], round((field.y_px + field.height_px) * scale))
    inference = seen.judgement.inference
    if with_heat and inference is not None and right > left and bottom > top:
        package = seen.judgement.package
        limits = seen.judgement.limits or (package.manifest.limits if package is not None else None)
        limit = limits.ng_limit if limits is not None else 0.0
        small[top:bottom, left:right] = _warmed(small[top:bottom, left:right], inference.heatmap, limit)
    if with_roi:
        cv2.rectangle(small, (left, top), (right - 1, bottom - 1), _ROI_BGR, 2)
    is_done, encoded = cv2.imencode(".jpg", small, (cv2.IMWRITE_JPEG_QUALITY, _QUALITY))
    return encoded.tobytes() if is_done else b""


def _warmed(view: NDArray[np.uint8], heatmap: NDArray[np.float32], ng_limit: float) -> NDArray[np.uint8]:
    finite = np.nan_to_num(heatmap.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    top = ng_limit * _HEADROOM if ng_limit > 0 else float(finite.max())
    scaled = np.clip(finite / top, 0.0, 1.0) if top > 0 else np.zeros_like(finite)
    grey = np.asarray(np.rint(255 * scaled), dtype=np.uint8)
    spread = cv2.resize(grey, (view.shape[1], view.shape[0]), interpolation=cv2.INTER_LINEAR)
    colours = cv2.applyColorMap(spread, cv2.COLORMAP_INFERNO)
    return np.asarray(cv2.addWeighted(view, 1 - _HEAT_WEIGHT, colours, _HEAT_WEIGHT, 0), dtype=np.uint8)
