# SPDX-License-Identifier: Apache-2.0
"""Rules of the gate's services one by one, on rows made by hand: what is measured on, what is taken, who may speak.

The gate as a whole, with its process, is in `test_gate.py`.
"""

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session, select

from central.errors import ConflictError
from central.gate_settings import GateSettings
from central.services.gates.deciding import answer_of, find_out, station_times
from central.services.gates.evidence import Said, overrule
from central.services.gates.gating import queue_gate
from central.services.gates.pictures import choose_gate_pictures
from central.store.database import Database
from central.store.dataset_tables import DatasetVersion, HeldOutPicture
from central.store.gate_tables import GateRun
from central.store.learning_tables import Champion, Package, Promotion, SplitGroup
from central.store.repositories import gates
from central.store.tables import Audit, LabelledPicture, Station
from contracts.gating import GATE_REPORT_NAME, GateReport
from contracts.ids import StationAddress
from contracts.reports import PackageProgress, PackageStatus
from contracts.vocabulary import (
    Judgement,
    LabelSource,
    PackageState,
    PartUse,
    PromotionOutcome,
    Role,
    TrainingState,
    Verdict,
)
from tests.central.conftest import RememberingPublisher, StillClock
from tests.central.services.bench import PRODUCT
from tests.central.services.gate_bench import GateBench

OTHER = "f" * 64


@pytest.fixture(name="bench")
def _bench(
    sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[GateBench]:
    bench = GateBench(sqlite_database, publisher, clock, tmp_path)
    bench.set_gate("slow")
    yield bench
    # One that has only just begun cannot be found to be ended; it ends by itself.
    (bench.gates_dir.parent / "go").touch()
    for child in bench.children:
        child.wait()


@pytest.fixture(name="package")
def _package(bench: GateBench, tmp_path: Path) -> Callable[[int], str]:
    """A package in the registry, published, by its number."""

    def make(number: int) -> str:
        package_id = bench.register(number, tmp_path, champion=None)
        with bench.database.begin() as session:
            promotion = session.get(Promotion, package_id)
            if promotion is not None:
                session.delete(promotion)
        return package_id

    return make


def run_of(bench: GateBench, package_id: str, **changes: Any) -> None:
    """A gate's row as it may stand; measured by default."""
    now = bench.clock.now()
    fields: dict[str, Any] = {
        "package_id": package_id, "product": PRODUCT, "is_simulated": True, "state": TrainingState.FINISHED,
        "asked_at": now, "finished_at": now, "starts": 1,
    }  # fmt: skip
    with bench.database.begin() as session:
        session.add(GateRun(**(fields | changes)))


def hold_out(bench: GateBench, parts: int, *, is_simulated: bool = True) -> None:
    now = bench.clock.now()
    with bench.database.begin() as session:
        session.merge(
            DatasetVersion(
                dataset_id="d" * 64, product=PRODUCT, is_simulated=True, created_at=now, pictures=1, parts=1, good=1,
                defective=0, held_out=1, confirmed=0, file_sha256="d" * 64, size_bytes=1,
            )
        )  # fmt: skip
        session.flush()
        for index in range(parts):
            name = f"tested-{is_simulated}-{index}"
            sha256 = bench.blobs.put(name.encode())
            session.add(
                LabelledPicture(
                    product=PRODUCT, sha256=sha256, judgement=Judgement.GOOD, part_id=name,
                    source=LabelSource.REFERENCE, added_at=now, is_simulated=is_simulated,
                )
            )  # fmt: skip
            session.add(
                HeldOutPicture(
                    product=PRODUCT, is_simulated=is_simulated, sha256=sha256, part_group=name, since=now,
                    dataset_id="d" * 64,
                )
            )  # fmt: skip


def chosen(bench: GateBench, **settings: Any) -> tuple[list[str], int]:
    """Parts that would be measured on, and the size of the whole test set."""
    with bench.database.read() as session:
        wanted = GateSettings(**settings)
        found, of = choose_gate_pictures(session, PRODUCT, wanted, bench.clock.now(), is_simulated=True)
    return [each.part for each in found], of


def test_of_a_large_test_set_the_first_by_digest_are_taken_and_the_whole_is_told(bench: GateBench) -> None:
    hold_out(bench, 7)
    taken, of = chosen(bench, max_pictures=3)
    assert (len(taken), of) == (3, 7)
    with bench.database.read() as session:
        rows = session.exec(select(LabelledPicture).order_by(LabelledPicture.sha256)).all()
    assert taken == [row.part_id for row in rows[:3]]


def test_pictures_of_real_parts_never_test_a_package_of_simulated_ones(bench: GateBench) -> None:
    hold_out(bench, 2)
    hold_out(bench, 3, is_simulated=False)
    taken, of = chosen(bench)
    assert of == 2
    assert all(part.startswith("tested-True") for part in taken)


def audit(bench: GateBench, name: str, **changes: Any) -> None:
    """A part that chance drew and people called good."""
    now = bench.clock.now()
    (station,) = bench.stations.values()
    (number,) = bench.report(station, [Verdict.OK])
    days = float(str(changes.pop("days", 0)))
    fields: dict[str, Any] = {
        "inspection_id": number, "product": PRODUCT, "drawn_at": now, "inclusion_probability": 0.25,
        "is_simulated": True, "outcome": Judgement.GOOD,
    }  # fmt: skip
    with bench.database.begin() as session:
        row = Audit(**(fields | changes))
        session.add(row)
        session.flush()
        session.add(
            LabelledPicture(
                product=PRODUCT, sha256=bench.blobs.put(name.encode()), judgement=Judgement.GOOD, part_id=name,
                source=LabelSource.AUDIT, inspection_id=number, audit_id=row.id, added_at=now - timedelta(days=days),
                is_simulated=True,
            )
        )  # fmt: skip


def test_only_audits_that_chance_drew_lately_are_measured_on_and_the_newest_of_too_many(bench: GateBench) -> None:
    bench.add_station("st-1")
    audit(bench, "old", days=91)
    audit(bench, "asked", inclusion_probability=0.0)
    audit(bench, "discordant", is_discordant=True)
    audit(bench, "taught")
    audit(bench, "first", days=89)
    audit(bench, "second")
    with bench.database.begin() as session:
        session.add(SplitGroup(product=PRODUCT, is_simulated=True, part_group="taught", use=PartUse.TRAIN))
    assert sorted(chosen(bench, audit_days=90.0)[0]) == ["first", "second"]
    assert chosen(bench, audit_days=90.0, max_pictures=1)[0] == ["second"]


def test_a_gate_under_way_is_left_alone_and_one_that_ended_begins_anew(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    package_id = package(1)
    run_of(bench, package_id, state=TrainingState.RUNNING, handle="77", starts=2, champion_package_id=None)
    with bench.database.begin() as session:
        queue_gate(session, session.get_one(Package, package_id), OTHER, bench.clock.now())
    row = bench.gate(package_id)
    assert (row.state, row.handle, row.starts, row.champion_package_id) == (TrainingState.RUNNING, "77", 2, None)
    with bench.database.begin() as session:
        kept = session.get_one(GateRun, package_id)
        kept.state, kept.report, kept.evidence, kept.error = TrainingState.FAILED, "{}", {"outcome": "x"}, "lost"
        session.flush()
        queue_gate(session, session.get_one(Package, package_id), OTHER, bench.clock.now())
    row = bench.gate(package_id)
    assert (row.state, row.handle, row.starts, row.champion_package_id) == (TrainingState.QUEUED, None, 0, OTHER)
    assert (row.report, row.evidence, row.error) == (None, None, None)


def test_one_gate_runs_at_a_time(bench: GateBench, package: Callable[[int], str]) -> None:
    hold_out(bench, 1)
    for number in (1, 2):
        run_of(bench, package(number), state=TrainingState.QUEUED, finished_at=None, starts=0)
    for _ in range(3):
        bench.gating.tick(bench.clock.now())
    assert sorted(row.state for row in bench.gates()) == [TrainingState.QUEUED, TrainingState.RUNNING]


def test_pictures_that_are_gone_count_as_not_judged(bench: GateBench, package: Callable[[int], str]) -> None:
    hold_out(bench, 3)
    run_of(bench, (package_id := package(1)), state=TrainingState.QUEUED, finished_at=None, starts=0)
    with bench.database.read() as session:
        bench.blobs.delete(session.exec(select(LabelledPicture.sha256)).first() or "")
    bench.gating.tick(bench.clock.now())
    row = bench.gate(package_id)
    assert (row.error, row.test_pictures, len(bench.gate_job(package_id)["pictures"])) == (None, 3, 2)


def left_report(bench: GateBench, of: str, **changes: Any) -> Path:
    """A gate that was lost with a report in its folder."""
    fields: dict[str, Any] = {
        "package_id": of, "pictures": [], "threads": 1, "machine": "made up", "seconds": 1.0,
    }  # fmt: skip
    path = bench.gates_dir / of / "output" / GATE_REPORT_NAME
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(GateReport(**(fields | changes)).model_dump_json())
    return path


@pytest.mark.parametrize("changes", [{"package_id": OTHER}, {"champion_package_id": OTHER}])
def test_a_report_of_other_packages_is_no_report(
    bench: GateBench, package: Callable[[int], str], changes: dict[str, Any]
) -> None:
    run_of(bench, (package_id := package(1)), state=TrainingState.RUNNING, finished_at=None)
    left_report(bench, package_id, **changes)
    bench.gating.tick(bench.clock.now())
    row = bench.gate(package_id)
    assert (row.state, row.report) == (TrainingState.FAILED, None)
    assert "expected the packages of the job" in (row.error or "")


def test_a_report_of_an_earlier_start_is_not_taken_for_that_of_the_next(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    hold_out(bench, 1)
    package_id = package(1)
    run_of(bench, package_id, state=TrainingState.QUEUED, finished_at=None, starts=0)
    stale = left_report(bench, package_id)
    for _ in range(3):
        bench.gating.tick(bench.clock.now())
    assert bench.gate(package_id).state is TrainingState.RUNNING
    assert not stale.exists()


def test_folders_of_gates_that_ended_are_swept_and_those_under_way_stay(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    waiting = package(1)
    run_of(bench, waiting, state=TrainingState.QUEUED, finished_at=None, starts=0)
    for name in (OTHER, waiting):
        (bench.gates_dir / name).mkdir(parents=True)
    bench.gating.tick(bench.clock.now())
    assert [path.name for path in bench.gates_dir.iterdir() if path.is_dir()] == [waiting]


def test_what_was_found_before_it_was_measured_anew_decides_nothing(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    package_id = package(1)
    run_of(bench, package_id, state=TrainingState.FAILED, error="lost")
    settings, now = GateSettings(), bench.clock.now()
    with bench.database.read() as session:
        found = find_out(session, package_id, settings)
    assert found is not None
    with bench.database.begin() as session:
        row = session.get_one(GateRun, package_id)
        row.finished_at = now + timedelta(seconds=1)
        session.flush()
        assert answer_of(session, session.get_one(Package, package_id), None, found, now) is None
        assert row.evidence is None
        # Measured beside another champion than the one of today: anew.
        assert answer_of(session, session.get_one(Package, package_id), OTHER, found, now) is None
        assert (row.state, row.champion_package_id) == (TrainingState.QUEUED, OTHER)


def test_times_are_those_of_the_product_at_stations_of_its_kind(bench: GateBench) -> None:
    now = bench.clock.now()

    def say(session: Session, name: str, *, is_simulated: bool, said: str | None = None) -> None:
        address = StationAddress(site="plant", line="line-1", station=name)
        rows = [
            PackageProgress(product=product, package_id=OTHER, state=PackageState.ACTIVE, at=now, infer_p99_ms=p99)
            for product, p99 in ((PRODUCT, 7.0), ("bolt", 99.0), (PRODUCT, None))
        ]
        status = PackageStatus(station=address, assignment_number=1, at=now, packages=rows)
        row = Station(address=str(address), is_simulated=is_simulated, first_seen_at=now)
        row.package_status = status.model_dump_json() if said is None else said
        session.add(row)

    with bench.database.begin() as session:
        say(session, "st-1", is_simulated=True)
        say(session, "st-2", is_simulated=False)
        say(session, "st-3", is_simulated=True, said='{"of": "another version"}')
        session.flush()
        found = station_times(session, PRODUCT, is_simulated=True)
    assert [(each.station, each.p99_ms) for each in found] == [("plant/line-1/st-1", 7.0)]


def test_nobody_overrules_before_the_gate_spoke_nor_after_another_champion(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    package_id, champion = package(1), package(2)
    said, now = Said("kim", Role.ADMIN, "because"), bench.clock.now()
    with bench.database.begin() as session, pytest.raises(ConflictError, match="has not decided yet"):
        overrule(session, package_id, said, now)
    with bench.database.begin() as session:
        session.add(Promotion(package_id=package_id, outcome=PromotionOutcome.REFUSED, decided_at=now, checks=[]))
        session.merge(Champion(product=PRODUCT, is_simulated=True, package_id=champion, since=now))
    with bench.database.begin() as session, pytest.raises(ConflictError, match="became champion since it was measured"):
        overrule(session, package_id, said, now)


def test_gates_are_listed_newest_first_and_no_more_than_asked_for(
    bench: GateBench, package: Callable[[int], str]
) -> None:
    made = [package(number) for number in (1, 2, 3)]
    for age, package_id in enumerate(made):
        run_of(bench, package_id, asked_at=bench.clock.now() - timedelta(hours=age))
    with bench.database.read() as session:
        assert [row.package_id for row in gates.newest(session, PRODUCT, 2)] == made[:2]
        assert gates.newest(session, "bolt", 9) == []
