# SPDX-License-Identifier: Apache-2.0
"""What the plant can make: products, defect kinds, and the shape of a rendered part.

Holds no drawing code, so that scenario files are checked without building a renderer.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

PRODUCTS: Final = ("ring", "board")
# The last two kinds of each product are soft and wide: weak everywhere and strong nowhere, as sound variation is.
KINDS: Final[dict[str, tuple[str, ...]]] = {
    "ring": (
        "scratch",
        "pit",
        "crack",
        "stain",
        "missing",
        "contamination",
        "burr",
        "discolouration",
        "chatter",
    ),
    "board": (
        "scratch",
        "pit",
        "crack",
        "stain",
        "missing",
        "contamination",
        "mousebite",
        "discolouration",
        "measling",
    ),
}


@dataclass(frozen=True)
class DefectSpec:
    """A defect to make. `severity` 0 … 1 grades its contrast, never its place or shape."""

    kind: str
    severity: float


@dataclass(frozen=True)
class Material:
    """How a batch looks beside the usual one, as added shares; all 0 is the usual one.

    tone: of all grey levels of the part. tint: share by which red rises and blue falls. grain: of what stands out
    from its surroundings (−1 would leave a polished surface, 1 doubles every mark).
    """

    tone: float = 0.0
    tint: float = 0.0
    grain: float = 0.0


@dataclass(frozen=True)
class RenderedPart:
    """A part and the truth about it.

    pixels: uint8 [S, S, 3] BGR. mask: uint8 [S, S], 255 where the defect is, None for a sound part.
    """

    pixels: Pixels
    mask: Pixels | None
    part_id: str
    defect_class: str | None
    severity: float | None

    @property
    def mask_px(self) -> int:
        """Number of defective pixels."""
        return 0 if self.mask is None else int(np.count_nonzero(self.mask))
