# SPDX-License-Identifier: Apache-2.0
"""What a trunk sees of a picture, short enough to keep for every picture of a set.

One picture at a time, so that memory does not grow with its features. Called by `command` and `leaks`.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.pictures import Picture
from models.detectors.base import Features
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.trunks import Trunk

Floats = NDArray[np.float32]

SIZE_PX: Final = 256
_GRID: Final = 32
# Cells a side of the coarse grid: what lies where, without telling one scratch from another.
_COARSE: Final = 4
# Extremes are taken over means of 2 × 2 cells: one odd cell must not be the summary of a part.
_POOL: Final = 2


class Eye:
    """Looks at pictures through a trunk.

    Args:
        trunk: whose features are taken.
        threads: of its session.
    """

    def __init__(self, trunk: Trunk, *, threads: int) -> None:
        self._extractor = FeatureExtractor(build_front(trunk, size_px=SIZE_PX, grid=_GRID), threads=threads)

    def place(self, features: Features) -> Floats:
        """Means over a grid of 4 × 4, [1, d, g, g] → [16 d]."""
        count, channels, height, width = features.shape
        blocks = features.astype(np.float32).reshape(
            count, channels, _COARSE, height // _COARSE, _COARSE, width // _COARSE
        )
        told: Floats = blocks.mean((3, 5)).reshape(-1)
        return told

    def look(self, picture: Picture) -> tuple[Floats, Floats]:
        """Of one picture: means over a grid of 4 × 4 [16 d]; and mean, spread, highest and lowest of channels [4 d]."""
        features = self._extractor.extract([picture], 1)
        part = features[0].astype(np.float32)
        channels, height, width = part.shape
        pooled = part.reshape(channels, height // _POOL, _POOL, width // _POOL, _POOL).mean((2, 4))
        summary = np.concatenate([part.mean((1, 2)), part.std((1, 2)), pooled.max((1, 2)), pooled.min((1, 2))])
        return self.place(features), summary.astype(np.float32)
