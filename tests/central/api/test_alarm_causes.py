# SPDX-License-Identifier: Apache-2.0
"""A person says what was behind an alarm, and another may correct it."""

from central.services.alarms.rows import Signal, raise_alarm
from contracts.vocabulary import AlarmKind, Role
from tests.central.api.conftest import Api

P = "/api/v1/alarms"


def _raise(api: Api) -> None:
    with api.services.database.begin() as session:
        signal = Signal(AlarmKind.IMAGE_SHIFT, "darker", "look", is_simulated=True, station="plant/line-1/st-1")
        raise_alarm(session, signal, api.clock.now())


def test_a_cause_is_said_and_by_whom(api: Api) -> None:
    _raise(api)
    assert api.as_(Role.VIEWER).get(f"{P}/1").json()["cause"] is None
    body = {"cause": "LENS_FOULING", "by": "anna", "note": "oil on the lens"}
    said = api.as_(Role.INSPECTOR).post(f"{P}/1/cause", json=body).json()
    assert (said["cause"], said["cause_by"], said["cause_note"]) == ("LENS_FOULING", "anna", "oil on the lens")
    assert said["cause_at"] is not None
    assert said["state"] == "RAISED", "knowing the cause mends nothing"
    assert api.as_(Role.VIEWER).get(f"{P}/1").json() == said


def test_a_correction_keeps_what_was_said_before_also_when_the_alarm_goes_on_and_is_closed(api: Api) -> None:
    _raise(api)
    inspector, engineer = api.as_(Role.INSPECTOR), api.as_(Role.ENGINEER)
    inspector.post(f"{P}/1/cause", json={"cause": "LENS_FOULING", "by": "anna"})
    _raise(api)
    engineer.post(f"{P}/1/close", json={"by": "bert"})
    corrected = engineer.post(f"{P}/1/cause", json={"cause": "CAMERA_OR_LAMP", "by": "bert"}).json()
    assert (corrected["cause"], corrected["cause_by"], corrected["state"]) == ("CAMERA_OR_LAMP", "bert", "CLOSED")
    (earlier,) = corrected["evidence"]["earlier_causes"]
    assert (earlier["cause"], earlier["by"]) == ("LENS_FOULING", "anna")
    assert corrected["evidence"]["repeats"] == 1


def test_only_known_causes_of_known_alarms_are_taken(api: Api) -> None:
    _raise(api)
    inspector = api.as_(Role.INSPECTOR)
    refused = inspector.post(f"{P}/1/cause", json={"cause": "GREMLINS", "by": "anna"})
    assert refused.status_code == 422
    assert "LENS_FOULING" in refused.text
    assert inspector.post(f"{P}/9/cause", json={"cause": "LENS_FOULING", "by": "anna"}).status_code == 404
    assert inspector.get(f"{P}/1").json()["cause"] is None
