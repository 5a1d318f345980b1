# SPDX-License-Identifier: Apache-2.0
"""Parts with known truth: a product, a part number and perhaps a defect in, picture and mask out.

Deterministic by (seed, part number): the same part is drawn the same at any time, in any order, and a part
with a defect equals its sound self outside of the mask. Adds no camera effects (`plant.line.effects` does).
"""

from functools import lru_cache

import numpy as np

from plant.parts.board import BoardMaker
from plant.parts.canvas import Maker
from plant.parts.catalogue import PRODUCTS, DefectSpec, Material, RenderedPart
from plant.parts.defects import draw_defect
from plant.parts.material import of_material
from plant.parts.ring import RingMaker

# Streams of random numbers, apart so that a defect never changes the part below it.
_POOL, _PART, _DEFECT = 11, 12, 13


class PartRenderer:
    """Renders parts of one product at one size. Setting up takes about a second; a part a few ms."""

    def __init__(self, product: str, size_px: int = 256, seed: int = 0) -> None:
        makers: dict[str, type[RingMaker | BoardMaker]] = {"ring": RingMaker, "board": BoardMaker}
        if product not in makers:
            raise ValueError(f"product: expected one of {', '.join(PRODUCTS)}, got {product!r}")
        if not 64 <= size_px <= 1024:
            raise ValueError(f"size_px: expected 64 … 1024, got {size_px}")
        self._product, self._seed = product, seed
        self._stream = PRODUCTS.index(product)
        self._maker: Maker = makers[product](size_px, np.random.default_rng([seed, _POOL, self._stream]))

    def render(
        self, part_number: int, defect: DefectSpec | None = None, material: Material | None = None
    ) -> RenderedPart:
        """Draw one part, sound or with a defect, perhaps made of another batch of material."""
        canvas = self._maker.make(np.random.default_rng([self._seed, _PART, self._stream, part_number]))
        canvas = canvas if material is None else of_material(canvas, material)
        part_id = f"{self._product}-{part_number:08d}"
        if defect is None:
            return RenderedPart(canvas.pixels, None, part_id, None, None)
        rng = np.random.default_rng([self._seed, _DEFECT, self._stream, part_number])
        pixels, mask = draw_defect(canvas, defect, rng)
        return RenderedPart(pixels, mask, part_id, defect.kind, defect.severity)


@lru_cache(maxsize=4)
def shared_renderer(product: str, size_px: int, seed: int) -> PartRenderer:
    """One renderer for all who want the same parts: its textures are read only, so threads may share it."""
    return PartRenderer(product, size_px, seed)


def render_part(
    product: str, seed: int, part_number: int, defect: DefectSpec | None = None, size_px: int = 256
) -> RenderedPart:
    """Draw one part without keeping a renderer; the last few are kept."""
    return shared_renderer(product, size_px, seed).render(part_number, defect)
