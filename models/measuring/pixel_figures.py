# SPDX-License-Identifier: Apache-2.0
"""How well heatmaps find the place of a defect: pixel AUROC and AU-PRO, in bounded memory.

AU-PRO is the area under the mean overlap per defect region over the share of sound pixels marked, up to a share of
0.3, divided by 0.3 (Bergmann et al., "The MVTec Anomaly Detection Dataset", IJCV 2021). A region is a piece of a mask
whose pixels touch, corners included.

Heatmaps are brought to the size of the mask, bilinearly, not masks to the size of the heatmap: AU-PRO counts regions,
and on a map of 16 × 16 cells a scratch would vanish or run into its neighbour, which flatters.

Pixels are counted, not kept: each value goes into one of 2¹⁸ classes, so a thousand masks cost as much memory as
one. Reads no file. Called by `evaluating`, `judging` and `region_figures`.
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from models.data.pictures import marked

Floats = NDArray[np.float32]
Labels = NDArray[np.int32]
PRO_LIMIT: Final = 0.3
# Classes of values: 2 to the power of it.
BITS: Final = 18
_CHUNK_PX: Final = 1 << 20


def regions_of(mask: NDArray[np.uint8]) -> Labels:
    """Connected regions of a mask [h, w] → int32 [h, w]: 0 sound, 1 … k the regions, corners touching."""
    _, labels = cv2.connectedComponents(marked(mask).astype(np.uint8), connectivity=8, ltype=cv2.CV_32S)
    return np.asarray(labels, np.int32)


def brought_to(heatmap: Floats, height_px: int, width_px: int) -> Floats:
    """A heatmap [h, w] → [height_px, width_px], bilinear, pixel centres at ½, borders repeated."""
    sized = cv2.resize(heatmap.astype(np.float32), (width_px, height_px), interpolation=cv2.INTER_LINEAR)
    return np.asarray(sized, np.float32)


class PixelTally:
    """Counts of pixel values, sound and defective, and of the share of each region at each value.

    A value's class is the sign, exponent and first nine digits of its distance from `centre`: equal steps of 0.2 % of
    that distance, finest around `centre`. Values in one class count as equal.

    Args:
        centre: a value on the heatmap's scale near which it matters most, such as the OK limit.
    """

    def __init__(self, centre: float) -> None:
        self._centre = np.float32(centre)
        self._sound = np.zeros(1 << BITS, np.int64)
        self._defective = np.zeros(1 << BITS, np.int64)
        self._overlap = np.zeros(1 << BITS, np.float64)
        self.regions = 0

    def add(self, heatmap: Floats, labels: Labels | None = None) -> None:
        """Count one picture: `heatmap` [h, w], finite; `labels` as of `regions_of`, the same size, None: all sound.

        Raises:
            ValueError: sizes that differ, or a value that is no number; the caller has a fault.
        """
        if labels is not None and labels.shape != heatmap.shape:
            msg = f"pixels: expected regions of {heatmap.shape}, got {labels.shape}"
            raise ValueError(msg)
        if not np.isfinite(heatmap).all():
            msg = "pixels: expected finite values only"
            raise ValueError(msg)
        share = np.zeros(1)
        if labels is not None:
            sizes = np.bincount(labels.ravel())
            share = 1 / np.maximum(sizes, 1)
            self.regions += int((sizes[1:] > 0).sum())
        values, marks = heatmap.ravel(), None if labels is None else labels.ravel()
        for start in range(0, len(values), _CHUNK_PX):
            keys = self.classes_of(values[start : start + _CHUNK_PX])
            if marks is None:
                self._sound += np.bincount(keys, minlength=1 << BITS)
                continue
            mine = marks[start : start + _CHUNK_PX]
            is_marked = mine > 0
            self._sound += np.bincount(keys[~is_marked], minlength=1 << BITS)
            self._defective += np.bincount(keys[is_marked], minlength=1 << BITS)
            self._overlap += np.bincount(keys[is_marked], weights=share[mine[is_marked]], minlength=1 << BITS)

    @property
    def has_sound(self) -> bool:
        """Whether any sound pixel was counted."""
        return bool(self._sound.any())

    def classes_of(self, values: Floats) -> NDArray[np.int64]:
        """Class of each value, rising with it: the bits of a float, ordered as integers, cut to the first ones."""
        bits = (values - self._centre + np.float32(0)).astype(np.float32).view(np.uint32)
        top = np.uint32(1 << 31)
        ordered = np.where(bits & top, ~bits, bits | top)
        return (ordered >> np.uint32(32 - BITS)).astype(np.int64)

    def __add__(self, other: "PixelTally") -> "PixelTally":
        if self._centre != other._centre:
            msg = f"pixels: expected tallies around one centre, got {self._centre} and {other._centre}"
            raise ValueError(msg)
        both = PixelTally(float(self._centre))
        both._sound = self._sound + other._sound
        both._defective = self._defective + other._defective
        both._overlap = self._overlap + other._overlap
        both.regions = self.regions + other.regions
        return both

    def left_of(self, limit: float = PRO_LIMIT) -> NDArray[np.float64]:
        """What a pixel of each class adds to the area of its region, 0 … 1, [2¹⁸].

        The overlap of a region over the share of sound pixels marked rises, where a class is marked, along a straight
        line: nobody knows in which order equal values come. So a pixel counts from the middle of that line on, as far
        as the limit goes. The mean of a region's pixels is its area, and the mean of the regions AU-PRO.

        Raises:
            ValueError: no sound pixel was counted; the caller has a fault.
        """
        sound = float(self._sound.sum())
        if sound == 0:
            msg = "pixels: expected sound pixels, got none"
            raise ValueError(msg)
        marked = np.cumsum(self._sound[::-1])[::-1] / sound
        before = np.r_[marked[1:], 0.0]
        width = marked - before
        rising = np.clip(limit - before, 0.0, width)
        on_the_line = np.divide(rising**2, 2 * width, out=np.zeros_like(width), where=width > 0)
        return np.asarray((on_the_line + np.maximum(0.0, limit - marked)) / limit, np.float64)

    def auroc(self) -> float | None:
        """P(a defective pixel's value lies above a sound one's), ties half; None where one kind is missing."""
        sound, defective = float(self._sound.sum()), float(self._defective.sum())
        if sound == 0 or defective == 0:
            return None
        # Shares, not counts: the products of thousands of millions would lose digits.
        mine = self._sound / sound
        below = np.cumsum(mine) - mine
        return float((self._defective / defective * (below + mine / 2)).sum())

    def au_pro(self, limit: float = PRO_LIMIT) -> float | None:
        """Normalised area, 0 … 1, see the module; None without a region or a sound pixel."""
        if self._sound.sum() == 0 or self.regions == 0:
            return None
        return float(self._overlap @ self.left_of(limit) / self.regions)
