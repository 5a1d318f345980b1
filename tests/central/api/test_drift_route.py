# SPDX-License-Identifier: Apache-2.0
import pytest
from sqlmodel import select

from central.store.embeddings import unpacked
from central.store.tables import Inspection
from contracts.vocabulary import Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import START, STATION, make_report


def test_monitor_tells_how_far_its_reference_is_and_what_it_left_out(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    assert viewer.get("/api/v1/drift").json() == []
    api.store(*(make_report(number) for number in range(1, 61)), make_report(61, score=None))
    api.services.loop.drift.tick(api.clock.now())
    (told,) = viewer.get("/api/v1/drift").json()
    assert told["notes"]
    assert {name: told[name] for name in told if name != "notes"} == {
        "station": str(STATION),
        "is_watching": False,
        "began_at": START.isoformat().replace("+00:00", "Z"),
        "reference_parts": 60,
        "left_out": 1,
        "is_simulated": True,
    }


def test_novelty_monitors_are_told_by_station_product_and_package(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    assert viewer.get("/api/v1/drift/novelty").json() == []
    embedded = [make_report(number, embedding=[0.25 * number, -1.5]) for number in range(1, 41)]
    api.store(*embedded, make_report(41), make_report(42, Verdict.NG, embedding=[9.0, 9.0]))
    api.services.loop.novelty.tick(api.clock.now())
    (told,) = viewer.get("/api/v1/drift/novelty").json()
    notes = told.pop("notes")
    assert notes == ["too short so far: 0 of 200000 accepted parts"]
    assert (told["station"], told["product"], told["is_watching"]) == (str(STATION), "ring", False)
    assert told["left_out"] == 0
    assert told["last_at"] == embedded[-1].captured_at.isoformat().replace("+00:00", "Z")


def test_embedding_is_kept_with_its_inspection(api: Api) -> None:
    api.store(make_report(1, embedding=[0.25, -1.5, 1e4]), make_report(2))
    with api.services.database.read() as session:
        rows = {row.sequence: row.embedding for row in session.exec(select(Inspection)).all()}
    assert rows[2] is None
    assert rows[1] is not None
    assert unpacked([rows[1]]).tolist() == [[0.25, -1.5, 1e4]]
    with pytest.raises(ValueError, match="of one length"):
        unpacked([rows[1], rows[1][:4]])
