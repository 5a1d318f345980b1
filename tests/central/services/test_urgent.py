# SPDX-License-Identifier: Apache-2.0
"""What is sent back is urgent: it passes the maintenance windows of stations. What goes forward waits for them."""

from datetime import timedelta
from pathlib import Path

from central.services.rollouts.assigning import Assigner
from central.store.repositories import stations as station_rows
from central.trust.assignments import open_assignment
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import PackageState, Verdict
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import line

OK, NG = Verdict.OK, Verdict.NG


def test_the_way_back_is_urgent_and_the_way_forward_is_not(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK, *[NG] * 30])
    bench.tick(3)
    assert [item.packages[0].is_urgent for item in first.assignments] == [False, False, True]
    assert first.running[PRODUCT] == champion


def test_rollout_knows_of_the_window_that_a_station_waits_for(bench: Bench, tmp_path: Path) -> None:
    (first, _), champion = line(bench, tmp_path, "st-1", "st-2")
    first.installs = False
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    opens = bench.clock.now() + timedelta(hours=9)
    status = PackageStatus(
        station=first.address,
        assignment_number=first.assignments[-1].number,
        at=bench.clock.now(),
        packages=[
            PackageProgress(
                product=PRODUCT,
                package_id=candidate,
                state=PackageState.DOWNLOADING,
                waits_until=opens,
                at=bench.clock.now(),
            )
        ],
    )
    with bench.database.begin() as session:
        station_rows.keep_package_status(session, first.address, status.model_dump_json(), bench.clock.now())
    bench.tick(2)
    assert f"waits for its maintenance window, which opens at {opens:%Y-%m-%d %H:%M} UTC" in bench.rollout().machine


def test_what_is_urgent_stays_so_until_another_package_is_assigned(bench: Bench, tmp_path: Path) -> None:
    (first,), champion = line(bench, tmp_path, "st-1")
    assigner = Assigner(bench.database, bench.publisher, bench.assignment_key, 30.0)

    def assign(package_id: str, *urgent: str) -> bool:
        with bench.database.begin() as session:
            station = station_rows.find(session, str(first.address))
            assert station is not None
            assigner.assign(session, station, {PRODUCT: package_id}, "test", bench.clock.now(), urgent=urgent)
            row = assigner.in_force(session, station)
            assert row is not None
            opened = open_assignment(row.sealed.encode(), bench.assignment_key.public_key)
        return opened.packages[0].is_urgent

    assert assign(champion, PRODUCT)
    assert assign(champion)
    assert not assign("e" * 64)
    assert not assign(champion)
