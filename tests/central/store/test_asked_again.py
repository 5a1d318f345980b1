# SPDX-License-Identifier: Apache-2.0
"""The revision that lets a part be asked about again leaves what was judged before as it was."""

from alembic import command
from sqlalchemy import text
from sqlmodel import select

from central.store import schema
from central.store.database import Database
from central.store.repositories.quality import Scope, judged_audits
from central.store.repositories.reports import StationReports, store_batch
from central.store.tables import Audit, Inspection, LabelledPicture
from contracts.vocabulary import AuditState, Judgement, LabelSource
from tests.central.conftest import START, STATION, make_report


def _step(database: Database, revision: str, *, is_up: bool) -> None:
    config = schema._config()
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if is_up else command.downgrade)(config, revision)


def _judged(database: Database) -> None:
    """Two judged audits, one with a label, and one that waits."""
    with database.begin() as session:
        store_batch(session, [StationReports(STATION, 1, [make_report(n) for n in (1, 2, 3)])], [], START)
        for inspection in session.exec(select(Inspection).order_by("id")).all():
            is_judged = inspection.sequence < 3
            audit = Audit(
                inspection_id=inspection.id or 0,
                product="ring",
                drawn_at=START,
                inclusion_probability=0.5,
                state=AuditState.JUDGED if is_judged else AuditState.OPEN,
                judgement=Judgement.DEFECTIVE if is_judged else None,
                outcome=Judgement.DEFECTIVE if is_judged else None,
                judged_at=START if is_judged else None,
                inspector="ann" if is_judged else None,
                is_simulated=True,
            )
            session.add(audit)
            session.flush()
            if is_judged:
                session.add(
                    LabelledPicture(
                        product="ring",
                        sha256=f"{inspection.sequence:064x}",
                        judgement=Judgement.DEFECTIVE,
                        source=LabelSource.AUDIT,
                        inspection_id=inspection.id,
                        audit_id=audit.id,
                        added_at=START,
                        is_simulated=True,
                    )
                )


def test_old_audits_stay_readable_and_count_as_single_judgements(database: Database) -> None:
    _judged(database)
    _step(database, "0013", is_up=False)
    with database.engine.connect() as connection:
        columns = set(connection.execute(text("SELECT * FROM audit")).keys())
        labels = connection.execute(text("SELECT id, audit_id FROM labelled_picture ORDER BY id")).all()
    assert not {"ask", "is_repeat", "outcome", "settled_at"} & columns
    assert [audit_id for _, audit_id in labels] == [1, 2]
    schema.migrate(database)
    assert schema.drift(database) == []
    with database.read() as session:
        rows = session.exec(select(Audit).order_by("id")).all()
        assert [(row.ask, row.is_repeat, row.outcome, row.settled_at) for row in rows] == [
            (1, False, Judgement.DEFECTIVE, START),
            (1, False, Judgement.DEFECTIVE, START),
            (1, False, None, None),
        ]
        assert [label.audit_id for label in session.exec(select(LabelledPicture).order_by("id")).all()] == [1, 2]
        counted = judged_audits(session, Scope(START, START.replace(year=2030)))
    assert [(one.is_defective, one.inclusion_probability) for one in counted] == [(True, 0.5)] * 2


def test_going_back_keeps_the_first_asking_and_its_answer(database: Database) -> None:
    _judged(database)
    with database.begin() as session:
        first = session.get_one(Audit, 1)
        again = Audit(
            **{**first.model_dump(exclude={"id", "number"}), "ask": 2, "judgement": Judgement.GOOD, "outcome": None}
        )
        session.add(again)
    _step(database, "0013", is_up=False)
    with database.engine.connect() as connection:
        kept = connection.execute(text("SELECT id, judgement FROM audit ORDER BY id")).all()
    assert [tuple(row) for row in kept] == [(1, "DEFECTIVE"), (2, "DEFECTIVE"), (3, None)]
    schema.migrate(database)
