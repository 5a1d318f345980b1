# SPDX-License-Identifier: Apache-2.0
"""The rollout machine: waves of stations, a success and an error condition, and going back.

Pure: takes what was seen of each station and the time, gives the next state and what to do. Does not sign, publish,
count or store; `services/rollouts/moving.py` does. Fails closed: no data is never success, and an error sends every
touched station back to the previous package. A station that is out of reach, or has not judged enough parts yet, is
neither: its wave waits and says for what.

    READY -> RUNNING <-> PAUSED                    wave:    SCHEDULED -> RUNNING -> FINISHED | ERROR
    RUNNING <-> WAITING_FOR_APPROVAL               station: WAITING -> [SHADOW ->] ASSIGNED -> BAKING -> DONE
    any open one -> ERROR | STOPPED (by a person)           SHADOW | ASSIGNED | BAKING <-> AWAY
    RUNNING -> FINISHED                                     any touched one -> ERRED, ROLLED_BACK, SET_ASIDE
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Final

from central.domain.naming import some_of
from central.domain.rollout_conditions import BakePolicy, Seen
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_shapes import (
    ENDED,
    SETTLED,
    SHOWN_BUT_HELD,
    TOUCHED,
    UNDER_WAY,
    Action,
    Assign,
    CallBack,
    Progress,
    RollBack,
    Rollout,
    Shadow,
    StationStep,
    Wave,
)
from central.domain.rollout_station import call_back, conditions_of, look_at
from contracts.vocabulary import RolloutState, WaveState

_ALWAYS: Final = datetime.min.replace(tzinfo=UTC)
_NO_GATE: Final[Mapping[int, WaveAnswer]] = MappingProxyType({})
_NOTHING_SEEN: Final = Seen()
_NOBODY: Final[Mapping[str, str]] = MappingProxyType({})


def with_waves(rollout: Rollout, waves: tuple[Wave, ...]) -> Rollout:
    """A rollout that has not begun, with its stations chosen."""
    return replace(rollout, waves=waves) if rollout.state is RolloutState.READY else rollout


def with_note_once(rollout: Rollout, text: str, now: datetime) -> Rollout:
    """Say something in the history unless it was the last thing said."""
    is_said = bool(rollout.history) and rollout.history[-1].endswith(text)
    return rollout if is_said else _note(rollout, text, now)


def with_notes(rollout: Rollout, texts: Sequence[str], now: datetime) -> Rollout:
    """Say more in the history, also of one that has ended."""
    return _notes(rollout, texts, now) if texts else rollout


def step(
    rollout: Rollout,
    seen: Mapping[str, Seen],
    policy: BakePolicy,
    now: datetime,
    *,
    hears_since: datetime | None = _ALWAYS,
    held: Mapping[str, str] = _NOBODY,
    gates: Mapping[int, WaveAnswer] = _NO_GATE,
    limits: Mapping[int, WaveAnswer] = _NO_GATE,
    frozen: Mapping[str, str] = _NOBODY,
) -> tuple[Rollout, tuple[Action, ...]]:
    """Where the rollout goes from here. Calling it again with the same facts changes nothing more.

    `seen` may lack stations: nothing known of them, which never counts as success. `hears_since`: since when central
    hears its stations, None while it does not; time-outs count from then: what it could not hear was nobody's fault.
    `held`: stations that may not be touched now, each with the reason; going back is never held. `gates`: by wave, what
    its gates say of its parts in shadow; without an answer there is not enough evidence. `limits`: likewise of the
    parts that it judged, against the stations' own past. `frozen`: touched stations that an order of before must not
    reach either, with the reason: it is called back where it was not taken yet.
    """
    if rollout.state in ENDED:
        return rollout, ()
    if rollout.state is RolloutState.READY:
        return _start(rollout, held, now)
    is_running = rollout.state is RolloutState.RUNNING
    rollout = _look(rollout, seen, policy, now, clock_from=hears_since if is_running else None)
    for wave in rollout.waves:
        erred = [item for item in wave.stations if item.progress is Progress.ERRED]
        if erred:
            return _end_with_roll_back(rollout, RolloutState.ERROR, f"{erred[0].station}: {erred[0].detail}", now)
    for what, answers in (("gates", gates), ("limits", limits)):
        failed = next((index for index in answers if answers[index].outcome is WaveOutcome.FAILED), None)
        if failed is not None:
            why = f"{what} of {_wave_name(rollout.waves[failed])}: {'; '.join(answers[failed].reasons)}"
            return _end_with_roll_back(rollout, RolloutState.ERROR, why, now)
    rollout, called_back = _call_back(rollout, seen, frozen, now)
    if not is_running:
        return rollout, called_back
    rollout, actions = _advance(rollout, {**held, **frozen}, gates, limits, now)
    return rollout, (*called_back, *actions)


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


def approve(rollout: Rollout, by: str, now: datetime) -> Rollout:
    """Let the wave that waits begin. One approval opens one wave."""
    if rollout.state is not RolloutState.WAITING_FOR_APPROVAL:
        return rollout
    waiting = next(wave for wave in rollout.waves if wave.state is WaveState.SCHEDULED)
    waves = tuple(replace(wave, approved_by=by) if wave is waiting else wave for wave in rollout.waves)
    after = replace(rollout, state=RolloutState.RUNNING, waves=waves)
    return _note(after, f"{_wave_name(waiting)} approved by {by}", now)


def set_aside(rollout: Rollout, station: str, by: str, now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    """Go on without a station that holds its wave up; it is sent back, and catches up after a rollout to all.

    Not without the last one of its wave: nobody would be left to show the package there.
    """
    for wave in rollout.waves:
        for item in wave.stations:
            if is_last_of(wave, station):
                continue
            if rollout.state in ENDED or item.station != station or item.progress not in UNDER_WAY:
                continue
            aside = replace(item, progress=Progress.SET_ASIDE, since=now, detail=f"set aside by {by}: {item.detail}")
            after = _with_station(rollout, wave, aside)
            return _note(after, f"{_wave_name(wave)} {station} set aside by {by}", now), (RollBack(station),)
    return rollout, ()


def is_last_of(wave: Wave, station: str) -> bool:
    """Whether all others of the wave were set aside, or ran the package before and so show nothing in shadow."""
    lacks_shadow = wave.plan.shadow is not None and not wave.is_shown
    left = [
        item.station
        for item in wave.stations
        if item.progress is not Progress.SET_ASIDE and not (lacks_shadow and item.has_it)
    ]
    return left == [station]


def abort(rollout: Rollout, by: str, now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    """A person stops it: every touched station goes back."""
    if rollout.state in ENDED:
        return rollout, ()
    return _end_with_roll_back(rollout, RolloutState.STOPPED, f"aborted by {by}", now)


def _start(rollout: Rollout, held: Mapping[str, str], now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    if not rollout.waves:
        return rollout, ()
    return _advance(_note(replace(rollout, state=RolloutState.RUNNING), "started", now), held, _NO_GATE, _NO_GATE, now)


def _look(
    rollout: Rollout, seen: Mapping[str, Seen], policy: BakePolicy, now: datetime, *, clock_from: datetime | None
) -> Rollout:
    """Move every touched station by what was seen of it. `clock_from` None: no time-out runs."""
    waves, lines = list[Wave](), list[str]()
    for wave in rollout.waves:
        moved = []
        asked = conditions_of(wave, policy)
        for item in wave.stations:
            after = look_at(item, seen.get(item.station, _NOTHING_SEEN), asked, now, clock_from=clock_from)
            if after.progress is not item.progress:
                lines.append(f"{_wave_name(wave)} {item.station} {after.progress.value}: {after.detail}")
            moved.append(after)
        state = WaveState.ERROR if any(item.progress is Progress.ERRED for item in moved) else wave.state
        waves.append(replace(wave, stations=tuple(moved), state=state))
    return _notes(replace(rollout, waves=tuple(waves)), lines, now)


def _call_back(
    rollout: Rollout, seen: Mapping[str, Seen], frozen: Mapping[str, str], now: datetime
) -> tuple[Rollout, tuple[Action, ...]]:
    """Take the order back from stations that have not followed it yet when their time was frozen."""
    names, lines = list[str](), list[str]()
    for wave in rollout.waves:
        held = {item.station: call_back(item, seen.get(item.station, _NOTHING_SEEN), frozen) for item in wave.stations}
        called = [name for name, step in held.items() if step is not None]
        if called:
            moved = tuple(held[item.station] or item for item in wave.stations)
            rollout = _with_wave(rollout, replace(wave, stations=moved))
            lines.append(f"{_wave_name(wave)} called back from {some_of(called)}: {frozen[called[0]]}")
            names += called
    return _notes(rollout, lines, now), tuple(CallBack(name) for name in names)


def _advance(
    rollout: Rollout,
    held: Mapping[str, str],
    gates: Mapping[int, WaveAnswer],
    limits: Mapping[int, WaveAnswer],
    now: datetime,
) -> tuple[Rollout, tuple[Action, ...]]:
    """Finish the running wave when its stations are done, and open the next one: never two at a time."""
    late: tuple[Action, ...] = ()
    for index, scheduled in enumerate(rollout.waves):
        wave = scheduled
        if wave.state is WaveState.FINISHED:
            # It did not wait for those that were out of reach; whoever is back gets what the others have.
            rollout, orders = _catch_up(rollout, wave, held, now)
            late += orders
            continue
        if wave.state is WaveState.SCHEDULED:
            if wave.plan.needs_approval and wave.approved_by is None:
                waiting = replace(rollout, state=RolloutState.WAITING_FOR_APPROVAL)
                return _note(waiting, f"{_wave_name(wave)} waits for approval", now), late
            wave = replace(wave, state=WaveState.RUNNING, started_at=now)
            rollout = _with_wave(rollout, wave)
        rollout, shown = _show(rollout, wave, gates.get(index), held, now)
        rollout, actions = _assign(rollout, rollout.waves[index], held, now)
        actions = (*late, *shown, *actions)
        wave = rollout.waves[index]
        if wave.stations and all(item.progress is Progress.SET_ASIDE for item in wave.stations):
            why = f"nobody is left to show it in {_wave_name(wave)}: every station was set aside"
            return _end_with_roll_back(rollout, RolloutState.ERROR, why, now)
        lacks_shadow = has_shadow(rollout, wave) and not wave.is_shown
        if len(actions) > len(late) or lacks_shadow or not _is_complete(wave):
            return rollout, actions
        if has_limits(rollout, wave) and (waits := _lacks(limits.get(index))) is not None:
            return _with_wave(rollout, replace(wave, waits=waits)), late
        wave = replace(wave, waits="")
        away = [item.station for item in wave.stations if item.progress is Progress.AWAY]
        rollout = _with_wave(rollout, replace(wave, state=WaveState.FINISHED, finished_at=now))
        without = f" without {some_of(away)}, out of reach" if away else ""
        rollout = _note(rollout, f"{_wave_name(wave)} finished{without}", now)
    return _note(replace(rollout, state=RolloutState.FINISHED, finished_at=now), "finished", now), late


def _catch_up(
    rollout: Rollout, wave: Wave, held: Mapping[str, str], now: datetime
) -> tuple[Rollout, tuple[Action, ...]]:
    """Give the package to stations of a wave that finished without them."""
    if all(item.progress not in (Progress.SHADOW, Progress.WAITING) for item in wave.stations):
        return rollout, ()
    rollout, shown = _show(rollout, wave, None, held, now) if wave.is_shown else (rollout, ())
    rollout, assigned = _assign(rollout, rollout.waves[wave.index], held, now)
    return rollout, (*shown, *assigned)


def has_shadow(rollout: Rollout, wave: Wave) -> bool:
    """Whether the wave is to show itself in shadow. A product's first package has nobody to stand beside."""
    return wave.plan.shadow is not None and rollout.has_previous


def has_limits(rollout: Rollout, wave: Wave) -> bool:
    """Whether the wave is held to limits from its stations' past. Nothing precedes a product's first package."""
    return wave.plan.control is not None and rollout.has_previous


def _lacks(answer: WaveAnswer | None) -> str | None:
    """What the limits of a wave have not shown yet; None: nothing. Without an answer they have shown nothing."""
    if answer is not None and answer.outcome is WaveOutcome.PASSED:
        return None
    return f"not enough evidence for its limits: {'; '.join(answer.reasons) if answer is not None else 'no part yet'}"


def _show(
    rollout: Rollout, wave: Wave, answer: WaveAnswer | None, held: Mapping[str, str], now: datetime
) -> tuple[Rollout, tuple[Action, ...]]:
    """Give the package to the stations in shadow once the gates have passed, and to one that comes back after that.

    Those that may not be touched now stay in shadow. While that is all of them, the gates are asked on: they may fail.
    """
    in_shadow = [item.station for item in wave.stations if item.progress is Progress.SHADOW]
    if not in_shadow:
        return rollout, ()
    has_passed = wave.is_shown or (answer is not None and answer.outcome is WaveOutcome.PASSED)
    free = [name for name in in_shadow if name not in held] if has_passed else []
    if free and not wave.is_shown:
        wave = replace(wave, is_shown=True)
        rollout = _note(rollout, f"{_wave_name(wave)} passed its gates in shadow", now)
    waits = f"not enough evidence in shadow: {'; '.join(answer.reasons) if answer is not None else 'no part yet'}"
    moved = tuple(
        item
        if item.progress is not Progress.SHADOW
        else replace(item, progress=Progress.ASSIGNED, since=now, detail="its gates have passed")
        if item.station in free
        else replace(item, detail=f"{SHOWN_BUT_HELD}{held[item.station]}")
        if has_passed
        else replace(item, detail=waits)
        for item in wave.stations
    )
    rollout = _with_wave(rollout, replace(wave, stations=moved))
    if not free:
        return rollout, ()
    rollout = _note(rollout, f"{_wave_name(wave)} assigned to {some_of(free)}", now)
    return rollout, tuple(Assign(name) for name in free)


def _assign(rollout: Rollout, wave: Wave, held: Mapping[str, str], now: datetime) -> tuple[Rollout, tuple[Action, ...]]:
    """Touch the stations of a running wave that wait and may be touched."""
    is_shadow = has_shadow(rollout, wave) and not wave.is_shown
    waiting = [item for item in wave.stations if item.progress is Progress.WAITING]
    free = {item.station for item in waiting if item.station not in held}
    shadowed = {item.station for item in waiting if is_shadow and not item.has_it}
    moved = tuple(
        replace(item, progress=Progress.SHADOW if item.station in shadowed else Progress.ASSIGNED, since=now, detail="")
        if item.station in free
        else replace(item, detail=held[item.station])
        if item.progress is Progress.WAITING
        else item
        for item in wave.stations
    )
    rollout = _with_wave(rollout, replace(wave, stations=moved))
    names = [item.station for item in waiting if item.station in free]
    for what, some in (
        ("in shadow at", [name for name in names if name in shadowed]),
        ("assigned to", [name for name in names if name not in shadowed]),
    ):
        if some:
            rollout = _note(rollout, f"{_wave_name(wave)} {what} {some_of(some)}", now)
    return rollout, tuple(Shadow(name) if name in shadowed else Assign(name) for name in names)


def _is_complete(wave: Wave) -> bool:
    """Whether every station has shown it, but for as many out of reach as the plan allows. Nobody is no success."""
    away = sum(item.progress is Progress.AWAY for item in wave.stations)
    settled = sum(item.progress in SETTLED for item in wave.stations)
    total = len(wave.stations)
    is_any_done = any(item.progress is Progress.DONE for item in wave.stations)
    return is_any_done and settled + away == total and away <= wave.plan.max_away_share * total


def _with_wave(rollout: Rollout, wave: Wave) -> Rollout:
    return replace(rollout, waves=(*rollout.waves[: wave.index], wave, *rollout.waves[wave.index + 1 :]))


def _with_station(rollout: Rollout, wave: Wave, moved: StationStep) -> Rollout:
    stations = tuple(moved if item.station == moved.station else item for item in wave.stations)
    return _with_wave(rollout, replace(wave, stations=stations))


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
        rollout = _note(rollout, f"sent back to {where}: {some_of(touched)}", now)
    return rollout, tuple(RollBack(station) for station in touched)


def _sent_back(item: StationStep, now: datetime) -> StationStep:
    if item.progress not in TOUCHED:
        return item
    # The station that erred keeps its word and its reason: it is sent back too, but people look for it.
    if item.progress is Progress.ERRED:
        return replace(item, since=now, detail=f"{item.detail}; sent back")
    return replace(item, progress=Progress.ROLLED_BACK, since=now, detail="sent back")


def _note(rollout: Rollout, text: str, now: datetime) -> Rollout:
    return _notes(rollout, (text,), now)


def _notes(rollout: Rollout, texts: Sequence[str], now: datetime) -> Rollout:
    # All of a step at once: one history a line would copy as many lines as stations, for each of them.
    return replace(rollout, history=(*rollout.history, *(f"{now:%Y-%m-%dT%H:%M:%SZ} {text}" for text in texts)))


def _wave_name(wave: Wave) -> str:
    return "canary" if wave.index == 0 else f"wave {wave.index + 1}"
