# SPDX-License-Identifier: Apache-2.0
"""What every detector does: `fit` on grid features, `score` in numpy, `write` itself into the package's graph.

Detectors see features, judgements and groups; never files, never pixels. Scores rise with suspicion; positive
means defect. Called by `training`, `graphs.export` and the battery in the tests.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import DetectorKind
from models.graphs.writer import GraphWriter

Floats = NDArray[np.float32]
Features = NDArray[np.float16]
# Told a fraction 0 … 1 of the fit; may raise CancelledError.
Check = Callable[[float], None]
# Fewer sound parts than this say too little about what sound looks like.
MIN_SOUND_PARTS = 10


@dataclass(frozen=True)
class TrainingSet:
    """Features of the training side, [n, d, g, g], row by row with judgement, physical part and mask on the grid."""

    features: Features
    is_defective: NDArray[np.bool_]
    groups: list[str]
    masks: dict[int, Floats] = field(default_factory=dict)
    # Further looks at defective pictures (flips, shifts, light): features, and the row each one shows.
    extra_features: Features | None = None
    extra_rows: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    extra_masks: dict[int, Floats] = field(default_factory=dict)
    # Channels of each of the trunk's stages, in their order; empty: all are of one.
    stages: tuple[int, ...] = ()
    # Defect class of each row, None where it is not known or the part is sound; empty: no row has one.
    defect_classes: list[str | None] = field(default_factory=list)


@dataclass(frozen=True)
class Fitted:
    """What a fit found out: for each training row a score by a detector that had not seen its group."""

    cross_fitted_scores: Floats
    notes: list[str]
    # Of what was trained by steps: name → (step, value) in their order; empty: nothing was.
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)


class Detector(Protocol):
    """The seam."""

    @property
    def kind(self) -> DetectorKind:
        """How it learns."""
        ...

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the maps, known after the fit."""
        ...

    def fit(self, training: TrainingSet, *, seed: int, check: Check) -> Fitted:
        """Learn. The same input and seed give the same detector.

        Raises:
            InputError: too few parts; says how many are missing.
        """
        ...

    def score(self, features: Features) -> tuple[Floats, Floats]:
        """Scores [n] and maps [n, h, w] on the scores' scale."""
        ...

    def write(self, writer: GraphWriter, features: str) -> tuple[str, str]:
        """Write itself behind the features' name; returns the names of score [n] and heatmap [n, h, w]."""
        ...


def top_mean(maps: Floats, count: int) -> Floats:
    """Mean of the `count` highest values of each map: a maximum that one odd cell cannot rule alone."""
    flat = maps.reshape(len(maps), -1)
    best: Floats = np.partition(flat, flat.shape[1] - count, axis=1)[:, -count:].mean(1).astype(np.float32)
    return best


def write_top_mean(writer: GraphWriter, maps: str, cells: int, count: int) -> str:
    """The same in the graph: [n, …] → [n]."""
    flat = writer.op("Reshape", [maps, writer.constant([-1, cells])])
    best, _ = writer.ops("TopK", [flat, writer.constant([count])], 2, axis=1, largest=1, sorted=0)
    return writer.op("ReduceMean", [best, writer.constant([1])], keepdims=0)
