# SPDX-License-Identifier: Apache-2.0
"""Lineage on rows that the loop itself made: labels, training, package, gate, rollout, stations, and back."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlmodel import select

from central.services.trainings import lineage
from central.store.database import Database
from central.store.repositories import stations
from central.store.tables import LabelledPicture
from contracts.reports import ActivePackage, StationReported
from contracts.vocabulary import Judgement, LabelSource, Role, StationState, Variant
from tests.central.api.conftest import Api
from tests.central.conftest import RememberingPublisher, StillClock, make_report
from tests.central.services.bench import PRODUCT
from tests.central.services.gate_bench import LENIENT, GateBench


@pytest.fixture(name="bench")
def _bench(
    sqlite_database: Database, publisher: RememberingPublisher, clock: StillClock, tmp_path: Path
) -> Iterator[GateBench]:
    bench = GateBench(sqlite_database, publisher, clock, tmp_path)
    bench.set_gate()
    yield bench
    bench.end()


def say_active(bench: GateBench, *package_ids: str) -> None:
    """The station's own word on what judges there."""
    (station,) = bench.stations.values()
    status = StationReported(
        station=station.address, at=bench.clock.now(), is_connected=True, state=StationState.INSPECTING,
        is_simulated=True,
        active=[
            ActivePackage(product=PRODUCT, package_id=each, variant=Variant.INT8_U8S8, provider="CPUExecutionProvider")
            for each in package_ids
        ],
    )  # fmt: skip
    with bench.database.begin() as session:
        stations.keep_status(session, status, bench.clock.now())


def test_from_a_station_to_the_people_whose_labels_taught_and_back(bench: GateBench) -> None:
    bench.set_gate(**LENIENT)
    station = bench.add_station("st-1")
    bench.add_references(good=20, defective=6)
    with bench.database.begin() as session:
        for row in session.exec(select(LabelledPicture)).all():
            row.added_by = "anna" if (row.id or 0) % 2 else "kim"
            session.add(row)
    champion = bench.commission_champion()
    say_active(bench, champion)
    with bench.database.read() as session:
        (found,) = lineage.of_station(session, str(station.address))
        assert found.package.package_id == champion
        assert found.dataset is not None
        labels = lineage.labels_of(session, bench.blobs, found.dataset.dataset_id)
        again = lineage.of_dataset(session, found.dataset.dataset_id)
    assert set(labels.by_person) == {"anna", "kim"}
    assert sum(labels.by_person.values()) == labels.pictures == sum(labels.by_source.values())
    assert labels.pictures + labels.held_out == 26
    assert found.training is not None
    assert (found.training.reason, found.is_champion) == ("commissioning", True)
    assert [each.package.package_id for each in again] == [champion]
    (seen,) = again[0].stations
    assert (seen.station, seen.is_assigned, seen.is_judging) == (str(station.address), True, True)
    assert [each.id for each in found.rollouts] == [1]


def test_a_station_s_own_word_counts_and_not_what_it_should_run(bench: GateBench) -> None:
    champion = bench.commission_by_gate()
    (station,) = bench.stations.values()
    say_active(bench)
    with bench.database.read() as session:
        assert lineage.of_station(session, str(station.address)) == []
        (seen,) = lineage.of_package(session, champion).stations
    assert (seen.is_assigned, seen.is_judging) == (True, False)


def test_a_challenger_names_its_champion_and_is_named_by_it(bench: GateBench) -> None:
    champion = bench.commission_by_gate()
    bench.set_gate(when_missing="SHOW")
    challenger = bench.challenge()
    with bench.database.read() as session:
        assert lineage.of_package(session, champion).challenged_by == [challenger]
        found = lineage.of_package(session, challenger)
    assert found.training is not None
    assert found.training.champion_package_id == champion
    assert found.dataset is not None
    assert found.dataset.pictures == 34


def test_what_is_not_there_is_said_in_words(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    for path, word in (
        (f"packages/{'a' * 64}", "no such package"),
        ("stations/plant/line-1/st-9", "never heard of"),
        (f"datasets/{'b' * 64}", "no such version"),
    ):
        answer = viewer.get(f"/api/v1/lineage/{path}")
        assert answer.status_code == 404
        assert word in answer.json()["detail"]


def test_a_picture_and_a_verdict_that_are_not_there_are_said_in_words(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    for path, word in (
        (f"pictures/{'a' * 64}", "nobody judged it"),
        ("inspections/plant/line-1/st-9/1/1", "no inspection plant/line-1/st-9/1/1"),
    ):
        answer = viewer.get(f"/api/v1/lineage/{path}")
        assert answer.status_code == 404
        assert word in answer.json()["detail"]


def test_a_verdict_without_pictures_is_told_with_its_label_and_without_a_package_that_is_not_here(api: Api) -> None:
    api.store(make_report(1))
    viewer = api.as_(Role.VIEWER)
    (item,) = viewer.get("/api/v1/inspections").json()["items"]
    where = f"{item['station']}/{item['epoch']}/{item['sequence']}"
    told = viewer.get(f"/api/v1/lineage/inspections/{where}").json()
    assert (told["inspection"]["sequence"], told["package"], told["pictures"]) == (1, None, [])
    with api.services.database.begin() as session:
        session.add(
            LabelledPicture(
                product="ring", sha256="c" * 64, judgement=Judgement.GOOD, source=LabelSource.REFERENCE,
                added_at=api.clock.now(), added_by="anna", is_simulated=True,
            )
        )  # fmt: skip
    told = viewer.get(f"/api/v1/lineage/pictures/{'c' * 64}").json()
    assert (told["labels"][0]["added_by"], told["versions"], told["inspections"]) == ("anna", [], [])
