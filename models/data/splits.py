# SPDX-License-Identifier: Apache-2.0
"""Group-disjoint splits: the pictures of one physical part never stand on two sides.

Pure; the same groups and seed give the same split on every machine. Called by `detectors`, `cleaning` and `layouts`.
"""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def _rank(group: str, seed: int) -> str:
    # A file name need not be UTF-8; such a picture is refused later, by its name.
    return hashlib.sha256(f"{seed}:{group}".encode(errors="surrogateescape")).hexdigest()


def group_folds(groups: Sequence[str], folds: int, seed: int) -> NDArray[np.int64]:
    """Fold number of each row: whole groups, dealt largest first to the smallest fold.

    Fewer groups than folds give fewer folds; one group gives one fold, all zeros.
    """
    sizes: dict[str, int] = {}
    for group in groups:
        sizes[group] = sizes.get(group, 0) + 1
    order = sorted(sizes, key=lambda group: (-sizes[group], _rank(group, seed)))
    loads = [0] * max(1, min(folds, len(order)))
    fold_of: dict[str, int] = {}
    for group in order:
        smallest = loads.index(min(loads))
        fold_of[group] = smallest
        loads[smallest] += sizes[group]
    return np.array([fold_of[group] for group in groups], np.int64)


def folds_of_both(
    groups: Sequence[str], is_defective: NDArray[np.bool_], folds: int, seed: int
) -> tuple[NDArray[np.int64], list[str]]:
    """Fold number of each row, by group, dealt for defective and sound rows apart, so that each fold has both.

    A group with both kinds follows its defective rows. Sound rows of one group alone are split all the same, and a
    note says that figures from them flatter.
    """
    theirs = {group for group, bad in zip(groups, is_defective, strict=True) if bad}
    is_theirs = np.array([group in theirs for group in groups], np.bool_)
    numbers, notes = np.zeros(len(groups), np.int64), []
    for side in (is_theirs, ~is_theirs):
        rows = np.flatnonzero(side).tolist()
        names = [groups[row] for row in rows]
        if len(set(names)) == 1 and not is_theirs[rows[0]]:
            notes.append("all sound parts share one group; pictures were split instead, so the limits flatter")
            names = [str(row) for row in rows]
        if names:
            numbers[rows] = group_folds(names, folds, seed)
    return numbers, notes


def is_held_out(group: str, share: float, seed: int) -> bool:
    """Whether a group falls on the held-out side; by its name alone, so it never changes sides."""
    return int(_rank(group, seed)[:8], 16) / 2**32 < share
