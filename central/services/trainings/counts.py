# SPDX-License-Identifier: Apache-2.0
"""What triggers look at, counted in the database: new confirmed labels of a product, and trainings nobody asked for.

Decides nothing (`domain/training_triggers.py`). Reads rows by an index on product and time; writes nothing.
"""

from collections import Counter
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, distinct, or_
from sqlmodel import Session, col, func, select

from central.domain.training_triggers import UNNAMED, WEEK, Recent
from central.services.package_registry import KnownChampion
from central.store.dataset_files import query_from_json
from central.store.dataset_tables import DatasetVersion
from central.store.learning_tables import Package, Training
from central.store.tables import Audit, Inspection, LabelledPicture
from contracts.vocabulary import Judgement, LabelSource, TrainingState, TrainingTrigger, Verdict

_MOST_OF_A_WEEK: Final = 1_000
_CONFIRMING: Final = 2


def products_of(session: Session) -> list[tuple[str, bool]]:
    """Every product with labels, and whether it trains on simulated ones: real ones where there are any."""
    # The names come out of the index alone, and one real label of each is enough.
    names = session.exec(select(LabelledPicture.product).distinct()).all()
    found = []
    for name in sorted(names):
        real = select(LabelledPicture.id).where(
            LabelledPicture.product == name, col(LabelledPicture.is_simulated).is_(False)
        )
        found.append((name, session.exec(real.limit(1)).first() is None))
    return found


def good_labels(session: Session, product: str, at_most: int, *, is_simulated: bool) -> int:
    """Good labels of a product, counted up to `at_most`: whether there are enough is all that is asked."""
    some = (
        select(LabelledPicture.id)
        .where(
            LabelledPicture.product == product,
            LabelledPicture.is_simulated == is_simulated,
            LabelledPicture.judgement == Judgement.GOOD,
        )
        .limit(at_most)
    )
    return session.exec(select(func.count()).select_from(some.subquery())).one()


def last_training(session: Session, product: str, *, is_simulated: bool) -> Training | None:
    """The last one that was not cancelled; one that failed counts, the same labels would fail again."""
    wanted = select(Training).where(
        Training.product == product,
        Training.is_simulated == is_simulated,
        Training.state != TrainingState.CANCELLED,
    )
    return session.exec(wanted.order_by(col(Training.created_at).desc()).limit(1)).first()


def learnt_until(session: Session, champion: KnownChampion | None, last: Training | None) -> datetime | None:
    """Labels added later are new to the champion and to the last training; None: nothing was learnt yet."""
    known = []
    if champion is not None:
        package = session.get_one(Package, champion.package_id)
        known.append(_labelled_until(session, package.dataset_id) or champion.trained_at)
    if last is not None:
        known.append(_labelled_until(session, last.dataset_id) or last.created_at)
    return max(known, default=None)


def _labelled_until(session: Session, dataset_id: str | None) -> datetime | None:
    version = session.get(DatasetVersion, dataset_id) if dataset_id else None
    return query_from_json(version.query).labelled_until if version else None


def new_labels(
    session: Session, product: str, since: datetime | None, *, is_simulated: bool, is_confirmed: bool
) -> tuple[int, Counter[str]]:
    """Confirmed labels that came after `since`: all of them, and the defective ones by class.

    Confirmed are reference parts, which are of known class, good parts as `domain.audit.settle` found them, and
    defective ones that two inspectors or more called defective. Defective parts among audited rejects are left out:
    the champion found them by itself.

    Args:
        session: to read with.
        product: whose labels.
        since: None: all.
        is_simulated: which kind.
        is_confirmed: False: one answer is enough, as `audit.confirms` says.
    """
    label, asked = LabelledPicture, Audit
    is_good = col(label.judgement) == Judgement.GOOD
    is_reference = col(label.source) == LabelSource.REFERENCE
    voices: Any = (
        select(func.count(distinct(col(asked.inspector))))
        .where(
            asked.inspection_id == label.inspection_id,
            asked.judgement == Judgement.DEFECTIVE,
            col(asked.is_repeat).is_(False),
        )
        .scalar_subquery()
    )
    was_drawn_or_asked = col(label.source).in_((LabelSource.AUDIT, LabelSource.ASKED))
    was_missed = or_(~was_drawn_or_asked, col(Inspection.verdict).is_(None), col(Inspection.verdict) == Verdict.OK)
    is_defective = and_(col(label.judgement) == Judgement.DEFECTIVE, was_missed)
    if is_confirmed:
        is_defective = and_(is_defective, or_(is_reference, voices >= _CONFIRMING))
    wanted = (
        select(label.judgement, label.defect_class, func.count())
        .select_from(label)
        .outerjoin(Inspection, col(Inspection.id) == col(label.inspection_id))
        .where(label.product == product, label.is_simulated == is_simulated, or_(is_good, is_defective))
        .group_by(col(label.judgement), col(label.defect_class))
    )
    if since is not None:
        wanted = wanted.where(label.added_at > since)
    total, by_class = 0, Counter[str]()
    for judgement, defect_class, count in session.exec(wanted).all():
        total += count
        if judgement is Judgement.DEFECTIVE:
            by_class[defect_class or UNNAMED] += count
    return total, by_class


def recent_of(session: Session, product: str, now: datetime, *, is_simulated: bool) -> Recent:
    """Trainings of a product that no person asked for."""
    of_it = (
        Training.product == product,
        Training.is_simulated == is_simulated,
        Training.trigger != TrainingTrigger.PERSON,
    )
    ended = session.exec(select(func.max(Training.finished_at)).where(*of_it)).one()
    begun = session.exec(
        select(Training.created_at).where(*of_it, Training.created_at > now - WEEK).limit(_MOST_OF_A_WEEK)
    ).all()
    return Recent(ended, tuple(begun))


def last_label_at(session: Session, product: str, *, is_simulated: bool) -> datetime | None:
    """When the last label of a product came."""
    of_it = select(func.max(LabelledPicture.added_at)).where(
        LabelledPicture.product == product, LabelledPicture.is_simulated == is_simulated
    )
    return session.exec(of_it).one()
