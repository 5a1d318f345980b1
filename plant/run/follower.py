# SPDX-License-Identifier: Apache-2.0
"""Follows central while the line runs: every inspection once, and how alarms, trainings and rollouts stand.

Reads by the paging cursor, so each poll costs what is new. Central may be away for a while (a scenario kills
it); then the last picture stands. Decides nothing. Used by `demo`, `up` and `plant.findings.outcome`.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from central.api.learning_schemas import PackageView, TrainingView
from central.api.rollout_schemas import RolloutView
from central.api.schemas import AlarmView, AuditSummary, InspectionView
from contracts.vocabulary import AlarmState, RolloutState, TrainingState
from plant.errors import CentralError
from plant.findings.report import PartReport
from plant.run.central_client import CentralClient
from plant.run.progress import Standing

_GOING: Final = {TrainingState.QUEUED, TrainingState.RUNNING}


@dataclass
class Follower:
    """What central holds, as of the last poll that it answered.

    `on_report` sees each inspection once; with `keeps_reports` false they are not kept, so that a plant that
    runs for weeks does not grow.
    """

    client: CentralClient
    keeps_reports: bool = True
    on_report: Callable[[PartReport], None] | None = None
    reports: list[PartReport] = field(default_factory=list)
    verdicts: Counter[str] = field(default_factory=Counter)
    alarms: list[AlarmView] = field(default_factory=list)
    trainings: list[TrainingView] = field(default_factory=list)
    rollouts: list[RolloutView] = field(default_factory=list)
    packages: list[PackageView] = field(default_factory=list)
    audits: AuditSummary | None = None
    is_simulated: set[bool] = field(default_factory=set)
    without_trigger: int = 0
    _after_id: int = 0

    def poll(self) -> bool:
        """Read what is new. False: central did not answer; the old picture stands."""
        try:
            self._read_inspections()
            self.alarms = self.client.alarms()
            self.trainings = self.client.trainings()
            self.rollouts = self.client.rollouts()
            self.packages = self.client.packages()
            self.audits = self.client.audit_summary()
        except CentralError as error:
            # No answer, or a refusal that says "not now" (502-504), is what a killed central looks like.
            if error.status is not None and error.status < 500:
                raise
            return False
        return True

    def skip_to_now(self) -> None:
        """Leave out everything reported so far: a plant that goes on after a restart."""
        newest = self.client.newest_inspection_id()
        self._after_id = newest or 0

    def finished_rollouts(self, first: frozenset[int]) -> list[RolloutView]:
        """Rollouts that are through, oldest first, without those of the commissioning."""
        done = [each for each in self.rollouts if each.state is RolloutState.FINISHED and each.id not in first]
        return sorted(done, key=lambda each: each.id)

    def standing(self, parts: int, planned: int | None, parts_per_s: float | None) -> Standing:
        """The line for the person who watches."""
        open_alarms = [each for each in self.alarms if each.state is not AlarmState.CLOSED]
        going = [each for each in self.trainings if each.state in _GOING]
        rolling = [each for each in self.rollouts if each.state is RolloutState.RUNNING]
        return Standing(
            parts=parts,
            parts_planned=planned,
            parts_per_s=parts_per_s,
            verdicts=dict(self.verdicts),
            audits_judged=self.audits.judged if self.audits else 0,
            audits_waiting=self.audits.open if self.audits else 0,
            alarms=len(open_alarms),
            training=f"{going[0].fraction:.0%} ({going[0].stage})" if going else None,
            rollout=_rollout_words(rolling[0]) if rolling else None,
        )

    def _read_inspections(self) -> None:
        while items := self.client.inspections_after(self._after_id):
            for view in items:
                self._take(view)
            self._after_id = items[-1].id

    def _take(self, view: InspectionView) -> None:
        self.verdicts[view.verdict.value] += 1
        self.is_simulated.add(view.is_simulated)
        if view.trigger_number is None:
            self.without_trigger += 1
            return
        report = PartReport(
            station=view.station,
            trigger_number=view.trigger_number,
            captured_at=view.captured_at,
            verdict=view.verdict,
            package_id=view.package_id,
            cause=view.cause.value,
            verdict_ms=view.latency.verdict_ms if view.latency else None,
            reject_ms=view.latency.reject_ms if view.latency else None,
            epoch=view.epoch,
        )
        if self.keeps_reports:
            self.reports.append(report)
        if self.on_report is not None:
            self.on_report(report)


def _rollout_words(rollout: RolloutView) -> str:
    wave = next((each for each in rollout.waves if each.finished_at is None), None)
    where = f"wave {wave.index + 1} of {len(rollout.waves)}" if wave is not None else "ending"
    return f"{rollout.package_id[:8]} {where}"
