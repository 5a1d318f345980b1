# SPDX-License-Identifier: Apache-2.0
"""How often Python looks for garbage that refers to itself. Called by `central.__main__` when everything is built."""

import gc
from typing import Final

# Python's own 700 are soon reached by one look at a large fleet, whose thousands of objects are then gone through
# again and again: with 2,000 stations half of the time of starting or ending a rollout (benchmarks/RESULTS.md).
_YOUNG_OBJECTS: Final = 10_000


def collect_seldom() -> None:
    """Leave out for good what is there now (modules, routes, tables), and look at the rest less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG_OBJECTS, *gc.get_threshold()[1:])
