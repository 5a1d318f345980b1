# SPDX-License-Identifier: Apache-2.0
"""Whether the escape interval holds what it says, and how wide it is: the rows of docs/quality-statistics.md.

300 made-up days of 86,400 parts a row (`_rate_runs.py`), each drawn and estimated by the functions that central uses.
Prints a JSON line for each row as it is done, then the usual line with all of them. What is demanded (`at_least`,
`at_most`, by figure) stands in each row, also where it is not reached. Shares are in hundredths.
"""

import itertools
import json
from collections.abc import Iterator
from typing import Any, Final

from benchmarks._rate_runs import (
    NEW_DEFECT,
    STREAMS,
    STRONG,
    WEAK,
    Covered,
    escapes,
    escapes_with_repeats,
    ever_wrong,
    once,
    overkills,
    positives_confirmed,
    two_of_three,
    with_distance,
)

RUNS: Final = 300
_MORE_RUNS: Final = 3_000
_FLIPS: Final = 0.02
_WIDTH: Final = {
    ("strong", 200): 2.0,
    ("weak", 200): 3.2,
    ("new defect", 200): 3.2,
    ("strong", 6_000): 0.10,
    ("weak", 6_000): 0.45,
    ("new defect", 6_000): 0.45,
}
# What is watched: strong, new defect, weak, and shares as of overkill.
_WATCHED: Final = (0.0005, 0.0055, 0.015, 0.1, 0.4)


def _told(row: str, seen: Covered, width: float | None = None, coverage: float | None = 0.93) -> dict[str, Any]:
    told = {
        "row": row,
        "runs": seen.runs,
        "truth": round(100 * seen.truth, 3),
        "coverage": round(seen.coverage, 4),
        "median_width": round(seen.median_width, 3),
    }
    if coverage is not None:
        told["at_least"] = {"coverage": coverage}
    return told if width is None else {**told, "at_most": {"median_width": width}}


def demanded_rows(runs: int = RUNS) -> Iterator[dict[str, Any]]:
    """The rows for which something is demanded, `runs` days each; peeking always with its own 3,000 runs."""
    for labels in (200, 6_000):
        for name, stream in STREAMS.items():
            yield _told(f"{name}, {labels:,} labels", escapes(stream, labels, runs), _WIDTH[name, labels])
    for name, stream in STREAMS.items():
        label = positives_confirmed(_FLIPS)
        yield _told(f"{name}, 200 labels, 2 % flips, confirmed", escapes(stream, 200, runs, label))
    for name, stream in STREAMS.items():
        yield _told(f"overkill of {name}, 200 labels, two of three", overkills(stream, 200, runs, two_of_three(_FLIPS)))
    for share in _WATCHED:
        yield {
            "row": f"ever wrong at {100 * share:g} %, looked at from audit 20 to 3,000",
            "runs": _MORE_RUNS,
            "ever_wrong": round(ever_wrong([share], _MORE_RUNS), 4),
            "at_most": {"ever_wrong": 0.05},
        }


def _more_rows() -> Iterator[dict[str, Any]]:
    # What people's errors do when nobody looks again, and what remains of them when there are many labels.
    yield _told("strong, 200 labels, 2 % flips, once", escapes(STRONG, 200, RUNS, once(_FLIPS)), coverage=None)
    for name, stream in STREAMS.items():
        seen = escapes(stream, 6_000, RUNS, positives_confirmed(_FLIPS), draws_a_day=5)
        yield _told(f"{name}, 6,000 labels, 2 % flips, confirmed", seen, coverage=None)
        seen = escapes_with_repeats(stream, 6_000, RUNS, _FLIPS, repeats=300, draws_a_day=5)
        yield _told(f"{name}, the same, errors taken in by 300 blind repeats", seen, coverage=None)
    for distance in (2.0, 2.4, 3.2):
        for labels in (200, 6_000):
            seen = escapes(with_distance(distance, 0.015), labels, RUNS, draws_a_day=5)
            yield _told(f"weak at distance {distance}, {labels:,} labels", seen, coverage=None)
    for name, stream in (("weak", WEAK), ("new defect", NEW_DEFECT)):
        seen = escapes(stream, 6_000, _MORE_RUNS, draws_a_day=100)
        yield _told(f"{name}, 6,000 labels, more draws of fewer days", seen, coverage=None)


def run() -> dict[str, Any]:
    """Every row."""
    rows = []
    for row in itertools.chain(demanded_rows(), _more_rows()):
        print(json.dumps(row), flush=True)
        rows.append(row)
    return {"rows": rows}
