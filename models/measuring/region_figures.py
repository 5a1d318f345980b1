# SPDX-License-Identifier: Apache-2.0
"""Whether two variants find the places of defects equally well: AU-PRO by region, and whether its fall is chance.

AU-PRO is a mean over defect regions, so each region has an area of its own (`pixel_figures` says which), and two sets
of heatmaps of the same pictures can be compared region by region. On few regions a difference of .005 is luck; what
counts as lost must fall in most draws of the parts. A bounded number of pictures is looked at, evenly picked, so that a
training does not wait for a folder of thousands. Opens no graph. Called by `training.judging_variants`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.parts import Gallery, Part, read_mask
from models.graphs.quantization import evenly
from models.measuring.pixel_figures import BITS, Labels, PixelTally, brought_to, regions_of

Floats = NDArray[np.float32]
MOST_SOUND: Final = 100
MOST_MASKED: Final = 200
_RESAMPLES: Final = 200
# As for AUROC: the share of the draws in which it must fall before it counts as lost.
_SURE: Final = 0.9


@dataclass(frozen=True)
class Places:
    """Which of the held-out pictures tell of places: rows of sound ones, and of defective ones with a usable mask."""

    sound: list[int]
    masked: list[int]

    @classmethod
    def among(cls, held_out: Sequence[Part], gallery: Gallery) -> "Places":
        """Rows to look at; empty where no mask can be used, for then there is nothing to compare."""
        sound = [row for row, part in enumerate(held_out) if not part.is_defective]
        marked = [row for row, part in enumerate(held_out) if part.is_defective and part.image.mask_path is not None]
        masked = [marked[place] for place in evenly(len(marked), MOST_MASKED)]
        masked = [row for row in masked if read_mask(held_out[row], gallery) is not None]
        if not masked:
            return cls([], [])
        return cls([sound[place] for place in evenly(len(sound), MOST_SOUND)], masked)


@dataclass(frozen=True)
class RegionAreas:
    """Area of each defect region, float64 [regions] 0 … 1, and the physical part it lies on."""

    areas: NDArray[np.float64]
    groups: list[str]

    @property
    def au_pro(self) -> float | None:
        """Their mean; None without a region."""
        return float(self.areas.mean()) if len(self.areas) else None


def region_areas(
    heatmaps: Sequence[Floats], held_out: Sequence[Part], gallery: Gallery, places: Places, centre: float
) -> RegionAreas | None:
    """AU-PRO by region.

    Args:
        heatmaps: float32 [h, w] of each held-out picture, in their order.
        held_out: the pictures.
        gallery: their pixels and masks.
        places: which of them tell.
        centre: see `PixelTally`; the OK limit.

    Returns:
        None where no picture tells of places, no pixel is sound, or a heatmap holds what is no number.
    """
    rows = places.sound + places.masked
    if not places.masked or len(heatmaps) != len(held_out):
        return None
    if not all(np.isfinite(heatmaps[row]).all() for row in rows):
        return None
    tally = PixelTally(centre)
    for row in places.sound:
        tally.add(_sized(heatmaps[row], held_out[row], gallery))
    marked: list[_Marked] = []
    groups: list[str] = []
    for row in places.masked:
        mask = read_mask(held_out[row], gallery)
        if mask is None:
            continue
        labels, heatmap = regions_of(mask), _sized(heatmaps[row], held_out[row], gallery)
        tally.add(heatmap, labels)
        marked.append(_Marked.of(labels, tally.classes_of(heatmap)))
        groups += [held_out[row].image.group] * int(labels.max())
    if not tally.has_sound:
        return None
    left = tally.left_of()
    areas = [area for each in marked for area in each.areas(left)]
    return RegionAreas(np.array(areas, np.float64), groups)


@dataclass(frozen=True)
class _Marked:
    """How many pixels each region of a picture has in each class: all that its area needs, and far fewer numbers."""

    region: NDArray[np.int32]
    at: NDArray[np.int32]
    count: NDArray[np.int32]

    @classmethod
    def of(cls, labels: Labels, classes: NDArray[np.int64]) -> "_Marked":
        """From the regions [h, w] of a mask and the classes [h, w] of its heatmap."""
        inside = labels > 0
        both, count = np.unique((labels[inside].astype(np.int64) << BITS) | classes[inside], return_counts=True)
        at = both & ((1 << BITS) - 1)
        return cls((both >> BITS).astype(np.int32) - 1, at.astype(np.int32), count.astype(np.int32))

    def areas(self, left: NDArray[np.float64]) -> list[float]:
        """Of each region, by what is left of the limit at each class."""
        sums = np.bincount(self.region, weights=left[self.at] * self.count)
        return [float(area) for area in sums / np.bincount(self.region, weights=self.count)]


def _sized(heatmap: Floats, part: Part, gallery: Gallery) -> Floats:
    return brought_to(heatmap, *gallery.pixels(part).shape[:2])


def is_au_pro_lost(before: RegionAreas, after: RegionAreas, *, allowed: float) -> bool:
    """Whether AU-PRO fell by more than `allowed`, and not just by the luck of these parts.

    Paired bootstrap over parts, whose regions are found or missed together; the sound pixels stay as they are.

    Raises:
        ValueError: not of the same regions; the caller has a fault.
    """
    if before.groups != after.groups:
        msg = f"regions: expected the same ones, got {len(before.groups)} and {len(after.groups)}"
        raise ValueError(msg)
    fall = before.areas - after.areas
    if len(fall) == 0 or fall.mean() <= allowed:
        return False
    names, member = np.unique(np.array(before.groups), return_inverse=True)
    sums, sizes = np.bincount(member, weights=fall), np.bincount(member)
    rng = np.random.default_rng(0)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=_RESAMPLES)
    return float(((times @ sums) / (times @ sizes) > 0).mean()) >= _SURE
