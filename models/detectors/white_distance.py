# SPDX-License-Identifier: Apache-2.0
"""Distance from what sound parts show, in units of how sound parts vary: of each cell, and of the part as a whole.

Of a cell, after PaDiM (Defard et al., 2021), with one covariance for all places, because a few hundred parts cannot
give one to each. Of the part, over mean and spread of each channel (Rippel et al., Modeling the Distribution of Normal
Data, 2021): it sees what is weak everywhere and strong nowhere. Called by `memory_bank` only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats
from models.detectors.cells import at_once, direction, write_direction
from models.detectors.folds import rounds
from models.detectors.whitening import RIDGE, FoldMoments, Whitening
from models.graphs.writer import GraphWriter

_CHUNK: Final = 32


@dataclass(frozen=True)
class WhiteCells:
    """Length of each grid cell's white residual, of the direction of its features in each of the trunk's stages."""

    stages: tuple[int, ...]
    whitening: Whitening

    @classmethod
    def fit(
        cls, features: Features, stages: tuple[int, ...], fold_of: NDArray[np.int64]
    ) -> "tuple[WhiteCells, Floats]":
        """From features [n, d, h, w] and each row's fold, −1 for a row not to learn from.

        Returns the finished measure and each row's distances [n, h, w] by one that had not seen its fold.
        """
        every, rows = rounds(fold_of), np.flatnonzero(fold_of >= 0)
        step = at_once(features, _CHUNK)

        def blocks() -> Iterator[tuple[NDArray[np.int64], Floats]]:
            # Turned a few at a time: the directions of all would take the features' memory once more.
            for start in range(0, len(rows), step):
                some = rows[start : start + step]
                yield fold_of[some], direction(features[some], stages).astype(np.float32)

        moments = FoldMoments.of(blocks, int(fold_of.max()) + 1)
        finished = cls(stages, moments.without(None))
        distances = np.empty((len(features), *features.shape[2:]), np.float32)
        finished.measure(features, np.flatnonzero(fold_of < 0), distances)
        for each in every:
            cls(stages, moments.without(each.fold)).measure(features, each.unseen, distances)
        return finished, distances

    def distances(self, features: Features) -> Floats:
        """[n, d, h, w] → [n, h, w]."""
        found = np.empty((len(features), *features.shape[2:]), np.float32)
        self.measure(features, np.arange(len(features)), found)
        return found

    def measure(self, features: Features, rows: NDArray[np.int64], found: Floats) -> None:
        """Distances of some rows, filled into `found` [n, h, w]."""
        step = at_once(features, _CHUNK)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            white = self.whitening.apply(direction(features[some], self.stages))
            found[some] = np.sqrt((white * white).sum(1))

    def write(self, writer: GraphWriter, features: str) -> str:
        """The same in the graph."""
        channels, height, width = self.whitening.place_mean.shape
        turned = write_direction(writer, features, self.stages)
        white = writer.op("Reshape", [self.whitening.write(writer, turned), writer.constant([0, 0, -1])])
        length = writer.op("Sqrt", [writer.summed_squares(white, channels)])
        return writer.op("Reshape", [length, writer.constant([-1, height, width])])


@dataclass(frozen=True)
class WholePart:
    """Length of the white residual of `[mean, standard deviation]` of each channel over the cells."""

    centre: Floats
    matrix: Floats

    @classmethod
    def fit(cls, cells: Features, fold_of: NDArray[np.int64]) -> "tuple[WholePart, Floats]":
        """As `WhiteCells.fit`; distances [n]."""
        looks = _looks(cells)
        finished = cls._of(looks[fold_of >= 0])
        distances = finished.lengths(looks)
        for each in rounds(fold_of):
            distances[each.unseen] = cls._of(looks[each.seen]).lengths(looks[each.unseen])
        return finished, distances

    @classmethod
    def _of(cls, looks: Floats) -> "WholePart":
        centre = looks.mean(0, dtype=np.float64)
        # Means and spreads, and channels among each other, have their own units: standardised before they are mixed.
        unit = looks.std(0, dtype=np.float64) + 1e-3 * np.abs(centre) + 1e-6
        standard = (looks - centre) / unit
        covariance = standard.T @ standard / max(1, len(looks) - 1)
        variances, directions = np.linalg.eigh(covariance)
        variances = np.maximum(variances, 0) + RIDGE * max(float(variances.mean()), 1e-12)
        matrix = (directions / np.sqrt(variances)).T / unit
        return cls(centre.astype(np.float32), matrix.astype(np.float32))

    def distances(self, cells: Features) -> Floats:
        """[n, d, h, w] → [n]."""
        return self.lengths(_looks(cells))

    def lengths(self, looks: Floats) -> Floats:
        """Of looks [n, 2 d]."""
        white = (looks - self.centre) @ self.matrix.T
        lengths: Floats = np.sqrt((white * white).sum(1)).astype(np.float32)
        return lengths

    def write(self, writer: GraphWriter, cells: str) -> str:
        """The same in the graph: [n, d, h, w] → [n]."""
        axes = writer.constant([2, 3])
        mean = writer.op("ReduceMean", [cells, axes], keepdims=1)
        # Squares of the differences, not the difference of squares: float32 would cancel.
        off = writer.op("Sub", [cells, mean])
        variance = writer.op("ReduceMean", [writer.op("Mul", [off, off]), axes], keepdims=1)
        joined = writer.op("Concat", [mean, writer.op("Sqrt", [variance])], axis=1)
        flat = writer.op("Reshape", [joined, writer.constant([-1, len(self.centre)])])
        residual = writer.op("Sub", [flat, writer.constant(self.centre)])
        white = writer.op("MatMul", [residual, writer.constant(np.ascontiguousarray(self.matrix.T))])
        return writer.op("Sqrt", [writer.op("ReduceSumSquare", [white, writer.constant([1])], keepdims=0)])


def _looks(cells: Features) -> Floats:
    """Mean and standard deviation of each channel: [n, d, h, w] → [n, 2 d]."""
    found = np.empty((len(cells), 2 * cells.shape[1]), np.float32)
    for start in range(0, len(cells), _CHUNK):
        block = cells[start : start + _CHUNK].astype(np.float32)
        found[start : start + _CHUNK] = np.concatenate([block.mean((2, 3)), block.std((2, 3))], axis=1)
    return found
