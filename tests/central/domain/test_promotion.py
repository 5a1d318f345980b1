# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.promotion import Decision, GatePolicy, HeldOutPicture, decide
from contracts.vocabulary import Judgement, PromotionOutcome, Verdict

OK, NG, REVIEW = Verdict.OK, Verdict.NG, Verdict.REVIEW
POLICY = GatePolicy(min_holdout_good=20, min_holdout_defective=5)


def parts(judgement: Judgement, candidate: list[Verdict], champion: list[Verdict] | None) -> list[HeldOutPicture]:
    against: list[Verdict | None] = [None] * len(candidate) if champion is None else [*champion]
    return [
        HeldOutPicture(f"{judgement}-{index}", judgement, said, other)
        for index, (said, other) in enumerate(zip(candidate, against, strict=True))
    ]


def ask(
    good: tuple[list[Verdict], list[Verdict]],
    defective: tuple[list[Verdict], list[Verdict]],
    *,
    must_fix: bool = True,
) -> Decision:
    pictures = [*parts(Judgement.GOOD, *good), *parts(Judgement.DEFECTIVE, *defective)]
    return decide(pictures, POLICY, has_champion=True, must_fix_escapes=must_fix, image_auroc=0.9)


ALL_GOOD_OK = ([OK] * 40, [OK] * 40)


@pytest.mark.parametrize(
    ("good", "defective", "must_fix", "outcome"),
    [
        # Mends escapes, costs nothing.
        (ALL_GOOD_OK, ([NG] * 10, [OK] * 5 + [NG] * 5), True, PromotionOutcome.PROMOTED),
        # A person sees it in REVIEW: no escape.
        (ALL_GOOD_OK, ([REVIEW] * 10, [OK] * 5 + [NG] * 5), True, PromotionOutcome.PROMOTED),
        # As many escapes as before is no mending.
        (ALL_GOOD_OK, ([OK] * 5 + [NG] * 5, [NG] * 5 + [OK] * 5), True, PromotionOutcome.REFUSED),
        # Without an alarm as many are allowed.
        (ALL_GOOD_OK, ([OK] * 5 + [NG] * 5, [NG] * 5 + [OK] * 5), False, PromotionOutcome.PROMOTED),
        # One escape more is too many.
        (ALL_GOOD_OK, ([OK] + [NG] * 9, [NG] * 10), False, PromotionOutcome.REFUSED),
        # Overkill of 2 in 40 is above 2 %.
        (([NG] * 2 + [OK] * 38, [OK] * 40), ([NG] * 10, [OK] * 10), True, PromotionOutcome.REFUSED),
        # "REVIEW everything" catches all and is still refused.
        (([REVIEW] * 40, [OK] * 40), ([REVIEW] * 10, [OK] * 10), True, PromotionOutcome.REFUSED),
        # So is "no decision on anything".
        (([Verdict.NO_DECISION] * 40, [OK] * 40), ([NG] * 10, [OK] * 10), True, PromotionOutcome.REFUSED),
        # Too few defective parts held out.
        (ALL_GOOD_OK, ([NG] * 4, [OK] * 4), True, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
        # Too few good ones.
        (([OK] * 19, [OK] * 19), ([NG] * 9, [OK] * 9), True, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
        # The alarm's escapes are not among the held-out parts: nothing can be shown.
        (ALL_GOOD_OK, ([NG] * 10, [NG] * 10), True, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
    ],
)
def test_gate_answers(
    good: tuple[list[Verdict], list[Verdict]],
    defective: tuple[list[Verdict], list[Verdict]],
    must_fix: bool,
    outcome: PromotionOutcome,
) -> None:
    decision = ask(good, defective, must_fix=must_fix)
    assert decision.outcome is outcome
    assert all(check.is_passed for check in decision.checks) == (outcome is PromotionOutcome.PROMOTED)


def test_every_check_shows_its_figures() -> None:
    decision = ask(ALL_GOOD_OK, ([NG] * 9 + [OK], [OK] * 5 + [NG] * 5))
    text = " ".join(check.detail for check in decision.checks)
    assert "40 held-out good parts, at least 20" in text
    assert "1 of 10 (" in text
    assert "5 mended, 1 newly let through" in text


def test_parts_the_champion_did_not_judge_are_no_evidence() -> None:
    pictures = [*parts(Judgement.GOOD, [OK] * 40, None), *parts(Judgement.DEFECTIVE, [NG] * 10, None)]
    decision = decide(pictures, POLICY, has_champion=True, must_fix_escapes=False, image_auroc=0.9)
    assert decision.outcome is PromotionOutcome.NOT_ENOUGH_EVIDENCE


def test_a_part_counts_once_by_the_share_of_its_pictures() -> None:
    """Ten pictures of one defective part are one part; what is let through of it is the share judged OK."""
    one = [HeldOutPicture("part", Judgement.DEFECTIVE, NG if index < 8 else OK, OK) for index in range(10)]
    others = parts(Judgement.DEFECTIVE, [NG] * 5, [NG] * 5)
    decision = decide(
        [*parts(Judgement.GOOD, *ALL_GOOD_OK), *one, *others],
        POLICY,
        has_champion=True,
        must_fix_escapes=True,
        image_auroc=0.9,
    )
    assert decision.outcome is PromotionOutcome.PROMOTED
    assert any("lets 0.2 of 6" in check.detail and "champion 1 of 6" in check.detail for check in decision.checks)
    assert any("6 held-out defective parts" in check.detail for check in decision.checks)


def test_one_held_picture_of_a_good_part_is_not_the_whole_part() -> None:
    good = [
        HeldOutPicture(f"part-{index % 20}", Judgement.GOOD, REVIEW if index < 10 else OK, OK) for index in range(120)
    ]
    defective = parts(Judgement.DEFECTIVE, [NG] * 10, [OK] * 10)
    decision = decide([*good, *defective], POLICY, has_champion=True, must_fix_escapes=True, image_auroc=0.9)
    assert decision.outcome is PromotionOutcome.PROMOTED
    assert any("hands 1.67 of 20" in check.detail for check in decision.checks)


@pytest.mark.parametrize(
    ("good", "defective", "auroc", "outcome"),
    [
        ([OK] * 20, [NG] * 5, 0.95, PromotionOutcome.PROMOTED),
        ([OK] * 20, [], None, PromotionOutcome.PROMOTED),
        ([NG] * 6 + [OK] * 14, [NG] * 5, 0.95, PromotionOutcome.REFUSED),
        ([OK] * 20, [NG] * 5, 0.5, PromotionOutcome.REFUSED),
        ([OK] * 19, [NG] * 5, 0.95, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
        ([], [], None, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
    ],
)
def test_a_products_first_package_must_only_be_sane(
    good: list[Verdict], defective: list[Verdict], auroc: float | None, outcome: PromotionOutcome
) -> None:
    pictures = [*parts(Judgement.GOOD, good, None), *parts(Judgement.DEFECTIVE, defective, None)]
    decision = decide(pictures, POLICY, has_champion=False, must_fix_escapes=False, image_auroc=auroc)
    assert decision.outcome is outcome


VERDICTS = st.sampled_from([OK, NG, REVIEW, Verdict.NO_DECISION])
PAIRS = st.lists(st.tuples(VERDICTS, VERDICTS), max_size=40)


@given(good=PAIRS, defective=PAIRS, must_fix=st.booleans())
def test_nothing_is_promoted_that_lets_more_defective_parts_through(
    good: list[tuple[Verdict, Verdict]], defective: list[tuple[Verdict, Verdict]], must_fix: bool
) -> None:
    decision = ask(
        ([pair[0] for pair in good], [pair[1] for pair in good]),
        ([pair[0] for pair in defective], [pair[1] for pair in defective]),
        must_fix=must_fix,
    )
    escapes = [sum(pair[side] is OK for pair in defective) for side in (0, 1)]
    if decision.outcome is PromotionOutcome.PROMOTED:
        assert escapes[0] < escapes[1] if must_fix else escapes[0] <= escapes[1]
        assert len(good) >= POLICY.min_holdout_good
        assert len(defective) >= POLICY.min_holdout_defective
