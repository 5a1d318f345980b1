# SPDX-License-Identifier: Apache-2.0
"""A sound part as drawn, with the places where defects may sit. What a maker hands to the defects.

Shapes only; drawn by `ring` and `board`, used by `defects`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from plant.parts.catalogue import Pixels

# float32 or float64: drawing code cares about the values, not the width.
Field = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Place:
    """A point on the part, px; `angle` in radians is the direction that matters there.

    On an edge it points out of the part; on a face along the grain or the trace.
    """

    x: float
    y: float
    angle: float


@dataclass(frozen=True)
class Feature:
    """A removable feature: the window it fills and what is seen there without it.

    x, y: left top corner, px. alpha: float32 [h, w], 1 where the feature is. without: float32 [h, w, 3] BGR.
    """

    x: int
    y: int
    alpha: Field
    without: Field


@dataclass(frozen=True)
class Canvas:
    """A sound part before any defect.

    pixels: uint8 [S, S, 3] BGR. body: uint8 [S, S], 255 on the part. face, edge: draw a random place on the
    surface (at least the given margin in px away from its border) or on an edge. feature: draws one that
    can be missing. frame: polar or straight coordinates along and across the grain, for patterns that follow it.
    """

    pixels: Pixels
    body: Pixels
    face: Callable[[np.random.Generator, float], Place]
    edge: Callable[[np.random.Generator], Place]
    feature: Callable[[np.random.Generator], Feature]
    scale: float


class Maker(Protocol):
    """Makes sound parts of one product."""

    def make(self, rng: np.random.Generator) -> Canvas:
        """A new sound part; all of its variation comes from `rng`."""
