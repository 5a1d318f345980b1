# SPDX-License-Identifier: Apache-2.0
import time
from datetime import timedelta
from types import MappingProxyType

import numpy as np
import pytest

from contracts.recipes import RecipeLimits
from contracts.vocabulary import Disposition, SignalState, StationState, Verdict, VerdictCause
from edge_agent.errors import DeviceError, InferenceError
from edge_agent.frame_queue import QueuedFrame
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.vision.roi import Roi
from tests.edge.station_fakes import DIGEST, Bench, ScoreSession, frame_of, loaded, textured


def test_signal_leaves_before_outbox_and_evidence() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.show(1)
    assert bench.story == ["signal 1", "outbox 1", "evidence 1"]


def test_signal_of_a_part_leaves_before_the_gap_that_it_revealed_is_recorded() -> None:
    bench = Bench(last_recorded=1)
    bench.activate(0.1)
    bench.show(4)
    assert bench.story == ["signal 4", "outbox 2", "outbox 3", "outbox 4", "evidence 3"]


@pytest.mark.parametrize(
    ("score", "verdict", "disposition"),
    [(0.1, Verdict.OK, "PASSED"), (0.4, Verdict.REVIEW, "HELD"), (0.9, Verdict.NG, "REJECTED")],
)
def test_verdict_signal_and_report_agree(score: float, verdict: Verdict, disposition: str) -> None:
    bench = Bench()
    bench.activate(score)
    report = bench.show(1, part_id="p-1")
    signal = bench.output.signals[0]
    assert (report.verdict, report.cause, report.disposition) == (verdict, VerdictCause.SCORE, disposition)
    assert (signal.verdict, signal.disposition, signal.part_id) == (verdict, disposition, "p-1")
    assert report.signal is SignalState.SENT
    assert (report.score, report.ok_limit, report.ng_limit) == (score, 0.3, 0.6)
    assert report.image is not None
    assert bench.evidence.kept == [(1, (64, 64, 3), verdict is not Verdict.OK, verdict is not Verdict.OK, False)]


def test_without_a_package_every_part_is_held() -> None:
    bench = Bench()
    report = bench.show(1)
    assert (report.verdict, report.cause) == (Verdict.NO_DECISION, VerdictCause.NO_PACKAGE)
    assert bench.output.signals[0].disposition is Disposition.HELD


def test_package_of_another_product_never_judges() -> None:
    bench = Bench()
    session = bench.activate(0.1)
    assert bench.show(1, product="board").cause is VerdictCause.NO_PACKAGE
    assert session.runs == 0


def test_part_without_a_product_gets_the_only_active_package() -> None:
    bench = Bench()
    bench.activate(0.1)
    assert bench.show(1, product=None).product == "ring"
    bench.slots.activate(loaded("board", ScoreSession(0.1)))
    assert bench.show(2, product=None).cause is VerdictCause.NO_PACKAGE


def test_verdict_after_the_deadline_is_no_decision_and_holds_the_part() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(deadline_ms=50)})))
    bench.activate(0.1).takes_s = 0.06
    report = bench.show(1)
    assert (report.verdict, report.cause, report.disposition) == ("NO_DECISION", "LATE", "HELD")
    assert report.score == 0.1
    assert bench.output.signals[0].disposition is Disposition.HELD


def test_part_that_is_late_already_costs_no_inference() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(deadline_ms=50)})))
    session = bench.activate(0.1)
    report = bench.show(1, captured_monotonic=bench.clock.monotonic() - 0.06)
    assert report.cause is VerdictCause.LATE
    assert session.runs == 0


@pytest.mark.parametrize("failure", [InferenceError("no"), RuntimeError("driver")])
def test_failing_session_costs_one_part_each_and_never_the_station(failure: Exception) -> None:
    bench = Bench()
    session = bench.activate(0.1)
    session.failure = failure
    assert bench.show(1).cause is VerdictCause.INFERENCE_ERROR
    session.failure = None
    assert bench.show(2).verdict is Verdict.OK


@pytest.mark.parametrize("score", [float("nan"), float("inf")])
def test_score_that_is_no_number_never_passes(score: float) -> None:
    bench = Bench()
    bench.activate(score)
    report = bench.show(1)
    assert (report.cause, report.score, report.disposition) == ("INFERENCE_ERROR", None, "HELD")


@pytest.mark.parametrize(
    "changes",
    [
        {"pixels": None, "fault": "broken JPEG"},
        {"pixels": np.zeros((64, 64, 3), dtype=np.uint8)},
        {"pixels": textured(40, 40)},
    ],
    ids=["unreadable", "black", "smaller than the ROI"],
)
def test_frame_that_is_not_fit_to_judge_is_an_image_fault_not_ng(changes: dict[str, object]) -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(roi=Roi(8, 8, 40, 40))})))
    session = bench.activate(0.9)
    report = bench.show(1, **changes)
    assert (report.cause, report.disposition) == (VerdictCause.IMAGE_FAULT, Disposition.HELD)
    assert session.runs == 0


def test_model_and_evidence_see_the_roi_and_nothing_else() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(roi=Roi(4, 8, 40, 36))})))
    session = bench.activate(0.9)
    bench.show(1)
    assert session.shapes == [(36, 40, 3)]
    assert bench.evidence.kept[0][1] == (36, 40, 3)


@pytest.mark.parametrize("score", [0.1, 0.9])
def test_part_whose_signal_failed_is_held_by_the_gate(score: float) -> None:
    bench = Bench()
    bench.activate(score)
    bench.output.answer = SignalState.FAILED
    report = bench.show(1)
    assert (report.signal, report.disposition) == (SignalState.FAILED, Disposition.HELD)
    assert report.latency is not None
    assert report.latency.reject_ms is None


def test_part_whose_signal_failed_has_passed_a_gate_that_lets_pass_what_it_hears_nothing_of() -> None:
    bench = Bench()
    bench.activate(0.9)
    bench.output.silence = Disposition.PASSED
    assert bench.show(1).disposition is Disposition.REJECTED
    bench.output.answer = SignalState.FAILED
    bench.show(3)
    assert [report.disposition for report in bench.outbox.reports[1:]] == ["PASSED", "PASSED"]


def test_output_hears_when_the_part_was_captured() -> None:
    bench = Bench()
    bench.activate(0.1)
    captured_s = bench.clock.monotonic() - 0.25
    bench.show(1, captured_monotonic=captured_s)
    assert bench.output.captured == [captured_s]


def test_output_that_raises_counts_as_failed() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.output.failure = RuntimeError("cable")
    assert bench.show(1).signal is SignalState.FAILED


def test_missed_parts_are_reported_held_with_the_time_of_the_frame_that_revealed_them() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.show(1)
    bench.clock.advance(1)
    bench.show(4)
    missed = bench.outbox.reports[1:3]
    assert [report.trigger_number for report in missed] == [2, 3]
    for report in missed:
        assert (report.verdict, report.cause, report.disposition) == ("NO_DECISION", "MISSED_FRAME", "HELD")
        assert (report.signal, report.captured_at, report.product) == ("MISSED", bench.clock.now(), "ring")
    assert [report.sequence for report in bench.outbox.reports] == [1, 2, 3, 4]


def test_gap_across_a_restart_is_reported_as_a_crashed_session() -> None:
    bench = Bench(last_recorded=7)
    bench.activate(0.1)
    bench.show(10)
    assert [report.cause for report in bench.outbox.reports] == ["SESSION_CRASHED", "SESSION_CRASHED", "SCORE"]


def test_product_of_missed_parts_is_not_guessed_across_a_changeover() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.show(1)
    bench.clock.advance(1)
    bench.show(3, product="board")
    assert bench.outbox.reports[1].product is None


def test_gap_beyond_the_bound_is_a_station_fault() -> None:
    bench = Bench(last_recorded=0, max_gap_parts=2)
    bench.activate(0.1)
    bench.show(10)
    assert len(bench.outbox.reports) == 3
    assert "trigger-gap" in {fault.code for fault in bench.health.status().faults}


def test_straggler_is_neither_judged_nor_signalled_nor_reported() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.show(1)
    bench.clock.advance(1)
    bench.show(3)
    story = list(bench.story)
    bench.show(2, captured_at=bench.clock.now() - timedelta(seconds=0.5))
    assert bench.story == story
    assert bench.loop.strays == 1


def test_frame_given_up_by_the_full_queue_is_reported_missed_and_signalled_held() -> None:
    bench = Bench()
    session = bench.activate(0.1)
    bench.loop.inspect(QueuedFrame(frame_of(1, bench.clock, pixels=None), is_missed=True))
    report = bench.outbox.reports[0]
    assert (report.cause, report.disposition, report.signal) == ("MISSED_FRAME", "HELD", "SENT")
    assert session.runs == 0


@pytest.mark.parametrize(("station", "frame"), [(True, False), (False, True)])
def test_simulated_rides_from_frame_or_station_to_every_report(*, station: bool, frame: bool) -> None:
    bench = Bench(is_simulated=station, last_recorded=0)
    bench.activate(0.9)
    bench.show(2, is_simulated=frame)
    assert [report.is_simulated for report in bench.outbox.reports] == [True, True]
    assert bench.evidence.kept[0][4]
    assert bench.health.status().is_simulated


def test_defect_class_is_named_for_parts_that_are_not_ok_only() -> None:
    bench = Bench()
    session = bench.activate(0.9, classes=["pit", "stain"])
    session.classes = [0.1, 0.8]
    assert bench.show(1).defect_class == "stain"
    session.score = 0.1
    assert bench.show(2).defect_class is None


def test_loop_thread_survives_everything_around_it_and_judges_what_waits_before_it_stops() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.evidence.failure = RuntimeError("evidence")
    for number in (1, 2):
        bench.queue.put(frame_of(number, bench.clock))
    bench.loop.start()
    assert bench.loop.stop(timeout_s=20)
    assert [report.trigger_number for report in bench.outbox.reports] == [1, 2]
    assert bench.loop.crashes == 2
    assert "loop" in {fault.code for fault in bench.health.status().faults}


@pytest.mark.parametrize("reach", ["judge", "signalled"])
def test_failure_before_the_report_leaves_no_part_unreported(reach: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(last_recorded=0)
    bench.activate(0.1)
    failures = iter([RuntimeError("driver")])
    where, name = (bench.loop._judge, "judge") if reach == "judge" else (bench.loop, "_record_missed")
    real = getattr(where, name)

    def fail_once(*args: object, **more: object) -> object:
        for failure in failures:
            raise failure
        return real(*args, **more)

    monkeypatch.setattr(where, name, fail_once)
    bench.queue.put(frame_of(3, bench.clock, part_id="p-3"))
    bench.queue.put(frame_of(4, bench.clock))
    bench.loop.start()
    assert bench.loop.stop(timeout_s=20)
    told = [(report.trigger_number, report.verdict, report.disposition) for report in bench.outbox.reports]
    assert told == [
        (1, "NO_DECISION", "HELD"),
        (2, "NO_DECISION", "HELD"),
        (3, "NO_DECISION", "HELD"),
        (4, "OK", "PASSED"),
    ]
    assert [report.cause for report in bench.outbox.reports[:3]] == ["SESSION_CRASHED"] * 2 + ["MISSED_FRAME"]
    assert bench.outbox.reports[2].part_id == "p-3"
    assert [report.sequence for report in bench.outbox.reports] == [1, 2, 3, 4]
    assert (bench.loop.crashes, bench.loop.unreported) == (1, 0)


def test_outbox_that_fails_unforeseen_ends_no_thread_and_the_parts_are_counted() -> None:
    bench = Bench(last_recorded=0)
    bench.activate(0.1)
    bench.outbox.failure = RuntimeError("outbox")
    bench.queue.put(frame_of(2, bench.clock))
    bench.loop.start()
    assert bench.loop.stop(timeout_s=20)
    assert (bench.loop.crashes, bench.loop.unreported) == (1, 2)
    (fault,) = [fault for fault in bench.health.status().faults if fault.code == "parts-unreported"]
    assert fault.message.startswith("2 parts passed without a report")


def test_closed_outbox_ends_no_thread() -> None:
    bench = Bench()
    bench.activate(0.1)
    bench.outbox.failure = DeviceError("closed", code="outbox-closed")
    bench.loop.start()
    bench.queue.put(frame_of(1, bench.clock))
    deadline = time.monotonic() + 20
    while not bench.output.signals and time.monotonic() < deadline:
        time.sleep(0.01)
    bench.outbox.failure = None
    bench.queue.put(frame_of(2, bench.clock))
    assert bench.loop.stop(timeout_s=20)
    assert [report.trigger_number for report in bench.outbox.reports] == [2]


def test_state_follows_the_parts() -> None:
    bench = Bench()
    assert bench.health.status().state is StationState.STARTING
    bench.health.started()
    assert bench.health.status().state is StationState.HALTED
    bench.health.source_opened()
    bench.activate(0.1)
    assert bench.health.status().state is StationState.READY
    bench.show(1)
    status = bench.health.status()
    assert status.state is StationState.INSPECTING
    assert status.verdict_latency is not None
    assert (status.parts_total, status.verdict_counts) == (1, {Verdict.OK: 1})


def test_limits_of_a_recipe_hold_for_the_package_that_they_name_and_no_other() -> None:
    for package_id, verdict, shown in ((DIGEST, "NG", 0.2), ("cd" * 32, "OK", 0.6)):
        limits = RecipeLimits(package_id=package_id, ok_limit=0.1, ng_limit=0.2)
        bench = Bench(recipes=Recipes(MappingProxyType({"ring": Recipe(limits=limits, version=3)})))
        bench.activate(0.25)
        report = bench.show(1)
        assert (report.verdict, report.ng_limit, report.recipe_version) == (verdict, shown, 3)


def test_recipe_that_a_frame_was_bound_to_counts_and_names_whose_package_judges() -> None:
    bench = Bench(recipes=Recipes(MappingProxyType({"cap": Recipe(version=1)})))
    bench.activate(0.1)
    bound = Recipe(version=2, package_family="ring")
    report = bench.show(1, product="cap", recipe=bound)
    assert (report.product, report.verdict, report.recipe_version) == ("cap", "OK", 2)
    assert bench.show(2, product="cap").cause is VerdictCause.NO_PACKAGE


@pytest.mark.parametrize("score", [0.1, 0.4, 0.9])
def test_no_part_passes_while_reports_do_not_reach_the_disk_and_its_verdict_is_kept(score: float) -> None:
    bench = Bench()
    session = bench.activate(score)
    sound = bench.show(1)
    bench.outbox.is_behind = True
    behind = bench.show(2)
    assert (behind.verdict, behind.disposition) == (sound.verdict, Disposition.HELD)
    assert bench.output.signals[1].disposition is Disposition.HELD
    bench.outbox.is_behind = False
    assert bench.show(3).disposition is sound.disposition
    assert session.runs == 3


def test_halting_station_does_not_judge_while_reports_do_not_reach_the_disk() -> None:
    bench = Bench(halts_when_behind=True)
    session = bench.activate(0.1)
    bench.outbox.is_behind = True
    report = bench.show(1)
    assert (report.verdict, report.cause) == (Verdict.NO_DECISION, VerdictCause.MISSED_FRAME)
    assert bench.output.signals[0].disposition is Disposition.HELD
    assert session.runs == 0
    bench.outbox.is_behind = False
    assert bench.show(2).disposition is Disposition.PASSED
