# SPDX-License-Identifier: Apache-2.0
"""Long lists of keys, some at a time: every database bounds the placeholders of one statement. Holds no table."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, TypeVar

_T = TypeVar("_T")
AT_ONCE: Final = 1_000


def in_chunks(items: Iterable[_T], size: int = AT_ONCE) -> Iterator[Sequence[_T]]:
    """The items in their order, `size` of them at a time."""
    everything = list(items)
    for first in range(0, len(everything), size):
        yield everything[first : first + size]
