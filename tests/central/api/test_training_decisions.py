# SPDX-License-Identifier: Apache-2.0
"""Why a training was started or not, over HTTP: what a person asked, and what the worker's own triggers answered."""

from central.app import build_services
from contracts.vocabulary import Role
from tests.central.api.conftest import Api
from tests.central.api.test_learning_routes import PNG, REFERENCES, P

DECISIONS = f"{P}/trainings/decisions"


def test_answers_are_listed_newest_first_and_by_product(api: Api) -> None:
    engineer, viewer = api.as_(Role.ENGINEER), api.as_(Role.VIEWER)
    assert viewer.get(DECISIONS).json() == []
    assert engineer.post(f"{P}/trainings", json={"product": "ring"}).status_code == 409
    for index in range(30):
        assert engineer.post(f"{REFERENCES}?judgement=GOOD", content=PNG + bytes([index])).status_code == 201
    started = engineer.post(f"{P}/trainings", json={"product": "ring", "reason": "a first one"}).json()
    assert started["trigger"] == "PERSON"
    yes, no = viewer.get(DECISIONS, params={"product": "ring"}).json()
    assert (yes["is_yes"], yes["reason"], yes["training_id"]) == (True, "a first one", started["training_id"])
    assert yes["figures"] == {"good": 30, "defective": 0}
    assert (no["is_yes"], no["because"]) == (False, "REFUSED")
    assert no["figures"] == {"asked": "asked for by hand"}
    assert viewer.get(DECISIONS, params={"product": "cap"}).json() == []
    assert viewer.get(DECISIONS, params={"is_standing": True}).json() == [yes]
    assert len(viewer.get(DECISIONS, params={"limit": 1}).json()) == 1
    assert viewer.get(DECISIONS, params={"limit": 0}).status_code == 422


def test_the_worker_of_central_asks_the_triggers(api: Api) -> None:
    """Wired as central runs it, not as a test builds it."""
    for index in range(30):
        api.as_(Role.ENGINEER).post(f"{REFERENCES}?judgement=GOOD", content=PNG + bytes([index]))
    api.clock.advance(3_600)
    services = build_services(api.services.settings, api.clock)
    assert services.worker is not None
    (triggers,) = [due.service for due in services.worker._due if due.service.name == "training-triggers"]
    triggers.tick(api.clock.now())
    services.database.close()
    (row,) = [row for row in api.as_(Role.VIEWER).get(DECISIONS).json() if row["is_yes"]]
    assert row["trigger"] == "FIRST_PARTS"
    assert api.as_(Role.VIEWER).get(f"{P}/trainings/{row['training_id']}").json()["state"] == "QUEUED"
