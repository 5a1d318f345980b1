# SPDX-License-Identifier: Apache-2.0
"""Pictures that are there twice: to the last pixel, or so alike that they show the same part in the same place.

Alike by two measures that fail differently: a perceptual hash (all parts of a fixture in one place have nearly the same
one) and what a trunk sees, in units of how the set varies (a part under other light may differ). And clearly more alike
than either is to others: of a product in two colours all parts of one colour would be. Pure. Called by `command` and
`leaks`.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.cleaning.faults import Fault, Finding
from models.cleaning.measures import Measures

Floats = NDArray[np.float32]

# Of 64 bits. On magnetic tiles both together hold 95 % of copies (JPEG 70, brighter, 1 px aside), 37 % of the pairs of
# one tile under two exposures and .02 % of the other pairs, of which some are one tile under two names.
MOST_BITS: Final = 8
LEAST_COSINE: Final = 0.75
# Of its distance from the 20th nearest: beyond that the others are as near as this one.
NEARER: Final = 0.75
_NEIGHBOUR: Final = 20
# How a set varies is not known from fewer.
LEAST_PICTURES: Final = 20
# A station gives up a camera that shows the very same picture more often in a row.
MOST_IDENTICAL: Final = 2
_CHUNK: Final = 512


def same_pixels(measured: Sequence[Measures]) -> list[list[int]]:
    """Rows with the same pixels, first come first, of two rows or more."""
    alike: dict[bytes, list[int]] = {}
    for row, each in enumerate(measured):
        alike.setdefault(each.pixels, []).append(row)
    return [rows for rows in alike.values() if len(rows) > 1]


def near_pairs(looks: NDArray[np.bool_], seen: Floats) -> list[tuple[int, int]]:
    """Pairs of rows, the smaller first, that show the same.

    Args:
        looks: perceptual hashes, bool [n, 64].
        seen: what a trunk sees of each, [n, k]; compared in units of how the set varies.

    Returns:
        None of fewer than `LEAST_PICTURES`: how the set varies is not known.
    """
    if len(looks) < LEAST_PICTURES:
        return []
    standard = (seen - seen.mean(0)) / (seen.std(0) + 1e-6)
    length = np.linalg.norm(standard, axis=1, keepdims=True)
    unit = (standard / np.maximum(length, 1e-6)).astype(np.float32)
    # Signs as ±1: their product counts the bits that agree less those that do not.
    signs = np.where(looks, 1.0, -1.0).astype(np.float32)
    least_bits = looks.shape[1] - 2 * MOST_BITS
    usual = _usual_distance(unit)
    pairs = []
    for start in range(0, len(looks), _CHUNK):
        some = slice(start, start + _CHUNK)
        cosine = unit[some] @ unit[start:].T
        nearest = NEARER * np.minimum(usual[some, None], usual[None, start:])
        is_near = (cosine >= LEAST_COSINE) & (2 - 2 * cosine <= nearest**2)
        is_near &= signs[some] @ signs[start:].T >= least_bits
        rows, columns = np.nonzero(np.triu(is_near, 1))
        pairs += [(start + int(row), start + int(column)) for row, column in zip(rows, columns, strict=True)]
    return pairs


def _usual_distance(unit: Floats) -> Floats:
    """Of each row the distance from its 20th nearest, or the one in the middle of a small set, [n]."""
    place = min(_NEIGHBOUR, len(unit) // 2)
    found = np.empty(len(unit), np.float32)
    for start in range(0, len(unit), _CHUNK):
        cosine = unit[start : start + _CHUNK] @ unit.T
        # The nearest of all is the row itself.
        far = -np.partition(-cosine, place, axis=1)[:, place]
        found[start : start + _CHUNK] = np.sqrt(np.maximum(2 - 2 * far, 0))
    return found


def joined(count: int, pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The smallest row that each of `count` rows hangs together with, over any chain of pairs."""
    root = list(range(count))

    def find(row: int) -> int:
        while root[row] != row:
            root[row] = root[root[row]]
            row = root[row]
        return row

    for one, other in pairs:
        low, high = sorted((find(one), find(other)))
        root[high] = low
    return [find(row) for row in range(count)]


def find_repeats(
    measured: Sequence[Measures], seen: Floats, names: Sequence[str], groups: Sequence[str]
) -> list[Finding]:
    """Repeated pictures beside the first of each; FROZEN where a camera showed the very same more than twice in a row.

    `names` of the pictures, in the order in which they were taken, and `groups`: pictures of one part may look alike,
    those of two may not.
    """
    found = []
    copies: set[int] = set()
    for rows in same_pixels(measured):
        run = 1
        for before, row in pairwise(rows):
            run = run + 1 if row == before + 1 else 1
            is_frozen = run > MOST_IDENTICAL
            told = f"the same to the last pixel as {names[rows[0]]}" + f", {run} times in a row" * is_frozen
            found.append(Finding(row, Fault.FROZEN if is_frozen else Fault.DUPLICATE, told))
            copies.add(row)
    looks = np.array([each.look for each in measured], np.bool_).reshape(len(measured), -1)
    for one, other in near_pairs(looks, seen):
        if other not in copies and groups[one] != groups[other]:
            # Each picture is told once, by the first that it is like.
            copies.add(other)
            found.append(Finding(other, Fault.NEAR_DUPLICATE, f"shows the same as {names[one]}"))
    return sorted(found, key=lambda each: each.row)
