# SPDX-License-Identifier: Apache-2.0
"""Grid features as residuals from what sound parts show at each place, in units of how sound parts vary.

Sound parts hardly vary in some directions of feature space (a metal's colour, say); a small step in such a direction
is a large anomaly, which plain distances drown in what varies anyway. `FoldMoments` gives the whitening without each
fold from two passes over the features, whatever the number of folds. Used by `summary`, `white_distance` and
`class_names`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats
from models.graphs.writer import GraphWriter

# Added to each direction's variance, as a share of the mean one: directions without variance must not shout.
RIDGE: Final = 0.1
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
        rows = np.zeros(1, np.int64)
        return FoldMoments.of(lambda: ((rows, row[None].astype(np.float32)) for row in sound), 1).without(None)

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


# Goes over all features, a few at a time: the fold of each row, and the rows [n, d, h, w] as float32.
Blocks = Callable[[], Iterable[tuple[NDArray[np.int64], Floats]]]


@dataclass(frozen=True)
class FoldMoments:
    """Sums over the rows of each fold, from which the whitening without one follows.

    `counts` [k] rows, `sums` [k, d, h, w] of what they are beyond `centre` [d, h, w], `products` [k, d, d] of that.
    """

    centre: NDArray[np.float64]
    counts: NDArray[np.int64]
    sums: NDArray[np.float64]
    products: NDArray[np.float64]

    @classmethod
    def of(cls, blocks: Blocks, folds: int) -> "FoldMoments":
        """Two passes: the mean of each place, then what varies around it."""
        counts, total = np.zeros(folds, np.int64), None
        for fold_of, rows in blocks():
            counts += np.bincount(fold_of, minlength=folds)
            some = rows.sum(0, dtype=np.float64)
            total = some if total is None else total + some
        if total is None:
            msg = "whitening: expected at least one row"
            raise ValueError(msg)
        centre = total / counts.sum()
        channels = len(centre)
        sums, products = np.zeros((folds, *centre.shape)), np.zeros((folds, channels, channels))
        about = centre.astype(np.float32)
        for fold_of, rows in blocks():
            for fold, row in zip(fold_of, rows, strict=True):
                off = row - about
                sums[fold] += off
                flat = off.reshape(channels, -1)
                products[fold] += flat @ flat.T
        return cls(about.astype(np.float64), counts, sums, products)

    def without(self, fold: int | None) -> Whitening:
        """From all rows but those of one fold; None: from all."""
        kept = np.arange(len(self.counts)) != (-1 if fold is None else fold)
        count = int(self.counts[kept].sum())
        beyond = self.sums[kept].sum(0)
        place_mean = self.centre + beyond / count
        overall = place_mean.mean((1, 2), keepdims=True)
        share = count / (count + _PRIOR_PARTS)
        mean = share * place_mean + (1 - share) * overall
        # Products about the centre, moved to be about the mean.
        step, flat = (mean - self.centre).reshape(len(mean), -1), beyond.reshape(len(mean), -1)
        crossed = flat @ step.T
        covariance = self.products[kept].sum(0) - crossed - crossed.T + count * (step @ step.T)
        covariance /= count * mean[0].size
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances, 0) + RIDGE * max(float(variances.mean()), 1e-12)
        return Whitening(mean.astype(np.float32), (directions / np.sqrt(variances)).T.astype(np.float32))
