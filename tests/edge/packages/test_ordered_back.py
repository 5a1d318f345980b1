# SPDX-License-Identifier: Apache-2.0
"""A station does not fall back by itself to a package that central ordered it away from."""

import pytest

from contracts.vocabulary import PackageState, Verdict, VerdictCause
from edge_agent.packages.orders import Ordered, after
from tests.edge.packages.conftest import Bench
from tests.edge.packages.parts import Parts
from tests.edge.packages.test_falling_back import STATE, break_down, codes, show_until_judged_by, two
from tests.fakes.packages import BuiltPackage

Step = tuple[str | None, bool]
A, B, C, D = ("a" * 64, "b" * 64, "c" * 64, "d" * 64)


def _judge_well(bench: Bench, parts: Parts, package: BuiltPackage) -> None:
    bench.wait(
        lambda: (
            parts.show().package_id == package.package_id
            and bench.installer.switch._notes.has_judged_well("ring", package.package_id)
        )
    )


def _taken_back(bench: Bench) -> tuple[BuiltPackage, BuiltPackage, Parts]:
    """The second package judged well, and central ordered the first one again."""
    first, second, parts = two(bench)
    _judge_well(bench, parts, second)
    bench.assign(3, {"ring": first.package_id})
    bench.wait_active(first)
    return first, second, parts


def _restart(bench: Bench) -> None:
    bench.stop()
    bench.statuses.clear()
    bench.start()


@pytest.mark.parametrize("is_restarted", [False, True])
def test_package_that_was_taken_back_does_not_judge_when_the_present_one_errs(
    bench: Bench, *, is_restarted: bool
) -> None:
    first, second, parts = _taken_back(bench)
    if is_restarted:
        _restart(bench)
        bench.wait_active(first)
        parts = Parts(bench)
    shown = len(parts.outbox.reports)
    break_down(bench)
    bench.wait(lambda: parts.show().cause is VerdictCause.NO_PACKAGE)
    row = bench.wait_state(first, STATE.FELL_BACK)
    assert row.judging is None
    told = f"away from the previous one, {second.package_id[:12]}, and did not name it again; no package judges"
    assert row.detail.endswith(told)
    assert second.package_id not in {report.package_id for report in parts.outbox.reports[shown:]}
    assert codes(bench) == ["package-fell-back"]
    _restart(bench)
    bench.wait_state(first, STATE.FELL_BACK)
    assert (bench.slots.snapshot(), bench.installer.counters.activated) == ([], 0)
    assert Parts(bench).show().cause is VerdictCause.NO_PACKAGE


def test_it_judges_again_by_a_new_order(bench: Bench) -> None:
    first, _, parts = _taken_back(bench)
    break_down(bench)
    bench.wait(lambda: parts.show().cause is VerdictCause.NO_PACKAGE)
    bench.wait_state(first, STATE.FELL_BACK)
    bench.assign(4, {"ring": first.package_id})
    bench.wait_active(first)
    assert parts.show().verdict is Verdict.OK
    assert codes(bench) == []


def test_package_that_a_new_order_names_is_no_longer_barred(bench: Bench) -> None:
    _, second, parts = _taken_back(bench)
    bench.assign(4, {"ring": second.package_id})
    bench.wait_active(second)
    _judge_well(bench, parts, second)
    third = bench.built("third", scale=1.2)
    bench.assign(5, {"ring": third.package_id})
    bench.wait_active(third)
    break_down(bench)
    show_until_judged_by(bench, parts, second)
    assert bench.wait_state(third, STATE.FELL_BACK).judging == second.package_id


def test_way_back_to_a_package_that_was_not_here_bars_what_it_takes_back(bench: Bench) -> None:
    _, second, parts = two(bench)
    _judge_well(bench, parts, second)
    champion = bench.built("champion", scale=1.2)
    bench.assign(3, {"ring": champion.package_id}, urgent=["ring"])
    bench.wait_active(champion)
    break_down(bench)
    bench.wait(lambda: parts.show().cause is VerdictCause.NO_PACKAGE)
    assert bench.wait_state(champion, STATE.FELL_BACK).judging is None


def test_package_taken_back_is_not_kept_open(bench: Bench) -> None:
    _taken_back(bench)
    assert "ring" not in bench.installer.switch._warm


def test_processes_that_end_early_do_not_lead_to_it_either(bench: Bench) -> None:
    first, _, _ = _taken_back(bench)
    notes = bench.installer.switch._notes
    bench.stop()
    # As if three processes had been killed before the first one judged well.
    notes._write(judged_well={})
    notes.note_starts("ring", first.package_id, 3)
    bench.statuses.clear()
    bench.start()
    row = bench.wait_state(first, PackageState.FELL_BACK)
    assert (row.judging, bench.slots.snapshot()) == (None, [])
    assert row.detail.startswith("the station's process ended 3 times")


@pytest.mark.parametrize(
    ("steps", "barred"),
    [
        ([(A, False), (B, False), (C, False)], []),
        ([(A, False), (B, False), (A, False)], [B]),
        ([(A, False), (B, False), (B, True)], []),
        ([(A, False), (B, False), (C, False), (A, True)], [B, C]),
        ([(A, False), (B, False), (C, True)], [B]),
        ([(A, False), (B, False), (C, True), (D, False), (C, True)], [B, D]),
        ([(A, False), (B, False), (A, True), (B, False)], []),
        ([(A, False), (B, False), (None, False), (None, False), (C, False)], [B]),
        ([(A, False), (None, False), (A, False)], []),
    ],
)
def test_what_orders_bar(steps: list[Step], barred: list[str]) -> None:
    ordered = Ordered()
    for number, (package_id, is_urgent) in enumerate(steps, 1):
        ordered = after(ordered, number, package_id, is_urgent=is_urgent)
    assert (ordered.barred, ordered.number) == (barred, len(steps))


def test_what_is_kept_of_orders_is_bounded() -> None:
    ordered = Ordered()
    for number in range(1, 200):
        ordered = after(ordered, number, f"{number:064x}", is_urgent=bool(number % 3))
    assert (len(ordered.path), len(ordered.barred)) == (20, 20)
