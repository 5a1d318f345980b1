# SPDX-License-Identifier: Apache-2.0
"""What a rollout is made of: stations in waves, how far each has come, and what may be done to one.

Shapes only, frozen; stored as JSON as they stand. `domain/rollout.py` moves them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

from central.domain.rollout_plan import WavePlan
from contracts.vocabulary import RolloutState, WaveState

_THE_REST: Final = WavePlan()


class Progress(StrEnum):
    """How far one station has come in its wave."""

    WAITING = "WAITING"
    SHADOW = "SHADOW"
    ASSIGNED = "ASSIGNED"
    BAKING = "BAKING"
    AWAY = "AWAY"
    DONE = "DONE"
    ERRED = "ERRED"
    ROLLED_BACK = "ROLLED_BACK"
    SET_ASIDE = "SET_ASIDE"


UNDER_WAY = frozenset({Progress.SHADOW, Progress.ASSIGNED, Progress.BAKING, Progress.AWAY})
TOUCHED = UNDER_WAY | {Progress.DONE, Progress.ERRED}
# Neither of them stands in the way of their wave's end.
SETTLED = frozenset({Progress.DONE, Progress.SET_ASIDE})
# How the detail of a station begins that has shown it in shadow and may not be given the package yet.
SHOWN_BUT_HELD = "its gates have passed; "
ENDED = frozenset({RolloutState.FINISHED, RolloutState.ERROR, RolloutState.STOPPED})


@dataclass(frozen=True)
class StationStep:
    """One station in a wave. `since`: when it entered `progress`; the clock of the time-outs. `was`: before AWAY.

    `bytes_done`: of its download, as last heard, and `moved_at`: when that was news. `has_it`: it ran the package when
    the waves were planned, from a trial: it cannot judge in shadow of itself.
    """

    station: str
    progress: Progress = Progress.WAITING
    since: datetime | None = None
    detail: str = ""
    was: Progress | None = None
    bytes_done: int | None = None
    moved_at: datetime | None = None
    has_it: bool = False


@dataclass(frozen=True)
class Wave:
    """Stations that get the package together; wave 0 is the canary. `is_shown`: its time in shadow is over.

    `waits`: what holds the wave as a whole when its stations are done.
    """

    index: int
    stations: tuple[StationStep, ...]
    plan: WavePlan = _THE_REST
    approved_by: str | None = None
    is_shown: bool = False
    waits: str = ""
    state: WaveState = WaveState.SCHEDULED
    started_at: datetime | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True)
class Rollout:
    """One package on its way to its stations. `has_previous` False: the product's first package."""

    waves: tuple[Wave, ...]
    has_previous: bool
    state: RolloutState = RolloutState.READY
    finished_at: datetime | None = None
    history: tuple[str, ...] = ()

    @property
    def touched(self) -> tuple[str, ...]:
        """Stations that were told to take the package and have not been sent back."""
        steps = (step for wave in self.waves for step in wave.stations)
        return tuple(step.station for step in steps if step.progress in TOUCHED)


@dataclass(frozen=True)
class Assign:
    """Give the station the new package."""

    station: str


@dataclass(frozen=True)
class Shadow:
    """Let the station judge with the new package in shadow; the one that it has decides."""

    station: str


@dataclass(frozen=True)
class RollBack:
    """Give the station its previous package again, by a new assignment."""

    station: str


@dataclass(frozen=True)
class CallBack:
    """Order again what the station ran before: it has not taken the package, and may not be touched now."""

    station: str


Action = Assign | Shadow | RollBack | CallBack
