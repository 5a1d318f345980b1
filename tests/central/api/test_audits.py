# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from typing import Any

import pytest
from sqlmodel import select

from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import AuditState, Judgement, LabelSource, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import make_report

SECRETS = {"verdict", "score", "package_id", "ok_limit", "ng_limit", "cause", "disposition", "defect_class"}


@pytest.fixture(name="audits")
def _audits(api: Api) -> list[int]:
    """Four open audits of accepted parts, their crops all different."""
    api.store(*(make_report(number) for number in range(1, 5)))
    return [api.draw_audit(number, state=AuditState.OPEN, crop_sha256=str(number) * 64) for number in range(1, 5)]


def _outcome(api: Api, audit_id: int, judgement: str, inspector: str = "ann", **more: Any) -> Any:
    body = {"judgement": judgement, "inspector": inspector, **more}
    return api.as_(Role.INSPECTOR).post(f"/api/v1/audits/{audit_id}/outcome", json=body)


def _next(api: Api, inspector: str) -> Any:
    return api.as_(Role.INSPECTOR).get("/api/v1/audits/next", params={"inspector": inspector})


def _confirm(api: Api, audit_id: int, judgement: str) -> None:
    """One more inspector says the same of the part."""
    with api.services.database.read() as session:
        part = api.audit(audit_id).inspection_id
        asked = session.exec(select(Audit).where(Audit.inspection_id == part).order_by("ask")).all()
    _outcome(api, asked[-1].number, judgement, inspector=f"n{len(asked)}").raise_for_status()


def _labels(api: Api) -> list[LabelledPicture]:
    with api.services.database.read() as session:
        return list(session.exec(select(LabelledPicture).order_by("id")).all())


def test_task_is_blind(api: Api, audits: list[int]) -> None:
    task = _next(api, "ann").json()
    assert task["audit_id"] in audits
    assert not SECRETS & set(task)
    assert task["waiting"] == 4
    for item in api.as_(Role.INSPECTOR).get("/api/v1/audits", params={"state": "OPEN"}).json():
        assert not SECRETS & set(item)


def test_two_inspectors_never_get_the_same_task(api: Api, audits: list[int]) -> None:
    first, second = _next(api, "ann").json()["audit_id"], _next(api, "bob").json()["audit_id"]
    assert first != second
    assert _next(api, "ann").json()["audit_id"] == first
    others = {_next(api, name).json()["audit_id"] for name in ("cem", "dee")}
    assert {first, second} | others == set(audits)
    assert _next(api, "eve").status_code == 204


def test_claim_ends_after_its_time(api: Api, audits: list[int]) -> None:
    for name in ("ann", "bob", "cem", "dee"):
        _next(api, name)
    assert _next(api, "eve").status_code == 204
    api.clock.advance(121)
    assert _next(api, "eve").json()["audit_id"] in audits


@pytest.mark.usefixtures("audits")
def test_order_is_by_chance_not_by_age(api: Api) -> None:
    orders = set()
    for seed in range(6):
        api.services.rng.seed(seed)
        api.clock.advance(121)
        orders.add(tuple(_next(api, f"n{seed}-{number}").json()["audit_id"] for number in range(4)))
    assert len(orders) > 1


@pytest.fixture(name="disputed")
def _disputed(api: Api, audits: list[int]) -> list[int]:
    """Four more, of parts that a challenger disagrees on; they are the youngest in the queue."""
    assert len(audits) == 4
    api.store(*(make_report(number) for number in range(5, 9)))
    shown = {"state": AuditState.OPEN, "is_discordant": True, "stratum": f"discordant:{'b' * 64}"}
    return [api.draw_audit(number, 0.0, crop_sha256=str(number) * 64, **shown) for number in range(5, 9)]


def test_parts_that_a_challenger_disagrees_on_go_first_and_then_the_others(
    api: Api, audits: list[int], disputed: list[int]
) -> None:
    given = [_next(api, f"n{number}").json()["audit_id"] for number in range(8)]
    assert (set(given[:4]), set(given[4:])) == (set(disputed), set(audits))


def test_disputed_parts_come_in_random_order(api: Api, disputed: list[int]) -> None:
    first: Counter[int] = Counter()
    for seed in range(60):
        api.services.rng.seed(seed)
        api.clock.advance(121)
        first[_next(api, f"n{seed}").json()["audit_id"]] += 1
    assert set(first) == set(disputed)
    # Of 60 draws among four 15 each; 4 or fewer of one has a chance of 1 in 1,500.
    assert min(first.values()) > 4


def test_task_of_a_disputed_part_looks_like_any_other(api: Api, audits: list[int], disputed: list[int]) -> None:
    tasks = {task["audit_id"]: task for task in api.as_(Role.INSPECTOR).get("/api/v1/audits").json()}
    taken = _next(api, "ann")
    assert taken.json()["audit_id"] in disputed
    for task in (taken.json(), tasks[disputed[0]]):
        assert set(task) == set(tasks[audits[0]])
        assert not SECRETS & set(task)
    for said in ("discordant", "challenger", "b" * 64, "stratum"):
        assert said not in taken.text


def test_outcome_reveals_the_verdict_and_is_written_once(api: Api, audits: list[int]) -> None:
    answer = _outcome(api, audits[0], "DEFECTIVE", defect_class="scratch").json()
    assert answer == {
        "audit_id": audits[0],
        "verdict": "OK",
        "score": 0.25,
        "judgement": "DEFECTIVE",
        "is_escape": True,
        # Three, and one more inspector about this one.
        "waiting": 4,
        "asked_because": None,
    }
    again = _outcome(api, audits[0], "GOOD", inspector="bob")
    assert (again.status_code, "JUDGED by ann" in again.json()["detail"]) == (409, True)
    assert api.audit(audits[0]).judgement is Judgement.DEFECTIVE


def test_defective_part_that_was_rejected_is_no_escape(api: Api) -> None:
    api.store(make_report(9, Verdict.NG))
    audit_id = api.draw_audit(9, state=AuditState.OPEN, crop_sha256="9" * 64)
    assert _outcome(api, audit_id, "DEFECTIVE").json()["is_escape"] is False


def test_outcome_becomes_a_labelled_picture_of_its_part(api: Api, audits: list[int]) -> None:
    _outcome(api, audits[0], "DEFECTIVE", defect_class="scratch")
    _confirm(api, audits[0], "DEFECTIVE")
    _outcome(api, audits[1], "GOOD", defect_class="ignored")
    first, second = _labels(api)
    assert (first.sha256, first.judgement, first.defect_class) == ("1" * 64, Judgement.DEFECTIVE, "scratch")
    assert (first.source, first.part_id, first.audit_id) == (LabelSource.AUDIT, "part-1", api.audit(audits[0]).id)
    assert first.is_simulated
    assert (second.judgement, second.defect_class) == (Judgement.GOOD, None)


def test_first_firm_judgement_of_a_picture_stands(api: Api) -> None:
    api.store(*(make_report(number) for number in range(1, 4)))
    ids = [api.draw_audit(number, state=AuditState.OPEN, crop_sha256="e" * 64) for number in range(1, 4)]
    said = ["UNSURE", "DEFECTIVE", "GOOD"]
    kept = []
    for audit_id, judgement in zip(ids, said, strict=True):
        _outcome(api, audit_id, judgement).raise_for_status()
        while api.audit(audit_id).outcome is None:
            _confirm(api, audit_id, judgement)
        kept.append([label.judgement.value for label in _labels(api)])
    assert kept == [["UNSURE"], ["DEFECTIVE"], ["DEFECTIVE"]]


@pytest.mark.parametrize("state", [AuditState.AWAITING_EVIDENCE, AuditState.LOST])
def test_audit_without_a_picture_cannot_be_judged(api: Api, state: AuditState) -> None:
    api.store(make_report(1))
    audit_id = api.draw_audit(1, state=state)
    assert _outcome(api, audit_id, "GOOD").status_code == 409
    assert _labels(api) == []


def test_task_held_by_another_inspector_cannot_be_judged_over_their_head(api: Api, audits: list[int]) -> None:
    held = _next(api, "ann").json()["audit_id"]
    assert _outcome(api, held, "GOOD", inspector="bob").status_code == 409
    assert _outcome(api, held, "GOOD", inspector="ann").status_code == 200
    free = next(audit_id for audit_id in audits if audit_id != held)
    assert _outcome(api, free, "GOOD", inspector="bob").status_code == 200


def test_unknown_audit_and_impossible_outcome_are_named(api: Api, audits: list[int]) -> None:
    assert _outcome(api, 999, "GOOD").status_code == 404
    answer = _outcome(api, audits[0], "FINE")
    assert (answer.status_code, "judgement" in answer.json()["detail"]) == (422, True)


def test_summary_counts_states_judgements_and_classes(api: Api, audits: list[int]) -> None:
    _outcome(api, audits[0], "DEFECTIVE", defect_class="scratch")
    _confirm(api, audits[0], "DEFECTIVE")
    _outcome(api, audits[1], "DEFECTIVE")
    _outcome(api, audits[2], "GOOD")
    api.store(make_report(8))
    api.draw_audit(8)
    assert api.as_(Role.VIEWER).get("/api/v1/audits/summary").json() == {
        "awaiting_evidence": 1,
        "open": 2,
        "judged": 4,
        "lost": 0,
        "unsettled": 1,
        "asked_budget": 0,
        "asked": 0,
        "asked_waiting": {},
        "by_judgement": {"GOOD": 1, "DEFECTIVE": 3, "UNSURE": 0},
        "known_defect_classes": ["scratch"],
    }


def test_list_pages_back_by_number(api: Api, audits: list[int]) -> None:
    client = api.as_(Role.INSPECTOR)
    first = client.get("/api/v1/audits", params={"limit": 3}).json()
    rest = client.get("/api/v1/audits", params={"limit": 3, "before_id": first[-1]["audit_id"]}).json()
    assert [item["audit_id"] for item in first + rest] == sorted(audits, reverse=True)
