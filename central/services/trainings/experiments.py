# SPDX-License-Identifier: Apache-2.0
"""The history of trainings: keeps what each was given and how it went, and gathers it with all that came of it.

`keep_given` and `keep_told` write within the caller's transaction (`services/trainings/learning.py`,
`usage.py`); `ExperimentRetention` lets go of what is too old or too many; the rest reads. Decides nothing.
"""

import hashlib
import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import and_, delete, or_
from sqlmodel import Session, col, func, select

from central.errors import NotFoundError
from central.learning_settings import ExperimentSettings
from central.store.chunks import in_chunks
from central.store.database import Database
from central.store.dataset_tables import DatasetVersion
from central.store.experiment_tables import Experiment
from central.store.gate_tables import GateOverrule, GateRun
from central.store.learning_tables import Champion, Package, Promotion, RolloutRow, Training
from central.store.tables import columns_of
from central.store.training_tables import TrainingAttempt
from contracts.jobs import TrainingJob, TrainingProgress
from contracts.vocabulary import TrainingState

_LOG = logging.getLogger(__name__)
_OVER: Final = (TrainingState.FINISHED, TrainingState.FAILED, TrainingState.CANCELLED)
# Let go in one tick.
_BITE: Final = 500
# Pictures stand in the dataset version, the rest in the training's own row; folders are this machine's.
_NO_PARAMETER: Final = {
    "schema_version", "training_id", "product", "reason", "is_simulated", "images", "dataset_id", "champion_dir",
    "champion_package_id", "output_dir",
}  # fmt: skip


@dataclass(frozen=True)
class ExperimentRecord:
    """One training with what it was given and what came of it. None: not there, or not known."""

    training: Training
    given: Experiment | None
    dataset: DatasetVersion | None
    attempts: list[TrainingAttempt]
    promotion: Promotion | None
    gate: GateRun | None
    overruled: GateOverrule | None
    rollouts: list[RolloutRow]


def keep_given(session: Session, job: TrainingJob, content: bytes, now: datetime) -> None:
    """A job has been laid out as these bytes; laid out anew, what was kept of it gives way."""
    labels: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    parts: dict[tuple[str, str], set[str]] = defaultdict(set)
    for image in job.images:
        side, name = image.use.value, image.defect_class or image.judgement.value
        counted = labels[side].setdefault(name, {"pictures": 0, "parts": 0})
        parts[side, name].add(image.group)
        counted["pictures"] += 1
        counted["parts"] = len(parts[side, name])
    session.merge(
        Experiment(
            training_id=job.training_id,
            job_sha256=hashlib.sha256(content).hexdigest(),
            laid_out_at=now,
            parameters=job.model_dump(mode="json", exclude=_NO_PARAMETER),
            labels=dict(labels),
        )
    )


def keep_told(session: Session, training_id: str, progress: TrainingProgress | None, now: datetime) -> None:
    """What the trainer said of its machine and its course; a later word that leaves it out takes nothing away."""
    row = session.get(Experiment, training_id)
    if row is None or progress is None:
        return
    made_by = progress.made_by.model_dump(mode="json") if progress.made_by is not None else row.made_by
    curves = [curve.model_dump(mode="json") for curve in progress.curves] or row.curves
    if (made_by, curves) != (row.made_by, row.curves):
        row.made_by, row.curves, row.told_at = made_by, curves, now
        session.add(row)


def list_experiments(
    session: Session, product: str | None, since: datetime | None, before_id: str | None, limit: int
) -> list[ExperimentRecord]:
    """Newest first, from the one after `before_id` on.

    Raises:
        NotFoundError: `before_id` is no training.
    """
    wanted = select(Training).order_by(col(Training.created_at).desc(), col(Training.training_id).desc()).limit(limit)
    if product is not None:
        wanted = wanted.where(Training.product == product)
    if since is not None:
        wanted = wanted.where(col(Training.created_at) >= since)
    if before_id is not None:
        last = _found(session, before_id)
        same = and_(col(Training.created_at) == last.created_at, col(Training.training_id) < last.training_id)
        wanted = wanted.where(or_(col(Training.created_at) < last.created_at, same))
    return records_of(session, session.exec(wanted).all())


def count_experiments(session: Session, product: str | None, since: datetime | None) -> int:
    """How many `list_experiments` gives in all."""
    wanted = select(func.count()).select_from(Training)
    if product is not None:
        wanted = wanted.where(Training.product == product)
    if since is not None:
        wanted = wanted.where(col(Training.created_at) >= since)
    return session.exec(wanted).one()


def find_experiments(session: Session, ids: Sequence[str]) -> list[ExperimentRecord]:
    """These, in this order.

    Raises:
        NotFoundError: one of them is no training; says which.
    """
    return records_of(session, [_found(session, each) for each in ids])


def records_of(session: Session, rows: Sequence[Training]) -> list[ExperimentRecord]:
    """With a few questions for all of them."""
    ids = [row.training_id for row in rows]
    packages = [row.package_id for row in rows if row.package_id is not None]
    datasets = [row.dataset_id for row in rows if row.dataset_id is not None]
    given = {row.training_id: row for row in _all(session, Experiment, col(Experiment.training_id), ids)}
    versions = {row.dataset_id: row for row in _all(session, DatasetVersion, col(DatasetVersion.dataset_id), datasets)}
    promotions = {row.package_id: row for row in _all(session, Promotion, col(Promotion.package_id), packages)}
    gates = {row.package_id: row for row in _all(session, GateRun, col(GateRun.package_id), packages)}
    overruled = {row.package_id: row for row in _all(session, GateOverrule, col(GateOverrule.package_id), packages)}
    attempts: dict[str, list[TrainingAttempt]] = defaultdict(list)
    for attempt in _all(session, TrainingAttempt, col(TrainingAttempt.training_id), ids):
        attempts[attempt.training_id].append(attempt)
    rollouts: dict[str, list[RolloutRow]] = defaultdict(list)
    for rollout in _all(session, RolloutRow, col(RolloutRow.package_id), packages):
        rollouts[rollout.package_id].append(rollout)
    return [
        ExperimentRecord(
            training=row,
            given=given.get(row.training_id),
            dataset=versions.get(row.dataset_id or ""),
            attempts=sorted(attempts[row.training_id], key=lambda each: each.number),
            promotion=promotions.get(row.package_id or ""),
            gate=gates.get(row.package_id or ""),
            overruled=overruled.get(row.package_id or ""),
            rollouts=sorted(rollouts[row.package_id or ""], key=lambda each: each.id or 0),
        )
        for row in rows
    ]


class ExperimentRetention:
    """Lets go of jobs and courses of trainings; their own rows, evaluations and costs stay. Ticked by the worker."""

    name: Final = "experiment-retention"
    period_s: Final = 3_600.0

    def __init__(self, database: Database, settings: ExperimentSettings) -> None:
        self._database = database
        self._settings = settings

    def tick(self, now: datetime) -> None:
        """The oldest go, a bite at a time; never that of a champion, nor of a training that is not over."""
        with self._database.begin() as session:
            gone = self._too_old(session, now) | self._too_many(session)
            for some in in_chunks(sorted(gone)):
                session.connection().execute(
                    delete(columns_of(Experiment)).where(col(Experiment.training_id).in_(some))
                )
        if gone:
            _LOG.info("experiments let go experiments=%d", len(gone))

    def _too_old(self, session: Session, now: datetime) -> set[str]:
        days = self._settings.kept_days
        if days <= 0:
            return set()
        wanted = _may_go().where(col(Experiment.laid_out_at) < now - timedelta(days=days))
        return set(session.exec(wanted.limit(_BITE)).all())

    def _too_many(self, session: Session) -> set[str]:
        over = session.exec(select(func.count()).select_from(Experiment)).one() - self._settings.most_kept
        return set(session.exec(_may_go().limit(min(over, _BITE))).all()) if over > 0 else set()


def _may_go() -> Any:
    judging = (
        select(Package.training_id)
        .join(Champion, col(Champion.package_id) == col(Package.package_id))
        .where(col(Package.training_id).is_not(None))
    )
    return (
        select(Experiment.training_id)
        .join(Training, col(Training.training_id) == col(Experiment.training_id))
        .where(col(Training.state).in_(_OVER), col(Experiment.training_id).not_in(judging))
        .order_by(col(Experiment.laid_out_at), col(Experiment.training_id))
    )


def _found(session: Session, training_id: str) -> Training:
    row = session.get(Training, training_id)
    if row is None:
        raise NotFoundError(f"experiment {training_id!r}: no such training; GET /experiments lists them")
    return row


def _all(session: Session, table: type[Any], column: Any, wanted: Iterable[str]) -> list[Any]:
    return [
        row for some in in_chunks(list(wanted)) for row in session.exec(select(table).where(column.in_(some))).all()
    ]
