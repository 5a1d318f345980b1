# SPDX-License-Identifier: Apache-2.0
"""A small detector for incidents: fitted on sound parts, it scores each part and says how unusual it looks as a whole.

Stands for the station's package where tens of thousands of parts are played and no trained one is wanted. A part is cut
into cells; light, colour and edges of each are compared with those of sound parts at the same cell. The score looks at
the few worst cells, the embedding at all of them, so a faint defect all over the part shows in the second alone.
Called by `play`.
"""

from dataclasses import dataclass
from typing import Final, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from plant.parts.catalogue import Pixels

Floats = NDArray[np.float64]
_CELL_PX: Final = 4
_WORST_CELLS: Final = 3
_DIRECTIONS: Final = 8
_OVERKILL: Final = 0.004
_UNUSUAL: Final = 0.01


def cells_of(pixels: Pixels) -> Floats:
    """Light, colour and edges of each cell. uint8 [S, S, 3] → float64 [cells, 3]."""
    grey = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY).astype(np.float32)
    edges = np.abs(cv2.Laplacian(cv2.GaussianBlur(grey, (0, 0), 0.8), cv2.CV_32F))
    tint = pixels[..., 2].astype(np.float32) - pixels[..., 0]
    side = pixels.shape[0] // _CELL_PX
    maps = [cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in (grey, tint, edges)]
    maps[2] = np.log(maps[2] + 1.0)
    return np.stack([each.ravel() for each in maps], axis=1).astype(np.float64)


@dataclass(frozen=True)
class SmallDetector:
    """See the module. All arrays come from sound parts of one product."""

    centre: Floats
    deviation: Floats
    directions: Floats
    usual: Floats
    whitening: Floats
    limit: float
    unusual_limit: float

    @classmethod
    def fit(cls, sound: list[Pixels]) -> Self:
        """Learn from at least 60 sound parts; limits are quantiles of parts that were not learnt from."""
        cells = np.stack([cells_of(pixels) for pixels in sound])
        learnt, kept = cells[::2], cells[1::2]
        centre, deviation = learnt.mean(axis=0), learnt.std(axis=0) + 1e-3
        standard = ((learnt - centre) / deviation).reshape(len(learnt), -1)
        directions = np.linalg.svd(standard, full_matrices=False)[2][:_DIRECTIONS]
        blank = cls(centre, deviation, directions, np.zeros(0), np.zeros((0, 0)), 0.0, 0.0)
        summaries = np.stack([blank._summary((each - centre) / deviation) for each in cells])
        spread = np.cov(summaries, rowvar=False) + 1e-6 * np.eye(summaries.shape[1])
        whitening = np.linalg.inv(np.linalg.cholesky(spread))
        usual = summaries.mean(axis=0)
        scores = np.array([blank._score((each - centre) / deviation) for each in kept])
        distances = np.linalg.norm((summaries[1::2] - usual) @ whitening.T, axis=1)
        limit, unusual = np.quantile(scores, 1 - _OVERKILL), np.quantile(distances, 1 - _UNUSUAL)
        return cls(centre, deviation, directions, usual, whitening, float(limit), float(unusual))

    def judge(self, pixels: Pixels) -> tuple[float, float]:
        """Score (> 0, larger is more anomalous) and distance of the embedding from sound parts."""
        standard = (cells_of(pixels) - self.centre) / self.deviation
        return self._score(standard), float(np.linalg.norm(self.whitening @ (self._summary(standard) - self.usual)))

    def _score(self, standard: Floats) -> float:
        surprise = np.sort((standard**2).sum(axis=1))
        return float(np.sqrt(surprise[-_WORST_CELLS:].mean()))

    def _summary(self, standard: Floats) -> Floats:
        spread = np.log((standard**2).mean(axis=0) + 0.1)
        return np.concatenate([standard.mean(axis=0), spread, self.directions @ standard.ravel()])
