# SPDX-License-Identifier: Apache-2.0
"""Suspect labels go back to people, blind; the answer takes the label's place and changes no rate."""

from typing import Any

import pytest
from sqlmodel import select

from central.services.trainings.datasets import records_of
from central.services.trainings.suspect_labels import ASKED_BEFORE, NO_ROOM, REFERENCE, UNKNOWN
from central.store.repositories import audits
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import AuditState, Judgement, LabelSource, PartUse, Role
from tests.central.api.conftest import Api
from tests.central.api.test_datasets import keep
from tests.central.api.test_learning_routes import PNG, REFERENCES, P
from tests.central.conftest import make_report

GOOD, DEFECTIVE = Judgement.GOOD, Judgement.DEFECTIVE


def sha(number: int) -> str:
    return f"{number:064x}"


def suspects(*numbers: int) -> dict[str, Any]:
    """As `sightline-models clean` writes them."""
    return {
        "pictures": 9,
        "suspect_labels": [
            {"rank": rank, "path": "a.png", "sha256": sha(number), "label": "good", "suspicion": 1 / rank}
            for rank, number in enumerate(numbers, 1)
        ],
    }


@pytest.fixture(name="dataset_id")
def _dataset_id(api: Api) -> str:
    """Four audited good parts of real production, and a version that holds them."""
    api.store(*[make_report(number, is_simulated=False) for number in range(1, 5)])
    for number in range(1, 5):
        row = api.draw_audit(
            number, state=AuditState.JUDGED, judgement=GOOD, inspector="anna", judged_at=api.clock.now(),
            crop_sha256=sha(number),
        )  # fmt: skip
        with api.services.database.begin() as session:
            audits.keep_label(
                session,
                LabelledPicture(
                    product="ring", sha256=sha(number), judgement=GOOD, part_id=f"part-{number}",
                    source=LabelSource.AUDIT, inspection_id=number, audit_id=api.audit(row).id,
                    added_at=api.clock.now(), is_simulated=False,
                ),
            )  # fmt: skip
    api.as_(Role.ENGINEER).post(f"{REFERENCES}?judgement=GOOD", content=PNG)
    return keep(api, "t-1")


def label(api: Api, number: int) -> LabelledPicture:
    with api.services.database.read() as session:
        return session.exec(select(LabelledPicture).where(LabelledPicture.sha256 == sha(number))).one()


def answer(api: Api, judgement: str, defect_class: str | None = None) -> dict[str, Any]:
    """Of the one that waits."""
    inspector = api.as_(Role.INSPECTOR)
    task = inspector.get(f"{P}/audits/next", params={"inspector": "bert"}).json()
    said = {"judgement": judgement, "inspector": "bert", "defect_class": defect_class}
    recorded: dict[str, Any] = inspector.post(f"{P}/audits/{task['audit_id']}/outcome", json=said).json()
    return recorded


def test_the_most_suspect_are_sent_back_and_not_to_who_labelled_them(api: Api, dataset_id: str) -> None:
    engineer = api.as_(Role.ENGINEER)
    reference = next(row for row in _labels(api) if row.source is LabelSource.REFERENCE)
    body = suspects(3, 1, 999)
    body["suspect_labels"].append({"sha256": reference.sha256, "suspicion": 0.9})
    sent = engineer.post(f"{P}/datasets/{dataset_id}/suspects", json=body).json()
    assert sent == {"asked": 2, "waiting": 2, "left_out": {UNKNOWN: 1, REFERENCE: 1}}
    again = engineer.post(f"{P}/datasets/{dataset_id}/suspects", json=suspects(3)).json()
    assert again == {"asked": 0, "waiting": 2, "left_out": {ASKED_BEFORE: 1}}
    inspector = api.as_(Role.INSPECTOR)
    assert inspector.get(f"{P}/audits/next", params={"inspector": "anna"}).status_code == 204
    assert inspector.get(f"{P}/audits/next", params={"inspector": "bert"}).status_code == 200
    summary = api.as_(Role.VIEWER).get(f"{P}/audits/summary").json()
    assert summary["asked_waiting"] == {"SUSPECT_LABEL": 2}
    assert engineer.post(f"{P}/datasets/{'0' * 64}/suspects", json=suspects(1)).status_code == 404


def test_no_more_wait_than_may_and_the_least_suspect_are_left(api: Api, dataset_id: str) -> None:
    object.__setattr__(api.services.settings.audit, "suspects_open", 1)
    sent = api.as_(Role.ENGINEER).post(f"{P}/datasets/{dataset_id}/suspects", json=suspects(4, 2)).json()
    assert sent == {"asked": 1, "waiting": 1, "left_out": {NO_ROOM: 1}}
    with api.services.database.read() as session:
        asked = session.exec(select(Audit.inspection_id).where(Audit.asked_because == "SUSPECT_LABEL")).all()
    assert list(asked) == [4]


def test_another_answer_takes_the_labels_place_with_its_provenance_and_changes_no_rate(
    api: Api, dataset_id: str
) -> None:
    viewer = api.as_(Role.VIEWER)
    before = viewer.get(f"{P}/quality/rates?minutes=600000").json()
    was = label(api, 2)
    api.as_(Role.ENGINEER).post(f"{P}/datasets/{dataset_id}/suspects", json=suspects(2))
    api.clock.advance(60)
    assert answer(api, "DEFECTIVE", "crack")["asked_because"] == "SUSPECT_LABEL"
    now = label(api, 2)
    assert (now.judgement, now.defect_class, now.added_at) == (DEFECTIVE, "crack", api.clock.now())
    (earlier,) = now.earlier or []
    assert (earlier["judgement"], earlier["replaced_by"]) == ("GOOD", "bert")
    assert earlier["labelled_at"] == was.added_at.isoformat()
    with api.services.database.read() as session:
        (record,) = records_of(session, [now], {"part-2": PartUse.TRAIN})
        first = session.exec(select(Audit).where(Audit.inspection_id == 2, Audit.ask == 1)).one()
    assert (record.judgement, record.labelled_by, record.is_confirmed) == (DEFECTIVE, ("bert",), False)
    assert (first.outcome, first.judgement) == (GOOD, GOOD)
    after = viewer.get(f"{P}/quality/rates?minutes=600000").json()
    assert _rates(after) == _rates(before)
    assert keep(api, "t-2") != dataset_id


@pytest.mark.parametrize(("said", "is_confirmed"), [("GOOD", True), ("UNSURE", False)])
def test_the_same_answer_confirms_and_no_answer_changes_nothing(
    api: Api, dataset_id: str, said: str, is_confirmed: bool
) -> None:
    api.as_(Role.ENGINEER).post(f"{P}/datasets/{dataset_id}/suspects", json=suspects(2))
    was = label(api, 2)
    answer(api, said)
    assert label(api, 2).model_dump() == was.model_dump()
    with api.services.database.read() as session:
        (record,) = records_of(session, [label(api, 2)], {"part-2": PartUse.TRAIN})
    assert record.is_confirmed is is_confirmed


def _labels(api: Api) -> list[LabelledPicture]:
    with api.services.database.read() as session:
        return list(session.exec(select(LabelledPicture)).all())


def _rates(told: object) -> object:
    if isinstance(told, dict):
        return {name: _rates(value) for name, value in told.items() if name not in ("since", "until", "at")}
    return [_rates(each) for each in told] if isinstance(told, list) else told
