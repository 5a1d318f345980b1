# SPDX-License-Identifier: Apache-2.0
"""The intervals of `/quality/rates` hold the truth where people err, on the way that audits really go.

Each product is one repetition: its parts are stored, drawn by the auditing service, judged by inspectors who are wrong
in two of a hundred answers until every part is settled, and read back over HTTP.
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from sqlmodel import Session, col, select

from central.services.audits.auditing import AuditingService
from central.store.repositories import audits
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, Inspection
from contracts.vocabulary import AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import EPOCH, Api
from tests.central.conftest import STATION, RememberingPublisher, make_report

ERROR = 0.02
ACCEPTED, ESCAPES = 500, 1
REJECTED, GOOD_REJECTS = 50, 20


def _store(api: Api, products: int, rng: np.random.Generator) -> set[int]:
    """Parts of every product; gives the sequences of those that are defective."""
    defective: set[int] = set()
    for product in range(products):
        first = product * (ACCEPTED + REJECTED) + 1
        escaped = set(rng.choice(ACCEPTED, ESCAPES, replace=False).tolist())
        bad = set((ACCEPTED + rng.choice(REJECTED, REJECTED - GOOD_REJECTS, replace=False)).tolist())
        defective |= {first + index for index in escaped | bad}
        score = rng.random(ACCEPTED + REJECTED)
        made = [
            make_report(
                first + index,
                Verdict.OK if index < ACCEPTED else Verdict.NG,
                product=f"p{product:03d}",
                score=float(score[index]),
            )
            for index in range(ACCEPTED + REJECTED)
        ]
        with api.services.database.begin() as session:
            store_batch(session, [StationReports(STATION, EPOCH, made)], [], api.clock.now())
    return defective


def _judge_all(session: Session, defective: set[int], rng: np.random.Generator, api: Api, *, confirms: bool) -> int:
    """One answer to every open audit, the n-th asking by the n-th inspector; how many there were."""
    waiting = session.exec(
        select(Audit.number, Audit.ask, Inspection.sequence)
        .join(Inspection, col(Inspection.id) == col(Audit.inspection_id))
        .where(Audit.state == AuditState.OPEN)
    ).all()
    for number, ask, sequence in waiting:
        said = (sequence in defective) != (rng.random() < ERROR)
        audits.judge(
            session,
            number,
            Judgement.DEFECTIVE if said else Judgement.GOOD,
            defect_class=None,
            inspector=f"n{ask}",
            note="",
            now=api.clock.now(),
            confirms=confirms,
        )
    return len(waiting)


def _coverage(api: Api, products: int, *, confirms: bool) -> tuple[float, float]:
    """Share of products whose escape, and overkill, interval holds the truth."""
    rng = np.random.default_rng(11)
    defective = _store(api, products, rng)
    settings = replace(api.services.settings.audit, accepted_share=0.12, rejected_share=0.4, repeat_share=0.0)
    service = AuditingService(api.services.database, RememberingPublisher(), settings, random.Random(4))
    while service.draw(api.clock.now()):
        pass
    with api.services.database.begin() as session:
        for audit in session.exec(select(Audit)).all():
            audit.state, audit.crop_sha256 = AuditState.OPEN, f"{audit.id:064x}"
            session.add(audit)
    is_done = False
    while not is_done:
        with api.services.database.begin() as session:
            is_done = _judge_all(session, defective, rng, api, confirms=confirms) == 0
    answer = api.as_(Role.VIEWER).get("/api/v1/quality/rates", params={"station": str(STATION)}).json()
    held = np.zeros(2)
    for line in answer["lines"]:
        escape, overkill = line["escape_share_of_accepted"], line["overkill_share_of_rejected"]
        assert (escape["of"], escape["unsettled"], overkill["unsettled"]) == (60, 0, 0)
        assert overkill["of"] == 20
        held += [
            escape["low"] <= ESCAPES / ACCEPTED <= escape["high"],
            overkill["low"] <= GOOD_REJECTS / REJECTED <= overkill["high"],
        ]
    assert len(answer["lines"]) == products
    return float(held[0]) / products, float(held[1]) / products


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_both_intervals_hold_the_truth_though_people_err(api: Api) -> None:
    escapes, overkills = _coverage(api, 200, confirms=True)
    assert escapes >= 0.93
    assert overkills >= 0.93


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_one_answer_taken_for_the_truth_would_not(api: Api) -> None:
    """What the second inspector is for: else the test above could not tell whether it does anything."""
    escapes, _ = _coverage(api, 80, confirms=False)
    assert escapes < 0.85
