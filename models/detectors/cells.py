# SPDX-License-Identifier: Apache-2.0
"""Grid features as cells of 2 × 2, their direction, and how far a cell's distance stands out at its place.

`direction` divides each stage of the trunk by its length in that
cell, so that contrast and brightness, which scale a cell as a whole, hardly count. Does not measure distances. Used by
`nearest_cells`, `white_distance`, `summary` and `memory_bank`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats
from models.graphs.writer import GraphWriter

POOL: Final = 2
_CHUNK: Final = 32
# Below this length a cell has no direction; it keeps the noise of half precision from becoming one.
_LEAST_LENGTH: Final = 1e-3
# A place's own statistics count as much as all places together once this many sound parts were seen.
PRIOR_PARTS: Final = 20


def at_once(maps: Features, most: int, usual: int = 16 * 16) -> int:
    """How many of maps [n, d, h, w] to work on at once: `most` of the `usual` cells, fewer of larger maps."""
    return max(1, most * usual // max(usual, int(maps.shape[2] * maps.shape[3])))


def pooled(features: Features) -> Features:
    """Means of 2 × 2: [n, d, g, g] → [n, d, g/2, g/2], float16."""
    count, channels, height, width = features.shape
    cells = np.empty((count, channels, height // POOL, width // POOL), np.float16)
    step = at_once(features, _CHUNK, 32 * 32)
    for start in range(0, count, step):
        block = features[start : start + step].astype(np.float32)
        shape = (len(block), channels, height // POOL, POOL, width // POOL, POOL)
        cells[start : start + step] = block.reshape(shape).mean((3, 5))
    return cells


def direction(cells: Features, stages: tuple[int, ...]) -> Features:
    """Each stage's channels divided by their length, cell by cell: [n, d, h, w] → [n, d, h, w], float16."""
    found = np.empty(cells.shape, np.float16)
    step = at_once(cells, _CHUNK)
    for start in range(0, len(cells), step):
        block, at = cells[start : start + step].astype(np.float32), 0
        for channels in stages:
            stage = block[:, at : at + channels]
            length = np.sqrt((stage * stage).sum(1, keepdims=True)) + np.float32(_LEAST_LENGTH)
            found[start : start + step, at : at + channels] = stage / length
            at += channels
    return found


def write_pooled(writer: GraphWriter, features: str) -> str:
    """The same in the graph."""
    return writer.op("AveragePool", [features], kernel_shape=[POOL, POOL], strides=[POOL, POOL])


def spread(maps: Floats) -> Floats:
    """Each cell's value on the grid cells it stands for: [n, h, w] → [n, 2 h, 2 w]."""
    return np.repeat(np.repeat(maps, POOL, axis=1), POOL, axis=2)


def write_spread(writer: GraphWriter, maps: str, shape: tuple[int, int]) -> str:
    """The same in the graph; `shape` is the grid's."""
    height, width = shape
    planes = writer.op("Reshape", [maps, writer.constant([-1, 1, height // POOL, width // POOL])])
    large = writer.op(
        "Resize", [planes, "", writer.constant(np.array([1, 1, POOL, POOL], np.float32))],
        mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    return writer.op("Reshape", [large, writer.constant([-1, height, width])])


def write_direction(writer: GraphWriter, cells: str, stages: tuple[int, ...]) -> str:
    """The same in the graph."""
    rows = writer.op("Reshape", [cells, writer.constant([0, 0, -1])])
    parts = [rows]
    if len(stages) > 1:
        parts = writer.ops("Split", [rows, writer.constant(list(stages))], len(stages), axis=1)
    turned = []
    for part, channels in zip(parts, stages, strict=True):
        length = writer.op("Sqrt", [writer.summed_squares(part, channels)])
        turned.append(writer.op("Div", [part, writer.op("Add", [length, writer.constant(_LEAST_LENGTH)])]))
    joined = turned[0] if len(turned) == 1 else writer.op("Concat", turned, axis=1)
    return writer.op("Reshape", [joined, writer.op("Shape", [cells])])


@dataclass(frozen=True)
class PlaceScale:
    """Distances in units of what sound parts show at that place, so that borders and busy regions do not shout."""

    mean: Floats
    spread: Floats

    @classmethod
    def fit(cls, sound: Floats) -> "PlaceScale":
        """From cross-fitted distances of sound parts [n, h, w]; places are smoothed and drawn to the overall values."""
        own_share = len(sound) / (len(sound) + PRIOR_PARTS)
        mean = own_share * _smoothed(sound.mean(0)) + (1 - own_share) * sound.mean()
        spread = np.sqrt(own_share * _smoothed(sound.var(0)) + (1 - own_share) * sound.var())
        return cls(mean.astype(np.float32), (spread + 1e-6).astype(np.float32))

    def apply(self, distances: Floats) -> Floats:
        """[n, h, w] → [n, h, w]."""
        return ((distances - self.mean) / self.spread).astype(np.float32)

    def write(self, writer: GraphWriter, distances: str) -> str:
        """The same in the graph."""
        centred = writer.op("Sub", [distances, writer.constant(self.mean)])
        return writer.op("Mul", [centred, writer.constant((1 / self.spread).astype(np.float32))])


def _smoothed(plane: NDArray[np.floating]) -> Floats:
    """Mean over 3 × 3 with repeated borders."""
    padded = np.pad(plane, 1, mode="edge")
    height, width = plane.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(shifted, axis=0), np.float32)
