# SPDX-License-Identifier: Apache-2.0
from contracts.vocabulary import Role
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
