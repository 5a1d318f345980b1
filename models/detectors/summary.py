# SPDX-License-Identifier: Apache-2.0
"""The mixed detector's second opinion: a line through the summary of a whole part's white features.

The summary holds mean, spread, highest and lowest value of each white channel. Mean and spread see what is weak
everywhere and strong nowhere (chatter, a change of material); the extremes see what is strong at one place in a
direction that sound parts hardly know. Says that something is wrong, not where. Closed form (class-balanced ridge
regression in its dual), so it costs milliseconds and a few dozen labels suffice. Called by `mixed` and
`classifier` only.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Features, Floats, TrainingSet
from models.detectors.cells import at_once
from models.detectors.whitening import Whitening
from models.graphs.writer import GraphWriter

_RIDGE: Final = 1.0
_CHUNK: Final = 16
# Extremes are taken over means of 2 × 2 cells: one odd cell must not be the summary of a part.
_POOL: Final = 2


@dataclass(frozen=True)
class SummaryWeights:
    """`logit = summary · weights + bias` over white features; the standardisation of the summary is folded in."""

    whitening: Whitening
    weights: Floats
    bias: float

    def logits(self, features: Features) -> Floats:
        """Logits [n] of features [n, d, g, g]."""
        return _line(summarise(self.whitening, features), self.weights, self.bias)


def summarise(whitening: Whitening, features: Features) -> Floats:
    """Mean, standard deviation, maximum and minimum of each white channel: [n, d, g, g] → [n, 4 d]."""
    rows = []
    step = at_once(features, _CHUNK, 32 * 32)
    for start in range(0, len(features), step):
        white = whitening.apply(features[start : start + step])
        count, channels, height, width = white.shape
        blocks = white.reshape(count, channels, height // _POOL, _POOL, width // _POOL, _POOL).mean((3, 5))
        rows.append(
            np.concatenate([white.mean((2, 3)), white.std((2, 3)), blocks.max((2, 3)), blocks.min((2, 3))], axis=1)
        )
    summary: Floats = np.concatenate(rows) if rows else np.zeros((0, 4 * features.shape[1]), np.float32)
    return summary


def train_summary(training: TrainingSet, rows: NDArray[np.int64]) -> SummaryWeights:
    """Fit on the given rows (and the extra looks of those rows) only, the whitening too."""
    is_defective = training.is_defective[rows]
    whitening = Whitening.fit(training.features[rows[~is_defective]])
    summaries = [summarise(whitening, training.features[rows])]
    if training.extra_features is not None:
        mine = np.flatnonzero(np.isin(training.extra_rows, rows))
        summaries.append(summarise(whitening, training.extra_features[mine]))
        is_defective = np.concatenate([is_defective, training.is_defective[training.extra_rows[mine]]])
    return SummaryWeights(whitening, *_fit_line(np.concatenate(summaries).astype(np.float64), is_defective))


def _fit_line(x: NDArray[np.float64], is_defective: NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights and bias of the class-balanced ridge regression."""
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
    return weights.astype(np.float32), float(-centre @ weights)


def _line(summaries: Floats, weights: Floats, bias: float) -> Floats:
    logits: Floats = (summaries @ weights + np.float32(bias)).astype(np.float32)
    return logits


def write_summary(writer: GraphWriter, summary: SummaryWeights, features: str) -> str:
    """The same in the graph: [n, d, g, g] → [n]."""
    writer.scope = "summary/"
    axes = writer.constant([2, 3])
    white = summary.whitening.write(writer, features)
    mean = writer.op("ReduceMean", [white, axes], keepdims=1)
    # Squares of the differences, not the difference of squares: float32 would cancel.
    off = writer.op("Sub", [white, mean])
    variance = writer.op("ReduceMean", [writer.op("Mul", [off, off]), axes], keepdims=1)
    blocks = writer.op("AveragePool", [white], kernel_shape=[_POOL, _POOL], strides=[_POOL, _POOL])
    highest = writer.op("ReduceMax", [blocks, axes], keepdims=1)
    lowest = writer.op("ReduceMin", [blocks, axes], keepdims=1)
    joined = writer.op("Concat", [mean, writer.op("Sqrt", [variance]), highest, lowest], axis=1)
    flat = writer.op("Reshape", [joined, writer.constant([-1, len(summary.weights)])])
    line = writer.op("MatMul", [flat, writer.constant(summary.weights[:, None])])
    return writer.op("Add", [writer.op("Reshape", [line, writer.constant([-1])]), writer.constant(summary.bias)])
