# SPDX-License-Identifier: Apache-2.0
"""What holds now is shown with its reason, and a person goes on after sampling was discontinued."""

import random
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlmodel import col, select

from central.quality.switching import Inspection
from central.services.audits.auditing import AuditingService
from central.services.audits.switching import AuditSwitching
from central.store.audit_tables import AuditShift
from central.store.tables import Audit
from central.store.tables import Inspection as InspectionRow
from contracts.vocabulary import AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import STATION, RememberingPublisher, make_report

_PATH = "/api/v1/audits/shifts"


def _service(api: Api, **changes: Any) -> AuditingService:
    settings = replace(api.services.settings.audit, rejected_share=0.0, repeat_share=0.0, **changes)
    return AuditingService(api.services.database, RememberingPublisher(), settings, random.Random(4))


def _make(api: Api, count: int, first: int = 1, **changes: object) -> None:
    api.store(*(make_report(number, Verdict.OK, **changes) for number in range(first, first + count)))


def _shifts(api: Api, **query: object) -> Any:
    return api.as_(Role.VIEWER).get(_PATH, params={key: str(value) for key, value in query.items()}).json()


def test_what_holds_now_is_shown_by_station_and_product(api: Api) -> None:
    service = _service(api, shift_budget=20)
    _make(api, 40)
    _make(api, 10, 41, product="board")
    service.draw(api.clock.now())
    board, ring = sorted(_shifts(api), key=lambda each: each["product"])
    assert (ring["station"], ring["shift"], ring["inspection"]) == (str(STATION), "2026-03-01 06:00", "NORMAL")
    assert (ring["budget"], board["budget"], ring["accepted"], ring["is_newest"]) == (16, 4, 40, True)
    assert ring["reason"] == "the first shift of this product at this station"
    assert [ring[name] for name in ("counted_at", "audits", "is_accepted", "changed_by")] == [None] * 4
    api.clock.at += timedelta(hours=8)
    _make(api, 10, 51)
    service.draw(api.clock.now())
    assert [(each["product"], each["shift"]) for each in _shifts(api, product="ring")] == [("ring", "2026-03-01 14:00")]
    every = _shifts(api, product="ring", newest=False)
    assert [(each["shift"], each["is_newest"]) for each in every] == [
        ("2026-03-01 14:00", True),
        ("2026-03-01 06:00", False),
    ]
    assert len(_shifts(api, newest=False, limit=1)) == 1
    assert _shifts(api, station="plant/line-1/other") == []


def test_a_person_resumes_and_everybody_sees_who_and_why(api: Api) -> None:
    service, switching = _service(api), AuditSwitching(api.services.database, api.services.settings.audit, 0.01)
    _make(api, 40)
    service.draw(api.clock.now())
    (row,) = _shifts(api)
    path = f"{_PATH}/{row['shift_id']}/resume"
    engineer = api.as_(Role.ENGINEER)
    refused = engineer.post(path, json={"by": "ann"})
    assert (refused.status_code, "expected DISCONTINUED, it is NORMAL" in refused.json()["detail"]) == (409, True)
    with api.services.database.begin() as session:
        stopped = session.exec(select(AuditShift)).one()
        stopped.inspection, stopped.reason = Inspection.DISCONTINUED, "5 shifts not accepted while tightened"
        session.add(stopped)
    switching.tick(api.clock.now())
    (alarm,) = api.as_(Role.VIEWER).get("/api/v1/alarms").json()
    assert (alarm["kind"], alarm["station"], alarm["state"]) == ("SAMPLING_DISCONTINUED", str(STATION), "RAISED")
    assert "5 shifts not accepted while tightened" in alarm["message"]
    assert engineer.post(path, json={"by": ""}).status_code == 422
    assert engineer.post(f"{_PATH}/999/resume", json={"by": "ann"}).status_code == 404
    done = engineer.post(path, json={"by": "ann", "note": "new lamp"}).json()
    assert (done["inspection"], done["changed_by"], done["reason"]) == ("TIGHTENED", "ann", "resumed by ann: new lamp")
    assert _shifts(api) == [done]
    (alarm,) = api.as_(Role.VIEWER).get("/api/v1/alarms").json()
    assert alarm["state"] == "CLOSED"


PRODUCTS, BATCHES, SIZE = 120, (10, 10, 160, 10, 10), 200
ESCAPES = 12


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_the_interval_holds_the_truth_whatever_switching_does_to_the_draws(api: Api) -> None:
    """Each product is a repetition: stored, drawn from five times under changing severity, judged, read over HTTP.

    Half of the escapes are in the batches in which few parts are made and chances differ; their scores are higher.
    """
    rng = np.random.default_rng(17)
    service = _service(api, shift_budget=PRODUCTS * 80, period_s=96 * 60.0)
    small = np.array([index for index in range(SIZE) if not 20 <= index < 180])
    large = np.arange(20, 180)
    defective: set[int] = set()
    scores = np.zeros((PRODUCTS, SIZE))
    for product in range(PRODUCTS):
        bad = np.concatenate([rng.choice(part, ESCAPES // 2, replace=False) for part in (small, large)])
        scores[product] = rng.random(SIZE)
        scores[product, bad] += rng.random(ESCAPES)
        defective |= {product * SIZE + int(index) + 1 for index in bad}
    severities = [
        Inspection.NORMAL, Inspection.REDUCED, Inspection.TIGHTENED, Inspection.SKIP_LOT, Inspection.DISCONTINUED,
    ]  # fmt: skip
    begin = 0
    for number, size in enumerate(BATCHES):
        for product in range(PRODUCTS):
            first = product * SIZE + begin
            made = [
                make_report(first + index + 1, product=f"p{product:03d}", score=float(scores[product, begin + index]))
                for index in range(size)
            ]
            api.store(*made)
        service.draw(api.clock.now())
        api.clock.at += timedelta(minutes=96)
        begin += size
        with api.services.database.begin() as session:
            for place, row in enumerate(session.exec(select(AuditShift).order_by(col(AuditShift.id))).all()):
                # Half of them stay normal, the others wander through all that there is.
                row.inspection = severities[0] if place % 2 else severities[(place // 2 + number) % len(severities)]
                session.add(row)
    with api.services.database.begin() as session:
        found = session.exec(
            select(Audit, InspectionRow.sequence).join(InspectionRow, col(InspectionRow.id) == col(Audit.inspection_id))
        ).all()
        for audit, sequence in found:
            audit.state, audit.judged_at = AuditState.JUDGED, api.clock.now()
            audit.judgement = audit.outcome = Judgement.DEFECTIVE if sequence in defective else Judgement.GOOD
            session.add(audit)
    assert {0 < audit.inclusion_probability <= 1 for audit, _ in found} == {True}
    lines = (
        api.as_(Role.VIEWER)
        .get("/api/v1/quality/rates", params={"station": str(STATION), "minutes": 600})
        .json()["lines"]
    )
    assert len(lines) == PRODUCTS
    rates = [line["escape_share_of_accepted"] for line in lines]
    truth = ESCAPES / SIZE
    held = np.mean([rate["low"] <= truth <= rate["high"] for rate in rates])
    estimates = np.array([rate["estimate"] for rate in rates])
    assert held >= 0.93
    # No bias: a wrong chance would show here, however wide the intervals are.
    assert abs(estimates.mean() - truth) < 4 * estimates.std(ddof=1) / np.sqrt(PRODUCTS)
    sums = np.zeros(PRODUCTS)
    for audit, _ in found:
        sums[int((audit.product or "p0")[1:])] += 1 / audit.inclusion_probability
    # Horvitz and Thompson: the weights add up to the parts.
    assert abs(sums.mean() - SIZE) < 4 * sums.std(ddof=1) / np.sqrt(PRODUCTS)
