# SPDX-License-Identifier: Apache-2.0
"""What an open rollout waits for that does not come by itself: a person, a station, parts, or a time that is allowed.

Pure: reads the rollout as it stands, says what each wave waits for and what people can do about it. Raises nothing;
`services/rollouts/waits.py` measures how long, and calls people.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from central.domain.naming import some_of
from central.domain.rollout_shapes import SHOWN_BUT_HELD, Progress, Rollout, Wave
from contracts.vocabulary import RolloutState, WaveState


class WaitKind(StrEnum):
    """For what."""

    APPROVAL = "APPROVAL"
    RESUME = "RESUME"
    BEGIN = "BEGIN"
    PLAN = "PLAN"
    AWAY = "AWAY"
    EVIDENCE = "EVIDENCE"
    WINDOW = "WINDOW"


REMEDIES: Final[Mapping[WaitKind, str]] = {
    WaitKind.APPROVAL: "Look at the evidence of the waves before, then approve the wave or abort the rollout.",
    WaitKind.RESUME: "Resume the rollout or abort it; while it is paused no other of the product can begin.",
    WaitKind.BEGIN: "Look whether the stations that it is for have power and network, or abort it.",
    WaitKind.PLAN: (
        "Abort it and begin another with a plan that takes them: this one keeps the plan that it began with. Set the "
        "policy of the product anew, or end it."
    ),
    WaitKind.AWAY: (
        "Look whether the station has power and network. If it stays away, set it aside: the rollout goes on with the "
        "others of its wave, and the station catches up when it is back and the package is for all. If it is the last "
        "of its wave, abort the rollout and begin again with stations that are there."
    ),
    WaitKind.EVIDENCE: (
        "Let the station make parts of the product, and judge open audits. If it makes none, set it aside, or abort "
        "where it is the last of its wave; if its past gives no limits, abort and begin again with a "
        "plan that does not ask for them."
    ),
    WaitKind.WINDOW: "Wait for the window, lift the freeze, or widen the windows of the product for the next rollout.",
}


# What a rollout says of its wait for a first station, in its history.
UNHEARD: Final = "waits: no station that it is for has been heard of (real or simulated, like the package)"
_SAID: Final = " waits: "


@dataclass(frozen=True)
class Wait:
    """One wave waits. `since`: when the rollout itself knows; None: it does not say. `why`: in its own words."""

    kind: WaitKind
    wave: int
    why: str
    since: datetime | None = None
    stations: tuple[str, ...] = ()

    @property
    def where(self) -> str:
        """The stations, so many that a person can read them."""
        return some_of(self.stations)


def waits_of(rollout: Rollout) -> tuple[Wait, ...]:
    """What it waits for now, at most one of a kind in each wave. Nothing of a rollout that has ended."""
    if rollout.state is RolloutState.WAITING_FOR_APPROVAL:
        wave = next(wave for wave in rollout.waves if wave.state is WaveState.SCHEDULED)
        return (Wait(WaitKind.APPROVAL, wave.index, f"approval of wave {wave.index + 1} by a person"),)
    if rollout.state is RolloutState.PAUSED:
        running = next((wave.index for wave in rollout.waves if wave.state is WaveState.RUNNING), 0)
        return (Wait(WaitKind.RESUME, running, "a person who resumes it"),)
    if rollout.state is RolloutState.READY:
        said = next((line for line in reversed(rollout.history) if _SAID in line), "")
        if said and not said.endswith(UNHEARD):
            return (Wait(WaitKind.PLAN, 0, said.partition(_SAID)[2]),)
        return (Wait(WaitKind.BEGIN, 0, "a station that it is for to be heard of"),)
    if rollout.state is not RolloutState.RUNNING:
        return ()
    return tuple(wait for wave in rollout.waves if wave.state is WaveState.RUNNING for wait in _of_wave(wave))


def _of_wave(wave: Wave) -> Iterator[Wait]:
    kinds = {
        WaitKind.AWAY: [item for item in wave.stations if item.progress is Progress.AWAY],
        WaitKind.WINDOW: [item for item in wave.stations if item.progress is Progress.WAITING and item.detail],
        WaitKind.EVIDENCE: [
            item
            for item in wave.stations
            if item.progress in (Progress.SHADOW, Progress.BAKING) and not item.detail.startswith(SHOWN_BUT_HELD)
        ],
    }
    kinds[WaitKind.WINDOW] += [item for item in wave.stations if item.detail.startswith(SHOWN_BUT_HELD)]
    # Its own maintenance window: the station has its order, and waits with the download.
    kinds[WaitKind.WINDOW] += [
        item for item in wave.stations if item.progress is Progress.ASSIGNED and "maintenance window" in item.detail
    ]
    for kind, steps in kinds.items():
        if not steps:
            continue
        # How long it bakes at least is a plan, and no wait.
        baked = timedelta(seconds=wave.plan.bake_s if kind is WaitKind.EVIDENCE else 0.0)
        known = [item.since + baked for item in steps if item.since is not None and kind is not WaitKind.WINDOW]
        names = tuple(item.station for item in steps)
        yield Wait(kind, wave.index, steps[0].detail or "no word of it yet", min(known, default=None), names)
    if wave.waits and not kinds[WaitKind.EVIDENCE]:
        names = tuple(item.station for item in wave.stations if item.progress is Progress.DONE)
        yield Wait(WaitKind.EVIDENCE, wave.index, wave.waits, None, names)
