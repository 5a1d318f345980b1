# SPDX-License-Identifier: Apache-2.0
"""The line while it runs: no planned fault is forgotten, whenever the line ends."""

import time
from typing import Any

import pytest

from plant.errors import ChildError
from plant.run.faults import FaultPlayer
from plant.run.linerun import LineRun
from plant.scenario import Scenario, Step, load_scenario

STEPS = (Step(at_part=40, kill="central"), Step(at_part=41, kill="broker"))


class _Line:
    """A line that stands at a part; each look at the steps that are due lets more parts pass."""

    def __init__(self, scenario: Scenario, *, passes: int) -> None:
        self.scenario, self.parts_passed, self._passes = scenario, 0, passes
        self.cameras: dict[str, Any] = {}
        self._pending = list(scenario.steps)

    def counters(self) -> dict[str, Any]:
        return {}

    def start_line(self) -> None:
        """Nothing to start."""

    def stop_line(self) -> None:
        """Nothing to stop."""

    def take_due_steps(self) -> list[Step]:
        due = [step for step in self._pending if step.part <= self.parts_passed]
        self._pending = [step for step in self._pending if step not in due]
        # The parts pass right after the look: the worst moment.
        self.parts_passed = min(self.parts_passed + self._passes, self.scenario.parts)
        return due

    def steps_left(self) -> list[Step]:
        return self._pending


class _Site:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error
        self.checks = 0

    def check(self) -> None:
        self.checks += 1
        if self._error is not None and self.checks > 1:
            raise self._error

    def kill(self, _target: str) -> int:
        return 7


def _run(*, steps: tuple[Step, ...] = STEPS, within_s: float = 60.0, error: Exception | None = None) -> LineRun:
    scenario = load_scenario("rough-network").model_copy(update={"parts": 40, "steps": steps})
    line: Any = _Line(scenario, passes=40)
    site: Any = _Site(error)
    nothing: Any = _Silent()
    return LineRun(
        site=site,
        line=line,
        follower=nothing,
        faults=FaultPlayer(site, lambda _words: None),
        truth=nothing,
        progress=nothing,
        deadline=time.monotonic() + within_s,
        new_kinds=frozenset(),
        first_packages=frozenset(),
        first_rollouts=frozenset(),
        first_trainings=frozenset(),
    )


class _Silent:
    """Central and the screen, with nothing to tell."""

    alarms = trainings = packages = rollouts = reports = ()

    def __getattr__(self, _name: str) -> Any:
        return lambda *_arguments: None


def test_a_fault_at_the_very_last_part_is_played_before_the_line_ends() -> None:
    run = _run()
    run.run()
    assert [fault.what for fault in run.faults.played] == ["SIGKILL central"]
    assert run.faults_due() == [STEPS[1]]


@pytest.mark.parametrize("within_s", [-1.0, 0.05])
def test_a_fault_that_the_end_of_the_time_left_over_is_reported(within_s: float) -> None:
    run = _run(within_s=within_s)
    run.run()
    assert run.time_ran_out
    assert run.faults.played == []
    assert run.faults_due() == list(STEPS)


def test_a_fault_that_was_reached_but_not_taken_when_a_process_was_given_up_is_reported() -> None:
    run = _run(error=ChildError("central kept dying"))
    with pytest.raises(ChildError):
        run.run()
    assert run.line.parts_passed == 40
    assert run.faults_due() == list(STEPS)
