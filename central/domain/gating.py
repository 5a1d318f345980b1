# SPDX-License-Identifier: Apache-2.0
"""The gate before any station sees a package: conditions with their figures, each passed, failed or not known.

Pure. Asks of a challenger that it is not worse than the champion by more than a margin, class by class, on the frozen
test set and on recent audited parts; that its station form is not worse than its float form; and `gate_machine` that
it is fast, small and whole. A part counts once, by its worst picture: missed where one was judged OK, overkilled where
one was judged NG or could not be decided. Decides no rollout. Called by `services/gates/deciding.py`.

Passed: the exact test says "not worse by the margin" and the upper bound lies below it. Failed: parts enough to show it
were there and did not, or the lower bound lies above the margin. Not enough evidence: so few parts that an outcome
without any difference would not have shown it either.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from central.quality.paired import PairedBounds, paired_bounds, weighted_bounds
from contracts.vocabulary import ConditionState, PromotionOutcome, Verdict, WhenMissing

TEST_SET: Final = "test set"
AUDITS: Final = "audited parts"
UNNAMED: Final = "unnamed"


@dataclass(frozen=True)
class GateTerms:
    """What is demanded of a product's packages. Margins are shares of the parts of that class, or of the good parts.

    `needs_audits` False: what recent audits say is shown, and stands in nobody's way while it is too little.
    `deadline_ms` is for stations that have not said theirs.
    """

    recall_margin: float = 0.05
    overkill_margin: float = 0.02
    confidence: float = 0.95
    when_missing: WhenMissing = WhenMissing.ASK
    needs_audits: bool = True
    deadline_ms: float = 200.0
    most_memory_mb: float = 2_048.0


@dataclass(frozen=True)
class SeenPicture:
    """One picture with what is true of it and what three graphs said. `exact`, `champion` None: there is no such."""

    sha256: str
    part: str
    is_defective: bool
    defect_class: str | None
    is_test: bool
    inclusion_probability: float | None
    challenger: Verdict
    exact: Verdict | None = None
    champion: Verdict | None = None


@dataclass(frozen=True)
class Condition:
    """One demand, and what was found. `figures`: numbers for programs. `is_demanded` False: it decides nothing."""

    name: str
    state: ConditionState
    detail: str
    figures: dict[str, Any] = field(default_factory=dict)
    is_demanded: bool = True


@dataclass(frozen=True)
class _Part:
    """Whether the challenger erred on it, and whether the other did."""

    challenger: bool
    other: bool
    pictures: int
    probability: float | None


Errs = Callable[[Verdict], bool]
Other = Callable[[SeenPicture], Verdict | None]


def missed(verdict: Verdict) -> bool:
    """Of a defective part: it would be shipped."""
    return verdict is Verdict.OK


def overkilled(verdict: Verdict) -> bool:
    """Of a good part: it goes to the fail-safe output."""
    return verdict in (Verdict.NG, Verdict.NO_DECISION)


def _champion(picture: SeenPicture) -> Verdict | None:
    return picture.champion


def _exact(picture: SeenPicture) -> Verdict | None:
    return picture.exact


def compare_with_champion(pictures: Sequence[SeenPicture], terms: GateTerms) -> list[Condition]:
    """Recall of each defect class and overkill on the test set; both on audited parts, over all classes."""
    test = [picture for picture in pictures if picture.is_test]
    audited = [picture for picture in pictures if picture.inclusion_probability is not None]
    classes = sorted({picture.defect_class or UNNAMED for picture in test if picture.is_defective})
    conditions = [
        _paired(
            f"recall of {name}, {TEST_SET}",
            _parts([one for one in test if one.is_defective and (one.defect_class or UNNAMED) == name],
                   missed, _champion),
            terms, is_defective=True,
        )
        for name in classes
    ]  # fmt: skip
    if not classes:
        conditions.append(_missing(f"recall, {TEST_SET}", "the test set holds no defective part"))
    good = _parts([one for one in test if not one.is_defective], overkilled, _champion)
    conditions.append(_paired(f"overkill, {TEST_SET}", good, terms, is_defective=False))
    for name, is_defective, errs in (("recall", True, missed), ("overkill", False, overkilled)):
        parts = _parts([one for one in audited if one.is_defective is is_defective], errs, _champion)
        found = _weighted(f"{name}, {AUDITS}", parts, terms, is_defective=is_defective)
        is_demanded = terms.needs_audits or found.state is ConditionState.FAILED
        conditions.append(Condition(found.name, found.state, found.detail, found.figures, is_demanded))
    return conditions


def compare_with_exact(pictures: Sequence[SeenPicture], terms: GateTerms, variant: str) -> list[Condition]:
    """The form that stations run against the float form that it was made of, on the test set, over all classes."""
    test = [picture for picture in pictures if picture.is_test]
    if variant == "fp32":
        detail = "stations run it as fp32: there is no other form to lose anything"
        return [Condition("station form against fp32", ConditionState.PASSED, detail)]
    defective = _parts([one for one in test if one.is_defective], missed, _exact)
    good = _parts([one for one in test if not one.is_defective], overkilled, _exact)
    return [
        _paired(f"recall of {variant} against fp32", defective, terms, is_defective=True, other="fp32"),
        _paired(f"overkill of {variant} against fp32", good, terms, is_defective=False, other="fp32"),
    ]


def outcome_of(conditions: Iterable[Condition], when_missing: WhenMissing) -> PromotionOutcome:
    """The gate's answer: no condition, no pass."""
    states = {condition.state for condition in conditions if condition.is_demanded}
    if ConditionState.FAILED in states:
        return PromotionOutcome.REFUSED
    is_missing = ConditionState.NOT_ENOUGH_EVIDENCE in states or not states
    if is_missing and when_missing is not WhenMissing.SHOW:
        return PromotionOutcome.NOT_ENOUGH_EVIDENCE
    return PromotionOutcome.PROMOTED if states else PromotionOutcome.NOT_ENOUGH_EVIDENCE


def worst_differing(pictures: Sequence[SeenPicture], most: int) -> list[tuple[SeenPicture, str]]:
    """Pictures on which the two packages differ, those that the challenger newly gets wrong first, with words why."""
    told: list[tuple[int, SeenPicture, str]] = []
    for picture in pictures:
        if picture.champion is None or picture.challenger is picture.champion:
            continue
        errs = missed if picture.is_defective else overkilled
        is_worse, was_worse = errs(picture.challenger), errs(picture.champion)
        word = "escape" if picture.is_defective else "overkill"
        if is_worse and not was_worse:
            told.append((0 if picture.is_defective else 1, picture, f"new {word}"))
        elif was_worse and not is_worse:
            told.append((2, picture, f"{word} mended"))
        else:
            told.append((3, picture, "another verdict"))
    return [(picture, why) for _, picture, why in sorted(told, key=lambda each: (each[0], each[1].sha256))[:most]]


def _parts(pictures: Sequence[SeenPicture], errs: Errs, other: Other) -> list[_Part]:
    """Parts that both judged, each by its worst picture."""
    groups: dict[str, list[SeenPicture]] = {}
    for picture in pictures:
        groups.setdefault(picture.part, []).append(picture)
    parts = []
    for group in groups.values():
        said = [verdict for verdict in (other(picture) for picture in group) if verdict is not None]
        if len(said) < len(group):
            continue
        chances = [one.inclusion_probability for one in group if one.inclusion_probability is not None]
        mine = any(errs(picture.challenger) for picture in group)
        parts.append(_Part(mine, any(errs(verdict) for verdict in said), len(group), min(chances, default=None)))
    return parts


def _paired(
    name: str, parts: Sequence[_Part], terms: GateTerms, *, is_defective: bool, other: str = "champion"
) -> Condition:
    newly = sum(part.challenger and not part.other for part in parts)
    mended = sum(part.other and not part.challenger for part in parts)
    margin, level = _margin(terms, is_defective=is_defective), 1 - terms.confidence
    found, at_best = (
        paired_bounds(*counts, len(parts), margin=margin, confidence=terms.confidence)
        for counts in ((newly, mended), (0, 0))
    )
    passes, could = (
        each.high < margin and each.p_value is not None and each.p_value <= level for each in (found, at_best)
    )
    figures = _figures(parts, found, margin, terms.confidence)
    detail = _told(figures, other, is_defective=is_defective)
    return Condition(name, _state(found, margin, passes=passes, could=could), detail, figures)


def _weighted(name: str, parts: Sequence[_Part], terms: GateTerms, *, is_defective: bool) -> Condition:
    chance = np.array([part.probability for part in parts], np.float64)
    newly = np.array([part.challenger and not part.other for part in parts], np.bool_)
    mended = np.array([part.other and not part.challenger for part in parts], np.bool_)
    margin, nothing = _margin(terms, is_defective=is_defective), np.zeros(len(parts), np.bool_)
    found = weighted_bounds(newly, mended, chance, confidence=terms.confidence)
    could = weighted_bounds(nothing, nothing, chance, confidence=terms.confidence).high < margin
    figures = _figures(parts, found, margin, terms.confidence)
    figures["stand_for"] = float((1.0 / chance).sum()) if len(parts) else 0.0
    detail = _told(figures, "champion", is_defective=is_defective)
    if parts:
        detail += f"; audited by chance, they stand for {figures['stand_for']:.0f}"
    return Condition(name, _state(found, margin, passes=found.high < margin, could=could), detail, figures)


def _margin(terms: GateTerms, *, is_defective: bool) -> float:
    return terms.recall_margin if is_defective else terms.overkill_margin


def _state(found: PairedBounds, margin: float, *, passes: bool, could: bool) -> ConditionState:
    if passes:
        return ConditionState.PASSED
    return ConditionState.FAILED if could or found.low > margin else ConditionState.NOT_ENOUGH_EVIDENCE


def _figures(parts: Sequence[_Part], found: PairedBounds, margin: float, confidence: float) -> dict[str, Any]:
    return {
        "parts": len(parts),
        "pictures": sum(part.pictures for part in parts),
        "challenger_errs": sum(part.challenger for part in parts),
        "other_errs": sum(part.other for part in parts),
        "newly": sum(part.challenger and not part.other for part in parts),
        "mended": sum(part.other and not part.challenger for part in parts),
        "worse_by": found.estimate,
        "low": found.low,
        "high": found.high,
        "p_value": found.p_value,
        "margin": margin,
        "confidence": confidence,
        "method": found.method,
    }


def _told(figures: dict[str, Any], other: str, *, is_defective: bool) -> str:
    what = "defective parts" if is_defective else "good parts"
    if not figures["parts"]:
        return f"no {what} that both judged"
    test = "" if figures["p_value"] is None else f", p = {figures['p_value']:.3f}"
    return (
        f"the challenger errs on {figures['challenger_errs']} of {figures['parts']} {what} "
        f"({figures['pictures']} pictures), {other} on {figures['other_errs']}; {figures['newly']} newly, "
        f"{figures['mended']} mended; worse by {figures['worse_by']:.1%}, at most {figures['high']:.1%} "
        f"({figures['confidence']:.0%} one-sided{test}); margin {figures['margin']:.1%}"
    )


def _missing(name: str, detail: str) -> Condition:
    return Condition(name, ConditionState.NOT_ENOUGH_EVIDENCE, detail)
