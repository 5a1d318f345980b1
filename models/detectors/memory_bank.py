# SPDX-License-Identifier: Apache-2.0
"""Memory bank: learns from sound parts alone. Distance of each cell to the nearest remembered sound cell.

Greedy k-centre banks, one for each fold of the sound parts: a sound part is scored by the other folds' banks only
(a part in the bank would score 0), and the finished detector uses them all. Each cell's distance is then measured
against what sound parts show at that place, so that borders and busy regions do not shout. Stays in float: INT8
distances cost more than they save. Called by `training` and by `mixed`, which builds on it.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import DetectorKind
from models.data.splits import group_folds
from models.detectors.base import (
    MIN_SOUND_PARTS,
    Check,
    Features,
    Fitted,
    Floats,
    TrainingSet,
    top_mean,
    write_top_mean,
)
from models.errors import InputError
from models.graphs.writer import GraphWriter

TOP_CELLS: Final = 3
_FOLDS: Final = 5
_POOL: Final = 2


@dataclass(frozen=True)
class MemoryBankSettings:
    """Sizes of the bank. Time at the station grows with `cells`, time to fit with `candidates`."""

    cells: int = 1000
    candidates: int = 30_000
    # A place's own statistics count as much as all places together once this many sound parts were seen.
    prior_parts: int = 20


class MemoryBank:
    """See the module. Works on cells of 2 × 2 grid cells: 16 × 16 at the usual 256 px."""

    kind: Final = DetectorKind.MEMORY_BANK

    def __init__(self, settings: MemoryBankSettings | None = None) -> None:
        self._settings = settings or MemoryBankSettings()
        self._centre: Floats = np.zeros(0, np.float32)
        self._spread: Floats = np.zeros(0, np.float32)
        self._banks: list[Floats] = []
        self._place_mean: Floats = np.zeros((0, 0), np.float32)
        self._place_spread: Floats = np.zeros((0, 0), np.float32)

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the maps."""
        height, width = self._place_mean.shape
        return height, width

    def fit(self, training: TrainingSet, *, seed: int, check: Check) -> Fitted:
        """Learn from the sound rows; the defective ones are only scored."""
        sound = np.flatnonzero(~training.is_defective)
        if len(sound) < MIN_SOUND_PARTS:
            raise InputError(
                f"sound training parts: expected at least {MIN_SOUND_PARTS}, got {len(sound)}; "
                f"add {MIN_SOUND_PARTS - len(sound)} more pictures of sound parts"
            )
        rng = np.random.default_rng(seed)
        notes: list[str] = []
        cells = _cells(training.features)
        rows = cells[sound].reshape(-1, cells.shape[-1])
        self._centre, self._spread = rows.mean(0), rows.std(0) + np.float32(1e-6)
        groups = [training.groups[row] for row in sound]
        if len(set(groups)) < 2:
            notes.append("all sound parts share one group; pictures were split instead, so the limits flatter")
            groups = [str(row) for row in sound]
        folds = group_folds(groups, _FOLDS, seed)
        count = int(folds.max()) + 1
        self._banks = []
        for fold in range(count):
            mine = self._standard(cells[sound[folds == fold]].reshape(-1, cells.shape[-1]))
            limit = max(1, self._settings.candidates // count)
            pick = rng.permutation(len(mine))[:limit]
            self._banks.append(greedy_centres(mine[pick], self._settings.cells // count))
            check(0.6 * (fold + 1) / count)
        nearest = np.stack([self._nearest(cells, bank) for bank in self._banks])
        own = np.full(len(cells), -1)
        own[sound] = folds
        distances = np.stack(
            [nearest[[fold for fold in range(count) if fold != own[row]], row].min(0) for row in range(len(cells))]
        )
        self._place_mean, self._place_spread = self._place_statistics(distances[sound])
        check(1.0)
        maps = self._relative(distances)
        return Fitted(top_mean(maps, TOP_CELLS), notes)

    def _standard(self, rows: Floats) -> Floats:
        return ((rows - self._centre) / self._spread).astype(np.float32)

    def _nearest(self, cells: Floats, bank: Floats) -> Floats:
        """Distance of each cell to a bank, [n, h, w]."""
        squares = (bank * bank).sum(1)
        chunks = []
        for start in range(0, len(cells), 32):
            block = cells[start : start + 32]
            query = self._standard(block.reshape(-1, block.shape[-1]))
            squared = (query * query).sum(1) + (squares - 2 * (query @ bank.T)).min(1)
            chunks.append(np.sqrt(np.maximum(squared, 0)).reshape(block.shape[:3]))
        return np.concatenate(chunks).astype(np.float32)

    def _place_statistics(self, distances: Floats) -> tuple[Floats, Floats]:
        """Mean and spread of sound distances at each place, smoothed over neighbours, drawn to the overall ones."""
        own_share = len(distances) / (len(distances) + self._settings.prior_parts)
        mean = own_share * _smoothed(distances.mean(0)) + (1 - own_share) * distances.mean()
        spread = np.sqrt(own_share * _smoothed(distances.var(0)) + (1 - own_share) * distances.var())
        return mean.astype(np.float32), (spread + 1e-6).astype(np.float32)

    def _relative(self, distances: Floats) -> Floats:
        return ((distances - self._place_mean) / self._place_spread).astype(np.float32)

    def score(self, features: Features) -> tuple[Floats, Floats]:
        """Scores [n] and maps [n, h, w]."""
        cells = _cells(features)
        maps = self._relative(self._nearest(cells, np.concatenate(self._banks)))
        return top_mean(maps, TOP_CELLS), maps

    def write(self, writer: GraphWriter, features: str) -> tuple[str, str]:
        """The matrix product, the minimum, the comparison with the place, the mean of the highest cells."""
        writer.scope = "bank/"
        bank = np.concatenate(self._banks)
        height, width = self._place_mean.shape
        channels = bank.shape[1]
        pooled = writer.op("AveragePool", [features], kernel_shape=[_POOL, _POOL], strides=[_POOL, _POOL])
        flat = writer.op("Reshape", [pooled, writer.constant([-1, channels, height * width])])
        rows = writer.op("Transpose", [flat], perm=[0, 2, 1])
        scaled = writer.op("Mul", [rows, writer.constant((1 / self._spread).astype(np.float32))])
        query = writer.op("Sub", [scaled, writer.constant((self._centre / self._spread).astype(np.float32))])
        product = writer.op("MatMul", [query, writer.constant((-2 * bank.T).astype(np.float32))])
        against = writer.op("Add", [product, writer.constant((bank * bank).sum(1).astype(np.float32))])
        smallest = writer.op("ReduceMin", [against, writer.constant([2])], keepdims=0)
        length = writer.op("ReduceSumSquare", [query, writer.constant([2])], keepdims=0)
        squared = writer.op("Max", [writer.op("Add", [smallest, length]), writer.constant(0.0)])
        distance = writer.op("Reshape", [writer.op("Sqrt", [squared]), writer.constant([-1, height, width])])
        centred = writer.op("Sub", [distance, writer.constant(self._place_mean)])
        maps = writer.op("Mul", [centred, writer.constant((1 / self._place_spread).astype(np.float32))])
        return write_top_mean(writer, maps, height * width, TOP_CELLS), maps


def _cells(features: Features) -> Floats:
    """Features [n, d, g, g] → cells [n, g/2, g/2, d], float32."""
    count, channels, height, width = features.shape
    blocks = features.astype(np.float32).reshape(count, channels, height // _POOL, _POOL, width // _POOL, _POOL)
    return np.ascontiguousarray(blocks.mean((3, 5)).transpose(0, 2, 3, 1))


def _smoothed(plane: NDArray[np.floating]) -> Floats:
    """Mean over 3 × 3 with repeated borders."""
    padded = np.pad(plane, 1, mode="edge")
    height, width = plane.shape
    shifted = [padded[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    return np.asarray(np.mean(shifted, axis=0), np.float32)


def greedy_centres(rows: Floats, count: int) -> Floats:
    """Greedy k-centre: each next centre is the row farthest from those chosen. Rows in random order expected."""
    if len(rows) <= count:
        return rows.copy()
    squares = (rows * rows).sum(1)
    chosen = [0]
    distance = squares + squares[0] - 2 * (rows @ rows[0])
    for _ in range(count - 1):
        farthest = int(distance.argmax())
        chosen.append(farthest)
        np.minimum(distance, squares + squares[farthest] - 2 * (rows @ rows[farthest]), out=distance)
    return rows[chosen].copy()
