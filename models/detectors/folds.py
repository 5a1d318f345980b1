# SPDX-License-Identifier: Apache-2.0
"""Rounds of a cross-fit: what each fold is judged by, and the one rule for folds that cannot be.

A fold without rows has no round. A round must have something to learn from, of each kind where kinds are told apart;
where it has not, all of that lies in one fold, and nothing could be checked on parts that were not learnt from. Deals
no folds (`data.splits` does). Called by `nearest_cells`, `white_distance`, `mixed`, `classifier` and `naming_check`.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.errors import InputError


@dataclass(frozen=True)
class Round:
    """Rows to learn from (`seen`) and to judge (`unseen`), of one fold by its number."""

    fold: int
    seen: NDArray[np.int64]
    unseen: NDArray[np.int64]


def rounds(fold_of: NDArray[np.int64], is_defective: NDArray[np.bool_] | None = None) -> list[Round]:
    """One for each fold that has rows, by its number.

    Args:
        fold_of: of each row [n], below 0 for a row that is neither learnt from nor judged here.
        is_defective: of each row [n], where both kinds are learnt from; None: one kind alone is.

    Raises:
        InputError: without one fold nothing is left to learn from, or nothing of one kind.
    """
    is_used = fold_of >= 0
    sides = {"": is_used} if is_defective is None else {"sound ": ~is_defective, "defective ": is_defective}
    found = []
    for fold in np.unique(fold_of[is_used]).tolist():
        is_seen = is_used & (fold_of != fold)
        for name, is_one in sides.items():
            if not (is_seen & is_one).any():
                count = int((is_used & is_one).sum())
                raise InputError(
                    f"{name}training parts: expected pictures of at least two parts, so that each can be judged by "
                    f"what others taught, got {count} that all belong together; add pictures of another part"
                    f"{', or use memory-bank' if name else ''}"
                )
        found.append(Round(fold, np.flatnonzero(is_seen), np.flatnonzero(fold_of == fold)))
    return found
