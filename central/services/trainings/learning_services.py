# SPDX-License-Identifier: Apache-2.0
"""Builds the services of the learning loop for one central process, and leaves what routes need of them.

Looked up by name by `central.app` (see `central.foundation`). Holds no rule.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from central.api.chart_views import draw_charts
from central.api.schemas import ChartView
from central.foundation import Services
from central.services.alarms.delivering import AlarmDelivering
from central.services.alarms.senders import AlarmSender
from central.services.audits.auditing import AuditingService
from central.services.audits.switching import AuditSwitching
from central.services.gates.gating import GatingService
from central.services.gates.promoting import PromotingService
from central.services.recipe_sending import RecipeSending
from central.services.recipes import RecipeService
from central.services.rollouts.assigning import Assigner
from central.services.rollouts.assignment_watch import AssignmentWatch
from central.services.rollouts.moving import RolloutService
from central.services.rollouts.waits import RolloutWaits
from central.services.trainings.experiments import ExperimentRetention
from central.services.trainings.learning import LearningService
from central.services.trainings.triggers import TrainingTriggers
from central.services.watches.causes import CauseWatch
from central.services.watches.drift import DriftWatch
from central.services.watches.novelty import NoveltyWatch
from central.services.watches.services import ServiceWatch
from central.services.watches.watching import WatchingService
from central.services.worker import Service
from central.trust.changes import KeyChanges, LostKeyError
from central.trust.enrolment import KEYS_FOLDER, open_repository
from central.trust.keys import KeyName, LiveSigner
from central.trust.repository import PackageRepository

_LOG = logging.getLogger(__name__)

# A station counts as gone from a rollout after this many times the silence that raises an alarm: a broker that is
# away for a minute must not send a good package back.
_LOST_AFTER_SILENCES: Final = 6.0
_METADATA_PERIOD_S: Final = 60.0


@dataclass(frozen=True)
class Loop:
    """What the routes hold on to; at `Services.loop`."""

    learning: LearningService
    promoting: PromotingService
    rollouts: RolloutService
    recipes: RecipeService
    recipe_sending: RecipeSending
    repository: PackageRepository
    drift: DriftWatch
    novelty: NoveltyWatch
    charts: Callable[[str | None, datetime], list[ChartView]]
    alarm_sender: AlarmSender


class MetadataRefresh:
    """Signs the package metadata anew before it runs out; a station refuses expired metadata."""

    name: Final = "package-metadata"
    period_s: Final = _METADATA_PERIOD_S

    def __init__(self, repository: PackageRepository, changes: KeyChanges) -> None:
        self._repository = repository
        self._changes = changes
        self._said = ""

    def tick(self, now: datetime) -> None:
        """Finish an exchange of keys that was cut short; renew what is due."""
        self.recover(now)
        self._repository.refresh(now)

    def recover(self, now: datetime) -> None:
        """Finish an exchange of keys that was cut short; if its new key is lost, say so once."""
        try:
            self._changes.recover(now)
        except LostKeyError as error:
            # Parts are judged, stored and looked at all the same; only people can bring the key back.
            if self._said != str(error):
                self._said = str(error)
                _LOG.error("%s", error)


def build_services(base: Services) -> list[Service]:
    """The services the worker ticks, in the order of the loop.

    Raises:
        SigningKeyError: a key is missing or open to others; run `sightline-central init`.
        ValueError: shares of the escape chart that cannot work together.
    """
    settings = base.settings
    repository = open_repository(settings.trust_dir)
    changes = KeyChanges(settings.trust_dir)
    refresh = MetadataRefresh(repository, changes)
    refresh.recover(base.started_at)
    repository.upgrade(base.started_at)
    signer = LiveSigner(settings.trust_dir / KEYS_FOLDER, KeyName.ASSIGNMENT)
    assigner = Assigner(base.database, base.gateway, signer, settings.rollout.assignment_valid_days)
    learning = LearningService(
        base.database,
        base.blobs,
        repository,
        settings.learning,
        trainings_dir=settings.trainings_dir,
        is_cause_asked=True,
        ray=settings.ray,
        queue=settings.queue,
        cost=settings.cost,
        triggers=settings.triggers,
    )
    lost_after_s = settings.watch.silent_after_s * _LOST_AFTER_SILENCES
    rollouts = RolloutService(
        base.database,
        assigner,
        settings.rollout,
        lost_after_s,
        lambda: base.gateway.is_connected,
        is_withdrawn=repository.is_withdrawn,
    )
    base.gateway.on_connected(rollouts.publish_all_again)
    recipes = RecipeService(base.database, base.gateway, lambda: base.gateway.is_connected)
    recipe_sending = RecipeSending(base.database, base.gateway, signer)
    base.gateway.on_connected(recipe_sending.publish_all_again)

    def charts(station: str | None, now: datetime) -> list[ChartView]:
        with base.database.read() as session:
            return draw_charts(session, settings.watch, station, now)

    gate = settings.gate if settings.gate.is_required else None
    promoting = PromotingService(base.database, settings.promotion, gate)
    gating = GatingService(base.database, base.blobs, repository, settings.gate, settings.gates_dir)
    drift = DriftWatch(base.database, settings.watch)
    novelty = NoveltyWatch(base.database, settings.watch)
    alarm_sender = AlarmSender(settings.alarms, base.gateway)
    base.loop = Loop(
        learning, promoting, rollouts, recipes, recipe_sending, repository, drift, novelty, charts, alarm_sender
    )
    return [
        AuditingService(base.database, base.gateway, settings.audit, base.rng),
        AuditSwitching(base.database, settings.audit, settings.watch.escape_tolerated_share),
        WatchingService(base.database, settings.watch, lambda: base.gateway.is_connected),
        drift,
        novelty,
        # After those that raise alarms, before the one that would train.
        CauseWatch(base.database, settings.watch, drift, novelty),
        learning,
        TrainingTriggers(
            base.database, settings.learning, settings.triggers, learning.requests, is_confirmed=settings.audit.confirms
        ),
        promoting,
        gating,
        rollouts,
        RolloutWaits(base.database, settings.rollout),
        AssignmentWatch(base.database, settings.rollout, lost_after_s, lambda: base.gateway.is_connected),
        recipe_sending,
        refresh,
        ExperimentRetention(base.database, settings.experiments),
        ServiceWatch(base.database, lambda: base.worker.counts if base.worker is not None else {}),
        AlarmDelivering(base.database, alarm_sender, base.clock),
    ]
