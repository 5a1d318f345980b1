# SPDX-License-Identifier: Apache-2.0
"""The gate's conditions: what passes, what fails, and what is too little to say."""

from dataclasses import replace

import pytest

from central.domain.gate_machine import StationTime, machine_conditions
from central.domain.gating import (
    Condition,
    GateTerms,
    SeenPicture,
    compare_with_champion,
    compare_with_exact,
    outcome_of,
    worst_differing,
)
from contracts.gating import GateReport, GoldenMeasured, GraphTimed
from contracts.vocabulary import ConditionState, PromotionOutcome, Variant, Verdict, WhenMissing

PASSED, FAILED, MISSING = ConditionState.PASSED, ConditionState.FAILED, ConditionState.NOT_ENOUGH_EVIDENCE
TERMS = GateTerms()
NEW, OLD = "a" * 64, "b" * 64


def picture(number: int, challenger: Verdict, champion: Verdict | None, defect: str | None = None,
            **changes: object) -> SeenPicture:  # fmt: skip
    made = SeenPicture(
        sha256=f"{number:064x}", part=f"{defect}-{number}", is_defective=defect is not None, defect_class=defect,
        is_test=True, inclusion_probability=None, challenger=challenger, exact=challenger, champion=champion,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]  # fields by name


def alike(count: int, defect: str | None = None, **changes: object) -> list[SeenPicture]:
    right = Verdict.NG if defect else Verdict.OK
    return [picture(number, right, right, defect, **changes) for number in range(count)]


def by_name(conditions: list[Condition]) -> dict[str, ConditionState]:
    return {condition.name: condition.state for condition in conditions}


def test_classes_with_parts_enough_pass_and_small_ones_are_not_known() -> None:
    seen = [*alike(80, "crack"), *alike(5, "pit"), *alike(200)]
    found = by_name(compare_with_champion(seen, TERMS))
    assert found == {
        "recall of crack, test set": PASSED,
        "recall of pit, test set": MISSING,
        "overkill, test set": PASSED,
        "recall, audited parts": MISSING,
        "overkill, audited parts": MISSING,
    }


def test_one_class_that_got_worse_fails_however_well_the_others_do() -> None:
    lost = [picture(1_000 + number, Verdict.OK, Verdict.NG, "pit") for number in range(12)]
    won = [picture(2_000 + number, Verdict.NG, Verdict.OK, "crack") for number in range(40)]
    found = by_name(compare_with_champion([*alike(80, "crack"), *won, *alike(60, "pit"), *lost], TERMS))
    assert found["recall of crack, test set"] is PASSED
    assert found["recall of pit, test set"] is FAILED


def test_few_parts_that_all_got_worse_fail_and_are_not_called_too_few() -> None:
    lost = [picture(number, Verdict.OK, Verdict.NG, "pit") for number in range(6)]
    assert by_name(compare_with_champion(lost, TERMS))["recall of pit, test set"] is FAILED


def test_review_is_no_escape_and_no_decision_is_an_overkill() -> None:
    held = [picture(number, Verdict.REVIEW, Verdict.NG, "pit") for number in range(80)]
    undecided = [picture(number, Verdict.NO_DECISION, Verdict.OK) for number in range(200)]
    found = by_name(compare_with_champion([*held, *undecided], TERMS))
    assert found["recall of pit, test set"] is PASSED
    assert found["overkill, test set"] is FAILED


def test_a_part_counts_once_by_its_worst_picture() -> None:
    many = [picture(number, Verdict.NG, Verdict.NG, "pit", part="one") for number in range(99)]
    worst = picture(99, Verdict.OK, Verdict.NG, "pit", part="one")
    (condition, *_) = compare_with_champion([*many, worst], TERMS)
    assert (condition.figures["parts"], condition.figures["pictures"], condition.figures["newly"]) == (1, 100, 1)
    assert condition.state is MISSING


def test_what_the_champion_did_not_judge_counts_for_nobody() -> None:
    (condition, *_) = compare_with_champion([picture(n, Verdict.NG, None, "pit") for n in range(90)], TERMS)
    assert (condition.state, condition.figures["parts"]) == (MISSING, 0)


def audited(count: int, lost: int, chance: float) -> Condition:
    """Recall on audited parts: rejected ones, all judged again, and lost ones that were drawn by chance."""
    seen = alike(count, "pit", is_test=False, inclusion_probability=1.0)
    seen += [
        picture(9_000 + n, Verdict.OK, Verdict.NG, "pit", is_test=False, inclusion_probability=chance)
        for n in range(lost)
    ]
    return next(each for each in compare_with_champion(seen, TERMS) if each.name == "recall, audited parts")


def test_audited_parts_count_by_what_they_stand_for() -> None:
    """The same counts, but what got worse stands for many: seldom drawn parts weigh more."""
    found = audited(500, 10, 0.2)
    assert found.figures["stand_for"] == pytest.approx(550)
    assert found.figures["worse_by"] == pytest.approx(50 / 550)
    assert "stand for 550" in found.detail
    assert found.state is FAILED
    assert audited(500, 10, 1.0).state is PASSED
    # Two parts that stand for twenty each could not have shown anything, whatever they were.
    assert audited(150, 2, 0.05).state is MISSING


def test_audits_that_are_not_demanded_still_stop_what_they_show_to_be_worse() -> None:
    terms = replace(TERMS, needs_audits=False)
    lost = [picture(n, Verdict.OK, Verdict.NG, "pit", is_test=False, inclusion_probability=0.5) for n in range(60)]
    for seen, is_demanded in (([], False), (lost, True)):
        found = {each.name: each for each in compare_with_champion(seen, terms)}
        assert found["recall, audited parts"].is_demanded is is_demanded


def test_the_station_form_is_held_against_its_float_form() -> None:
    lost = [picture(n, Verdict.OK, Verdict.NG, "pit", exact=Verdict.NG) for n in range(20)]
    found = by_name(compare_with_exact([*alike(80, "pit"), *lost, *alike(200)], TERMS, "int8-u8s8"))
    assert found == {"recall of int8-u8s8 against fp32": FAILED, "overkill of int8-u8s8 against fp32": PASSED}
    assert by_name(compare_with_exact([], TERMS, "fp32")) == {"station form against fp32": PASSED}


@pytest.mark.parametrize(
    ("states", "when_missing", "outcome"),
    [
        ([PASSED, PASSED], WhenMissing.ASK, PromotionOutcome.PROMOTED),
        ([PASSED, MISSING], WhenMissing.ASK, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
        ([PASSED, MISSING], WhenMissing.FAIL, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
        ([PASSED, MISSING], WhenMissing.SHOW, PromotionOutcome.PROMOTED),
        ([MISSING, FAILED], WhenMissing.SHOW, PromotionOutcome.REFUSED),
        ([], WhenMissing.SHOW, PromotionOutcome.NOT_ENOUGH_EVIDENCE),
    ],
)
def test_what_is_missing_is_never_a_pass_unless_it_is_only_shown(
    states: list[ConditionState], when_missing: WhenMissing, outcome: PromotionOutcome
) -> None:
    assert outcome_of([Condition("one", state, "") for state in states], when_missing) is outcome


def test_an_undemanded_condition_decides_nothing() -> None:
    shown = Condition("two", MISSING, "", is_demanded=False)
    assert outcome_of([Condition("one", PASSED, ""), shown], WhenMissing.ASK) is PromotionOutcome.PROMOTED


def test_new_escapes_stand_first_among_what_differs() -> None:
    seen = [
        picture(1, Verdict.NG, Verdict.NG, "pit"),
        picture(2, Verdict.NG, Verdict.OK, "pit"),
        picture(3, Verdict.NG, Verdict.OK),
        picture(4, Verdict.OK, Verdict.NG, "pit"),
        picture(5, Verdict.REVIEW, Verdict.OK),
    ]
    told = [(int(each.sha256, 16), why) for each, why in worst_differing(seen, 10)]
    assert told == [(4, "new escape"), (3, "new overkill"), (2, "escape mended"), (5, "another verdict")]
    assert len(worst_differing(seen, 2)) == 2


def report(**changes: object) -> GateReport:
    timed = GraphTimed(variant=Variant.INT8_U8S8, p50_ms=10.0, p99_ms=14.0, runs=200)
    golden = GoldenMeasured(variant=Variant.INT8_U8S8, images=4, worst_error=0.01, tolerance=0.05)
    values: dict[str, object] = {
        "package_id": NEW, "champion_package_id": OLD, "pictures": [], "timed": timed,
        "champion_timed": timed.model_copy(update={"p50_ms": 8.0}), "memory_mb": 120.0, "golden": [golden],
        "threads": 1, "machine": "x86_64, 2 cores", "seconds": 1.0,
    }  # fmt: skip
    return GateReport.model_validate({**values, **changes})


def machine(times: list[StationTime], *, judged: int = 10, **changes: object) -> dict[str, Condition]:
    found = machine_conditions(report(**changes), times, TERMS, test_pictures=10, judged=judged)
    return {condition.name: condition for condition in found}


def test_a_station_s_own_time_is_scaled_by_how_much_slower_the_challenger_is() -> None:
    found = machine([StationTime("a/b/c", OLD, 90.0, 100.0), StationTime("a/b/d", OLD, 20.0, None)])
    condition = found["time at the stations"]
    assert condition.state is FAILED
    assert "1 of 2 stations would be late; nearest to its deadline a/b/c: expected p99 112.5 ms" in condition.detail
    assert machine([StationTime("a/b/c", OLD, 70.0, 100.0)])["time at the stations"].state is PASSED


def test_what_a_station_measured_of_the_challenger_itself_is_taken_as_it_is() -> None:
    assert machine([StationTime("a/b/c", NEW, 99.0, 100.0)])["time at the stations"].state is PASSED


def test_without_a_station_this_machine_is_asked_and_the_condition_says_so() -> None:
    condition = machine([StationTime("a/b/c", "c" * 64, 1.0, 100.0)])["time at the stations"]
    assert (condition.state, condition.detail.startswith("no station of the product has said")) == (PASSED, True)
    slow = GraphTimed(variant=Variant.FP32, p50_ms=150.0, p99_ms=201.0, runs=200)
    assert machine([], timed=slow)["time at the stations"].state is FAILED
    assert machine([], timed=None)["time at the stations"].state is MISSING


def test_memory_and_golden_images_that_nobody_measured_do_not_pass() -> None:
    assert machine([], memory_mb=None)["memory"].state is MISSING
    assert machine([], memory_mb=5_000.0)["memory"].state is FAILED
    assert machine([], golden=[])["golden parity"].state is MISSING
    name = "golden parity, int8-u8s8"
    for changes, state in (
        ({"worst_error": 0.06}, FAILED),
        ({"worst_error": None}, MISSING),
        ({"worst_error": None, "unscored": 1}, FAILED),
        ({}, PASSED),
    ):
        measured = report().golden[0].model_copy(update=changes)
        assert machine([], golden=[measured])[name].state is state


def test_a_test_set_with_a_lost_picture_is_not_the_test_set() -> None:
    assert machine([])["whole test set"].state is PASSED
    assert machine([], judged=9, left_out=["x.png: empty"])["whole test set"].state is MISSING
