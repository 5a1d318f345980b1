# SPDX-License-Identifier: Apache-2.0
"""Names the defect: which of the labelled classes a defective part looks like most.

Looks at two things in one line for each class: what the whole part shows, and what its suspicious cells show (the mean
of the cells, weighted by a softmax of the detector's own heatmap). Both are residuals from sound parts in units of how
those vary, so few parts of a class teach enough. Closed form: ridge regression of the classes in its dual, in which
each class counts alike however many pictures it has; turned into probabilities by the one factor that suits parts of
unseen groups best. Knows no "none of these": a kind that nobody labelled gets the name of what it resembles most. Does
not say whether a part is defective, and does not decide whether names are good enough (`naming_check` does). Called by
`naming_check`, `training.joining` and `graphs.export`.
"""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.detectors.base import Detector, Features, Floats, TrainingSet
from models.detectors.whitening import Whitening
from models.graphs.writer import GraphWriter

_RIDGE: Final = 1.0
# Width of the softmax over the heatmap, in spreads of the cells of sound parts. Evidence of a sound cell hardly
# spreads, so the width is more than one; the share named right depends little on it.
_FOCUS: Final = 1.5
_SPREAD_PARTS: Final = 100
_CHUNK: Final = 16
_LEAST_SCORE: Final = 1e-30
# Lines are 1 apart at most where all is clear, and 16 times that leaves one in 10 million for the other class.
_SHARPNESS: Final = (1.0, 2.0, 4.0, 8.0, 16.0)

Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Gaze:
    """Where to look and in which units: the same for all classes, learnt from sound parts and the detector alone."""

    whitening: Whitening
    focus: float

    @classmethod
    def fit(cls, training: TrainingSet, detector: Detector) -> "Gaze":
        """From the sound rows and a fitted detector."""
        sound = np.flatnonzero(~training.is_defective)
        few = sound[:: max(1, len(sound) // _SPREAD_PARTS)]
        spread = float(detector.score(training.features[few])[1].std())
        return cls(Whitening.fit(training.features[sound]), _FOCUS * max(spread, 1e-6))

    def views(self, features: Features, maps: Floats) -> Floats:
        """What is looked at, [n, 2 d]: the whole part, then its suspicious cells; of [n, d, g, g], maps [n, h, w]."""
        rows = []
        for start in range(0, len(features), _CHUNK):
            residual = features[start : start + _CHUNK].astype(np.float32) - self.whitening.place_mean
            count, channels, height, width = residual.shape
            part = maps[start : start + _CHUNK]
            part = part.repeat(height // part.shape[1], axis=1).repeat(width // part.shape[2], axis=2)
            cells = residual.reshape(count, channels, -1)
            looked_at = np.matmul(cells, _softmax(part.reshape(count, -1) / self.focus)[:, :, None])[:, :, 0]
            rows.append(np.concatenate([each @ self.whitening.matrix.T for each in (cells.mean(2), looked_at)], axis=1))
        told: Floats = np.concatenate(rows).astype(np.float32)
        return told


@dataclass(frozen=True)
class ClassNames:
    """`classes` in the order of the scores; `weights` [2 d, k] and `bias` [k] on the views of the gaze."""

    classes: tuple[str, ...]
    gaze: Gaze
    weights: Floats
    bias: Floats

    def scores(self, features: Features, maps: Floats) -> Floats:
        """Probability of each class if it is one of them, [n, k]. Features [n, d, g, g], maps [n, h, w]."""
        return _softmax(self.gaze.views(features, maps) @ self.weights + self.bias)

    def aligned(self, wanted: Floats, got: Floats) -> "ClassNames":
        """The same for another front: its scores `got` brought to those `wanted`, both [n, k], of the same pictures.

        Another numeric form moves the features of all parts alike, by little; but in directions that sound parts hardly
        know, so that names would change. The lines move by a constant then, which sound pictures show as well.
        """
        apart = [np.log(np.maximum(scores.astype(np.float64), _LEAST_SCORE)) for scores in (wanted, got)]
        return replace(self, bias=self.bias + np.median(apart[0] - apart[1], axis=0).astype(np.float32))

    def write(self, writer: GraphWriter, features: str, maps: str, map_shape: tuple[int, int]) -> str:
        """The same in the graph; returns the name of the scores [n, k]."""
        writer.scope = "classes/"
        whitening = self.gaze.whitening
        channels, height, width = whitening.place_mean.shape
        factors = np.array([1, 1, height // map_shape[0], width // map_shape[1]], np.float32)
        planes = writer.op("Reshape", [maps, writer.constant([-1, 1, *map_shape])])
        large = writer.op(
            "Resize", [planes, "", writer.constant(factors)],
            mode="nearest", coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        )  # fmt: skip
        flat = writer.op("Reshape", [large, writer.constant([-1, height * width])])
        share = writer.op("Softmax", [writer.op("Mul", [flat, writer.constant(1 / self.gaze.focus)])], axis=1)
        column = writer.op("Reshape", [share, writer.constant([-1, height * width, 1])])
        residual = writer.op("Sub", [features, writer.constant(whitening.place_mean)])
        cells = writer.op("Reshape", [residual, writer.constant([-1, channels, height * width])])
        looked_at = writer.op("Reshape", [writer.op("MatMul", [cells, column]), writer.constant([-1, channels])])
        whole = writer.op("ReduceMean", [cells, writer.constant([2])], keepdims=0)
        both = writer.op("Concat", [whole, looked_at], axis=1)
        # White is linear in the residual, so one matrix does both.
        matrix = np.concatenate(
            [whitening.matrix.T @ half for half in (self.weights[:channels], self.weights[channels:])]
        )
        line = writer.op("Add", [writer.op("MatMul", [both, writer.constant(matrix)]), writer.constant(self.bias)])
        return writer.op("Softmax", [line], axis=1)


@dataclass(frozen=True)
class Lines:
    """One line for each class on the views, `views · weights + bias`: near 1 − 1 / k for its class, else −1 / k."""

    weights: Doubles
    bias: Doubles

    @classmethod
    def fit(cls, views: Floats, members: NDArray[np.int64], classes: int) -> "Lines":
        """Ridge regression in its dual; each class that occurs in `members` [n] counts alike."""
        x = views.astype(np.float64)
        counts = np.bincount(members, minlength=classes)
        share = 1 / (np.count_nonzero(counts) * counts[members])
        centre, spread = share @ x, x.std(0) + 1e-6
        root = np.sqrt(share)[:, None]
        scaled = (x - centre) / spread * root
        goals = np.eye(classes)[members] - 1 / classes
        dual = np.linalg.solve(scaled @ scaled.T + _RIDGE * np.eye(len(x)), root * goals)
        weights = (scaled.T @ dual) / spread[:, None]
        return cls(weights, -centre @ weights)

    def of(self, views: Floats) -> Doubles:
        """Values [n, k] of views [n, 2 d]."""
        told: Doubles = views.astype(np.float64) @ self.weights + self.bias
        return told

    def sharpened(self, factor: float) -> tuple[Floats, Floats]:
        """Weights and bias whose softmax gives the probabilities."""
        return (factor * self.weights).astype(np.float32), (factor * self.bias).astype(np.float32)


def best_sharpness(values: Doubles, members: NDArray[np.int64]) -> float:
    """The factor on values [n, k] of unseen parts whose probabilities surprise least; each class counts alike."""
    counts = np.bincount(members)
    share = 1 / counts[members]

    def surprise(factor: float) -> float:
        chances = _softmax(factor * values)[np.arange(len(members)), members]
        return float(-(share * np.log(np.maximum(chances, 1e-9))).sum())

    return min(_SHARPNESS, key=surprise)


def _softmax(values: NDArray[np.floating]) -> Floats:
    raised = np.exp(values - values.max(1, keepdims=True))
    shares: Floats = (raised / raised.sum(1, keepdims=True)).astype(np.float32)
    return shares
