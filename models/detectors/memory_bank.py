# SPDX-License-Identifier: Apache-2.0
"""Memory bank: learns from sound parts alone, by three opinions that are blind to different things.

- `nearest`: how far a cell of 2 × 2 grid cells lies from the nearest remembered sound one;
- `white`: how far a grid cell lies from what sound parts show at its place, in units of how they vary there;
- `whole`: the same of the part as a whole, which sees what is weak everywhere and strong nowhere.

The first two read the direction of the features and not their length, so that light and contrast hardly count.

Each becomes evidence on a scale set by sound parts that it had not seen, and their sum is the score, so that what one
opinion does not see another may, and none can veto. The map is the sum over the first two, as fine as the grid: 32 × 32
at the usual 256 px. Only `white` works so finely, where it costs a station a tenth of what `nearest` would. Stays in
float: INT8 distances cost more than they save. Called by `kinds`, `training` and
`mixed`, which builds on it.
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
from models.detectors.cells import (
    PlaceScale,
    direction,
    pooled,
    spread,
    write_direction,
    write_pooled,
    write_spread,
)
from models.detectors.evidence import Scale
from models.detectors.nearest_cells import MemoryBankSettings, NearestCells
from models.detectors.white_distance import WhiteCells, WholePart
from models.errors import InputError
from models.graphs.writer import GraphWriter
from models.wording import counted

TOP_CELLS: Final = 3
_FOLDS: Final = 5
# Evidence begins where the last twentieth of sound parts does.
_END: Final = 0.95


@dataclass(frozen=True)
class _Opinion:
    """Where an opinion's distances stand out, and from where on its highest cells are evidence."""

    place: PlaceScale
    scale: Scale

    @classmethod
    def of(cls, distances: Floats, is_sound: NDArray[np.bool_]) -> "_Opinion":
        place = PlaceScale.fit(distances[is_sound])
        return cls(place, Scale.fit(top_mean(place.apply(distances[is_sound]), TOP_CELLS), end=_END))

    def told(self, distances: Floats) -> tuple[Floats, Floats]:
        """Evidence of each part [n] and of each cell [n, h, w]."""
        maps = self.place.apply(distances)
        return self.scale.evidence(top_mean(maps, TOP_CELLS)), self.scale.evidence(maps)


@dataclass(frozen=True)
class _Opinions:
    """The finished detector."""

    stages: tuple[int, ...]
    nearest: NearestCells
    white: WhiteCells
    whole: WholePart
    located: tuple[_Opinion, _Opinion]
    whole_scale: Scale

    def distances(self, features: Features) -> tuple[list[Floats], Floats]:
        """Of the two located opinions [n, h, w] each, cells and grid cells, and of the whole part [n]."""
        cells = pooled(features)
        near = self.nearest.distances(direction(cells, self.stages))
        return [near, self.white.distances(features)], self.whole.distances(cells)


class MemoryBank:
    """See the module."""

    kind: Final = DetectorKind.MEMORY_BANK

    def __init__(self, settings: MemoryBankSettings | None = None) -> None:
        self._settings = settings or MemoryBankSettings()
        self._fitted: _Opinions | None = None

    @property
    def _opinions(self) -> _Opinions:
        if self._fitted is None:
            msg = "the memory bank was asked before it was fitted"
            raise RuntimeError(msg)
        return self._fitted

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the maps: the grid's."""
        height, width = self._opinions.located[1].place.mean.shape
        return height, width

    def fit(self, training: TrainingSet, *, seed: int, check: Check) -> Fitted:
        """Learn from the sound rows; the defective ones are only scored."""
        sound = np.flatnonzero(~training.is_defective)
        if len(sound) < MIN_SOUND_PARTS:
            raise InputError(
                f"sound training parts: expected at least {MIN_SOUND_PARTS}, got {len(sound)}; "
                f"add {counted(MIN_SOUND_PARTS - len(sound), 'more picture')} of sound parts"
            )
        notes: list[str] = []
        groups = [training.groups[row] for row in sound]
        if len(set(groups)) < 2:
            notes.append("all sound parts share one group; pictures were split instead, so the limits flatter")
            groups = [str(row) for row in sound]
        fold_of = np.full(len(training.groups), -1)
        fold_of[sound] = group_folds(groups, _FOLDS, seed)
        cells = pooled(training.features)
        stages = training.stages or (cells.shape[1],)
        turned = direction(cells, stages)
        check(0.1)
        nearest, near = NearestCells.fit(
            turned, fold_of, np.random.default_rng(seed), self._settings, lambda share: check(0.1 + 0.6 * share)
        )
        white, far = WhiteCells.fit(training.features, stages, fold_of)
        check(0.9)
        whole, whole_far = WholePart.fit(cells, fold_of)
        is_sound = ~training.is_defective
        located = (_Opinion.of(near, is_sound), _Opinion.of(far, is_sound))
        whole_scale = Scale.fit(whole_far[is_sound], end=_END)
        self._fitted = _Opinions(stages, nearest, white, whole, located, whole_scale)
        scores, _ = _added(self._fitted, [near, far], whole_far)
        check(1.0)
        return Fitted(scores, notes)

    def score(self, features: Features) -> tuple[Floats, Floats]:
        """Scores [n] and maps [n, h, w]."""
        opinions = self._opinions
        return _added(opinions, *opinions.distances(features))

    def write(self, writer: GraphWriter, features: str) -> tuple[str, str]:
        """The opinions side by side on the same cells."""
        opinions, shape = self._opinions, self.map_shape
        writer.scope = "cells/"
        cells = write_pooled(writer, features)
        turned = write_direction(writer, cells, opinions.stages)
        writer.scope = "bank/"
        near = opinions.nearest.write(writer, turned, *opinions.located[0].place.mean.shape)
        writer.scope = "white/"
        distances = [near, opinions.white.write(writer, features)]
        writer.scope = "whole/"
        score = opinions.whole_scale.write(writer, opinions.whole.write(writer, cells))
        writer.scope = "evidence/"
        maps = []
        for opinion, distance in zip(opinions.located, distances, strict=True):
            placed = opinion.place.write(writer, distance)
            best = write_top_mean(writer, placed, opinion.place.mean.size, TOP_CELLS)
            score = writer.op("Add", [score, opinion.scale.write(writer, best)])
            maps.append(opinion.scale.write(writer, placed))
        return score, writer.op("Add", [write_spread(writer, maps[0], shape), maps[1]])


def _added(opinions: _Opinions, distances: list[Floats], whole: Floats) -> tuple[Floats, Floats]:
    """Scores [n] and maps [n, h, w] from the opinions' distances."""
    told = [opinion.told(distance) for opinion, distance in zip(opinions.located, distances, strict=True)]
    scores = opinions.whole_scale.evidence(whole) + np.sum([score for score, _ in told], axis=0)
    (_, coarse), (_, fine) = told
    return scores.astype(np.float32), spread(coarse) + fine
