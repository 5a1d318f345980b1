# SPDX-License-Identifier: Apache-2.0
"""The history of trainings over HTTP: pages, one of them, several side by side."""

from datetime import timedelta
from typing import Any

import pytest

from central.store.experiment_tables import Experiment
from central.store.learning_tables import Package, Promotion, Training
from contracts.jobs import EvaluationReport, HoldoutVerdict, VariantMeasured
from contracts.vocabulary import DetectorKind, Judgement, PromotionOutcome, Role, Variant, Verdict
from tests.central.api.conftest import Api
from tests.central.api.test_training_costs import USED, keep

P = "/api/v1/experiments"
PACKAGE = "b" * 64


def give(api: Api, training_id: str, **changes: Any) -> None:
    """A training's job and course."""
    fields: dict[str, Any] = {
        "training_id": training_id, "job_sha256": "c" * 64, "laid_out_at": api.clock.now(),
        "parameters": {"seed": 0, "limits": {"overkill_target_rate": 0.01}, "variants": ["fp32"]},
        "labels": {"TRAIN": {"GOOD": {"pictures": 20, "parts": 10}}},
        "made_by": {"machine": "press", "system": "Linux", "processor": None, "cores": 2, "memory_bytes": None,
                    "python": "3.11.7", "libraries": {"torch": "2.13.0"}},
        "curves": [{"name": "head loss", "steps": [1, 2], "values": [0.9, 0.4]}],
    }  # fmt: skip
    with api.services.database.begin() as session:
        session.add(Experiment(**(fields | changes)))


def evaluate(api: Api, training_id: str) -> None:
    seen = [
        HoldoutVerdict(
            sha256="a" * 64, group=f"p-{index}", judgement=Judgement.DEFECTIVE, defect_class="pit",
            candidate_score=1.0, candidate_verdict=Verdict.OK if index < 1 else Verdict.NG, champion_verdict=Verdict.OK,
        )
        for index in range(4)
    ]  # fmt: skip
    said = EvaluationReport(
        training_id=training_id, product="ring", detector=DetectorKind.MIXED, package_id="b" * 64,
        candidate_variant=Variant.FP32, is_simulated=False, train_good=20, train_defective=4, holdout=seen,
        variants=[VariantMeasured(variant=Variant.FP32, image_auroc=0.97, is_included=True)],
        backbone="compact", backbone_weights_source="shipped", training_seconds=1.5, notes=["a note"],
    )  # fmt: skip
    with api.services.database.begin() as session:
        row = session.get_one(Training, training_id)
        row.evaluation = said.model_dump_json()
        session.add(row)


def test_one_tells_what_was_given_how_it_went_and_what_came_of_it(api: Api) -> None:
    keep(api, "t-1", USED, USED, outcome=PromotionOutcome.PROMOTED)
    with api.services.database.begin() as session:
        row = session.get_one(Training, "t-1")
        row.package_id = PACKAGE
        package = session.get_one(Package, "t-1".ljust(64, "0"))
        session.add(Package(**(package.model_dump() | {"package_id": PACKAGE})))
        session.flush()
        session.add(Promotion(package_id=PACKAGE, outcome=PromotionOutcome.REFUSED, decided_at=api.clock.now()))
        session.add(row)
    give(api, "t-1")
    evaluate(api, "t-1")
    told = api.as_(Role.VIEWER).get(f"{P}/t-1").json()
    assert told["parameters"]["limits"] == {"overkill_target_rate": 0.01}
    assert told["labels"] == {"TRAIN": {"GOOD": {"pictures": 20, "parts": 10}}}
    assert told["made_by"]["libraries"] == {"torch": "2.13.0"}
    assert told["curves"] == [{"name": "head loss", "steps": [1, 2], "values": [0.9, 0.4]}]
    assert (told["outcome"], told["made_detector"], told["notes"]) == ("REFUSED", "mixed", ["a note"])
    (pit,) = told["classes"]
    assert (pit["name"], pit["wrong"]["count"], pit["wrong"]["of"]) == ("pit", 1, 4)
    assert (pit["champion"]["count"], pit["champion"]["of"]) == (4, 4)
    assert 0 < pit["wrong"]["low"] < 0.25 < pit["wrong"]["high"] < 1
    assert (told["spent"]["attempts"], told["spent"]["cost"]) == (2, 4.0)
    assert told["variants"][0]["image_auroc"] == 0.97


def test_one_that_failed_before_there_was_a_history_is_told_as_far_as_it_is_known(api: Api) -> None:
    keep(api, "t-1")
    told = api.as_(Role.VIEWER).get(f"{P}/t-1").json()
    assert (told["job_sha256"], told["parameters"], told["made_by"], told["curves"]) == (None, {}, None, [])
    assert (told["outcome"], told["classes"], told["spent"]["attempts"]) == (None, [], 0)


def test_pages_go_back_in_time_and_end(api: Api) -> None:
    now = api.clock.now()
    # Two of one moment: the border of a page must not lose one of them.
    for index, minutes in enumerate((1, 5, 5, 9)):
        keep(api, f"t-{index}", at=now - timedelta(minutes=minutes))
        give(api, f"t-{index}")
    viewer = api.as_(Role.VIEWER)
    seen, before = [], None
    for _ in range(5):
        page = viewer.get(P, params={"limit": 2} | ({"before_id": before} if before else {})).json()
        seen += [item["training_id"] for item in page["items"]]
        assert all(item["curves"] == [] for item in page["items"])
        before = page["next_id"]
        if before is None:
            break
    assert seen == ["t-0", "t-2", "t-1", "t-3"]
    recent = viewer.get(P, params={"since": (now - timedelta(minutes=5)).isoformat()}).json()["items"]
    assert [item["training_id"] for item in recent] == ["t-0", "t-2", "t-1"]
    assert viewer.get(P, params={"product": "bolt"}).json() == {"items": [], "next_id": None}
    assert len(viewer.get(P, params={"product": "ring"}).json()["items"]) == 4


def test_side_by_side_tells_only_what_differs(api: Api) -> None:
    for training_id in ("t-1", "t-2"):
        keep(api, training_id)
    give(api, "t-1")
    give(api, "t-2", parameters={"seed": 7, "limits": {"overkill_target_rate": 0.01}, "variants": ["fp32"]})
    told = api.as_(Role.VIEWER).get(f"{P}/compare", params={"ids": "t-2,t-1"}).json()
    assert [each["training_id"] for each in told["experiments"]] == ["t-2", "t-1"]
    assert told["differences"] == [{"name": "parameters.seed", "values": [7, 0]}]
    assert [each["curves"][0]["values"] for each in told["experiments"]] == [[0.9, 0.4]] * 2


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/compare?ids=t-1", 422, "2 … 8 different trainings"),
        ("/compare?ids=t-1,t-1", 422, "2 … 8 different trainings"),
        (f"/compare?ids={','.join(f't-{n}' for n in range(9))}", 422, "2 … 8 different trainings"),
        ("/compare?ids=t-1,t-9", 404, "'t-9': no such training"),
        ("/t-9", 404, "'t-9': no such training"),
        ("?before_id=t-9", 404, "'t-9': no such training"),
        ("?since=yesterday", 422, "since"),
    ],
)
def test_what_cannot_be_answered_is_said(api: Api, path: str, status: int, words: str) -> None:
    keep(api, "t-1")
    answer = api.as_(Role.VIEWER).get(f"{P}{path}")
    assert answer.status_code == status
    assert words in answer.text
