# SPDX-License-Identifier: Apache-2.0
"""Fits names of defect classes and proves them on parts of unseen groups, before a package may use them.

A class with fewer than `MIN_PARTS` labelled parts is not named: nothing could be learnt from the rest while one is
checked. No class is named at all unless names are better than always saying the same one: the share named right, each
class counted alike, must lie above 1 / k, and so far above that at most one in 20 shuffles of the truth among the parts
does as well (a permutation test: the same name for all never passes, however common it is). Pure. Called by
`training.naming`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.splits import group_folds
from models.detectors.base import Detector, Floats, TrainingSet
from models.detectors.class_names import ClassNames, Doubles, Gaze, Lines, best_sharpness
from models.detectors.folds import rounds

# Physical parts: with one of them set aside in turn, three are left to learn from.
MIN_PARTS: Final = 4
_FOLDS: Final = 5
_SHUFFLES: Final = 999
_MOST_BY_LUCK: Final = 0.05


@dataclass(frozen=True)
class ClassChecked:
    """How one class fared on unseen groups. A part is right when all its pictures are."""

    name: str
    pictures: int
    pictures_right: int
    parts: int
    parts_right: int


@dataclass(frozen=True)
class NamesChecked:
    """What naming came to.

    Attributes:
        names: to be written into the package; None: names would be no better than always saying the same one, or there
            are fewer than two classes to tell apart.
        classes: the classes that were tried, in the order of the scores.
        mean_right: share named right, each class counted alike and each part within it; a constant answer has 1 / k.
        luck: share of shuffled truths that did as well.
        labelled: all classes, with the number of their labelled parts.
    """

    names: ClassNames | None
    classes: tuple[ClassChecked, ...] = ()
    mean_right: float = 0.0
    luck: float = 1.0
    labelled: tuple[tuple[str, int], ...] = ()

    @property
    def too_few(self) -> list[tuple[str, int]]:
        """Classes that are not named, with their number of parts."""
        return [(name, parts) for name, parts in self.labelled if parts < MIN_PARTS]


def fit_names(training: TrainingSet, detector: Detector, *, seed: int) -> NamesChecked:
    """Learn from the defective rows whose class is known; `detector` is fitted on the same training set."""
    named = [name if bad else None for name, bad in zip(training.defect_classes, training.is_defective, strict=False)]
    parts_of: dict[str, set[str]] = {}
    for name, group in zip(named, training.groups, strict=False):
        if name:
            parts_of.setdefault(name, set()).add(group)
    labelled = tuple((name, len(parts)) for name, parts in sorted(parts_of.items()))
    classes = tuple(name for name, parts in labelled if parts >= MIN_PARTS)
    if len(classes) < 2:
        return NamesChecked(None, labelled=labelled)
    rows = np.array([row for row, name in enumerate(named) if name in classes], np.int64)
    taught = _taught(training, detector, rows, [classes.index(name) for name in named if name in classes])
    values = np.zeros((len(rows), len(classes)))
    for each in rounds(_folds(taught.groups, taught.members, seed)):
        is_seen = np.isin(np.arange(len(rows)), each.seen)
        values[each.unseen] = taught.lines(is_seen, len(classes)).of(taught.views[each.unseen])
    checked = tuple(_checked(name, place, taught, values) for place, name in enumerate(classes))
    mean_right, luck = _beyond_luck(values, taught, np.random.default_rng([seed, 2]))
    names = None
    if mean_right > 1 / len(classes) and luck <= _MOST_BY_LUCK:
        lines = taught.lines(np.ones(len(rows), np.bool_), len(classes))
        names = ClassNames(classes, taught.gaze, *lines.sharpened(best_sharpness(values, taught.members)))
    return NamesChecked(names, checked, mean_right, luck, labelled)


@dataclass(frozen=True)
class _Taught:
    """Views of the labelled rows, [n, 2 d], and of their further looks, with the place of the row each one shows."""

    gaze: Gaze
    views: Floats
    members: NDArray[np.int64]
    groups: list[str]
    looks: Floats
    shows: NDArray[np.int64]

    def lines(self, seen: NDArray[np.bool_], classes: int) -> Lines:
        """Learnt from the rows where `seen`, and their looks."""
        looks = seen[self.shows]
        views = np.concatenate([self.views[seen], self.looks[looks]])
        return Lines.fit(views, np.concatenate([self.members[seen], self.members[self.shows[looks]]]), classes)


def _taught(training: TrainingSet, detector: Detector, rows: NDArray[np.int64], members: list[int]) -> _Taught:
    gaze = Gaze.fit(training, detector)
    views = gaze.views(training.features[rows], detector.score(training.features[rows])[1])
    looks, shows = np.zeros((0, views.shape[1]), np.float32), np.zeros(0, np.int64)
    mine = np.flatnonzero(np.isin(training.extra_rows, rows))
    if training.extra_features is not None and len(mine):
        extra = training.extra_features[mine]
        looks = gaze.views(extra, detector.score(extra)[1])
        shows = np.searchsorted(rows, training.extra_rows[mine])
    return _Taught(gaze, views, np.array(members, np.int64), [training.groups[row] for row in rows], looks, shows)


def _folds(groups: Sequence[str], members: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Folds by group, dealt class by class, the rarest first: else one fold might hold all parts of a rare class."""
    fold_of: dict[str, int] = {}
    counts = np.bincount(members)
    for place, member in enumerate(np.argsort(counts, kind="stable")):
        mine = [groups[row] for row in np.flatnonzero(members == member).tolist() if groups[row] not in fold_of]
        if mine:
            # Each class begins at another fold, or the first would get the largest group of all.
            dealt = (group_folds(mine, _FOLDS, seed) + place) % _FOLDS
            fold_of.update(zip(mine, dealt.tolist(), strict=True))
    return np.array([fold_of[group] for group in groups], np.int64)


def _checked(name: str, place: int, taught: _Taught, values: Doubles) -> ClassChecked:
    mine = np.flatnonzero(taught.members == place)
    is_right = {int(row): int(values[row].argmax()) == place for row in mine}
    parts = {taught.groups[row] for row in mine}
    wrong = {taught.groups[row] for row, right in is_right.items() if not right}
    return ClassChecked(name, len(mine), sum(is_right.values()), len(parts), len(parts - wrong))


def _beyond_luck(values: Doubles, taught: _Taught, rng: np.random.Generator) -> tuple[float, float]:
    """Share named right, classes and their parts counted alike, and the share of shuffled truths that do as well."""
    classes = values.shape[1]
    said = np.eye(classes)[values.argmax(1)]
    units = sorted(set(zip(taught.groups, taught.members.tolist(), strict=True)))
    places = {unit: place for place, unit in enumerate(units)}
    of = np.array([places[unit] for unit in zip(taught.groups, taught.members.tolist(), strict=True)])
    votes = np.stack([said[of == place].mean(0) for place in range(len(units))])
    truth = np.array([member for _group, member in units])
    counted_alike = 1 / (classes * np.bincount(truth, minlength=classes))

    def right(answers: NDArray[np.int64]) -> float:
        return float((counted_alike[answers] * votes[np.arange(len(units)), answers]).sum())

    found = right(truth)
    # A hair below: sums in another order must not make a tie a loss.
    as_good = sum(right(rng.permutation(truth)) >= found - 1e-9 for _ in range(_SHUFFLES))
    return found, (1 + as_good) / (1 + _SHUFFLES)
