# SPDX-License-Identifier: Apache-2.0
"""Dataset versions over HTTP: seen, traced to what learnt from them, fetched as a file."""

import hashlib

from sqlmodel import select

from central.domain.learning import SplitBy
from central.services.trainings.datasets import keep_version, part_of
from central.settings import LearningSettings
from central.store.dataset_files import from_parquet
from central.store.learning_tables import Training
from central.store.tables import LabelledPicture
from contracts.vocabulary import DetectorKind, PartUse, Role
from tests.central.api.conftest import Api
from tests.central.api.test_learning_routes import PNG, REFERENCES, P


def keep(api: Api, training_id: str) -> str:
    """A version of all labels, as a training that begins writes it."""
    training = Training(
        training_id=training_id, product="ring", detector=DetectorKind.AUTO, reason="test",
        created_at=api.clock.now(), is_simulated=False,
    )  # fmt: skip
    with api.services.database.begin() as session:
        session.add(training)
        session.flush()
        session.expunge(training)
    with api.services.database.read() as session:
        rows = session.exec(select(LabelledPicture)).all()
    use = {part_of(row): PartUse.HOLDOUT if number % 3 == 0 else PartUse.TRAIN for number, row in enumerate(rows)}
    return keep_version(
        api.services.database, api.services.blobs, training, rows=rows, use=use,
        settings=LearningSettings(split_by=SplitBy.PART), now=api.clock.now(),
    )  # fmt: skip


def test_a_version_is_listed_traced_and_fetched(api: Api) -> None:
    engineer, viewer = api.as_(Role.ENGINEER), api.as_(Role.VIEWER)
    for index in range(6):
        assert engineer.post(f"{REFERENCES}?judgement=GOOD", content=PNG + bytes([index])).status_code == 201
    assert viewer.get(f"{P}/datasets").json() == []
    dataset_id = keep(api, "t-1")
    (listed,) = viewer.get(f"{P}/datasets", params={"product": "ring"}).json()
    assert viewer.get(f"{P}/datasets", params={"product": "other"}).json() == []
    assert viewer.get(f"{P}/datasets/{dataset_id}").json() == listed
    assert (listed["dataset_id"], listed["pictures"], listed["held_out"]) == (dataset_id, 6, 2)
    assert listed["training_ids"] == ["t-1"]
    assert listed["query"]["product"] == "ring"
    assert viewer.get(f"{P}/trainings/t-1").json()["dataset_id"] == dataset_id
    answer = viewer.get(f"{P}/datasets/{dataset_id}/manifest.parquet")
    assert answer.headers["content-type"] == "application/vnd.apache.parquet"
    assert hashlib.sha256(answer.content).hexdigest() == listed["file_sha256"]
    version, records = from_parquet(answer.content)
    assert version == dataset_id
    (who,) = {record.labelled_by for record in records}
    assert len(who) == 1, "the token that brought the reference parts"
    assert who[0] in {token["name"] for token in api.as_(Role.ADMIN).get(f"{P}/admin/tokens").json()}


def test_an_unknown_version_is_not_found_and_a_wrong_id_refused(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    for path in (f"{P}/datasets/{'0' * 64}", f"{P}/datasets/{'0' * 64}/manifest.parquet"):
        answer = viewer.get(path)
        assert answer.status_code == 404
        assert "no such version" in answer.json()["detail"]
    assert viewer.get(f"{P}/datasets/nothing").status_code == 422
