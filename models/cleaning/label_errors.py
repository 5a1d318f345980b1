# SPDX-License-Identifier: Apache-2.0
"""Which labels are probably wrong: those that a model disagrees with which was learnt from the other pictures.

Confident learning (Northcutt, Jiang and Chuang, 2021): probabilities of each class from models that have not seen the
picture, less what the class is usually given, so that a class that is hard to tell is not suspected as a whole
(`adjusted` there); the suspicion is by how much another class is likelier than the one that was given. The model is a
line for each class on the trunk's features, ridge regression in closed form with classes that count alike.

Out of fold by picture finds a picture that is labelled unlike others of its part, as when each was judged by itself;
where one label was given to all pictures of a part they agree with each other, and folds must be by part. What unseen
parts look like is told less well, and a rare kind of defect not at all: then good and defective alone are told apart,
and nothing is taken off. Pure. Called by `command`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.data.splits import group_folds
from models.detectors.class_names import best_sharpness

Doubles = NDArray[np.float64]
Floats = NDArray[np.float32]

GOOD: Final = "good"
DEFECTIVE: Final = "defective"
FOLDS: Final = 5
# The luck of how folds are dealt is averaged over so many deals.
DEALS: Final = 2
_RIDGE: Final = 1.0
# A class in fewer pictures is too rare for one fold to be without it; its pictures count as `_OTHER`.
LEAST_OF_CLASS: Final = 5
OTHER: Final = "another defect"


@dataclass(frozen=True)
class Suspicion:
    """Of a set of labels.

    Attributes:
        suspicion: [n], above 0 where another class is likelier than the one given.
        suggested: the likeliest other class of each, [n].
        order: rows, the most suspect first.
    """

    suspicion: Doubles
    suggested: list[str]
    order: list[int]


def classes_of(labels: Sequence[str]) -> list[str]:
    """Labels with rare classes put together, `GOOD` as it is."""
    counts = {name: labels.count(name) for name in set(labels)}
    return [name if name == GOOD or counts[name] >= LEAST_OF_CLASS else OTHER for name in labels]


def suspect_labels(features: Floats, labels: Sequence[str], groups: Sequence[str] | None, seed: int) -> Suspicion:
    """How suspect each label is.

    Args:
        features: what a trunk sees of each picture, [n, k].
        labels: `GOOD` or the class of the defect, [n].
        groups: of each picture, the part that one label was given to; None: each picture was labelled by itself.
        seed: of the folds.

    Raises:
        ValueError: one class only, or fewer than two groups: nothing can disagree. The caller says so.
    """
    given = classes_of(labels) if groups is None else [name if name == GOOD else DEFECTIVE for name in labels]
    names = sorted(set(given))
    units = [str(row) for row in range(len(given))] if groups is None else list(groups)
    if len(names) < 2 or len(set(units)) < 2:
        msg = f"labels: expected two classes and two parts at least, got {len(names)} and {len(set(units))}"
        raise ValueError(msg)
    members = np.array([names.index(name) for name in given], np.int64)
    values = np.zeros((len(given), len(names)))
    x = features.astype(np.float64)
    for deal in range(DEALS):
        fold_of = group_folds(units, FOLDS, seed * DEALS + deal)
        for fold in np.unique(fold_of):
            unseen = fold_of == fold
            values[unseen] += _line(x[~unseen], members[~unseen], x[unseen], len(names)) / DEALS
    chances = _softmax(best_sharpness(values, members) * values)
    rows = np.arange(len(members))
    usual = np.array([chances[members == place, place].mean() for place in range(len(names))])
    beyond = chances - usual if groups is None else chances
    own = beyond[rows, members]
    beyond[rows, members] = -np.inf
    suspicion = beyond.max(1) - own
    order = np.argsort(-suspicion, kind="stable").tolist()
    return Suspicion(suspicion, [names[place] for place in beyond.argmax(1)], order)


def _line(x: Doubles, members: NDArray[np.int64], unseen: Doubles, classes: int) -> Doubles:
    """Values [m, k] of rows `unseen` [m, d] by ridge regression on `x` [n, d]; each class counts alike."""
    counts = np.bincount(members, minlength=classes)
    share = 1 / (np.count_nonzero(counts) * counts[members])
    centre, spread = share @ x, x.std(0) + 1e-6
    root = np.sqrt(share)[:, None]
    scaled = (x - centre) / spread * root
    goals = root * (np.eye(classes)[members] - 1 / classes)
    if len(x) <= x.shape[1]:
        dual = np.linalg.solve(scaled @ scaled.T + _RIDGE * np.eye(len(x)), goals)
        weights = scaled.T @ dual
    else:
        weights = np.linalg.solve(scaled.T @ scaled + _RIDGE * np.eye(x.shape[1]), scaled.T @ goals)
    told: Doubles = (unseen - centre) / spread @ weights
    return told


def _softmax(values: Doubles) -> Doubles:
    raised = np.exp(values - values.max(1, keepdims=True))
    shares: Doubles = raised / raised.sum(1, keepdims=True)
    return shares
