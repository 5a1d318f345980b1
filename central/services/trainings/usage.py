# SPDX-License-Identifier: Apache-2.0
"""What each start of a training used and cost, kept beside it, and the sums that people ask for.

Opens, notes and closes rows within transactions that others begin; decides nothing. What is estimated is said to be:
energy is CPU time × `cost.watts_per_core`, whatever the machine really drew. Called by `services/trainings/learning.py`
and by routes.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.learning_settings import CostSettings
from central.services.trainings.experiments import keep_told
from central.store.learning_tables import Training
from central.store.training_tables import TrainingAttempt
from contracts.jobs import TrainingProgress
from contracts.vocabulary import AttemptEnd

_HOUR_S: Final = 3600.0


@dataclass(frozen=True)
class Spent:
    """Sums over attempts. None: not known of any of them. `cost` None: no prices were set."""

    attempts: int
    waited_s: float
    wall_s: float
    cpu_s: float | None
    gpu_hours: float
    peak_memory_bytes: int | None
    energy_wh: float | None
    cost: float | None
    currency: str


class UsageBook:
    """Writes the rows. All methods within the caller's transaction."""

    def __init__(self, settings: CostSettings) -> None:
        self._settings: Final = settings

    def open(self, session: Session, training: Training, gpus: float, now: datetime) -> None:
        """A training has just been marked RUNNING."""
        session.add(
            TrainingAttempt(
                training_id=training.training_id,
                number=training.starts,
                backend=training.backend,
                queued_at=training.queued_at or training.created_at,
                started_at=now,
                gpus=gpus,
                currency=self._settings.currency if self._settings.has_prices else "",
            )
        )

    def note(
        self,
        session: Session,
        training: Training,
        progress: TrainingProgress | None,
        now: datetime,
        *,
        has_place: bool = True,
    ) -> None:
        """What is known by now of the attempt under way; its machine and course go into the history."""
        keep_told(session, training.training_id, progress, now)
        usage = progress.usage if progress is not None else None
        row = session.get(TrainingAttempt, (training.training_id, training.starts))
        if row is None or row.ended_at is not None:
            return
        if not has_place:
            row.started_at = now
        row.wall_s = max(0.0, (now - row.started_at).total_seconds())
        if usage is not None:
            row.cpu_s = max(usage.cpu_s, row.cpu_s or 0.0)
            row.peak_memory_bytes = max(usage.peak_memory_bytes, row.peak_memory_bytes or 0)
            row.energy_wh = row.cpu_s * self._settings.watts_per_core / _HOUR_S
        row.cost = self._cost(row)
        session.add(row)

    def close(self, session: Session, training: Training, end: AttemptEnd, now: datetime) -> None:
        """It is over. Again: nothing."""
        self.note(session, training, None, now)
        row = session.get(TrainingAttempt, (training.training_id, training.starts))
        if row is not None and row.ended_at is None:
            row.ended_at, row.end = now, end
            session.add(row)

    def drop(self, session: Session, training: Training) -> None:
        """It never began: nobody answered."""
        row = session.get(TrainingAttempt, (training.training_id, training.starts))
        if row is not None:
            session.delete(row)

    def too_dear(self, session: Session, training: Training) -> str | None:
        """Why it may not go on, in words; None: it may."""
        most = self._settings.most_per_training
        spent = spent_of(attempts_of(session, training.training_id))
        if not most or spent.cost is None or spent.cost <= most:
            return None
        return (
            f"cost {spent.cost:.4g} {spent.currency} so far, more than cost.most_per_training of {most:g} "
            f"{spent.currency}; raise it, or lower learning.max_images or size_px"
        )

    def _cost(self, row: TrainingAttempt) -> float | None:
        prices = self._settings
        if not prices.has_prices:
            return None
        hours = row.wall_s / _HOUR_S
        return (
            hours * prices.per_hour
            + (row.cpu_s or 0.0) / _HOUR_S * prices.per_cpu_hour
            + hours * row.gpus * prices.per_gpu_hour
            + (row.energy_wh or 0.0) / 1000 * prices.per_kwh
        )


def attempts_of(session: Session, training_id: str) -> list[TrainingAttempt]:
    """In their order."""
    wanted = select(TrainingAttempt).where(TrainingAttempt.training_id == training_id)
    return list(session.exec(wanted.order_by(col(TrainingAttempt.number))).all())


def spent_of(attempts: Iterable[TrainingAttempt]) -> Spent:
    """Their sums. Costs in another currency than the last one's are left out."""
    rows = list(attempts)
    currency = next((row.currency for row in reversed(rows) if row.currency), "")
    peaks = [row.peak_memory_bytes for row in rows if row.peak_memory_bytes is not None]
    return Spent(
        attempts=len(rows),
        waited_s=sum(max(0.0, (row.started_at - row.queued_at).total_seconds()) for row in rows),
        wall_s=sum(row.wall_s for row in rows),
        cpu_s=_sum(row.cpu_s for row in rows),
        gpu_hours=sum(row.wall_s * row.gpus for row in rows) / _HOUR_S,
        peak_memory_bytes=max(peaks) if peaks else None,
        energy_wh=_sum(row.energy_wh for row in rows),
        cost=_sum(row.cost for row in rows if row.currency == currency),
        currency=currency,
    )


def _sum(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
