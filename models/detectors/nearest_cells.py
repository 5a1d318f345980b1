# SPDX-License-Identifier: Apache-2.0
"""Distance of each cell to the nearest remembered sound cell: the bank of the memory-bank detector.

PatchCore's way (Roth et al., Towards Total Recall in Industrial Anomaly Detection, 2022): greedy k-centre banks, here
one for each fold of the sound parts, so that a sound part is measured by the other folds' banks only (a part in the
bank would score 0); the finished detector uses them all. Stays in float: INT8 distances cost more than they save.
Called by `memory_bank`; `training.fit_budget` asks for its sizes.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats
from models.detectors.cells import at_once
from models.detectors.folds import rounds
from models.graphs.writer import GraphWriter

_CHUNK = 32


@dataclass(frozen=True)
class MemoryBankSettings:
    """Sizes of the bank. Time at the station grows with `cells`, time to fit with `candidates`."""

    cells: int = 1000
    candidates: int = 30_000


@dataclass(frozen=True)
class NearestCells:
    """`bank` [k, d] of remembered cells."""

    bank: Floats

    @classmethod
    def fit(
        cls,
        cells: Features,
        fold_of: NDArray[np.int64],
        rng: np.random.Generator,
        settings: MemoryBankSettings,
        check: Callable[[float], None],
    ) -> "tuple[NearestCells, Floats]":
        """From cells [n, d, h, w] and each row's fold, −1 for a row not to learn from.

        Returns the bank and each row's distances [n, h, w], without what its own fold remembers.
        """
        every = rounds(fold_of)
        count, banks = len(every), []
        for place, each in enumerate(every):
            mine = _rows(cells[each.unseen])
            pick = rng.permutation(len(mine))[: max(1, settings.candidates // count)]
            banks.append(greedy_centres(mine[pick], max(1, settings.cells // count)))
            check((place + 1) / count)
        nearest = np.stack([_distances(cells, bank) for bank in banks])
        distances = np.stack(
            [nearest[[each.fold != own for each in every], row].min(0) for row, own in enumerate(fold_of)]
        )
        return cls(np.concatenate(banks)), distances

    def distances(self, cells: Features) -> Floats:
        """[n, d, h, w] → [n, h, w]."""
        return _distances(cells, self.bank)

    def write(self, writer: GraphWriter, cells: str, height: int, width: int) -> str:
        """The same in the graph: a matrix product, which adds the bank's squares by itself, and a minimum."""
        flat = writer.op("Reshape", [cells, writer.constant([-1, self.bank.shape[1], height * width])])
        rows = writer.op("Transpose", [flat], perm=[0, 2, 1])
        squares = writer.constant((self.bank * self.bank).sum(1).astype(np.float32))
        # Rows of all pictures in one: Gemm knows two axes only. A tenth faster than MatMul and Add.
        listed = writer.op("Reshape", [rows, writer.constant([-1, self.bank.shape[1]])])
        product = writer.op("Gemm", [listed, writer.constant((-2 * self.bank.T).astype(np.float32)), squares])
        smallest = writer.op("ReduceMin", [product, writer.constant([1])], keepdims=0)
        smallest = writer.op("Reshape", [smallest, writer.constant([-1, 1, height * width])])
        length = writer.summed_squares(flat, self.bank.shape[1])
        squared = writer.op("Max", [writer.op("Add", [smallest, length]), writer.constant(0.0)])
        return writer.op("Reshape", [writer.op("Sqrt", [squared]), writer.constant([-1, height, width])])


def _rows(cells: Features) -> Floats:
    """[n, d, h, w] → [n h w, d], float32."""
    moved = cells.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(moved.reshape(-1, moved.shape[-1]), np.float32)


def _distances(cells: Features, bank: Floats) -> Floats:
    squares = (bank * bank).sum(1)
    chunks = []
    step = at_once(cells, _CHUNK)
    for start in range(0, len(cells), step):
        block = cells[start : start + step]
        query = _rows(block)
        squared = (query * query).sum(1) + (squares - 2 * (query @ bank.T)).min(1)
        chunks.append(np.sqrt(np.maximum(squared, 0)).reshape(len(block), *block.shape[2:]))
    return np.concatenate(chunks).astype(np.float32)


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
