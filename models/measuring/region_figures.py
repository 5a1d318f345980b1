# SPDX-License-Identifier: Apache-2.0
"""Whether two variants find the places of defects equally well: AU-PRO by region, and whether its fall is chance.

AU-PRO (see `pixel_figures`) is a mean over defect regions, so each region has an area of its own, and two sets of
heatmaps of the same pictures can be compared region by region. On few regions a difference of .005 is luck; what counts
as lost must fall in most draws of the parts. A bounded number of pictures is looked at, evenly picked, so that a
training does not wait for a folder of thousands. Opens no graph. Called by `training.judging_variants`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.parts import Gallery, Part, read_mask
from models.graphs.quantization import evenly
from models.measuring.pixel_figures import PRO_LIMIT, PixelTally, brought_to, regions_of

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
        None where no picture tells of places, or a heatmap holds what is no number.
    """
    rows = places.sound + places.masked
    if not places.masked or len(heatmaps) != len(held_out):
        return None
    if not all(np.isfinite(heatmaps[row]).all() for row in rows):
        return None
    tally = PixelTally(centre)
    for row in places.sound:
        tally.add(_sized(heatmaps[row], held_out[row], gallery))
    labels = {}
    for row in places.masked:
        mask = read_mask(held_out[row], gallery)
        if mask is not None:
            labels[row] = regions_of(mask)
            tally.add(_sized(heatmaps[row], held_out[row], gallery), labels[row])
    areas: list[float] = []
    groups: list[str] = []
    for row, marks in labels.items():
        inside = marks > 0
        # A pixel adds what is left of the limit once as many sound pixels as lie above it are marked.
        left = np.maximum(0.0, PRO_LIMIT - tally.beyond(_sized(heatmaps[row], held_out[row], gallery)[inside]))
        sums = np.bincount(marks[inside], weights=left / PRO_LIMIT)[1:]
        sizes = np.bincount(marks[inside])[1:]
        areas += (sums[sizes > 0] / sizes[sizes > 0]).tolist()
        groups += [held_out[row].image.group] * int((sizes > 0).sum())
    return RegionAreas(np.array(areas, np.float64), groups)


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
