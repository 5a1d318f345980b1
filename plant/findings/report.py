# SPDX-License-Identifier: Apache-2.0
"""What a run of the plant showed: the truth of each part joined with what was reported of it.

Pure arithmetic on lists; reads no database, asks nobody. Only the plant can do this, because only a plant
made for it knows the truth of every part. Used by `plant.run.demo`.

An *escape* is a defective part judged OK, over the defective parts judged; an *overkill* a good part judged
NG, over the good parts judged. Parts without a decision were held, and parts whose truth nobody knows cannot
be counted; both count in neither, but in the totals.
Rates are split by the package that judged the part: `before` are the packages the line started with, `after`
those rolled out since. Good parts have no defect kind, so for overkill `new_kind` counts the good parts
captured since the first part of the new kind: the same conditions before and after.
"""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from statistics import NormalDist
from typing import Any, Final

from contracts.vocabulary import Verdict
from plant.line.truth import PartTruth

_CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class PartReport:
    """What the station said of one part, as central holds it."""

    station: str
    trigger_number: int
    captured_at: datetime
    verdict: Verdict
    package_id: str | None = None
    cause: str = "SCORE"
    verdict_ms: float | None = None
    reject_ms: float | None = None
    # The process start of the station that made the report.
    epoch: int = 0


@dataclass(frozen=True)
class LineAccount:
    """Every part counted once: what passed, what was reported, what is missing or double."""

    parts_captured: int
    reports_committed: int
    reports_lost: int
    reports_duplicated: int
    # Reports of parts that no camera counted; must be 0 as well.
    reports_unknown: int
    lost: list[tuple[str, int]] = field(default_factory=list)


def account(truth: Sequence[PartTruth], reports: Sequence[PartReport]) -> LineAccount:
    """Count parts against reports by (station, trigger number)."""
    passed = {(part.station, part.trigger_number) for part in truth}
    reported = Counter((report.station, report.trigger_number) for report in reports)
    lost = sorted(passed - reported.keys())
    return LineAccount(
        parts_captured=len(passed),
        reports_committed=len(reports),
        reports_lost=len(lost),
        reports_duplicated=len(reports) - len(reported),
        reports_unknown=len(reported.keys() - passed),
        lost=lost[:50],
    )


def wilson(count: int, of: int, confidence: float = _CONFIDENCE) -> tuple[float, float]:
    """Wilson score interval of a share; (0, 1) when nothing is known."""
    if of == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = count / of
    middle = (share + z * z / (2 * of)) / (1 + z * z / of)
    half = z * math.sqrt(share * (1 - share) / of + z * z / (4 * of * of)) / (1 + z * z / of)
    return max(0.0, middle - half), min(1.0, middle + half)


def rate(count: int, of: int) -> dict[str, float | int | None]:
    """A rate with its interval and denominator. `rate` None: nothing to say, never 0."""
    low, high = wilson(count, of)
    return {"rate": count / of if of else None, "count": count, "of": of, "low": low, "high": high}


@dataclass(frozen=True)
class TrueRates:
    """The true rates of the report, each `{"new_kind": …, "all": …}`, and what counted in none."""

    escapes_before: dict[str, Any]
    escapes_after: dict[str, Any]
    overkill_before: dict[str, Any]
    overkill_after: dict[str, Any]
    review_before: dict[str, Any]
    review_after: dict[str, Any]
    # New-kind parts that the packages before and after judged REVIEW or gave no decision on.
    new_kind_held: dict[str, int]
    first_new_kind_at: datetime | None


def true_rates(
    truth: Sequence[PartTruth],
    reports: Sequence[PartReport],
    *,
    new_kinds: AbstractSet[str],
    packages_before: AbstractSet[str],
    packages_after: AbstractSet[str],
    side_after: str | None = None,
) -> TrueRates:
    """Join truth and reports, and count escapes and overkills of both groups of packages.

    `side_after`: only parts of this side count for the packages after, because the others may have been learnt
    from (replayed pictures come again; rendered parts never do). A part reported twice counts once, as first seen.
    """
    by_key = {(part.station, part.trigger_number): part for part in truth}
    pairs: dict[tuple[str, int], tuple[PartTruth, PartReport]] = {}
    for report in reports:
        key = (report.station, report.trigger_number)
        part = by_key.get(key)
        if part is not None:
            pairs.setdefault(key, (part, report))
    joined = list(pairs.values())
    new = [(part, report) for part, report in joined if part.is_defective and part.defect_class in new_kinds]
    since = min((report.captured_at for _, report in new), default=None)

    def judged_by(packages: AbstractSet[str]) -> list[tuple[PartTruth, PartReport]]:
        side = side_after if packages is packages_after else None
        judged = [each for each in joined if each[1].package_id in packages]
        judged = [each for each in judged if each[1].verdict is not Verdict.NO_DECISION]
        return [each for each in judged if side is None or each[0].side == side]

    def escapes(packages: AbstractSet[str]) -> dict[str, Any]:
        defective = [each for each in judged_by(packages) if each[0].is_defective]
        fresh = [each for each in defective if each[0].defect_class in new_kinds]
        return {"new_kind": _share(fresh, Verdict.OK), "all": _share(defective, Verdict.OK)}

    def of_good(verdict: Verdict, packages: AbstractSet[str]) -> dict[str, Any]:
        good = [each for each in judged_by(packages) if each[0].is_defective is False]
        fresh = [each for each in good if since is not None and each[1].captured_at >= since]
        return {"new_kind": _share(fresh, verdict), "all": _share(good, verdict)}

    return TrueRates(
        escapes_before=escapes(packages_before),
        escapes_after=escapes(packages_after),
        overkill_before=of_good(Verdict.NG, packages_before),
        overkill_after=of_good(Verdict.NG, packages_after),
        review_before=of_good(Verdict.REVIEW, packages_before),
        review_after=of_good(Verdict.REVIEW, packages_after),
        new_kind_held={
            "review_before": _count(new, Verdict.REVIEW, packages_before),
            "review_after": _count(new, Verdict.REVIEW, packages_after),
            "no_decision": sum(report.verdict is Verdict.NO_DECISION for _, report in new),
        },
        first_new_kind_at=since,
    )


def _share(pairs: Sequence[tuple[PartTruth, PartReport]], verdict: Verdict) -> dict[str, float | int | None]:
    return rate(sum(report.verdict is verdict for _, report in pairs), len(pairs))


def _count(pairs: Iterable[tuple[PartTruth, PartReport]], verdict: Verdict, packages: AbstractSet[str]) -> int:
    return sum(report.verdict is verdict and report.package_id in packages for _, report in pairs)


def parts_between(reports: Iterable[PartReport], first: datetime | None, last: datetime | None) -> int | None:
    """Parts captured from one moment to another, the first one included; None when either never came."""
    if first is None or last is None:
        return None
    return sum(first <= report.captured_at <= last for report in reports)


def latency_summary(reports: Iterable[PartReport]) -> dict[str, dict[str, float | int] | None]:
    """Percentiles in ms of capture → verdict and capture → reject signal, over all parts that have them."""
    kept = list(reports)
    return {
        "verdict": _percentiles([each.verdict_ms for each in kept if each.verdict_ms is not None]),
        "reject": _percentiles([each.reject_ms for each in kept if each.reject_ms is not None]),
    }


def _percentiles(values: list[float]) -> dict[str, float | int] | None:
    if not values:
        return None
    values.sort()

    def at(share: float) -> float:
        # Nearest rank: a value that really occurred.
        return round(values[max(0, math.ceil(share * len(values)) - 1)], 3)

    return {"count": len(values), "p50": at(0.5), "p99": at(0.99), "max": at(1.0)}


def verdict_counts(reports: Iterable[PartReport]) -> dict[str, int]:
    """How many parts got each verdict; all four words, 0 included."""
    counted = Counter(report.verdict for report in reports)
    return {verdict.value: counted[verdict] for verdict in Verdict}


def cause_counts(reports: Iterable[PartReport]) -> dict[str, int]:
    """Why there was no decision, where there was none."""
    return dict(Counter(report.cause for report in reports if report.verdict is Verdict.NO_DECISION))
