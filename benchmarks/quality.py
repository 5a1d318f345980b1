# SPDX-License-Identifier: Apache-2.0
"""Both tables of what the accuracy watch promises: intervals from labels, and changes seen without labels.

`quality_rates` and `quality_drift` in one, the demanded rows only: a JSON line for each on standard output, and at the
end a table of demanded against seen on standard error. `--sizes N` takes N made-up days for each row of intervals
instead of 300; the rows on drift are what they are. Fails on no figure: a row that is missed says so.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from benchmarks import quality_drift, quality_rates

SIZES: Final = (quality_rates.RUNS,)

Row = Mapping[str, Any]


def run(days: int) -> dict[str, Any]:
    """Every demanded row, `days` made-up days for each row of intervals."""
    rows = [dict(row) for row in _rows(days)]
    sys.stderr.write(table(rows))
    missed = [str(row["row"]) for row in rows if any(not held for *_, held in judged(row))]
    return {"days": days, "rows": rows, "missed": missed}


def judged(row: Row) -> Iterator[tuple[str, str, float | None, bool]]:
    """Figure, what is demanded of it, what was seen, and whether that holds. None was seen: not found in time."""
    for figure, limit in row.get("at_least", {}).items():
        seen = row[figure]
        yield figure, f">= {limit:g}", seen, seen is not None and seen >= limit
    for figure, limit in row.get("at_most", {}).items():
        seen = row[figure]
        yield figure, f"<= {limit:g}", seen, seen is not None and seen <= limit


def table(rows: list[dict[str, Any]]) -> str:
    """Demanded against seen, for the eye."""
    head = ("row", "repetitions", "figure", "demanded", "seen", "")
    lines = [head]
    for row in rows:
        repetitions = next((str(row[key]) for key in ("runs", "repetitions", "months", "parts") if key in row), "1")
        for figure, demanded, seen, held in judged(row):
            told = "not found" if seen is None else f"{seen:g}"
            lines.append((str(row["row"]), repetitions, figure, demanded, told, "" if held else "MISSED"))
    width = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "".join(
        "  ".join(cell.ljust(room) for cell, room in zip(line, width, strict=True)).rstrip() + "\n" for line in lines
    )


def _rows(days: int) -> Iterator[Row]:
    for row in quality_rates.demanded_rows(days):
        print(json.dumps(row), flush=True)
        yield row
    yield from quality_drift.demanded_rows()
