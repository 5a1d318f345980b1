# SPDX-License-Identifier: Apache-2.0
"""Towards where do unusual parts crowd? One direction in a whitened space, and how far the reference reaches along it.

Pure. What is merely odd lies in all directions; a new defect kind lies in one. The direction is taken from past parts
alone and then counts later ones, so a count is never made of the parts that chose it. Used by `novelty.py`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Shares of the reference that lie beyond the limits along the direction.
SHARES: Final = (0.003, 0.001)
RING: Final = 200
_MOST_NUMBERS: Final = 1_000_000
_MOST_SAMPLE: Final = 20_000
# Parts that point elsewhere (cosine below) take no part in the next round.
_ROUNDS: Final = 4
_ALIKE: Final = 0.25


def sample_size(dimensions: int) -> int:
    """How many reference parts to keep: 20,000, fewer in many dimensions (a million numbers in all)."""
    return min(_MOST_SAMPLE, _MOST_NUMBERS // dimensions)


def add(ring: Floats, points: Floats) -> Floats:
    """The latest 200 unusual parts as unit vectors, float [k, d]."""
    length = np.sqrt((points**2).sum(1, keepdims=True))
    return np.concatenate((ring, points / np.maximum(length, 1e-300)))[-RING:]


def direction(ring: Floats) -> Floats:
    """Unit vector, float [d], about which the vectors of `ring`, float [k, d], are densest.

    Mean shift on the sphere from the vector that has most neighbours (Kobayashi and Otsu 2010 in spirit): each round
    averages those within a cosine of .25 and more, weighted by the excess.
    """
    alike = ring @ ring.T
    centre = ring[int((np.maximum(alike - _ALIKE, 0.0) ** 2).sum(1).argmax())]
    for _ in range(_ROUNDS):
        weight = np.maximum(ring @ centre - _ALIKE, 0.0)
        centre = (weight[:, None] * ring).sum(0)
        centre = centre / max(float(np.sqrt((centre**2).sum())), 1e-300)
    return np.asarray(centre)


def limits(sample: Floats, axis: Floats) -> Floats:
    """How far the reference sample, float [k, d], reaches along an axis at each of `SHARES`; float [2]."""
    return np.asarray(np.quantile(sample @ axis, [1 - share for share in SHARES]))
