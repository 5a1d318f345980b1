# SPDX-License-Identifier: Apache-2.0
"""Grid features as residuals from what sound parts show at each place, in units of how sound parts vary.

Sound parts hardly vary in some directions of feature space (a metal's colour, say); a small step in such a direction
is a large anomaly, which plain distances drown in what varies anyway. Used by `summary`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from models.detectors.base import Features, Floats
from models.graphs.writer import GraphWriter

# Added to each direction's variance, as a share of the mean one: directions without variance must not shout.
_RIDGE: Final = 0.1
# A place's own mean counts as much as the mean of all places once this many sound parts were seen.
_PRIOR_PARTS: Final = 20


@dataclass(frozen=True)
class Whitening:
    """`place_mean` [d, h, w] and a matrix [d, d] that makes the residuals of sound parts white."""

    place_mean: Floats
    matrix: Floats

    @classmethod
    def fit(cls, sound: Features) -> "Whitening":
        """From features of sound parts, [n, d, h, w]."""
        count, channels = sound.shape[:2]
        place_mean = sound.mean(0, dtype=np.float32)
        overall = place_mean.mean((1, 2), keepdims=True)
        share = count / (count + _PRIOR_PARTS)
        mean = (share * place_mean + (1 - share) * overall).astype(np.float32)
        covariance = np.zeros((channels, channels))
        for row in sound:
            residual = (row.astype(np.float32) - mean).reshape(channels, -1)
            covariance += residual @ residual.T
        covariance /= count * mean[0].size
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances, 0) + _RIDGE * max(float(variances.mean()), 1e-12)
        return cls(mean, (directions / np.sqrt(variances)).T.astype(np.float32))

    def apply(self, features: Features) -> Floats:
        """White residuals, [n, d, h, w] → [n, d, h, w], float32."""
        count, channels, height, width = features.shape
        residual = (features.astype(np.float32) - self.place_mean).reshape(count, channels, height * width)
        white: Floats = np.matmul(self.matrix, residual).reshape(count, channels, height, width)
        return white

    def write(self, writer: GraphWriter, features: str) -> str:
        """The same in the graph: features [n, d, h, w] → [n, d, h, w], white."""
        residual = writer.op("Sub", [features, writer.constant(self.place_mean)])
        zero = np.zeros(len(self.matrix), np.float32)
        return writer.conv(residual, self.matrix[:, :, None, None], zero)
