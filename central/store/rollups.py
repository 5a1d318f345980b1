# SPDX-License-Identifier: Apache-2.0
"""Per-minute sums over station × product × package, kept in step with `inspection` in the same transaction.

Only rows that were really inserted may be added: a report that came twice counts once. The dashboard and the charts
read these, so their cost does not grow with the number of inspections. Decides nothing about limits or alarms.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlmodel import Session

from central.store.tables import RollupLatency, RollupMinute
from central.store.upserts import add_up
from contracts.vocabulary import Verdict, VerdictCause

# Buckets 10 % apart from 0.1 ms on: a percentile read from them is at most 10 % too high, never too low.
_FIRST_BOUND_MS: Final = 0.1
_STEP: Final = 1.1
_LAST_BUCKET: Final = 220

VERDICT_COLUMNS: Final = {
    Verdict.OK: "ok",
    Verdict.NG: "ng",
    Verdict.REVIEW: "review",
    Verdict.NO_DECISION: "no_decision",
}
CAUSE_COLUMNS: Final = {cause: cause.value.lower() for cause in VerdictCause if cause is not VerdictCause.SCORE}

_KEY: Final = ("minute", "station_id", "product", "package_id", "is_simulated")
_COUNTS: Final = ("parts", *VERDICT_COLUMNS.values(), *CAUSE_COLUMNS.values(), "score_count", "brightness_count")


def minute_of(captured_at: datetime) -> datetime:
    """The minute a part belongs to: that of its capture, whenever the report came."""
    return captured_at.replace(second=0, microsecond=0)


def latency_bucket(verdict_ms: float) -> int:
    """Number of the histogram bucket of a latency."""
    if verdict_ms <= _FIRST_BOUND_MS:
        return 0
    # The small step back keeps a value that stands exactly on a bound in its own bucket.
    return min(_LAST_BUCKET, math.ceil(math.log(verdict_ms / _FIRST_BOUND_MS) / math.log(_STEP) - 1e-9))


def percentile_ms(buckets: Mapping[int, int], share: float) -> float | None:
    """Upper bound of the bucket in which `share` of the parts is reached; None: no part."""
    parts = sum(buckets.values())
    seen = 0
    for bucket in sorted(buckets):
        seen += buckets[bucket]
        if seen >= share * parts and parts:
            return _FIRST_BOUND_MS * _STEP**bucket
    return None


def rollup_rows(inspections: Iterable[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Sums and latency counts of newly inserted inspections (rows as written to the table)."""
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    latencies: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    for row in inspections:
        key = (
            minute_of(row["captured_at"]),
            row["station_id"],
            row["product"] or "",
            row["package_id"] or "",
            row["is_simulated"],
        )
        total = sums.get(key)
        if total is None:
            total = sums[key] = dict(zip(_KEY, key, strict=True))
            total.update(dict.fromkeys(_COUNTS, 0), score_sum=0.0, brightness_sum=0.0)
        total["parts"] += 1
        total[VERDICT_COLUMNS[row["verdict"]]] += 1
        if row["cause"] in CAUSE_COLUMNS:
            total[CAUSE_COLUMNS[row["cause"]]] += 1
        for name in ("score", "brightness"):
            if row[name] is not None:
                total[f"{name}_count"] += 1
                total[f"{name}_sum"] += row[name]
        if row["verdict_ms"] is not None:
            latencies[*key, latency_bucket(row["verdict_ms"])] += 1
    counted = [dict(zip((*_KEY, "bucket"), key, strict=True)) | {"parts": parts} for key, parts in latencies.items()]
    return list(sums.values()), counted


def add_to_rollups(session: Session, inspections: Sequence[Mapping[str, Any]]) -> None:
    """Add newly inserted inspections, in the transaction that inserted them."""
    sums, latencies = rollup_rows(inspections)
    add_up(session, RollupMinute, sums)
    add_up(session, RollupLatency, latencies)
