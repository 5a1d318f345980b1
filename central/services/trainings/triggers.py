# SPDX-License-Identifier: Apache-2.0
"""Asks, now and then, whether labels or time call for a training of each product, and starts it or keeps why not.

The triggers are new labels, a schedule and the first parts of a new product; alarms and people are answered by
`services/trainings/requests.py`, and what is a yes by `domain/training_triggers.py`. Runs nothing. Ticked by the
worker.

Looks without the write lock and takes it only where something changed: most looks change nothing.
"""

import logging
from datetime import datetime
from typing import Final

from sqlmodel import Session, col, select

from central.domain.training_triggers import Because, Decision, Standing, decide
from central.learning_settings import TriggerSettings
from central.services.package_registry import champion_of
from central.services.trainings.counts import (
    good_labels,
    last_label_at,
    last_training,
    learnt_until,
    new_labels,
    products_of,
    recent_of,
)
from central.services.trainings.decisions import (
    is_news,
    note_decision,
    prune_decisions,
    standing_decision,
    surplus,
)
from central.services.trainings.holds import held_back
from central.services.trainings.requests import TrainingRequests
from central.settings import LearningSettings
from central.store.database import Database
from central.store.learning_tables import Alarm
from contracts.vocabulary import AlarmState, TrainingTrigger

_LOG = logging.getLogger(__name__)

# In this order: the first that says yes makes the others wait for its training.
_ASKED: Final = (TrainingTrigger.FIRST_PARTS, TrainingTrigger.LABELS, TrainingTrigger.SCHEDULE)

_MOST_GOOD: Final = 100_000


class TrainingTriggers:
    """See the module."""

    name: Final = "training-triggers"

    def __init__(
        self,
        database: Database,
        learning: LearningSettings,
        rules: TriggerSettings,
        requests: TrainingRequests,
        *,
        is_confirmed: bool = True,
    ) -> None:
        """`is_confirmed`: a defective part counts once two inspectors said so (`audit.confirms`)."""
        self._database = database
        self._learning = learning
        self._rules = rules
        self._requests = requests
        self._is_confirmed = is_confirmed

    @property
    def period_s(self) -> float:
        """Seconds between two looks."""
        return self._rules.period_s

    def tick(self, now: datetime) -> None:
        """Ask every trigger of every product; let the oldest decisions go."""
        with self._database.read() as session:
            products = products_of(session)
            is_full = surplus(session, self._rules.kept_decisions) > 0
        for product, is_simulated in products:
            self._ask(product, now, is_simulated=is_simulated)
        if is_full:
            with self._database.begin() as session:
                gone = prune_decisions(session, self._rules.kept_decisions)
            _LOG.info("training decisions let go decisions=%d", gone)

    def _ask(self, product: str, now: datetime, *, is_simulated: bool) -> None:
        with self._database.read() as session:
            decisions = self._decide(session, product, now, is_simulated=is_simulated)
            if not any(_is_due(session, product, one, is_simulated=is_simulated) for one in decisions):
                return
        with self._database.begin() as session:
            # Asked again: a person may have started one since.
            for decision in self._decide(session, product, now, is_simulated=is_simulated):
                if decision.is_yes:
                    self._requests.queue(session, product, decision, now, is_simulated=is_simulated)
                    # The next look sees it under way.
                    break
                note_decision(session, product, decision, now, is_simulated=is_simulated)

    def _decide(self, session: Session, product: str, now: datetime, *, is_simulated: bool) -> list[Decision]:
        known = self.standing(session, product, now, is_simulated=is_simulated)
        least = self._learning.min_good_labels
        return [decide(trigger, known, self._rules, least, now) for trigger in _ASKED]

    def standing(self, session: Session, product: str, now: datetime, *, is_simulated: bool) -> Standing:
        """What the triggers know of a product."""
        champion = champion_of(session, product, is_simulated=is_simulated)
        last = last_training(session, product, is_simulated=is_simulated)
        since = learnt_until(session, champion, last)
        total, by_class = 0, {}
        if since is not None:
            total, of_classes = new_labels(
                session, product, since, is_simulated=is_simulated, is_confirmed=self._is_confirmed
            )
            by_class = dict(of_classes)
        is_first = champion is None and last is None
        # Counted out where people read the figure; elsewhere as far as matters.
        most = _MOST_GOOD if is_first else self._learning.min_good_labels
        trained = [*([champion.trained_at] if champion else []), *([last.created_at] if last else [])]
        return Standing(
            good=good_labels(session, product, most, is_simulated=is_simulated),
            last_label_at=last_label_at(session, product, is_simulated=is_simulated) if is_first else None,
            trained_at=max(trained, default=None),
            new_labels=total,
            new_by_class=by_class,
            champion=champion.package_id if champion else None,
            recent=recent_of(session, product, now, is_simulated=is_simulated),
            in_the_way=self._in_the_way(session, product, now, is_simulated=is_simulated),
        )

    def _in_the_way(
        self, session: Session, product: str, now: datetime, *, is_simulated: bool
    ) -> tuple[Because, str] | None:
        stop = self._requests.in_the_way(session, product)
        if stop is not None:
            return stop
        # New labels were given on pictures of the same lens: what holds an alarm's training back holds all of them.
        alarms = session.exec(
            select(Alarm)
            .where(Alarm.product == product, Alarm.is_simulated == is_simulated, Alarm.state != AlarmState.CLOSED)
            .order_by(col(Alarm.id))
        ).all()
        for alarm in alarms:
            held = held_back(session, alarm, now, is_cause_asked=False)
            if held is not None:
                return Because.OTHER_CAUSE, f"alarm {alarm.id}: {held}"
        return None


def _is_due(session: Session, product: str, decision: Decision, *, is_simulated: bool) -> bool:
    row = standing_decision(session, product, decision, is_simulated=is_simulated, alarm_id=None)
    return decision.is_yes or is_news(row, decision)
