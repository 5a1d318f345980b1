# SPDX-License-Identifier: Apache-2.0
"""The promotion gate: may this candidate become champion? Three answers: yes, no, not enough evidence.

Pure; looks only at held-out parts that both packages judged, each at its own limits, paired part by part. Does
not train, store or roll out. Called by `services/gates/promoting.py`.

The rule on escapes is about the found parts, not about a significance level: with some ten held-out defective
parts no test could prove non-inferiority, so the candidate must let through no more of them than the champion,
and the sign test's p-value is reported beside it. Every figure of a check stands in its text.
"""

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from scipy import stats

from central.quality.rates import binomial_interval
from contracts.vocabulary import Judgement, PromotionOutcome, Verdict


@dataclass(frozen=True)
class HeldOutPicture:
    """One held-out picture as both packages judge it. `champion` None: there is no champion."""

    group: str
    judgement: Judgement
    candidate: Verdict
    champion: Verdict | None


@dataclass(frozen=True)
class GatePolicy:
    """What is demanded. Increases are shares of the held-out parts of that class."""

    min_holdout_good: int = 20
    min_holdout_defective: int = 5
    max_overkill_increase: float = 0.02
    max_escape_increase: float = 0.0
    # More good parts handed to people is a cost too; without this bound "REVIEW everything" would always win. Above
    # what a package's own limits aim at (a tenth), because some dozens of held-out parts show that with much noise.
    max_review_increase: float = 0.15
    max_first_overkill: float = 0.25
    min_image_auroc: float = 0.6
    confidence: float = 0.9


@dataclass(frozen=True)
class Check:
    """One question with its figures in words."""

    name: str
    is_passed: bool
    detail: str


@dataclass(frozen=True)
class Decision:
    """The gate's answer with everything it rests on."""

    outcome: PromotionOutcome
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class _Part:
    """All pictures of one part with one judgement. A part counts once, by the share of its pictures.

    One part may have been seen a hundred times and another once; each sight was a decision at the line.
    """

    is_defective: bool
    candidate: tuple[Verdict, ...]
    champion: tuple[Verdict, ...]


_HANDED_ON = frozenset({Verdict.REVIEW, Verdict.NO_DECISION})


def _share_of(verdicts: tuple[Verdict, ...], wanted: AbstractSet[Verdict]) -> float:
    return sum(verdict in wanted for verdict in verdicts) / len(verdicts) if verdicts else 0.0


def _both(parts: list[_Part], wanted: AbstractSet[Verdict]) -> tuple[float, float]:
    """Parts of candidate and champion with such a verdict; fractions where a part's pictures disagree."""
    candidate = sum(_share_of(part.candidate, wanted) for part in parts)
    return candidate, sum(_share_of(part.champion, wanted) for part in parts)


def decide(
    pictures: Sequence[HeldOutPicture],
    policy: GatePolicy,
    *,
    has_champion: bool,
    must_fix_escapes: bool,
    image_auroc: float | None,
) -> Decision:
    """Ask all questions and give the answer.

    Args:
        pictures: held-out pictures with a firm judgement; paired when there is a champion.
        policy: the demands.
        has_champion: whether a champion judges parts now. Without one only sanity is asked for.
        must_fix_escapes: the training was started by an ESCAPES alarm: fewer escapes than the champion, not equal.
        image_auroc: of the variant that would judge, None when one class is missing.
    """
    parts = _parts(pictures)
    good = [part for part in parts if not part.is_defective]
    defective = [part for part in parts if part.is_defective]
    if not has_champion:
        return _first_package(good, defective, policy, image_auroc)
    evidence = [
        _enough("held-out good parts", len(good), policy.min_holdout_good),
        _enough("held-out defective parts", len(defective), policy.min_holdout_defective),
    ]
    unpaired = sum(picture.champion is None for picture in pictures)
    if unpaired:
        detail = f"{unpaired} of {len(pictures)} held-out pictures were not judged by the champion"
        evidence.append(Check("both packages judged the same pictures", is_passed=False, detail=detail))
    if must_fix_escapes:
        evidence.append(_champion_lets_through(defective))
    if not all(check.is_passed for check in evidence):
        return Decision(PromotionOutcome.NOT_ENOUGH_EVIDENCE, tuple(evidence))
    checks = [
        *evidence,
        _escapes(defective, policy, must_fix=must_fix_escapes),
        _overkill(good, policy),
        _review(good, policy),
    ]
    is_passed = all(check.is_passed for check in checks)
    return Decision(PromotionOutcome.PROMOTED if is_passed else PromotionOutcome.REFUSED, tuple(checks))


def _first_package(
    good: list[_Part], defective: list[_Part], policy: GatePolicy, image_auroc: float | None
) -> Decision:
    enough = _enough("held-out good parts", len(good), policy.min_holdout_good)
    if not enough.is_passed:
        return Decision(PromotionOutcome.NOT_ENOUGH_EVIDENCE, (enough,))
    overkill, _ = _both(good, {Verdict.NG})
    checks = [
        enough,
        Check(
            "the first package rejects few good parts",
            overkill <= policy.max_first_overkill * len(good),
            f"{_share(overkill, len(good), policy)} of held-out good parts are judged NG; "
            f"at most {policy.max_first_overkill:.0%} allowed",
        ),
    ]
    if defective and image_auroc is not None:
        escapes, _ = _both(defective, {Verdict.OK})
        checks.append(
            Check(
                "the first package tells defective from good",
                image_auroc >= policy.min_image_auroc,
                f"image AUROC {image_auroc:.3f}, at least {policy.min_image_auroc} asked for; "
                f"{_share(escapes, len(defective), policy)} of held-out defective parts are judged OK",
            )
        )
    is_passed = all(check.is_passed for check in checks)
    return Decision(PromotionOutcome.PROMOTED if is_passed else PromotionOutcome.REFUSED, tuple(checks))


def _enough(what: str, have: int, wanted: int) -> Check:
    return Check(f"enough {what}", have >= wanted, f"{have} {what}, at least {wanted} asked for")


def _champion_lets_through(defective: list[_Part]) -> Check:
    _, escapes = _both(defective, {Verdict.OK})
    detail = (
        f"the champion lets {escapes:.3g} of {len(defective)} held-out defective parts through; at least one is needed "
        "to show that the candidate mends what the alarm was raised for"
    )
    return Check("the held-out parts hold escapes of the champion", escapes > 0, detail)


def _escapes(defective: list[_Part], policy: GatePolicy, *, must_fix: bool) -> Check:
    of = len(defective)
    candidate, champion = _both(defective, {Verdict.OK})
    steps = [_share_of(part.candidate, {Verdict.OK}) - _share_of(part.champion, {Verdict.OK}) for part in defective]
    newly, mended = sum(step > 0 for step in steps), sum(step < 0 for step in steps)
    is_passed = candidate < champion if must_fix else candidate <= champion + policy.max_escape_increase * of
    p_value = float(stats.binomtest(newly, newly + mended, alternative="greater").pvalue) if newly + mended else 1.0
    detail = (
        f"candidate lets {_share(candidate, of, policy)} of held-out defective parts through, champion "
        f"{_share(champion, of, policy)}; {mended} mended, {newly} newly let through (sign test for worse: "
        f"p = {p_value:.3f}); asked for: {'fewer' if must_fix else 'no more'} than the champion"
    )
    return Check("escapes", is_passed, detail)


def _overkill(good: list[_Part], policy: GatePolicy) -> Check:
    of = len(good)
    candidate, champion = _both(good, {Verdict.NG})
    detail = (
        f"candidate rejects {_share(candidate, of, policy)} of held-out good parts, champion "
        f"{_share(champion, of, policy)}; at most {policy.max_overkill_increase:.1%} of them more allowed"
    )
    return Check("overkill", candidate <= champion + policy.max_overkill_increase * of, detail)


def _review(good: list[_Part], policy: GatePolicy) -> Check:
    of = len(good)
    candidate, champion = _both(good, _HANDED_ON)
    detail = (
        f"candidate hands {_share(candidate, of, policy)} of held-out good parts to people, champion "
        f"{_share(champion, of, policy)}; at most {policy.max_review_increase:.1%} of them more allowed"
    )
    return Check("review load", candidate <= champion + policy.max_review_increase * of, detail)


def _share(count: float, of: int, policy: GatePolicy) -> str:
    # Rounded for the interval only: a part whose pictures disagree is a fraction of an event.
    interval = binomial_interval(round(count), of, policy.confidence)
    return f"{count:.3g} of {of} ({interval.low:.1%} to {interval.high:.1%}, {policy.confidence:.0%} interval)"


def _parts(pictures: Iterable[HeldOutPicture]) -> list[_Part]:
    groups: dict[tuple[str, bool], list[HeldOutPicture]] = {}
    for picture in pictures:
        groups.setdefault((picture.group, picture.judgement is Judgement.DEFECTIVE), []).append(picture)
    return [
        _Part(
            is_defective,
            tuple(picture.candidate for picture in group),
            tuple(picture.champion for picture in group if picture.champion is not None),
        )
        for (_, is_defective), group in groups.items()
    ]
