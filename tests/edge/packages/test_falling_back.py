# SPDX-License-Identifier: Apache-2.0
"""The station goes back by itself when the active package errs, once, and says so."""

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.vocabulary import PackageState, RefusalReason, Verdict, VerdictCause
from edge_agent.errors import InferenceError
from edge_agent.inference.session import Inference, LoadedPackage
from edge_agent.packages.guard import GuardPolicy
from tests.edge.packages.conftest import Bench
from tests.edge.packages.parts import Parts
from tests.fakes.packages import BuiltPackage

STATE = PackageState
FELL_BACK, ERRS = "package-fell-back", "package-errs"


class Broken:
    """A session that has gone wrong after its self-test."""

    provider = "CPUExecutionProvider"

    def __init__(self, score: float | None) -> None:
        self.score = score

    def run(self, _image_bgr: NDArray[np.uint8]) -> Inference:
        if self.score is None:
            raise InferenceError("driver")
        return Inference(self.score, np.zeros((4, 4), dtype=np.float32), np.zeros(3, dtype=np.float32))


def two(bench: Bench, *, judged_well: bool = True) -> tuple[BuiltPackage, BuiltPackage, Parts]:
    """A first package that judged well, and a second one that is active now."""
    first, second = bench.built("first"), bench.built("second", scale=1.1)
    bench.start()
    bench.assign(1, {"ring": first.package_id})
    bench.wait_active(first)
    parts = Parts(bench)
    if judged_well:
        for _ in range(10):
            parts.show()
        bench.wait(lambda: bench.installer.switch._notes.has_judged_well("ring", first.package_id))
    bench.assign(2, {"ring": second.package_id})
    bench.wait_active(second)
    return first, second, parts


def break_down(bench: Bench, score: float | None = None) -> None:
    """From now on the active package fails, or gives every part this score."""
    active = bench.slots.active("ring")
    assert active is not None
    bench.slots.activate(LoadedPackage(active.package_id, active.manifest, active.variant, Broken(score)))


def codes(bench: Bench) -> list[str]:
    return [fault.code for fault in bench.installer.faults()]


def show_until_judged_by(bench: Bench, parts: Parts, package: BuiltPackage) -> None:
    bench.wait(lambda: parts.show().package_id == package.package_id)


@pytest.mark.parametrize("score", [None, float("nan")], ids=["exceptions", "nan"])
def test_package_that_errs_is_replaced_by_the_previous_one_and_the_station_says_so(
    bench: Bench, score: float | None
) -> None:
    first, second, parts = two(bench)
    break_down(bench, score)
    assert parts.show().cause is VerdictCause.INFERENCE_ERROR
    show_until_judged_by(bench, parts, first)
    assert parts.show().verdict is Verdict.OK
    row = bench.wait_state(second, STATE.FELL_BACK)
    assert (row.reason, row.judging) == (RefusalReason.ERRED, first.package_id)
    assert row.detail.startswith("5 parts in a row could not be judged by it, of ")
    assert codes(bench) == [FELL_BACK]
    assert [active.package_id for active in bench.slots.snapshot()] == [first.package_id]


def test_falling_back_opens_nothing_since_the_previous_package_is_kept_open(bench: Bench) -> None:
    first, _, parts = two(bench)
    warm = bench.installer.switch._warm["ring"]
    break_down(bench)
    show_until_judged_by(bench, parts, first)
    assert bench.slots.active("ring") is warm


def test_after_a_restart_the_previous_package_is_open_again_before_it_is_wanted(bench: Bench) -> None:
    first, second, _ = two(bench)
    bench.stop()
    bench.statuses.clear()
    bench.start()
    bench.wait_active(second)
    bench.wait(lambda: "ring" in bench.installer.switch._warm)
    assert bench.installer.switch._warm["ring"].package_id == first.package_id


def test_scores_that_stand_still_over_different_pictures_are_an_error(bench: Bench) -> None:
    bench.policy = GuardPolicy(sound_parts=3, stuck_parts=30)
    first, second, parts = two(bench)
    break_down(bench, 0.25)
    show_until_judged_by(bench, parts, first)
    row = bench.wait_state(second, STATE.FELL_BACK)
    assert row.detail.startswith("30 parts in a row got the score 0.25, with ")


def test_parts_that_were_late_before_the_graph_saw_them_are_not_held_against_the_package(bench: Bench) -> None:
    _, second, _ = two(bench)
    hurried = Parts(bench, deadline_ms=0.000_001)
    assert {hurried.show().cause for _ in range(60)} == {VerdictCause.LATE}
    bench.wait(lambda: not bench.watch._seen)
    assert [active.package_id for active in bench.slots.snapshot()] == [second.package_id]
    assert codes(bench) == []


def test_it_stays_with_the_previous_package_over_a_restart_and_a_repeated_assignment(bench: Bench) -> None:
    first, second, parts = two(bench)
    break_down(bench)
    show_until_judged_by(bench, parts, first)
    bench.wait_state(second, STATE.FELL_BACK)
    bench.stop()
    bench.statuses.clear()
    bench.start()
    bench.wait_state(second, STATE.FELL_BACK)
    assert [active.package_id for active in bench.slots.snapshot()] == [first.package_id]
    assert codes(bench) == [FELL_BACK]
    assert (bench.store.slots("ring").current, bench.installer.counters.activated) == (first.package_id, 1)


def test_it_falls_back_once_for_an_assignment(bench: Bench) -> None:
    first, second, parts = two(bench)
    break_down(bench)
    show_until_judged_by(bench, parts, first)
    bench.wait_state(second, STATE.FELL_BACK)
    # Even if the other one counted as sound again, the two must not take turns.
    bench.installer.switch.judged_well("ring", second.package_id)
    break_down(bench)
    bench.wait(lambda: parts.show().cause is VerdictCause.INFERENCE_ERROR and ERRS in codes(bench))
    report = parts.show()
    assert (report.package_id, report.disposition) == (first.package_id, "HELD")


def test_without_a_previous_package_that_judged_well_parts_are_held_as_before(bench: Bench) -> None:
    _, second, parts = two(bench, judged_well=False)
    break_down(bench)
    bench.wait(lambda: parts.show().cause is VerdictCause.INFERENCE_ERROR and codes(bench) == [ERRS])
    report = parts.show()
    assert (report.package_id, report.disposition) == (second.package_id, "HELD")
    (fault,) = bench.installer.faults()
    assert "there is no previous package that judged well here: it judges on" in fault.message


def test_a_new_assignment_tries_the_package_again(bench: Bench) -> None:
    first, second, parts = two(bench)
    break_down(bench)
    show_until_judged_by(bench, parts, first)
    bench.wait_state(second, STATE.FELL_BACK)
    bench.assign(3, {"ring": second.package_id})
    bench.wait_active(second)
    bench.wait(lambda: codes(bench) == [])


def test_falling_back_waits_for_no_download(bench: Bench) -> None:
    first, second, parts = two(bench)
    third = bench.built("third", scale=1.2)
    held: list[str] = []

    def fall_back_meanwhile(path: str) -> None:
        if path == f"targets/{third.package_id}/golden.npz" and not held:
            held.append(path)
            break_down(bench)
            show_until_judged_by(bench, parts, first)

    bench.server.on_request = fall_back_meanwhile
    bench.assign(3, {"ring": third.package_id})
    bench.wait_active(third)
    assert held
    assert second.package_id in {report.package_id for report in parts.outbox.reports}


def test_package_that_takes_the_process_with_it_is_left_after_three_starts(bench: Bench) -> None:
    first, second, _ = two(bench)
    for _ in range(3):
        starts = bench.installer.switch._notes.starts("ring", second.package_id)
        bench.stop()
        # As if the process had been killed: nothing of a clean end is on the disk.
        bench.installer.switch._notes.note_starts("ring", second.package_id, starts)
        bench.statuses.clear()
        bench.start()
        bench.wait(lambda: bench.row(second) is not None)
    row = bench.wait_state(second, STATE.FELL_BACK)
    assert row.detail.startswith("the station's process ended 3 times before it had judged well")
    bench.wait(lambda: [active.package_id for active in bench.slots.snapshot()] == [first.package_id])


def test_a_station_that_is_stopped_often_on_purpose_keeps_its_package(bench: Bench) -> None:
    _, second, _ = two(bench)
    for _ in range(4):
        bench.stop()
        bench.statuses.clear()
        bench.start()
        bench.wait_active(second)
