# SPDX-License-Identifier: Apache-2.0
"""Names of many things in a line that a person reads. Pure."""

from collections.abc import Sequence
from typing import Final

_MOST_NAMED: Final = 5


def some_of(names: Sequence[str]) -> str:
    """The first few, and how many more there are: a wave of a whole fleet is not 2,000 names in a log."""
    named = ", ".join(names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    return f"{named} and {more:,} more" if more > 0 else named
