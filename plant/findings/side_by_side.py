# SPDX-License-Identifier: Apache-2.0
"""Old and new package on the very same pictures, of parts that neither has learnt from.

On the line the old package judges side A and the new one side B: other parts, so their rates must not be subtracted.
Here both judge all of side B, each at its own limits, picture by picture; these are the true rates of such a run.
Used by `plant.run.demo` for replayed pictures.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.vocabulary import Verdict
from models.packages.reading import open_package, score_pictures, verdict_of
from plant.findings.report import rate
from plant.replay.feed import read_picture
from plant.replay.pictures import ReplayItem, ReplaySet

DEFINITION: Final = (
    "side_by_side, and from it true_…_before and true_…_after: each labelled picture of side B once, judged by the old "
    "and the new package at their own limits; shares are of pictures, several of which may show one part; overkill and "
    "review of new_kind are those of all good pictures. on_the_line: what the parts met, old package on side A, new "
    "one on side B: other parts, so before and after there must not be subtracted"
)


@dataclass(frozen=True)
class TwiceJudged:
    """One picture and what both packages say of it."""

    item: ReplayItem
    old: Verdict
    new: Verdict


def judge_twice(replay: ReplaySet, side: str, old: Path, new: Path) -> list[TwiceJudged]:
    """Judge every labelled picture of a side by both packages (folders), one picture at a time, on one thread."""
    items = [item for item in replay.stream if item.side == side and item.is_defective is not None]
    said = [_verdicts(folder, items) for folder in (old, new)]
    return [TwiceJudged(item, before, after) for item, before, after in zip(items, *said, strict=True)]


def _verdicts(folder: Path, items: Sequence[ReplayItem]) -> list[Verdict]:
    package = open_package(folder)
    scores = score_pictures(package.model(package.preferred()), (read_picture(item.path) for item in items), 1).scores
    return [verdict_of(float(score), package.manifest.limits) for score in scores]


def compare(judged: Sequence[TwiceJudged], new_kinds: AbstractSet[str]) -> dict[str, Any]:
    """Escapes, overkill and review of both, and which defective pictures changed sides."""
    defective = [each for each in judged if each.item.is_defective]
    good = [each for each in judged if not each.item.is_defective]
    fresh = [each for each in defective if each.item.defect_class in new_kinds]
    return {
        "pictures": len(judged),
        "parts": len({each.item.part_id for each in judged}),
        "escapes": {"new_kind": _escapes(fresh), "all": _escapes(defective)},
        "overkill": _both(good, Verdict.NG),
        "review": _both(good, Verdict.REVIEW),
    }


def true_rates_of(found: Mapping[str, Any]) -> dict[str, Any]:
    """The report's true rates from such a comparison (`compare`'s shape), in place of those of different parts."""
    rates: dict[str, Any] = {"true_rates_from": "same-pictures"}
    for when in ("before", "after"):
        rates[f"true_escapes_{when}"] = {kind: found["escapes"][kind][when] for kind in ("new_kind", "all")}
        for name in ("overkill", "review"):
            rates[f"true_{name}_{when}"] = {"new_kind": found[name][when], "all": found[name][when]}
    return rates


def _escapes(defective: Sequence[TwiceJudged]) -> dict[str, Any]:
    mended = sum(each.old is Verdict.OK and each.new is not Verdict.OK for each in defective)
    newly = sum(each.old is not Verdict.OK and each.new is Verdict.OK for each in defective)
    parts = len({each.item.part_id for each in defective})
    return {**_both(defective, Verdict.OK), "mended": mended, "newly_let_through": newly, "parts": parts}


def _both(pictures: Iterable[TwiceJudged], verdict: Verdict) -> dict[str, Any]:
    pairs = [(each.old is verdict, each.new is verdict) for each in pictures]
    return {
        name: rate(sum(pair[place] for pair in pairs), len(pairs)) for place, name in enumerate(("before", "after"))
    }
