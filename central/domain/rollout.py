# SPDX-License-Identifier: Apache-2.0
"""The rollout machine: waves of stations, a success and an error condition, and going back.

Pure: takes what was seen of each station and the time, gives the next state and what to do. Does not sign,
publish, count or store; `services/rollouts.py` does. Fails closed: no data is never success, a time-out is an
error, and an error sends every touched station back to the previous package.

    READY -> RUNNING <-> PAUSED          wave:    SCHEDULED -> RUNNING -> FINISHED | ERROR
    RUNNING | PAUSED -> ERROR            station: WAITING -> ASSIGNED -> BAKING -> DONE
    RUNNING -> FINISHED                           any touched one -> ERRED, ROLLED_BACK
    READY | RUNNING | PAUSED -> STOPPED  (a person aborts)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from central.domain.rollout_conditions import BakePolicy, Seen, error_in, lost_in, success_in
from contracts.vocabulary import PackageState, RolloutState, WaveState

_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)


class Progress(StrEnum):
    """How far one station has come in its wave."""

    WAITING = "WAITING"
    ASSIGNED = "ASSIGNED"
    BAKING = "BAKING"
    DONE = "DONE"
    ERRED = "ERRED"
    ROLLED_BACK = "ROLLED_BACK"


_TOUCHED = frozenset({Progress.ASSIGNED, Progress.BAKING, Progress.DONE, Progress.ERRED})
ENDED = frozenset({RolloutState.FINISHED, RolloutState.ERROR, RolloutState.STOPPED})


@dataclass(frozen=True)
class StationStep:
    """One station in a wave. `since`: when it entered `progress`; the clock of the time-outs."""

    station: str
    progress: Progress = Progress.WAITING
    since: datetime | None = None
    detail: str = ""


@dataclass(frozen=True)
class Wave:
    """Stations that get the package together; wave 0 is the canary."""

    index: int
    stations: tuple[StationStep, ...]
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
        return tuple(step.station for step in steps if step.progress in _TOUCHED)


@dataclass(frozen=True)
class Assign:
    """Give the station the new package."""

    station: str


@dataclass(frozen=True)
class RollBack:
    """Give the station its previous package again, by a new assignment."""

    station: str


Action = Assign | RollBack


def plan_waves(stations: Sequence[str], canary: int) -> tuple[Wave, ...]:
    """The first `canary` stations, then all others. Order is the caller's; each station once."""
    names = list(dict.fromkeys(stations))
    parts = [part for part in (names[:canary], names[canary:]) if part]
    return tuple(Wave(index, tuple(StationStep(name) for name in part)) for index, part in enumerate(parts))


def with_waves(rollout: Rollout, waves: tuple[Wave, ...]) -> Rollout:
    """A rollout that has not begun, with its stations chosen."""
    return replace(rollout, waves=waves) if rollout.state is RolloutState.READY else rollout


def with_note_once(rollout: Rollout, text: str, now: datetime) -> Rollout:
    """Say something in the history unless it was the last thing said."""
    is_said = bool(rollout.history) and rollout.history[-1].endswith(text)
    return rollout if is_said else _note(rollout, text, now)


def step(
    rollout: Rollout,
    seen: Mapping[str, Seen],
    policy: BakePolicy,
    now: datetime,
    *,
    hears_since: datetime | None = _ALWAYS,
) -> tuple[Rollout, tuple[Action, ...]]:
    """Where the rollout goes from here. Calling it again with the same facts changes nothing more.

    `seen` may lack stations: nothing known of them, which never counts as success. `hears_since`: since when central
    hears its stations, None while it does not; time-outs count from then: what it could not hear was nobody's fault.
    """
    if rollout.state in ENDED:
        return rollout, ()
    if rollout.state is RolloutState.READY:
        return _start(rollout, now)
    is_running = rollout.state is RolloutState.RUNNING
    rollout = _look(rollout, seen, policy, now, clock_from=hears_since if is_running else None)
    for wave in rollout.waves:
        erred = [item for item in wave.stations if item.progress is Progress.ERRED]
        if erred:
            return _end_with_roll_back(rollout, RolloutState.ERROR, f"{erred[0].station}: {erred[0].detail}", now)
    return _advance(rollout, now) if is_running else (rollout, ())


def pause(rollout: Rollout, by: str, now: datetime) -> Rollout:
    """No further station is touched and no time-out runs; errors of touched stations still end the rollout."""
    if rollout.state is not RolloutState.RUNNING:
        return rollout
    return _note(replace(rollout, state=RolloutState.PAUSED), f"paused by {by}", now)


def resume(rollout: Rollout, by: str, now: datetime) -> Rollout:
    """Go on. Time-outs start anew: the pause was nobody's fault."""
    if rollout.state is not RolloutState.PAUSED:
        return rollout
    waves = tuple(
        replace(wave, stations=tuple(replace(item, since=now) if item.since else item for item in wave.stations))
        for wave in rollout.waves
    )
    return _note(replace(rollout, state=RolloutState.RUNNING, waves=waves), f"resumed by {by}", now)


def abort(rollout: Rollout, by: str, now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    """A person stops it: every touched station goes back."""
    if rollout.state in ENDED:
        return rollout, ()
    return _end_with_roll_back(rollout, RolloutState.STOPPED, f"aborted by {by}", now)


def _start(rollout: Rollout, now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    if not rollout.waves:
        return rollout, ()
    return _advance(_note(replace(rollout, state=RolloutState.RUNNING), "started", now), now)


def _look(
    rollout: Rollout, seen: Mapping[str, Seen], policy: BakePolicy, now: datetime, *, clock_from: datetime | None
) -> Rollout:
    """Move every touched station by what was seen of it. `clock_from` None: no time-out runs."""
    for index, wave in enumerate(rollout.waves):
        moved = []
        for item in wave.stations:
            after = _look_at(item, seen.get(item.station, Seen()), policy, now, clock_from=clock_from)
            if after.progress is not item.progress:
                rollout = _note(
                    rollout, f"{_wave_name(wave)} {item.station} {after.progress.value}: {after.detail}", now
                )
            moved.append(after)
        state = WaveState.ERROR if any(item.progress is Progress.ERRED for item in moved) else wave.state
        after_wave = replace(wave, stations=tuple(moved), state=state)
        rollout = replace(rollout, waves=(*rollout.waves[:index], after_wave, *rollout.waves[index + 1 :]))
    return rollout


def _look_at(
    item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, *, clock_from: datetime | None
) -> StationStep:
    if item.progress not in (Progress.ASSIGNED, Progress.BAKING, Progress.DONE):
        return item
    waited_s = 0.0
    if item.since is not None and clock_from is not None:
        waited_s = (now - max(item.since, clock_from)).total_seconds()
    error = error_in(seen, policy)
    if error is None and item.progress is not Progress.DONE:
        error = lost_in(seen, policy, waited_s, now)
    if error is not None:
        return replace(item, progress=Progress.ERRED, since=now, detail=error)
    if item.progress is Progress.ASSIGNED:
        return _settle_assigned(item, seen, policy, now, waited_s)
    return item if item.progress is Progress.DONE else _settle_baking(item, seen, policy, now, waited_s)


def _settle_assigned(item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, waited_s: float) -> StationStep:
    if seen.package_state is PackageState.ACTIVE:
        return replace(item, progress=Progress.BAKING, since=now, detail="the package is active")
    if waited_s > policy.install_timeout_s:
        detail = f"not active within {policy.install_timeout_s:.0f} s; last heard: {seen.heard()}"
        return replace(item, progress=Progress.ERRED, since=now, detail=detail)
    return replace(item, detail=f"waiting for the package to become active; last heard: {seen.heard()}")


def _settle_baking(item: StationStep, seen: Seen, policy: BakePolicy, now: datetime, waited_s: float) -> StationStep:
    is_done, detail = success_in(seen, policy)
    if is_done:
        return replace(item, progress=Progress.DONE, since=now, detail=detail)
    if waited_s > policy.bake_timeout_s:
        detail = f"success was not shown within {policy.bake_timeout_s:.0f} s: {detail}"
        return replace(item, progress=Progress.ERRED, since=now, detail=detail)
    return replace(item, detail=detail)


def _advance(rollout: Rollout, now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    """Finish the running wave when all its stations are done, and open the next one: never two at a time."""
    waves = list(rollout.waves)
    for index, wave in enumerate(waves):
        if wave.state is WaveState.FINISHED:
            continue
        if wave.state is WaveState.RUNNING:
            if any(item.progress is not Progress.DONE for item in wave.stations):
                return replace(rollout, waves=tuple(waves)), ()
            waves[index] = replace(wave, state=WaveState.FINISHED, finished_at=now)
            rollout = _note(rollout, f"{_wave_name(wave)} finished", now)
            continue
        assigned = tuple(replace(item, progress=Progress.ASSIGNED, since=now) for item in wave.stations)
        waves[index] = replace(wave, state=WaveState.RUNNING, started_at=now, stations=assigned)
        names = ", ".join(item.station for item in assigned)
        rollout = _note(replace(rollout, waves=tuple(waves)), f"{_wave_name(wave)} assigned to {names}", now)
        return rollout, tuple(Assign(item.station) for item in assigned)
    rollout = replace(rollout, waves=tuple(waves), state=RolloutState.FINISHED, finished_at=now)
    return _note(rollout, "finished", now), ()


def _end_with_roll_back(
    rollout: Rollout, state: RolloutState, why: str, now: datetime
) -> tuple[Rollout, tuple[Action, ...]]:
    touched = rollout.touched
    waves = tuple(
        replace(
            wave,
            stations=tuple(_sent_back(item, now) for item in wave.stations),
            state=WaveState.ERROR if wave.state is WaveState.RUNNING else wave.state,
            finished_at=wave.finished_at or (now if wave.started_at else None),
        )
        for wave in rollout.waves
    )
    rollout = replace(rollout, state=state, waves=waves, finished_at=now)
    rollout = _note(rollout, f"{state.value}: {why}", now)
    if touched:
        where = "the previous package" if rollout.has_previous else "no package (the product had none before)"
        rollout = _note(rollout, f"sent back to {where}: {', '.join(touched)}", now)
    return rollout, tuple(RollBack(station) for station in touched)


def _sent_back(item: StationStep, now: datetime) -> StationStep:
    if item.progress not in _TOUCHED:
        return item
    # The station that erred keeps its word and its reason: it is sent back too, but people look for it.
    if item.progress is Progress.ERRED:
        return replace(item, since=now, detail=f"{item.detail}; sent back")
    return replace(item, progress=Progress.ROLLED_BACK, since=now, detail="sent back")


def _note(rollout: Rollout, text: str, now: datetime) -> Rollout:
    return replace(rollout, history=(*rollout.history, f"{now:%Y-%m-%dT%H:%M:%SZ} {text}"))


def _wave_name(wave: Wave) -> str:
    return "canary" if wave.index == 0 else f"wave {wave.index + 1}"
