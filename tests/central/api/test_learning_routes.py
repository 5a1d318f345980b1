# SPDX-License-Identifier: Apache-2.0
"""Alarms, reference parts, trainings, packages, rollouts and signed files over HTTP."""

import base64
from pathlib import Path

import pytest

from central.services.alarms.rows import Signal, raise_alarm
from contracts.vocabulary import AlarmKind, Role
from tests.central.api.conftest import Api
from tests.central.trust.packages import make_package

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
P = "/api/v1"
REFERENCES = f"{P}/products/ring/reference-parts"


def test_a_reference_part_is_stored_once(api: Api) -> None:
    engineer = api.as_(Role.ENGINEER)
    query = "?judgement=DEFECTIVE&defect_class=scratch&part_id=p-1&is_simulated=true"
    added = engineer.post(REFERENCES + query, content=PNG)
    assert added.status_code == 201
    assert (added.json()["is_new"], added.json()["part_id"]) == (True, "p-1")
    again = engineer.post(REFERENCES + query, content=PNG)
    assert (again.status_code, again.json()) == (200, {**added.json(), "is_new": False})
    assert engineer.get(f"{P}/products/ring/labels").json() == {
        "product": "ring",
        "by_source": {"REFERENCE": {"DEFECTIVE": 1}},
        "is_simulated": True,
    }
    assert api.services.blobs.read(added.json()["sha256"]) == PNG


@pytest.mark.parametrize(
    ("query", "content", "word"),
    [
        ("judgement=UNSURE", PNG, "UNSURE"),
        ("judgement=GOOD&defect_class=scratch", PNG, "only a defective part"),
        ("judgement=GOOD", b"not a picture", "PNG or JPEG"),
        ("judgement=GOOD", b"", "PNG or JPEG"),
        ("judgement=MAYBE", PNG, "judgement"),
        ("judgement=GOOD&part_id=a%00b", PNG, "query.part_id: expected text without control characters"),
        ("judgement=GOOD&part_id=%20", PNG, "query.part_id: expected words"),
        ("judgement=DEFECTIVE&defect_class=%09%20", PNG, "query.defect_class: expected words"),
        ("", PNG, "judgement"),
    ],
)
def test_a_reference_part_that_cannot_be_one_is_refused_in_words(
    api: Api, query: str, content: bytes, word: str
) -> None:
    answer = api.as_(Role.ENGINEER).post(f"{REFERENCES}?{query}", content=content)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]


def test_a_training_is_asked_for_seen_and_cancelled(api: Api) -> None:
    engineer = api.as_(Role.ENGINEER)
    refused = engineer.post(f"{P}/trainings", json={"product": "ring"})
    assert refused.status_code == 409
    assert "30 good and 0 defective ones are missing" in refused.json()["detail"]
    for index in range(30):
        engineer.post(f"{REFERENCES}?judgement=GOOD", content=PNG + bytes([index]))
    started = engineer.post(f"{P}/trainings", json={"product": "ring", "reason": "first one"})
    assert started.status_code == 201
    training = started.json()
    assert (training["state"], training["good"], training["reason"]) == ("QUEUED", 30, "first one")
    assert engineer.get(f"{P}/trainings").json() == [training]
    assert engineer.post(f"{P}/trainings", json={"product": "ring"}).status_code == 409
    cancelled = engineer.post(f"{P}/trainings/{training['training_id']}/cancel")
    assert (cancelled.status_code, cancelled.json()["stage"]) == (200, "being cancelled")
    assert engineer.get(f"{P}/trainings/t-nothing").status_code == 404


def test_an_alarm_is_acknowledged_and_closed(api: Api) -> None:
    with api.services.database.begin() as session:
        signal = Signal(AlarmKind.ESCAPES, "what was seen", "what to do", is_simulated=True, product="ring")
        raise_alarm(session, signal, api.clock.now())
    engineer = api.as_(Role.ENGINEER)
    seen = api.as_(Role.INSPECTOR).post(f"{P}/alarms/1/acknowledge", json={"by": "anna"})
    assert (seen.status_code, seen.json()["state"]) == (200, "ACKNOWLEDGED")
    closed = engineer.post(f"{P}/alarms/1/close", json={"by": "anna"})
    assert (closed.json()["state"], closed.json()["acknowledged_by"]) == ("CLOSED", "anna")
    assert engineer.post(f"{P}/alarms/1/acknowledge", json={"by": "anna"}).status_code == 409
    assert engineer.get(f"{P}/alarms?state=CLOSED").json() == [closed.json()]
    assert engineer.get(f"{P}/alarms?state=RAISED").json() == []
    assert engineer.get(f"{P}/alarms/2").status_code == 404


def test_a_station_may_fetch_signed_files_and_nothing_around_them(api: Api, tmp_path: Path) -> None:
    package_id = make_package(tmp_path / "package")
    api.services.loop.repository.publish(tmp_path / "package", package_id, api.clock.now())
    station = api.as_(Role.STATION)
    assert station.get(f"{P}/tuf/metadata/timestamp.json").status_code == 200
    assert station.get(f"{P}/tuf/metadata/1.root.json").status_code == 200
    assert station.get(f"{P}/tuf/targets/{package_id}/golden.npz").content == b"golden"
    assert station.get(f"{P}/tuf/metadata/99.root.json").status_code == 404
    for path in ("metadata/..%2f..%2fkeys%2froot.pem", "targets/..%2f..%2fkeys/root.pem", "metadata/root.pem"):
        assert station.get(f"{P}/tuf/{path}").status_code in (404, 422)


def test_unknown_packages_and_rollouts_are_404_in_words(api: Api) -> None:
    engineer = api.as_(Role.ENGINEER)
    assert engineer.get(f"{P}/rollouts/7").status_code == 404
    assert engineer.post(f"{P}/rollouts/7/abort", json={"by": "anna"}).status_code == 404
    assert engineer.get(f"{P}/packages/{'a' * 64}").status_code == 404
    answer = engineer.post(f"{P}/rollouts", json={"package_id": "a" * 64})
    assert answer.status_code == 404
    assert "no such package" in answer.json()["detail"]


def test_charts_are_drawn_for_an_empty_plant(api: Api) -> None:
    assert api.as_(Role.VIEWER).get(f"{P}/quality/charts").json() == []


def test_the_log_of_a_training_is_read_page_by_page(api: Api) -> None:
    engineer = api.as_(Role.ENGINEER)
    for index in range(30):
        engineer.post(f"{REFERENCES}?judgement=GOOD", content=PNG + bytes([index]))
    training_id = engineer.post(f"{P}/trainings", json={"product": "ring"}).json()["training_id"]
    log = f"{P}/trainings/{training_id}/log"
    viewer = api.as_(Role.VIEWER)
    empty = viewer.get(log).json()
    assert (empty["text"], empty["size_bytes"], empty["is_over"]) == ("", 0, False)
    folder = api.services.settings.trainings_dir / training_id
    folder.mkdir(parents=True)
    (folder / "trainer.log").write_text("reading\nfitting\n")
    first = viewer.get(f"{log}?limit=8").json()
    assert (first["text"], first["next_offset"], first["size_bytes"]) == ("reading\n", 8, 16)
    assert viewer.get(f"{log}?offset=8").json()["text"] == "fitting\n"
    assert viewer.get(f"{log}?offset=-8").json()["text"] == "fitting\n"
    assert viewer.get(f"{log}?limit=300000").status_code == 422
    assert viewer.get(f"{P}/trainings/t-none/log").status_code == 404
    assert viewer.get(f"{P}/trainings/..%2fkeys/log").status_code in (404, 422)


def test_the_queue_tells_the_order_and_why_each_waits(api: Api) -> None:
    engineer, viewer = api.as_(Role.ENGINEER), api.as_(Role.VIEWER)
    ids = []
    for number, product in enumerate(("ring", "cap")):
        for index in range(30):
            path = f"{P}/products/{product}/reference-parts?judgement=GOOD"
            engineer.post(path, content=PNG + bytes([number, index]))
        ids.append(engineer.post(f"{P}/trainings", json={"product": product, "site": "north"}).json()["training_id"])
        api.clock.advance(1)
    queue = viewer.get(f"{P}/trainings/queue").json()
    assert queue["all"] == {"jobs": 1, "gpus": 0.0}
    assert [(each["training_id"], each["state"], each["waits_for"]) for each in queue["trainings"]] == [
        (ids[0], "QUEUED", "waiting to start"),
        (ids[1], "QUEUED", "1 job run, the quota of all is 1"),
    ]
    assert {each["site"] for each in queue["trainings"]} == {"north"}
    assert engineer.post(f"{P}/trainings", json={"product": "ring", "site": "no/site"}).status_code == 422
