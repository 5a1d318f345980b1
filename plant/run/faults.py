# SPDX-License-Identifier: Apache-2.0
"""Plays the faults of a scenario on the processes of a plant: SIGKILLs, and a broker that stays away.

What the cameras show is not its business. Keeps a list of what it really did, because a run in which a
planned fault did not happen has shown nothing. Used by `plant.run.demo` and `plant.run.up`.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from plant.processes.site import Site
from plant.scenario import Step


@dataclass(frozen=True)
class PlayedFault:
    """One fault that happened, `at_s` after the line started."""

    what: str
    at_part: int
    at_s: float
    note: str


@dataclass
class FaultPlayer:
    """Plays due steps. Call `play` often: it also brings back what stays away for a while."""

    site: Site
    say: Callable[[str], None]
    played: list[PlayedFault] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _resume_broker_at: float | None = None

    @property
    def is_quiet(self) -> bool:
        """Nothing is being kept away right now."""
        return self._resume_broker_at is None

    def play(self, due: Iterable[Step]) -> None:
        """Do what is due, and end what has lasted long enough."""
        for step in due:
            if step.kill is not None:
                self._kill(step, step.kill)
            if step.broker_down_s is not None:
                self._take_broker_away(step, step.broker_down_s)
        if self._resume_broker_at is not None and time.monotonic() >= self._resume_broker_at:
            self.bring_back()

    def bring_back(self) -> None:
        """End an absence now, if there is one."""
        if self._resume_broker_at is not None:
            self._resume_broker_at = None
            self.site.supervisor.resume("broker")
            self.say("the broker is back")

    def _kill(self, step: Step, target: str) -> None:
        pid = self.site.kill(target)
        if pid is None:
            self.missed.append(f"kill {target} at part {step.part}: it was down already")
            return
        self._note(f"SIGKILL {target}", step, f"SIGKILL to {target}, process {pid}, at part {step.part}")

    def _take_broker_away(self, step: Step, for_s: float) -> None:
        self.site.supervisor.halt("broker")
        self._resume_broker_at = time.monotonic() + for_s
        self._note(f"broker away {for_s:g} s", step, f"the broker goes away for {for_s:g} s at part {step.part}")

    def _note(self, what: str, step: Step, words: str) -> None:
        self.say(words)
        self.played.append(PlayedFault(what, step.part, round(time.monotonic() - self._started, 1), step.note))
