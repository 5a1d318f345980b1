# SPDX-License-Identifier: Apache-2.0
"""Parts that a training asked for, over HTTP: told of as a number before the answer, with the reason after it."""

from typing import Any

from contracts.vocabulary import AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import make_report

P = "/api/v1"
OPEN: dict[str, Any] = {"state": AuditState.OPEN, "crop_sha256": "c" * 64}


def ask(api: Api, sequence: int, reason: str) -> int:
    return api.draw_audit(sequence, 0.0, asked_because=reason, is_floor=False, drawn_at=api.clock.now(), **OPEN)


def test_the_reason_is_told_after_the_answer_and_not_before(api: Api) -> None:
    inspector = api.as_(Role.INSPECTOR)
    api.store(make_report(1), make_report(2))
    number = ask(api, 1, "UNCERTAIN")
    task = inspector.get(f"{P}/audits/next", params={"inspector": "anna"}).json()
    assert task["audit_id"] == number
    (listed,) = inspector.get(f"{P}/audits", params={"state": "OPEN"}).json()
    assert "UNCERTAIN" not in str((task, listed))
    (known,) = api.as_(Role.ADMIN).get(f"{P}/audits/parts", params={"state": "OPEN"}).json()
    assert (known["audit_id"], known["asked_because"], known["part_id"]) == (number, "UNCERTAIN", "part-1")
    said = {"judgement": "GOOD", "inspector": "anna"}
    assert inspector.post(f"{P}/audits/{number}/outcome", json=said).json()["asked_because"] == "UNCERTAIN"
    by_chance = api.draw_audit(2, **OPEN)
    assert inspector.post(f"{P}/audits/{by_chance}/outcome", json=said).json()["asked_because"] is None


def test_the_summary_tells_budget_and_what_waits_by_reason(api: Api) -> None:
    api.store(*[make_report(number) for number in range(1, 6)])
    for number, reason in ((1, "NOVEL"), (2, "UNCERTAIN"), (3, "UNCERTAIN")):
        ask(api, number, reason)
    api.draw_audit(4, **OPEN)
    told = api.as_(Role.VIEWER).get(f"{P}/audits/summary").json()
    assert (told["asked_budget"], told["asked"], told["asked_waiting"]) == (0, 3, {"NOVEL": 1, "UNCERTAIN": 2})
    assert told["open"] == 4


def test_what_was_asked_for_changes_no_figure_of_the_api(api: Api) -> None:
    viewer = api.as_(Role.VIEWER)
    api.store(*[make_report(number, Verdict.NG if number > 8 else Verdict.OK) for number in range(1, 13)])
    now = api.clock.now()
    good: dict[str, Any] = {"state": AuditState.JUDGED, "judgement": Judgement.GOOD, "judged_at": now}
    for number in (1, 2, 9):
        api.draw_audit(number, **good)
    paths = ("rates?minutes=600000", "figures?minutes=600000", "hints?minutes=600000", "timeline?minutes=600")
    before = [viewer.get(f"{P}/quality/{path}").json() for path in paths]
    for number in (3, 4, 5, 10, 11):
        wrong = Judgement.DEFECTIVE if number < 9 else Judgement.GOOD
        api.draw_audit(number, 0.0, asked_because="UNCERTAIN", is_floor=False, **{**good, "judgement": wrong})
    after = [viewer.get(f"{P}/quality/{path}").json() for path in paths]
    # What is told of the moment of asking is no figure.
    assert [_without_times(each) for each in after] == [_without_times(each) for each in before]


def _without_times(told: object) -> object:
    if isinstance(told, dict):
        return {name: _without_times(value) for name, value in told.items() if name not in ("at", "until", "since")}
    return [_without_times(each) for each in told] if isinstance(told, list) else told
