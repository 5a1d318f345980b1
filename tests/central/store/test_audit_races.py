# SPDX-License-Identifier: Apache-2.0
"""Several inspectors at one queue, each in a transaction of their own, on both databases."""

import random
import threading
from collections import Counter

import pytest
from sqlmodel import select

from central.errors import ConflictError
from central.store.database import Database
from central.store.repositories import audits
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, Inspection
from contracts.vocabulary import AuditState, Judgement, Verdict
from tests.central.conftest import START, STATION, make_report

PARTS = 12


@pytest.fixture(name="queue")
def _queue(database: Database) -> Database:
    """Open audits of accepted parts and of rejects, half and half."""
    with database.begin() as session:
        reports = [make_report(n, Verdict.OK if n % 2 else Verdict.NG) for n in range(1, PARTS + 1)]
        store_batch(session, [StationReports(STATION, 1, reports)], [], START)
        for inspection in session.exec(select(Inspection)).all():
            session.add(
                Audit(
                    inspection_id=inspection.id or 0,
                    product="ring",
                    drawn_at=START,
                    inclusion_probability=0.5,
                    state=AuditState.OPEN,
                    crop_sha256=f"{inspection.sequence:064x}",
                    is_simulated=True,
                )
            )
    return database


def _judge_until_empty(database: Database, name: str, seen: list[tuple[str, int]], trouble: list[str]) -> None:
    rng = random.Random(name)
    # Bounded: who is given what they may not judge would go round for ever.
    for _ in range(10 * PARTS):
        with database.begin() as session:
            task = audits.claim_next(session, name, START, 60.0, rng)
        if task is None:
            return
        try:
            with database.begin() as session:
                audits.judge(
                    session,
                    task.audit.number,
                    Judgement.DEFECTIVE,
                    defect_class=None,
                    inspector=name,
                    note="",
                    now=START,
                )
            seen.append((name, task.audit.inspection_id))
        except ConflictError as error:
            trouble.append(str(error))


def test_everybody_at_once_asks_each_part_of_two_and_settles_it(queue: Database) -> None:
    seen: list[tuple[str, int]] = []
    trouble: list[str] = []
    names = [f"n{number}" for number in range(5)]
    people = [threading.Thread(target=_judge_until_empty, args=(queue, name, seen, trouble)) for name in names]
    for person in people:
        person.start()
    for person in people:
        person.join()
    # Who was last at the queue may have left before the last asking was put into it.
    for name in names:
        _judge_until_empty(queue, name, seen, trouble)
    assert trouble == []
    assert Counter(part for _, part in seen) == dict.fromkeys(range(1, PARTS + 1), 2)
    assert len(set(seen)) == 2 * PARTS, "nobody judged a part twice"
    with queue.read() as session:
        rows = session.exec(select(Audit)).all()
    assert Counter(row.ask for row in rows) == {1: PARTS, 2: PARTS}
    assert {row.outcome for row in rows if row.ask == 1} == {Judgement.DEFECTIVE}


def test_one_asking_answered_by_two_at_once_is_answered_once(queue: Database) -> None:
    with queue.begin() as session:
        for number in session.exec(select(Audit.number)).all():
            audits.judge(session, number, Judgement.DEFECTIVE, defect_class=None, inspector="ann", note="", now=START)
        asked = session.exec(select(Audit.number).where(Audit.ask == 2)).all()
    said: Counter[str] = Counter()
    lock = threading.Lock()

    def answer(name: str) -> None:
        for number in asked:
            try:
                with queue.begin() as session:
                    audits.judge(
                        session,
                        number,
                        Judgement.DEFECTIVE,
                        defect_class=None,
                        inspector=name,
                        note="",
                        now=START,
                    )
                word = "stored"
            except ConflictError:
                word = "refused"
            with lock:
                said[word] += 1

    people = [threading.Thread(target=answer, args=(name,)) for name in ("bob", "cem")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    assert said == {"stored": PARTS, "refused": PARTS}
    with queue.read() as session:
        rows = session.exec(select(Audit)).all()
    assert len(rows) == 2 * PARTS
    assert {row.outcome for row in rows if row.ask == 1} == {Judgement.DEFECTIVE}
