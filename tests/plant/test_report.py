# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the report, on parts whose truth was made up by hand."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.vocabulary import Verdict
from plant.findings.demands import Demand, failings
from plant.findings.report import (
    PartReport,
    account,
    cause_counts,
    latency_summary,
    parts_between,
    rate,
    true_rates,
    verdict_counts,
    wilson,
)
from plant.line.truth import PartTruth

START = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
STATION = "demo/line-1/st-1"


def _part(number: int, kind: str | None = None) -> PartTruth:
    return PartTruth(
        station=STATION,
        trigger_number=number,
        part_number=number,
        product="ring",
        part_id=f"part-{number}",
        is_defective=kind is not None,
        defect_class=kind,
        severity=None,
        mask_px=None,
        phase="running",
        side="test",
        captured_at=START + timedelta(seconds=number),
    )


def _report(number: int, verdict: Verdict, package: str | None = OLD, **more: Any) -> PartReport:
    return PartReport(STATION, number, START + timedelta(seconds=number), verdict, package, **more)


def test_part_without_a_report_is_lost_and_named() -> None:
    counted = account([_part(1), _part(2)], [_report(1, Verdict.OK)])
    assert (counted.reports_lost, counted.reports_duplicated, counted.parts_captured) == (1, 0, 2)
    assert counted.lost == [(STATION, 2)]


def test_part_with_two_reports_counts_as_duplicated() -> None:
    counted = account([_part(1)], [_report(1, Verdict.OK), _report(1, Verdict.NG)])
    assert (counted.reports_lost, counted.reports_duplicated, counted.reports_committed) == (0, 1, 2)


def test_same_trigger_at_two_stations_is_two_parts() -> None:
    other = "demo/line-1/st-2"
    counted = account(
        [_part(1), replace(_part(1), station=other)],
        [_report(1, Verdict.OK), replace(_report(1, Verdict.OK), station=other)],
    )
    assert (counted.parts_captured, counted.reports_lost, counted.reports_duplicated) == (2, 0, 0)


def test_report_of_a_part_that_never_passed_is_unknown() -> None:
    assert account([_part(1)], [_report(1, Verdict.OK), _report(9, Verdict.OK)]).reports_unknown == 1


def _story() -> tuple[list[PartTruth], list[PartReport]]:
    truth = [_part(0), _part(1, "scratch"), _part(2, "crack"), _part(3, "crack"), _part(4), _part(5)]
    truth += [_part(6, "crack"), _part(7, "crack"), _part(8), _part(9, "crack")]
    reports = [
        _report(0, Verdict.NG),  # overkill before the new kind came
        _report(1, Verdict.NG),
        _report(2, Verdict.OK),  # escape of the new kind
        _report(3, Verdict.OK),  # another
        _report(4, Verdict.OK),
        _report(5, Verdict.NO_DECISION, None, cause="LATE"),
        _report(6, Verdict.NG, NEW),
        _report(7, Verdict.REVIEW, NEW),  # not an escape
        _report(8, Verdict.NG, NEW),  # overkill
        _report(9, Verdict.NO_DECISION, NEW, cause="LATE"),
    ]
    return truth, reports


def test_escapes_are_split_by_the_package_that_judged() -> None:
    rates = true_rates(*_story(), new_kinds={"crack"}, packages_before={OLD}, packages_after={NEW})
    before, after = rates.escapes_before, rates.escapes_after
    assert (before["new_kind"]["count"], before["new_kind"]["of"]) == (2, 2)
    assert (before["all"]["count"], before["all"]["of"]) == (2, 3)
    assert (after["new_kind"]["count"], after["new_kind"]["of"], after["new_kind"]["rate"]) == (0, 2, 0.0)
    assert rates.new_kind_held == {"review_before": 0, "review_after": 1, "no_decision": 1}


def test_overkill_of_the_new_kind_counts_good_parts_since_it_came() -> None:
    rates = true_rates(*_story(), new_kinds={"crack"}, packages_before={OLD}, packages_after={NEW})
    assert (rates.overkill_before["all"]["count"], rates.overkill_before["all"]["of"]) == (1, 2)
    assert (rates.overkill_before["new_kind"]["count"], rates.overkill_before["new_kind"]["of"]) == (0, 1)
    assert (rates.overkill_after["new_kind"]["count"], rates.overkill_after["new_kind"]["of"]) == (1, 1)


def test_good_parts_held_for_people_are_counted_apart_from_overkill() -> None:
    truth, reports = _story()
    reports[8] = _report(8, Verdict.REVIEW, NEW)
    rates = true_rates(truth, reports, new_kinds={"crack"}, packages_before={OLD}, packages_after={NEW})
    assert (rates.review_after["all"]["count"], rates.review_after["all"]["of"]) == (1, 1)
    assert rates.overkill_after["all"]["count"] == 0
    assert (rates.review_before["all"]["count"], rates.review_before["all"]["of"]) == (0, 2)


def test_part_of_unknown_truth_counts_as_neither_good_nor_defective() -> None:
    truth = [replace(_part(1), is_defective=None)]
    rates = true_rates(truth, [_report(1, Verdict.NG)], new_kinds=set(), packages_before={OLD}, packages_after=set())
    assert (rates.overkill_before["all"]["of"], rates.escapes_before["all"]["of"]) == (0, 0)


def test_rates_without_parts_are_not_known_rather_than_zero() -> None:
    rates = true_rates([], [], new_kinds={"crack"}, packages_before={OLD}, packages_after=set())
    assert rates.escapes_before["new_kind"] == {"rate": None, "count": 0, "of": 0, "low": 0.0, "high": 1.0}


def test_replayed_pictures_that_may_have_been_learnt_from_stay_out_of_the_figures_after() -> None:
    truth, reports = _story()
    truth = [replace(part, side="A" if part.trigger_number == 7 else "B") for part in truth]
    rates = true_rates(truth, reports, new_kinds={"crack"}, packages_before={OLD}, packages_after={NEW}, side_after="B")
    assert rates.escapes_after["new_kind"]["of"] == 1
    assert rates.escapes_before["new_kind"]["of"] == 2


@given(st.integers(0, 2000), st.integers(1, 2000))
def test_wilson_interval_holds_the_share_and_stays_within_bounds(count: int, of: int) -> None:
    count = min(count, of)
    low, high = wilson(count, of)
    assert 0.0 <= low <= count / of + 1e-12
    assert count / of - 1e-12 <= high <= 1.0


def test_wilson_interval_matches_published_figures() -> None:
    low, high = wilson(1, 29)
    assert (round(low, 4), round(high, 4)) == (0.0061, 0.1718)


def test_parts_until_the_alarm_are_counted_by_capture_time() -> None:
    reports = [_report(number, Verdict.OK) for number in range(10)]
    assert parts_between(reports, START + timedelta(seconds=3), START + timedelta(seconds=6.5)) == 4
    assert parts_between(reports, None, START) is None


def test_latency_percentiles_are_values_that_occurred() -> None:
    reports = [_report(n, Verdict.OK, verdict_ms=float(n), reject_ms=float(n) + 1) for n in range(1, 101)]
    summary = latency_summary(reports)
    assert summary["verdict"] == {"count": 100, "p50": 50.0, "p99": 99.0, "max": 100.0}
    assert summary["reject"] == {"count": 100, "p50": 51.0, "p99": 100.0, "max": 101.0}
    assert latency_summary([_report(1, Verdict.OK)]) == {"verdict": None, "reject": None}


def test_verdicts_and_causes_are_counted_by_word() -> None:
    reports = _story()[1]
    assert verdict_counts(reports) == {"OK": 3, "NG": 4, "REVIEW": 1, "NO_DECISION": 2}
    assert cause_counts(reports) == {"LATE": 2}


def _good_report() -> dict[str, Any]:
    return {
        "parts_captured": 3000,
        "reports_lost": 0,
        "reports_duplicated": 0,
        "reports_unknown": 0,
        "alarm_after_parts": 300,
        "training_seconds": 60.0,
        "rollout_seconds": 30.0,
        "alarms": ["ESCAPES"],
        "trainings_after_start": 1,
        "judged_by_product": {"ring": 3000},
        "true_escapes_before": {"new_kind": rate(40, 50), "all": rate(45, 80)},
        "true_escapes_after": {"new_kind": rate(6, 60), "all": rate(8, 90)},
        "true_overkill_before": {"new_kind": rate(10, 900), "all": rate(10, 1000)},
        "true_overkill_after": {"new_kind": rate(15, 1000), "all": rate(15, 1000)},
    }


LOOP = frozenset({Demand.LOOP_CLOSED_AND_BETTER})


def test_run_that_shows_everything_passes() -> None:
    assert failings(_good_report(), LOOP) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"reports_lost": 2}, "2 parts have no report"),
        ({"reports_duplicated": 1}, "1 reports are double"),
        ({"alarm_after_parts": None}, "no ESCAPES alarm"),
        ({"training_seconds": None}, "no training was finished"),
        ({"rollout_seconds": None}, "no rollout was finished"),
        ({"true_escapes_after": {"new_kind": rate(13, 60)}}, r"from 40 of 50 \(80.0%\) to 13 of 60"),
        ({"true_escapes_after": {"new_kind": rate(0, 5)}}, "only 5 parts of the new kind"),
        ({"true_escapes_before": {"new_kind": rate(0, 50)}}, "never escaped"),
        ({"gate": {"forgotten": 3}}, "3 parts at the gate are forgotten"),
        ({"gate": {"passed_without_ok": 2}}, "2 parts passed the gate that no station had judged OK"),
        (
            {
                "gate": {"unrecorded": [{"station": STATION, "epoch": epoch} for epoch in (1, 2)]},
                "restarts": {"edge-st-1": 1, "edge-st-2": 5, "broker": 5},
            },
            r"station st-1: 2 process start\(s\) .* restarted 1 time\(s\)",
        ),
        ({"true_overkill_after": {"all": rate(21, 1000)}}, "overkill went from 10 of 1000"),
    ],
)
def test_each_missing_demand_is_named_with_its_figures(change: dict[str, Any], words: str) -> None:
    found = failings(_good_report() | change, LOOP)
    assert len(found) == 1
    assert re.search(words, found[0])


def test_lamp_that_fades_must_raise_an_alarm_and_train_nothing() -> None:
    shift = frozenset({Demand.SHIFT_SEEN})
    assert len(failings(_good_report(), shift)) == 2
    assert failings(_good_report() | {"alarms": ["IMAGE_SHIFT"], "trainings_after_start": 0}, shift) == []


def test_product_that_nobody_judged_is_named_after_a_changeover() -> None:
    change = {"judged_by_product": {"ring": 10, "board": 0}}
    assert failings(_good_report() | change, frozenset({Demand.ALL_PRODUCTS_JUDGED})) == [
        "product board: no part was judged"
    ]
