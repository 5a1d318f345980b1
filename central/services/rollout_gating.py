# SPDX-License-Identifier: Apache-2.0
"""Feeds the gates of a wave in shadow with the parts that both packages judged, and asks for their answer.

Reads verdicts, times and labels in commit order, each once; the gates (`quality/gates`) are pure, and what they have
seen is stored in the caller's transaction, so that a restart of central neither loses nor repeats a part. Decides
nothing: `domain/rollout_gates.py` brings the answers together, `domain/rollout.py` acts. Called by
`services/rollouts.py`.
"""

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import select as sa_select
from sqlmodel import Session

from central.domain.rollout_gates import WaveAnswer, WaveDemands, judge_wave
from central.domain.rollout_plan import ShadowPlan
from central.domain.rollout_shapes import Progress, Rollout, Wave
from central.quality.gates import DiscordanceGate, LatencyGate, MarginGate
from central.store.learning_tables import RolloutRow
from central.store.repositories import shadow
from central.store.rollout_tables import RolloutGate
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import Verdict, WaveState

# Of the champion's past at the wave's stations; below the least its p99 is not known.
_PAST_TIMES: Final = 2_000
_LEAST_TIMES: Final = 200
_DEMANDS: Final = WaveDemands(quantities=())
# Judgements may be stored a little out of the order of their times; those known already are dropped by their number.
_LOOK_BACK: Final = timedelta(minutes=10)


@dataclass
class Fed:
    """What the gates of one wave have seen. `waiting`: discordant pairs without a label yet."""

    discordance: dict[str, Any]
    margin: dict[str, Any]
    latency: dict[str, Any] | None = None
    last_pair: int = 0
    last_judged_at: datetime | None = None
    waiting: list[int] = field(default_factory=list)
    errors: int = 0


_FED: TypeAdapter[Fed] = TypeAdapter(Fed)


def gates_of(session: Session, row: RolloutRow, rollout: Rollout, now: datetime) -> dict[int, WaveAnswer]:
    """By wave, what the gates of those in shadow say."""
    return {
        wave.index: _answer_of(session, row, wave, wave.plan.shadow, now)
        for wave in rollout.waves
        if wave.plan.shadow is not None and wave.state is WaveState.RUNNING and not wave.is_shown
        if rollout.has_previous and any(item.progress is Progress.SHADOW for item in wave.stations)
    }


def _answer_of(session: Session, row: RolloutRow, wave: Wave, plan: ShadowPlan, now: datetime) -> WaveAnswer:
    """Take in what is new and ask. Writes the state of the gates, commits nothing.

    A part on which the challenger failed counts as one that the champion alone got right: it judged, the other did not.
    """
    stored = session.get(RolloutGate, (row.id, wave.index))
    fed = _FED.validate_json(stored.state) if stored is not None else _begun(plan)
    margin = MarginGate.from_dict(fed.margin)
    discordance = DiscordanceGate.from_dict(fed.discordance)
    stations = {item.station for item in wave.stations}
    latency = _latency(session, row, stations, plan, fed)
    pairing = shadow.Pairing(row.package_id, champion=row.previous_package_id, is_simulated=row.is_simulated)
    while pairs := shadow.pairs_after(session, pairing, fed.last_pair):
        fed.last_pair = pairs[-1].id
        for pair in pairs:
            if pair.station in stations:
                _take(pair, fed, margin, latency)
    _settle(session, pairing, fed, (discordance, margin))
    fed.discordance, fed.margin = discordance.to_dict(), margin.to_dict()
    fed.latency = latency.to_dict() if latency is not None else None
    text = _FED.dump_json(fed).decode()
    if stored is None or stored.state != text:
        session.merge(RolloutGate(rollout_id=row.id or 0, wave=wave.index, state=text, changed_at=now))
    return judge_wave({"who is right": discordance, "margin": margin}, latency, {}, _DEMANDS)


def _begun(plan: ShadowPlan) -> Fed:
    return Fed(DiscordanceGate(plan.alpha).to_dict(), MarginGate(plan.alpha, plan.margin).to_dict())


def _latency(session: Session, row: RolloutRow, stations: set[str], plan: ShadowPlan, fed: Fed) -> LatencyGate | None:
    """The stored gate, or a new one once the champion's past says what its p99 is."""
    if fed.latency is not None:
        return LatencyGate.from_dict(fed.latency)
    c, s = columns_of(Inspection).c, columns_of(Station).c
    times = session.connection().execute(
        sa_select(c.infer_ms)
        .where(
            s.id == c.station_id,
            s.address.in_(stations),
            c.package_id == row.previous_package_id,
            c.product == row.product,
            c.infer_ms.is_not(None),
        )
        .order_by(c.id.desc())
        .limit(_PAST_TIMES)
    )
    known = sorted(times.scalars().all())
    if len(known) < _LEAST_TIMES:
        return None
    p99_ms = known[math.ceil(0.99 * len(known)) - 1]
    return LatencyGate(plan.alpha, p99_ms) if p99_ms > 0 else None


def _take(pair: shadow.ShadowPair, fed: Fed, margin: MarginGate, latency: LatencyGate | None) -> None:
    if pair.challenger_verdict is Verdict.NO_DECISION:
        fed.errors += 1
        margin.update(-1)
        return
    if latency is not None and pair.champion_ms is not None and pair.challenger_ms is not None:
        latency.update(pair.champion_ms, pair.challenger_ms)
    if pair.is_discordant:
        margin.wait_for_label()
        fed.waiting.append(pair.id)
    else:
        margin.update_equal(1)


def _settle(session: Session, pairing: shadow.Pairing, fed: Fed, gates: tuple[DiscordanceGate, MarginGate]) -> None:
    """Give the labels that came, in the order in which people gave them."""
    discordance, margin = gates
    waiting = set(fed.waiting)
    since = fed.last_judged_at - _LOOK_BACK if fed.last_judged_at is not None else None
    for pair in shadow.judged_discordant(session, pairing, since):
        right = pair.is_challenger_right
        if pair.id not in waiting or right is None:
            continue
        waiting.remove(pair.id)
        discordance.update(right)
        margin.settle(1 if right else -1)
        fed.last_judged_at = pair.judged_at
    fed.waiting = [each for each in fed.waiting if each in waiting]
