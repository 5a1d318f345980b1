# SPDX-License-Identifier: Apache-2.0
"""A part as sixteen numbers, to see whether parts change that a detector lets pass: what stations report of each part.

Eight tell what the part is like as a whole (mean features), eight what it is like where the detector found most (mean
features of the nine cells with the highest values, less those of the whole): a kind of defect that scores low still
lies there. Both in the directions in which sound parts vary most (principal components), in units of that. On magnetic
tiles this told defects that were let pass better than either alone did (ADR 0046). Judges nothing. Called by
`training`, written by `graphs.export`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Detector, Features, Floats
from models.graphs.writer import GraphWriter

LENGTH: Final = 16
_WORST_CELLS: Final = 9
# More sound parts would tell the directions no better, and each is scored once more.
_MOST_PARTS: Final = 200
_CHUNK: Final = 32
# A direction in which sound parts hardly vary must not make noise as large as a part's character.
_LEAST_VARIANCE: Final = 1e-3


@dataclass(frozen=True)
class Embedding:
    """`[mean, worst − mean] · matrix + offset`, matrix [2 d, 16]."""

    matrix: Floats
    offset: Floats

    @classmethod
    def fit(cls, features: Features, detector: Detector) -> "Embedding":
        """From features of sound parts [n, d, h, w], two at least, and the fitted detector that finds the cells."""
        some = features[:: -(-len(features) // _MOST_PARTS)]
        looks = np.concatenate([_looks(some[at : at + _CHUNK], detector) for at in range(0, len(some), _CHUNK)]).astype(
            np.float64
        )
        channels, kept = features.shape[1], LENGTH // 2
        matrix, offset = np.zeros((2 * channels, LENGTH)), np.zeros(LENGTH)
        for half in range(2):
            rows, columns = slice(half * channels, (half + 1) * channels), slice(half * kept, (half + 1) * kept)
            weights, centre = _principal(looks[:, rows], kept)
            matrix[rows, columns], offset[columns] = weights, -centre @ weights
        return cls(matrix.astype(np.float32), offset.astype(np.float32))

    def of(self, features: Features, detector: Detector) -> Floats:
        """Embeddings [n, 16] of features [n, d, h, w]."""
        found: Floats = _looks(features, detector) @ self.matrix + self.offset
        return found

    def write(self, writer: GraphWriter, features: str, heatmap: str, shape: tuple[int, int]) -> str:
        """The same in the graph, with the detector's heatmap [n, h, w] of this shape."""
        cells = shape[0] * shape[1]
        planes = writer.op("Reshape", [features, writer.constant([0, 0, -1])])
        mean = writer.op("ReduceMean", [planes, writer.constant([2])], keepdims=0)
        flat = writer.op("Reshape", [heatmap, writer.constant([-1, cells])])
        best, _ = writer.ops("TopK", [flat, writer.constant([_WORST_CELLS])], 2, axis=1, largest=1, sorted=0)
        least = writer.op("ReduceMin", [best, writer.constant([1])], keepdims=1)
        # Cells as high as the ninth count too: which of equal ones is taken would be the runtime's affair.
        chosen = writer.op("Cast", [writer.op("GreaterOrEqual", [flat, least])], to=1)
        share = writer.op("Div", [chosen, writer.op("ReduceSum", [chosen, writer.constant([1])], keepdims=1)])
        column = writer.op("Unsqueeze", [share, writer.constant([2])])
        worst = writer.op("Squeeze", [writer.op("MatMul", [planes, column]), writer.constant([2])])
        joined = writer.op("Concat", [mean, writer.op("Sub", [worst, mean])], axis=1)
        return writer.op("Gemm", [joined, writer.constant(self.matrix), writer.constant(self.offset)])


def _looks(features: Features, detector: Detector) -> Floats:
    """Mean features of the whole and, less these, of the cells that the detector found most in: [n, 2 d]."""
    _, maps = detector.score(features)
    flat = maps.reshape(len(maps), -1)
    least = np.partition(flat, -_WORST_CELLS, axis=1)[:, -_WORST_CELLS][:, None]
    chosen: Floats = (flat >= least).astype(np.float32)
    planes = features.reshape(*features.shape[:2], -1).astype(np.float32)
    mean = planes.mean(2)
    worst = np.matmul(planes, (chosen / chosen.sum(1, keepdims=True))[:, :, None])[:, :, 0]
    return np.concatenate([mean, worst - mean], axis=1)


def _principal(rows: NDArray[np.float64], kept: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights [d, kept] onto the first principal components of standardised rows, in units of them; and the centre."""
    centre, unit = rows.mean(0), rows.std(0)
    unit = unit + _LEAST_VARIANCE * max(float(unit.max()), 1e-6)
    standard = (rows - centre) / unit
    variances, directions = np.linalg.eigh(standard.T @ standard / len(rows))
    variances, directions = variances[::-1][:kept], directions[:, ::-1][:, :kept]
    # Of a direction and its opposite the solver may give either: the same rows are to give the same weights.
    directions = directions * np.where(directions[np.abs(directions).argmax(0), np.arange(kept)] < 0, -1.0, 1.0)
    scale = np.sqrt(np.maximum(variances, _LEAST_VARIANCE * max(float(variances[0]), 1e-12)))
    return directions / scale / unit[:, None], centre
