# SPDX-License-Identifier: Apache-2.0
"""A wave of many stations costs as many statements as one of few, and counts what each of them judged."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import event

from central.api.rollout_views import rollout_view
from central.domain.rollout_plan import RolloutPlan, WavePlan, WaveScope
from central.services.rollouts.counts import PartBook, PartCounts, counts_of
from central.services.rollouts.evidence import exposure_of
from central.services.rollouts.facts import touched_of
from central.settings import RolloutSettings
from central.store.database import Database
from central.store.learning_tables import RolloutRow
from central.store.repositories import stations as station_rows
from contracts.reports import PackageStatus, StationReported
from contracts.vocabulary import RolloutState, StationState, Verdict, VerdictCause
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT, Bench, FakeStation
from tests.central.services.lines import line

OK, NG, NO_DECISION = Verdict.OK, Verdict.NG, Verdict.NO_DECISION
FEW, MANY = 4, 24
PLAN = RolloutPlan(waves=(WavePlan(WaveScope.ALL, bake_parts=1_000, control=None),))


@contextmanager
def statements(database: Database) -> Iterator[list[str]]:
    """What is sent to the database; many rows of one statement count once."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        sent.append(statement)

    event.listen(database.engine, "before_cursor_execute", note)
    try:
        yield sent
    finally:
        event.remove(database.engine, "before_cursor_execute", note)


def _fleet(bench: Bench, folder: Path, count: int) -> tuple[list[FakeStation], str]:
    """Stations that judge with a champion, and a candidate."""
    fleet, champion = line(bench, folder, *(f"st-{number}" for number in range(count)))
    bench.build(rollout=RolloutSettings(is_automatic=False))
    for station in fleet:
        bench.report(station, [OK, OK, NG])
    return list(fleet), bench.register(2, folder, champion=champion)


def _steps(bench: Bench, folder: Path, count: int) -> dict[str, int]:
    """Statements of each step of a rollout to so many stations."""
    fleet, candidate = _fleet(bench, folder, count)
    counted = {}

    def count_of(name: str, do: Callable[[], object]) -> None:
        with statements(bench.database) as sent:
            do()
        counted[name] = len(sent)

    def tick() -> None:
        bench.rollouts.tick(bench.clock.now())

    rollout_id = bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=PLAN).rollout_id
    count_of("start", tick)
    bench.answer()
    count_of("active", tick)
    for station in fleet:
        bench.report(station, [OK])
    count_of("parts", tick)
    count_of("view", lambda: _view(bench, rollout_id))
    count_of("abort", lambda: bench.rollouts.abort(rollout_id, "anna", bench.clock.now()))
    count_of("beats", lambda: _beat(bench, fleet))
    bench.answer()
    assert [item.number for item in fleet[-1].assignments] == [1, 2, 3]
    return counted


def _view(bench: Bench, rollout_id: int) -> None:
    with bench.database.read() as session:
        row = session.get_one(RolloutRow, rollout_id)
        shown = rollout_view(session, row, bench.rollouts.policy_of(row)).waves[0].stations
    assert {each.parts_judged for each in shown} == {1}


def _beat(bench: Bench, fleet: list[FakeStation]) -> None:
    now = bench.clock.now()
    said = [
        StationReported(station=each.address, at=now, is_connected=True, state=StationState.READY, is_simulated=True)
        for each in fleet
    ]
    told = {each.address: PackageStatus(station=each.address, assignment_number=2, at=now) for each in fleet}
    with bench.database.begin() as session:
        station_rows.keep_statuses(session, [(status, False) for status in said], now)
        station_rows.keep_package_statuses(session, {at: each.model_dump_json() for at, each in told.items()}, now)


def test_a_step_of_a_rollout_costs_no_more_statements_for_many_stations(migrated_sqlite: Path, tmp_path: Path) -> None:
    counted = {}
    for count in (FEW, MANY):
        folder = tmp_path / f"{count}"
        folder.mkdir()
        shutil.copyfile(migrated_sqlite, folder / "central.db")
        database = Database(f"sqlite:///{folder / 'central.db'}")
        counted[count] = _steps(Bench(database, RememberingPublisher(), StillClock(), folder), folder, count)
        database.close()
    assert counted[MANY] == counted[FEW]


def _touched(bench: Bench) -> Any:
    row = bench.rollout()
    with bench.database.read() as session:
        return row, {each.address: touched_of(row, each) for each in station_rows.of(session, row.before)}


def test_what_is_counted_on_from_look_to_look_is_what_is_counted_at_once(any_bench: Bench, tmp_path: Path) -> None:
    bench = any_bench
    fleet, candidate = _fleet(bench, tmp_path, 3)
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=PLAN)
    bench.rollouts.tick(bench.clock.now())
    row, touched = _touched(bench)
    book = PartBook()

    def look() -> dict[str, PartCounts]:
        with bench.database.read() as session:
            on, at_once = book.new(session, row, touched), counts_of(session, row, touched)
        assert on == at_once
        return on

    late = {"cause": VerdictCause.LATE}
    # Before the station judges with the package nothing is the package's doing.
    bench.report(fleet[0], [OK, NO_DECISION], **late)
    look()
    bench.answer()
    bench.report(fleet[0], [OK, NG, OK])
    bench.report(fleet[1], [NO_DECISION], **late)
    look()
    bench.report(fleet[0], [NO_DECISION], **late)
    bench.report(fleet[0], [NO_DECISION], cause=VerdictCause.IMAGE_FAULT)
    bench.report(fleet[1], [NG])
    counts = look()
    first, second = (counts[str(each.address)] for each in fleet[:2])
    assert (first.judged, first.diverted, first.no_decision) == (3, 1, 1)
    assert (second.judged, second.diverted, second.no_decision) == (1, 1, 0)
    assert counts[str(fleet[2].address)] == PartCounts()


def test_a_station_that_is_assigned_again_is_counted_anew(any_bench: Bench, tmp_path: Path) -> None:
    bench = any_bench
    fleet, candidate = _fleet(bench, tmp_path, 1)
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=PLAN)
    bench.rollouts.tick(bench.clock.now())
    bench.answer()
    last = bench.report(fleet[0], [OK, NG])[-1]
    row, touched = _touched(bench)
    address, before = next(iter(touched.items()))
    book = PartBook()
    with bench.database.read() as session:
        assert book.new(session, row, touched)[address].judged == 2
        assert book.past(session, row, touched)[address] == PartCounts(103, 6)
        again = {address: type(before)(before.station_id, candidate, last)}
        assert book.new(session, row, again)[address].judged == 0
        assert book.past(session, row, again)[address] == PartCounts(2, 1)


def test_a_rollout_of_many_stations_ends_as_one_of_few(bench: Bench, tmp_path: Path) -> None:
    fleet, candidate = _fleet(bench, tmp_path, MANY)
    plan = RolloutPlan(
        waves=(
            WavePlan(WaveScope.COUNT, 2, bake_parts=1, control=None),
            WavePlan(WaveScope.ALL, bake_parts=1, control=None),
        )
    )
    bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=plan)
    for _ in range(6):
        bench.tick()
        for station in fleet:
            bench.report(station, [OK])
    assert bench.rollout().state is RolloutState.FINISHED
    assert bench.champion() == candidate
    assert {station.running[PRODUCT] for station in fleet} == {candidate}


def test_the_parts_of_a_bad_package_are_found_at_more_stations_than_a_statement_has_conditions(
    bench: Bench, tmp_path: Path
) -> None:
    fleet, candidate = _fleet(bench, tmp_path, 1)
    rollout_id = bench.rollouts.start(candidate, [], None, "by hand", bench.clock.now(), plan=PLAN).rollout_id
    bench.rollouts.tick(bench.clock.now())
    bench.answer()
    bench.report(fleet[0], [OK, NG])
    names = [f"plant/line-1/more-{number}" for number in range(1_200)]
    with bench.database.begin() as session:
        station_rows.ensure(session, names, bench.clock.now())
        row = session.get_one(RolloutRow, rollout_id)
        noted = {**row.before[str(fleet[0].address)], "package_id": None}
        row.before = {**row.before, **dict.fromkeys(names, noted)}
        session.add(row)
    with bench.database.read() as session:
        found = exposure_of(session, session.get_one(RolloutRow, rollout_id))
    assert [(each.station, each.verdicts) for each in found] == [(str(fleet[0].address), {OK: 1, NG: 1})]
