# SPDX-License-Identifier: Apache-2.0
"""A challenger on its way through a station: into shadow, over a restart, to active, or out."""

import pytest

from contracts.commands import ChallengerAssignment
from contracts.vocabulary import PackageState, RefusalReason, Verdict
from edge_agent.inference.slots import PackageSlots
from tests.edge.packages.conftest import Bench
from tests.edge.packages.parts import Parts
from tests.fakes.packages import BuiltPackage

STATE = PackageState
# Means of the pictures at the limits of the first package: OK below 153. The second sees parts twice as bright.
SOUND, DISPUTED = 60, 100


def challenge(bench: Bench, number: int, champion: BuiltPackage, challenger: BuiltPackage, parts: int | None) -> None:
    order = ChallengerAssignment(package_id=challenger.package_id, parts=parts)
    bench.assign(number, {"ring": champion.package_id}, challengers={"ring": order})


def two(bench: Bench, parts: int | None = None) -> tuple[BuiltPackage, BuiltPackage]:
    """A champion that judges, and a challenger in shadow whose limits are the champion's at twice the brightness."""
    champion = bench.built("champion")
    limits = {"ok_limit": 0.6, "ng_limit": 0.8, "sound_parts": 10, "rule": "for tests"}
    challenger = bench.built("challenger", scale=2.0, changes={"limits": limits})
    bench.start()
    challenge(bench, 1, champion, challenger, parts)
    bench.wait_active(champion)
    bench.wait_state(challenger, STATE.SHADOW)
    return champion, challenger


def test_challenger_judges_after_the_champion_and_rides_on_later_reports(bench: Bench) -> None:
    champion, challenger = two(bench)
    parts = Parts(bench)
    parts.show_until_judged(3, DISPUTED)
    parts.show(DISPUTED)
    assert {(report.verdict, report.package_id) for report in parts.outbox.reports} == {
        (Verdict.OK, champion.package_id)
    }
    said = parts.challenged()
    assert said
    assert {(each.package_id, each.verdict) for each in said} == {(challenger.package_id, Verdict.REVIEW)}
    by_sequence = {report.sequence: report for report in parts.outbox.reports}
    for report in parts.outbox.reports:
        if report.challenger is not None:
            judged = by_sequence[report.challenger.sequence]
            assert judged.sequence < report.sequence
            assert judged.score is not None
            assert report.challenger.score == pytest.approx(2 * judged.score, rel=1e-4)
    assert {(each.epoch, each.sequence) for each in bench.pictures} >= {(77, each.sequence) for each in said}


def test_status_counts_what_the_challenger_did(bench: Bench) -> None:
    _, challenger = two(bench)
    parts = Parts(bench)
    parts.show_until_judged(3, DISPUTED)
    parts.show_until_judged(6, SOUND)
    bench.wait(
        lambda: (row := bench.row(challenger)) is not None and (row.shadow is not None and row.shadow.judged >= 6)
    )
    row = bench.row(challenger)
    assert row is not None
    assert row.shadow is not None
    assert (row.state, row.shadow.errors, row.shadow.wanted) == (STATE.SHADOW, 0, None)
    assert 0 < row.shadow.discordant < row.shadow.judged
    assert row.shadow.champion_p99_ms is not None
    assert row.shadow.challenger_p99_ms is not None
    assert row.self_test_tolerance == pytest.approx(0.001)


def test_restart_resumes_the_shadow_with_its_counts_and_without_network(bench: Bench) -> None:
    champion, challenger = two(bench)
    Parts(bench).show_until_judged(4)
    bench.stop()
    before = bench.row(challenger)
    bench.statuses.clear()
    bench.broker.retained.clear()
    bench.server.is_reachable = False
    bench.start()
    bench.wait_active(champion)
    row = bench.wait_state(challenger, STATE.SHADOW)
    assert before is not None
    assert row.shadow is not None
    assert row.shadow.judged >= 4


def test_challenger_becomes_active_once_it_judged_its_parts_and_stays_so_over_a_restart(bench: Bench) -> None:
    champion, challenger = two(bench, parts=5)
    parts = Parts(bench)
    parts.show_until_judged(5)
    bench.wait_active(challenger)
    assert parts.show().package_id == challenger.package_id
    assert bench.row(champion) is None
    slots = bench.store.slots("ring")
    assert (slots.current, slots.previous) == (challenger.package_id, champion.package_id)
    bench.stop()
    bench.statuses.clear()
    bench.start()
    bench.wait_active(challenger)


def test_challenger_told_to_go_on_never_becomes_active_by_itself(bench: Bench) -> None:
    champion, _ = two(bench)
    parts = Parts(bench)
    parts.show_until_judged(30)
    assert parts.show().package_id == champion.package_id


def test_assignment_that_names_the_challenger_makes_it_active(bench: Bench) -> None:
    _, challenger = two(bench)
    bench.assign(2, {"ring": challenger.package_id})
    bench.wait_active(challenger)
    assert bench.shadow.counts("ring") is None
    bench.wait(lambda: len(bench.status().packages) == 1)


def test_assignment_without_the_challenger_ends_it_and_frees_its_disk(bench: Bench) -> None:
    champion, challenger = two(bench)
    bench.assign(2, {"ring": champion.package_id})
    bench.wait(lambda: bench.status().assignment_number == 2 and bench.row(challenger) is None)
    bench.wait(lambda: bench.store.slots("ring").challenger is None)
    third = bench.built("third", scale=1.5)
    bench.assign(3, {"ring": third.package_id})
    bench.wait_active(third)
    bench.wait(lambda: not (bench.disk / "packages" / "ring" / challenger.package_id).exists())


def test_challenger_that_fails_leaves_the_champion_alone_and_is_not_tried_again_after_a_restart(bench: Bench) -> None:
    champion, challenger = two(bench)
    worker = bench.shadow._workers["ring"]

    class Broken:
        provider = "CPUExecutionProvider"

        def run(self, _image: object) -> object:
            raise RuntimeError("driver")

    worker._loaded = type(worker._loaded)(
        challenger.package_id,
        challenger.manifest,
        worker._loaded.variant,
        Broken(),  # type: ignore[arg-type]
    )
    parts = Parts(bench)

    def is_over() -> bool:
        assert parts.show().verdict is Verdict.OK
        row = bench.row(challenger)
        return row is not None and row.state is STATE.REFUSED

    bench.wait(is_over)
    row = bench.row(challenger)
    assert row is not None
    assert row.reason is RefusalReason.ERRED
    assert "20 parts in a row failed, the last: RuntimeError: driver" in row.detail
    assert [fault.code for fault in bench.installer.faults()] == ["challenger-ended"]
    bench.stop()
    bench.statuses.clear()
    bench.start()
    bench.wait_active(champion)
    assert bench.wait_state(challenger, STATE.REFUSED).reason is RefusalReason.ERRED
    assert bench.shadow.counts("ring") is None


def test_challenger_that_takes_the_process_with_it_is_over_after_three(bench: Bench) -> None:
    champion, challenger = two(bench)
    for _ in range(3):
        note = bench.installer.challengers._notes.shadow("ring", 1, challenger.package_id)
        bench.stop()
        # As if the process had been killed: nothing of a clean end is on the disk.
        bench.installer.challengers._notes.note_shadow("ring", note)
        bench.statuses.clear()
        bench.start()
        bench.wait_active(champion)
        bench.wait(lambda: (row := bench.row(challenger)) is not None and row.state in (STATE.SHADOW, STATE.REFUSED))
    row = bench.wait_state(challenger, STATE.REFUSED)
    assert row.detail == "the station's process ended 3 times while it judged"


def test_package_too_slow_for_its_recipe_is_refused_with_figures_and_the_old_one_judges_on(bench: Bench) -> None:
    champion, challenger = bench.built("champion"), bench.built("challenger", scale=2.0)
    bench.deadline_ms = 60_000
    bench.start()
    bench.assign(1, {"ring": champion.package_id})
    bench.wait_active(champion)
    row = bench.row(champion)
    assert row is not None
    assert row.infer_p99_ms is not None
    assert row.deadline_ms == 60_000
    bench.deadline_ms = 0.000_001
    bench.assign(2, {"ring": challenger.package_id})
    refused = bench.wait_refused(RefusalReason.DEADLINE)
    assert "within the recipe's 1e-06 ms, got p99" in refused.detail
    active = bench.slots.active("ring")
    assert active is not None
    assert active.package_id == champion.package_id


def test_what_the_other_stages_take_counts_against_the_deadline(bench: Bench) -> None:
    champion, challenger = bench.built("champion"), bench.built("challenger", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": champion.package_id})
    bench.wait_active(champion)
    bench.deadline_ms = 60_000
    bench.installer.readying.other_ms["ring"] = 60_000.0
    bench.assign(2, {"ring": challenger.package_id})
    assert "the 60000.0 ms of the other stages" in bench.wait_refused(RefusalReason.DEADLINE).detail


def test_slow_challenger_never_gets_into_shadow(bench: Bench) -> None:
    champion, challenger = bench.built("champion"), bench.built("challenger", scale=2.0)
    bench.start()
    bench.assign(1, {"ring": champion.package_id})
    bench.wait_active(champion)
    bench.deadline_ms = 0.000_001
    challenge(bench, 2, champion, challenger, None)
    assert bench.wait_state(challenger, STATE.REFUSED).reason is RefusalReason.DEADLINE
    assert bench.shadow.counts("ring") is None


def test_current_package_is_not_refused_for_its_time_at_a_restart(bench: Bench) -> None:
    champion = bench.built("champion")
    bench.start()
    bench.assign(1, {"ring": champion.package_id})
    bench.wait_active(champion)
    bench.stop()
    bench.statuses.clear()
    bench.deadline_ms = 0.000_001
    bench.slots = PackageSlots()
    bench.start()
    bench.wait_active(champion)
