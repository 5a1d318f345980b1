# SPDX-License-Identifier: Apache-2.0
"""The line while it runs: parts pass, faults are played, central is followed, until there is enough to report.

Ends when the scenario's parts have passed and, where a new kind is to be learnt, enough of it was judged by
what was rolled out; or when the time is up. Then it waits until every part that passed has its report. Trains
nothing and raises no alarm: that is central's work, and what is being shown. Used by `plant.run.demo`.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from contracts.vocabulary import TrainingState, Verdict
from plant.errors import ChildError
from plant.findings.outcome import SIDE_AFTER
from plant.findings.report import PartReport
from plant.line.cameras import LineSimulator
from plant.line.truth import TruthBook
from plant.processes.site import Site
from plant.rollouts.player import RolloutPlayer
from plant.run.faults import FaultPlayer
from plant.run.follower import Follower
from plant.run.progress import Progress
from plant.scenario import Step

# Enough parts of the new kind after the rollout for an interval that says something.
ENOUGH_NEW_KIND: Final = 80
_POLL_S: Final = 2.0
_TICK_S: Final = 0.1
# A last frame that the camera lost is only seen by the one after it: then a few more parts pass.
_CLOSING_PARTS: Final = 3
_PATIENCE_BEFORE_CLOSING_S: Final = 8.0


def wait_for_cameras(line: LineSimulator, check: Callable[[], None], timeout_s: float = 30.0) -> None:
    """Wait until a station listens to each camera: parts that pass before it could only be held.

    Raises:
        ChildError: nobody connected in time, or a process was given up.
    """
    deadline = time.monotonic() + timeout_s
    while silent := [name for name, counters in line.counters().items() if not counters.connections]:
        check()
        if time.monotonic() > deadline:
            raise ChildError(f"no station connected to the camera of {', '.join(silent)} within {timeout_s:.0f} s")
        time.sleep(_TICK_S)


@dataclass
class LineRun:
    """One run of a line. `deadline` is on the monotonic clock."""

    site: Site
    line: LineSimulator
    follower: Follower
    faults: FaultPlayer
    truth: TruthBook
    progress: Progress
    deadline: float
    new_kinds: frozenset[str]
    first_packages: frozenset[str]
    first_rollouts: frozenset[int]
    first_trainings: frozenset[str]
    is_replay: bool = False
    story: RolloutPlayer | None = None
    time_ran_out: bool = False
    line_seconds: float = 0.0
    _new_kind_after: int = 0
    _known: set[str] = field(default_factory=set)
    _passed_lately: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=12))

    def run(self) -> None:
        """Let the line run until there is enough to report, or the time is up.

        Raises:
            ChildError: a process kept dying and was given up.
        """
        self.follower.on_report = self._count
        wait_for_cameras(self.line, self.site.check)
        began, next_poll = time.monotonic(), 0.0
        self.line.start_line()
        while not self._is_enough():
            now = time.monotonic()
            if now > self.deadline:
                self.time_ran_out = True
                self.progress.note("the time is up; the line stops here")
                break
            self.site.check()
            self.faults.play(self.line.take_due_steps())
            if self.story is not None:
                self.story.tick(self.line.parts_passed)
            if now >= next_poll:
                next_poll = now + _POLL_S
                self._look()
            time.sleep(_TICK_S)
        self.line.stop_line()
        self.line_seconds = time.monotonic() - began
        self.faults.bring_back()

    def drain(self, timeout_s: float) -> None:
        """Wait until every part that passed has its report, for a bounded time."""
        began = asked = time.monotonic()
        while time.monotonic() - began < timeout_s:
            self._look()
            missing = self._missing()
            if not missing:
                return
            if time.monotonic() - asked > _PATIENCE_BEFORE_CLOSING_S and self._is_tail(missing):
                asked = time.monotonic()
                self._pass_closing_parts()
            time.sleep(0.5)
        self.progress.note(f"{len(self._missing())} parts are still without a report after {timeout_s:.0f} s")

    def faults_due(self) -> list[Step]:
        """Steps for processes that were planned and never played, whether their part has passed or not."""
        return self.line.steps_left()

    def _is_enough(self) -> bool:
        planned = self.line.scenario.parts
        if planned and self.line.parts_passed < planned:
            return False
        # A fault whose part has just passed is played before the line may end.
        if not self.faults.is_quiet or any(step.part <= self.line.parts_passed for step in self.line.steps_left()):
            return False
        if self.story is not None and not self.story.is_over:
            return False
        return not self.new_kinds or (self._is_rolled_out() and self._new_kind_after >= ENOUGH_NEW_KIND)

    def _is_rolled_out(self) -> bool:
        return bool(self.follower.finished_rollouts(self.first_rollouts))

    def _look(self) -> None:
        self.follower.poll()
        self._tell_what_is_new()
        passed = self.line.parts_passed
        self._passed_lately.append((time.monotonic(), passed))
        (first_at, first), (last_at, last) = self._passed_lately[0], self._passed_lately[-1]
        speed = (last - first) / (last_at - first_at) if last_at > first_at else None
        self.progress.standing(self.follower.standing(passed, self.line.scenario.parts or None, speed))

    def _tell_what_is_new(self) -> None:
        for alarm in reversed(self.follower.alarms):
            self._tell_once(f"alarm {alarm.id}", f"ALARM {alarm.kind}: {alarm.message}")
        for training in reversed(self.follower.trainings):
            if training.training_id in self.first_trainings:
                continue
            words = f"training {training.training_id} of {training.product}: {training.state.lower()}"
            if training.state is TrainingState.RUNNING:
                words += (
                    f" on {training.good} good and {training.defective} defective, {training.audit_labels} from audits"
                )
            self._tell_once(
                f"{training.training_id} {training.state}", words + (f": {training.error}" if training.error else "")
            )
        for package in reversed(self.follower.packages):
            if package.promotion is not None and package.package_id not in self.first_packages:
                decided = package.promotion
                refusals = "; ".join(each.detail for each in decided.checks if not each.is_passed)
                self._tell_once(
                    f"promotion {package.package_id}",
                    f"package {package.package_id[:12]} ({package.detector}): {decided.outcome.lower()}"
                    + (f": {refusals}" if refusals else ""),
                )
        for rollout in reversed(self.follower.rollouts):
            if rollout.id not in self.first_rollouts:
                if self.is_replay:
                    # From here on the line shows pictures that the new package cannot have learnt from.
                    self.line.use_side(SIDE_AFTER)
                last = f": {rollout.history[-1]}" if rollout.history else ""
                self._tell_once(
                    f"rollout {rollout.id} {rollout.state} {len(rollout.history)}",
                    f"rollout {rollout.id} of {rollout.package_id[:12]} {rollout.state.lower()}{last}",
                )

    def _tell_once(self, key: str, words: str) -> None:
        if key not in self._known:
            self._known.add(key)
            self.progress.note(words)

    def _count(self, report: PartReport) -> None:
        if (
            report.package_id is None
            or report.package_id in self.first_packages
            or report.verdict is Verdict.NO_DECISION
        ):
            return
        part = self.truth.truth(report.station, report.trigger_number)
        is_fresh = part is not None and (not self.is_replay or part.side == SIDE_AFTER)
        if part is not None and is_fresh and part.defect_class in self.new_kinds:
            self._new_kind_after += 1

    def _missing(self) -> set[tuple[str, int]]:
        reported = {(report.station, report.trigger_number) for report in self.follower.reports}
        return {(part.station, part.trigger_number) for part in self.truth.rows()} - reported

    def _is_tail(self, missing: set[tuple[str, int]]) -> bool:
        last: dict[str, int] = {}
        for report in self.follower.reports:
            last[report.station] = max(last.get(report.station, 0), report.trigger_number)
        return any(number > last.get(station, 0) for station, number in missing)

    def _pass_closing_parts(self) -> None:
        self.progress.note("the last part of a station left no frame; a few more parts pass to reveal it")
        wanted = self.line.parts_passed + _CLOSING_PARTS * len(self.line.cameras)
        give_up_at = time.monotonic() + 5
        self.line.start_line()
        while self.line.parts_passed < wanted and time.monotonic() < give_up_at:
            time.sleep(0.02)
        self.line.stop_line()
