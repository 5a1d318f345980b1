# SPDX-License-Identifier: Apache-2.0
"""Which pictures a package is held against its champion on: the product's frozen test set and recent audited parts.

Nothing that any training of the product learnt from: a part that ever stood on the training side is left out, so
neither package has seen it. Judges nothing. Called by `services/gates/gating.py`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, col, select

from central.gate_settings import GateSettings
from central.services.trainings.datasets import part_of
from central.store.dataset_tables import HeldOutPicture
from central.store.learning_tables import SplitGroup
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import Judgement, LabelSource, PartUse

_FIRM = (Judgement.GOOD, Judgement.DEFECTIVE)


@dataclass(frozen=True)
class ChosenPicture:
    """One labelled picture, and in which of the two roles it stands; it may be both."""

    label: LabelledPicture
    part: str
    is_test: bool
    inclusion_probability: float | None


def choose_gate_pictures(
    session: Session, product: str, settings: GateSettings, now: datetime, *, is_simulated: bool
) -> tuple[list[ChosenPicture], int]:
    """Pictures by digest, and how many the whole test set has, whether or not all of them were taken."""
    test = _test_set(session, product, is_simulated=is_simulated)
    audited = _audited(session, product, settings, now, is_simulated=is_simulated)
    chances = {label.sha256: chance for label, chance in audited}
    # By digest: which of too many are taken has nothing to do with what they show.
    kept = sorted(test, key=lambda label: label.sha256)[: settings.max_pictures]
    in_test = {label.sha256 for label in kept}
    labels = {label.sha256: label for label in [*kept, *(label for label, _ in audited)]}
    chosen = [
        ChosenPicture(label, part_of(label), sha256 in in_test, chances.get(sha256))
        for sha256, label in sorted(labels.items())
    ]
    return chosen, len(test)


def _test_set(session: Session, product: str, *, is_simulated: bool) -> list[LabelledPicture]:
    wanted = (
        select(LabelledPicture)
        .join(HeldOutPicture, col(HeldOutPicture.sha256) == col(LabelledPicture.sha256))
        .where(
            HeldOutPicture.product == product,
            HeldOutPicture.is_simulated == is_simulated,
            LabelledPicture.product == product,
            LabelledPicture.is_simulated == is_simulated,
            col(LabelledPicture.judgement).in_(_FIRM),
        )
    )
    return list(session.exec(wanted).all())


def _audited(
    session: Session, product: str, settings: GateSettings, now: datetime, *, is_simulated: bool
) -> list[tuple[LabelledPicture, float]]:
    """Audits that chance drew and people settled, newest first, with the chance each had."""
    wanted = (
        select(LabelledPicture, Audit.inclusion_probability)
        .join(Audit, col(Audit.id) == col(LabelledPicture.audit_id))
        .where(
            LabelledPicture.product == product,
            LabelledPicture.is_simulated == is_simulated,
            LabelledPicture.source == LabelSource.AUDIT,
            col(LabelledPicture.judgement).in_(_FIRM),
            col(Audit.is_discordant).is_(False),
            Audit.inclusion_probability > 0,
            LabelledPicture.added_at >= now - timedelta(days=settings.audit_days),
        )
        .order_by(col(LabelledPicture.id).desc())
    )
    learnt = set(
        session.exec(
            select(SplitGroup.part_group).where(
                SplitGroup.product == product,
                SplitGroup.is_simulated == is_simulated,
                SplitGroup.use == PartUse.TRAIN,
            )
        ).all()
    )
    found: list[tuple[LabelledPicture, float]] = []
    for label, chance in session.exec(wanted):
        if part_of(label) not in learnt:
            found.append((label, min(1.0, chance)))
        if len(found) == settings.max_pictures:
            break
    return found
