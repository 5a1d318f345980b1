# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a package are: also at stations that caught up to it, and however many orders there were."""

from pathlib import Path

from sqlmodel import select

from central.services.rollouts.evidence import exposure_of, given_it, quarantine_of, riskiest_of
from central.store.learning_tables import RolloutRow
from central.store.tables import Station
from contracts.vocabulary import Verdict
from tests.central.services.bench import PRODUCT, Bench
from tests.central.services.lines import NG, OK, line


def counted(bench: Bench, rollout_id: int) -> dict[str, int]:
    with bench.database.read() as session:
        row = session.get_one(RolloutRow, rollout_id)
        return {each.station: sum(each.verdicts.values()) for each in exposure_of(session, row)}


def test_parts_of_a_station_that_caught_up_are_counted_and_listed(any_bench: Bench, tmp_path: Path) -> None:
    bench = any_bench
    (first,), champion = line(bench, tmp_path, "st-1")
    before = bench.rollout().id or 0
    candidate = bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    bench.report(first, [OK] * 20)
    bench.tick(3)
    rollout_id = bench.rollout().id or 0
    assert bench.champion() == candidate
    late = bench.add_station("st-9")
    # What it judged before it was given the package, with one that nobody gave it, is none of the rollout's.
    bench.report(late, [OK] * 3, package_id=candidate)
    bench.tick(3)
    assert late.running == {PRODUCT: candidate}
    bench.report(late, [OK] * 30 + [NG] * 10)
    assert counted(bench, rollout_id) == {"plant/line-1/st-1": 20, "plant/line-1/st-9": 40}
    with bench.database.read() as session:
        row = session.get_one(RolloutRow, rollout_id)
        listed = [each.station for each in quarantine_of(session, row)]
        assert listed == ["plant/line-1/st-1"] * 20 + ["plant/line-1/st-9"] * 30
        assert len(riskiest_of(session, row, 500, "plant/line-1/st-9")) == 30
        # It was never given the champion of before.
        assert set(given_it(session, session.get_one(RolloutRow, before))) == {"plant/line-1/st-1"}


def test_more_distinct_orders_than_a_condition_may_have_parts(any_bench: Bench, tmp_path: Path) -> None:
    bench = any_bench
    (first, second), champion = line(bench, tmp_path, "st-1", "st-2")
    bench.register(2, tmp_path, champion=champion)
    bench.tick(2)
    judging = first if first.running[PRODUCT] != champion else second
    bench.report(judging, [OK] * 7 + [NG] * 2)
    rollout_id = bench.rollout().id or 0
    many = [f"plant/line-2/s-{number}" for number in range(5_000)]
    with bench.database.begin() as session:
        session.add_all(
            Station(address=address, first_seen_at=bench.clock.now(), is_simulated=True) for address in many
        )
        row = session.get_one(RolloutRow, rollout_id)
        noted = {
            address: {"package_id": champion, "number": 1, "after_inspection_id": number}
            for number, address in enumerate(many)
        }
        row.before = {**row.before, **noted}
        session.add(row)
    assert counted(bench, rollout_id) == {str(judging.address): 9}
    with bench.database.read() as session:
        row = session.get_one(RolloutRow, rollout_id)
        assert len(list(quarantine_of(session, row))) == 7
        assert [each.station for each in riskiest_of(session, row, 5)] == [str(judging.address)] * 5


def test_rollout_that_has_touched_nobody_exposed_nothing(bench: Bench, tmp_path: Path) -> None:
    (first,), _ = line(bench, tmp_path, "st-1")
    bench.report(first, [Verdict.OK] * 3)
    with bench.database.begin() as session:
        row = session.exec(select(RolloutRow)).one()
        row.before = {}
        session.add(row)
    assert counted(bench, bench.rollout().id or 0) == {}
