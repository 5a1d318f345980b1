# SPDX-License-Identifier: Apache-2.0
"""The gate over HTTP: what was found, the file, who may overrule, and what products demand."""

from pathlib import Path

import pytest
from sqlmodel import Session

from central.domain.gating import GateTerms
from central.services.alarms.rows import Signal, raise_alarm
from central.store.gate_tables import GateRun
from central.store.learning_tables import Alarm, Package, Promotion
from contracts.gating import GateJob, GatePicture, GateReport, GateVerdict
from contracts.vocabulary import AlarmKind, DetectorKind, Judgement, PromotionOutcome, Role, TrainingState, Verdict
from tests.central.api.conftest import Api
from tests.central.trust.packages import make_package

P = "/api/v1"
PICTURE = "d" * 64


def keep(session: Session, api: Api, folder: Path, outcome: PromotionOutcome, *, when_missing: str = "ASK") -> str:
    """A package that was measured and decided on, by hand."""
    package_id = make_package(folder / "package")
    now = api.clock.now()
    session.add(
        Package(
            package_id=package_id, product="ring", detector=DetectorKind.MIXED, created_at=now, registered_at=now,
            size_bytes=1, manifest=(folder / "package/manifest.json").read_text(), is_simulated=True,
        )
    )  # fmt: skip
    session.flush()
    job = GateJob(
        package_id=package_id, package_dir="/secret", product="ring", is_simulated=True, output_dir="/secret",
        pictures=[
            GatePicture(path="/secret/x.png", sha256=PICTURE, judgement=Judgement.DEFECTIVE, defect_class="pit",
                        group="p-1", is_test=True, inclusion_probability=0.25)
        ],
    )  # fmt: skip
    report = GateReport(
        package_id=package_id, pictures=[GateVerdict(sha256=PICTURE, score=0.4, verdict=Verdict.OK)], threads=1,
        machine="made up", seconds=1.0,
    )  # fmt: skip
    condition = {
        "name": "recall of pit, test set", "state": "NOT_ENOUGH_EVIDENCE", "detail": "too few", "figures": {"parts": 1},
        "is_demanded": True,
    }  # fmt: skip
    terms = {**vars(GateTerms()), "when_missing": when_missing}
    session.add(
        GateRun(
            package_id=package_id, product="ring", is_simulated=True, state=TrainingState.FINISHED, asked_at=now,
            finished_at=now, job=job.model_dump_json(), report=report.model_dump_json(),
            evidence={"conditions": [condition], "terms": terms, "terms_by": "settings", "outcome": outcome.value},
        )
    )  # fmt: skip
    session.add(Promotion(package_id=package_id, outcome=outcome, decided_at=now, checks=[]))
    return package_id


def test_what_was_found_is_read_and_taken_away_as_a_file(api: Api, tmp_path: Path) -> None:
    with api.services.database.begin() as session:
        package_id = keep(session, api, tmp_path, PromotionOutcome.NOT_ENOUGH_EVIDENCE)
    viewer = api.as_(Role.VIEWER)
    (told,) = viewer.get(f"{P}/gates", params={"product": "ring"}).json()
    assert viewer.get(f"{P}/gates/{package_id}").json() == told
    assert (told["outcome"], told["asks_person"], told["overruled"]) == ("NOT_ENOUGH_EVIDENCE", True, None)
    assert told["conditions"][0]["state"] == "NOT_ENOUGH_EVIDENCE"
    assert viewer.get(f"{P}/gates", params={"product": "plate"}).json() == []
    file = viewer.get(f"{P}/gates/{package_id}/evidence.json")
    assert f'filename="gate-{package_id[:12]}.json"' in file.headers["Content-Disposition"]
    assert "/secret" not in file.text
    (picture,) = file.json()["pictures"]
    assert (picture["sha256"], picture["verdict"], picture["judgement"], picture["inclusion_probability"]) == (
        PICTURE, "OK", "DEFECTIVE", 0.25,
    )  # fmt: skip
    missing = viewer.get(f"{P}/gates/{'f' * 64}")
    assert (missing.status_code, "no such package" in missing.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("outcome", "when_missing", "role", "status"),
    [
        (PromotionOutcome.NOT_ENOUGH_EVIDENCE, "ASK", Role.INSPECTOR, 403),
        (PromotionOutcome.NOT_ENOUGH_EVIDENCE, "ASK", Role.ENGINEER, 200),
        (PromotionOutcome.NOT_ENOUGH_EVIDENCE, "FAIL", Role.ENGINEER, 403),
        (PromotionOutcome.NOT_ENOUGH_EVIDENCE, "FAIL", Role.ADMIN, 200),
        (PromotionOutcome.REFUSED, "ASK", Role.ENGINEER, 403),
        (PromotionOutcome.REFUSED, "ASK", Role.ADMIN, 200),
        (PromotionOutcome.PROMOTED, "ASK", Role.ADMIN, 409),
    ],
)
def test_who_may_overrule_depends_on_what_was_missing_or_failed(
    api: Api, tmp_path: Path, *, outcome: PromotionOutcome, when_missing: str, role: Role, status: int
) -> None:
    with api.services.database.begin() as session:
        package_id = keep(session, api, tmp_path, outcome, when_missing=when_missing)
        asked = Signal(AlarmKind.GATE_ASKS, "m", "r", is_simulated=True, product="ring")
        alarm_id = raise_alarm(session, asked, api.clock.now()).id
    path = f"{P}/gates/{package_id}/overrule"
    assert api.as_(Role.ADMIN).post(path, json={"reason": ""}).status_code == 422
    answer = api.as_(role).post(path, json={"reason": "shadow will tell"})
    assert answer.status_code == status
    with api.services.database.read() as session:
        now = session.get_one(Promotion, package_id).outcome
        alarm = session.get_one(Alarm, alarm_id)
    # Who was called is let go once somebody has spoken, and not before.
    assert alarm.closed_by == (f"overruled by test-{role.value.lower()}" if status == 200 else None)
    if status != 200:
        assert now is outcome
        return
    assert now is PromotionOutcome.PROMOTED
    over = answer.json()["overruled"]
    assert (over["by"], over["role"], over["reason"], over["outcome"]) == (
        f"test-{role.value.lower()}", role.value, "shadow will tell", outcome.value,
    )  # fmt: skip
    assert api.as_(Role.ADMIN).post(path, json={"reason": "once more"}).status_code == 409


def test_a_product_s_terms_are_set_and_read_and_nonsense_is_refused(api: Api) -> None:
    engineer = api.as_(Role.ENGINEER)
    assert engineer.get(f"{P}/gate-policies").json() == []
    for changes in ({"recall_margin": 0}, {"overkill_margin": 1}, {"confidence": 0.5}, {"when_missing": "HOPE"}):
        assert engineer.put(f"{P}/gate-policies/ring", json=changes).status_code == 422
    for margin in (0.1, 0.2):
        told = engineer.put(f"{P}/gate-policies/ring", json={"recall_margin": margin, "note": "few pits"}).json()
    assert (told["recall_margin"], told["changed_by"], told["when_missing"]) == (0.2, "test-engineer", "ASK")
    assert engineer.get(f"{P}/gate-policies").json() == [told]
