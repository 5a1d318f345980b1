# SPDX-License-Identifier: Apache-2.0
"""What is likeliest behind an alarm, as the API tells it, and which alarms share it."""

from typing import Any

from central.services.alarms.rows import Signal, raise_alarm
from central.store.cause_tables import CauseSuggestion
from contracts.vocabulary import AlarmKind, Role
from tests.central.api.conftest import Api

P = "/api/v1/alarms"
SECOND = "plant/line-1/st-2"
FOULED: dict[str, Any] = {
    "cause": "LENS_FOULING", "station": SECOND, "product": None, "score": 0.83, "remedy": "CLEAN",
    "evidence": ["st-2, ring: blur -160 from 400."],
}  # fmt: skip
WRONG: dict[str, Any] = {
    "cause": "MODEL_WRONG",
    "station": None,
    "product": "ring",
    "score": 0.5,
    "remedy": "RETRAIN",
    "evidence": [],
}


def _alarm(api: Api, kind: AlarmKind, *causes: dict[str, Any], is_simulated: bool = True) -> int:
    now = api.clock.now()
    with api.services.database.begin() as session:
        alarm = raise_alarm(session, Signal(kind, "seen", "look", is_simulated=is_simulated), now)
        row = CauseSuggestion(alarm_id=alarm.id or 0, computed_at=now, since=now, repeats=0, causes=list(causes))
        session.add(row)
        return alarm.id or 0


def test_an_alarm_tells_its_causes_with_evidence_and_remedy_likeliest_first(api: Api) -> None:
    number = _alarm(api, AlarmKind.DRIFT, FOULED, WRONG)
    told = api.as_(Role.VIEWER).get(f"{P}/{number}").json()
    assert told["suggested_causes"] == [FOULED, WRONG]
    assert told["suggested_at"] is not None
    assert told["began_at"] is not None
    assert told["cause"] is None, "suggested is not found"


def test_an_alarm_that_was_not_asked_about_has_none(api: Api) -> None:
    with api.services.database.begin() as session:
        raise_alarm(session, Signal(AlarmKind.STATION_SILENT, "silent", "look", is_simulated=True), api.clock.now())
    told = api.as_(Role.VIEWER).get(f"{P}/1").json()
    assert (told["suggested_causes"], told["suggested_at"], told["same_cause_as"]) == ([], None, None)


def test_alarms_of_one_incident_say_so_until_the_first_is_closed(api: Api) -> None:
    first = _alarm(api, AlarmKind.DRIFT, FOULED)
    other_place = _alarm(api, AlarmKind.IMAGE_SHIFT, {**FOULED, "station": "plant/line-1/st-1"})
    real = _alarm(api, AlarmKind.DRIFT, FOULED, is_simulated=False)
    second = _alarm(api, AlarmKind.ESCAPES, FOULED, WRONG)
    third = _alarm(api, AlarmKind.REJECT_RATE, FOULED)

    def same() -> dict[int, int | None]:
        return {each["id"]: each["same_cause_as"] for each in api.as_(Role.VIEWER).get(P).json()}

    assert same() == {first: None, other_place: None, real: None, second: first, third: first}
    api.as_(Role.ENGINEER).post(f"{P}/{first}/close", json={"by": "bert"})
    assert same() == {first: None, other_place: None, real: None, second: None, third: second}
