# SPDX-License-Identifier: Apache-2.0
"""The mixed detector's second opinion: a line through the mean and the spread of a whole part's features.

Sees what is weak everywhere and strong nowhere (chatter, a change of material), where the highest cells of a map
say nothing; says that something is wrong, not where. Closed form (class-balanced ridge regression in its dual), so
it costs milliseconds and a few dozen labels suffice. Called by `mixed` only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats, TrainingSet
from models.graph import GraphWriter

_RIDGE: Final = 1.0
_CHUNK: Final = 32


@dataclass(frozen=True)
class TextureWeights:
    """`logit = summary · weights + bias`; the standardisation is folded in."""

    weights: Floats
    bias: float


def summarise(features: Features) -> Floats:
    """Mean and standard deviation of each channel over the grid: [n, d, g, g] → [n, 2 d]."""
    rows = []
    for start in range(0, len(features), _CHUNK):
        part = features[start : start + _CHUNK].astype(np.float32)
        rows.append(np.concatenate([part.mean((2, 3)), part.std((2, 3))], axis=1))
    summary: Floats = np.concatenate(rows) if rows else np.zeros((0, 2 * features.shape[1]), np.float32)
    return summary


@dataclass(frozen=True)
class SummarySet:
    """Summaries of the training rows, and of the further looks at them."""

    rows: Floats
    extra: Floats
    extra_rows: NDArray[np.int64]
    is_defective: NDArray[np.bool_]

    @classmethod
    def of(cls, training: TrainingSet) -> "SummarySet":
        """Summarise once; every fold uses it."""
        rows = summarise(training.features)
        extra = np.zeros((0, rows.shape[1]), np.float32)
        if training.extra_features is not None:
            extra = summarise(training.extra_features)
        return cls(rows, extra, training.extra_rows, training.is_defective)


def train_texture(summaries: SummarySet, rows: NDArray[np.int64]) -> TextureWeights:
    """Fit on the given rows (and the extra looks of those rows) only."""
    mine = np.flatnonzero(np.isin(summaries.extra_rows, rows))
    x = np.concatenate([summaries.rows[rows], summaries.extra[mine]]).astype(np.float64)
    is_defective = np.concatenate([summaries.is_defective[rows], summaries.is_defective[summaries.extra_rows[mine]]])
    sound = x[~is_defective]
    centre = sound.mean(0)
    # A channel that hardly varies among sound parts must not decide by its rounding.
    spread = sound.std(0) + 1e-3 * np.abs(centre) + 1e-6
    share = np.where(is_defective, 0.5 / max(1, is_defective.sum()), 0.5 / max(1, len(sound)))
    target = np.where(is_defective, 1.0, -1.0)
    root = np.sqrt(share)
    scaled = (x - centre) / spread * root[:, None]
    dual = np.linalg.solve(scaled @ scaled.T + _RIDGE * np.eye(len(scaled)), root * target)
    weights = (scaled.T @ dual) / spread
    return TextureWeights(weights.astype(np.float32), float(-centre @ weights))


def texture_logits(texture: TextureWeights, summaries: Floats) -> Floats:
    """Logits [n] of summaries [n, 2 d]."""
    logits: Floats = (summaries @ texture.weights + np.float32(texture.bias)).astype(np.float32)
    return logits


def write_texture(writer: GraphWriter, texture: TextureWeights, features: str) -> str:
    """The same in the graph: [n, d, g, g] → [n]."""
    axes = writer.constant([2, 3])
    mean = writer.op("ReduceMean", [features, axes], keepdims=1)
    # Squares of the differences, not the difference of squares: float32 would cancel.
    off = writer.op("Sub", [features, mean])
    variance = writer.op("ReduceMean", [writer.op("Mul", [off, off]), axes], keepdims=1)
    both = writer.op("Concat", [mean, writer.op("Sqrt", [variance])], axis=1)
    flat = writer.op("Reshape", [both, writer.constant([-1, len(texture.weights)])])
    line = writer.op("MatMul", [flat, writer.constant(texture.weights[:, None])])
    return writer.op("Add", [writer.op("Reshape", [line, writer.constant([-1])]), writer.constant(texture.bias)])
