# SPDX-License-Identifier: Apache-2.0
"""Figures by defect class out of an evaluation, and what differs between jobs."""

from typing import Any

from central.domain.experiments import ClassFigures, Difference, by_class, differences, flat
from contracts.jobs import EvaluationReport, HoldoutVerdict
from contracts.vocabulary import DetectorKind, Judgement, Variant, Verdict


def seen(
    group: str, verdict: Verdict, defect_class: str | None = None, *, judgement: Judgement = Judgement.DEFECTIVE,
    champion: Verdict | None = None,
) -> HoldoutVerdict:  # fmt: skip
    return HoldoutVerdict(
        sha256="a" * 64, group=group, judgement=judgement, defect_class=defect_class, candidate_score=1.0,
        candidate_verdict=verdict, champion_verdict=champion,
    )  # fmt: skip


def report(*holdout: HoldoutVerdict) -> EvaluationReport:
    return EvaluationReport(
        training_id="t-1", product="ring", detector=DetectorKind.MIXED, package_id="b" * 64,
        candidate_variant=Variant.FP32, is_simulated=True, train_good=1, train_defective=1, holdout=list(holdout),
        variants=[], backbone="compact", backbone_weights_source="shipped", training_seconds=1.0,
    )  # fmt: skip


def test_a_part_counts_once_by_its_worst_picture_and_good_ones_come_first() -> None:
    good = Judgement.GOOD
    found = by_class(
        report(
            seen("p-1", Verdict.NG, "pit"),
            seen("p-1", Verdict.OK, "pit"),
            seen("p-2", Verdict.REVIEW, "pit"),
            seen("p-3", Verdict.OK),
            seen("p-4", Verdict.OK, judgement=good),
            seen("p-4", Verdict.NO_DECISION, judgement=good),
            seen("p-5", Verdict.REVIEW, judgement=good),
            seen("p-6", Verdict.OK, judgement=Judgement.UNSURE),
        )
    )
    assert found == [
        ClassFigures("good", parts=2, pictures=3, wrong=1, champion_wrong=None),
        ClassFigures("pit", parts=2, pictures=3, wrong=1, champion_wrong=None),
        ClassFigures("unnamed", parts=1, pictures=1, wrong=1, champion_wrong=None),
    ]


def test_a_champion_counts_where_it_judged_every_picture_of_the_class() -> None:
    found = by_class(
        report(
            seen("p-1", Verdict.NG, "pit", champion=Verdict.OK),
            seen("p-2", Verdict.NG, "pit", champion=Verdict.NG),
            seen("p-3", Verdict.NG, "scratch", champion=Verdict.OK),
            seen("p-4", Verdict.NG, "scratch"),
        )
    )
    assert [(each.name, each.champion_wrong) for each in found] == [("pit", 1), ("scratch", None)]


def test_only_what_differs_is_told_and_what_one_has_not_is_none() -> None:
    several: list[dict[str, Any]] = [{"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 1, "c": [2]}}]
    assert flat(several[0]) == {"a.b": 1, "a.c": [1], "d": 2}
    assert differences(several) == [Difference("a.c", [[1], [2]]), Difference("d", [2, None])]
