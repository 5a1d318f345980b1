# SPDX-License-Identifier: Apache-2.0
"""Feeds the gates of a wave in shadow with the parts that both packages judged, and asks for their answer.

Reads verdicts, times and labels in commit order, each once; the gates (`services/shadow_gates.py`) are pure, and what
they have seen is stored in the caller's transaction, so that a restart of central neither loses nor repeats a part.
Decides nothing: `domain/rollout_gates.py` brings the answers together, `domain/rollout.py` acts. Called by
`services/rollouts.py`.
"""

import math
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func
from sqlalchemy import select as sa_select
from sqlmodel import Session

from central.domain.rollout_gates import WaveAnswer
from central.domain.rollout_plan import ShadowPlan
from central.domain.rollout_shapes import Progress, Rollout, Wave
from central.services.shadow_gates import Fed, ShadowGates
from central.store.learning_tables import RolloutRow
from central.store.repositories import shadow
from central.store.rollout_tables import RolloutGate
from central.store.tables import Inspection, Station, columns_of
from contracts.vocabulary import WaveState

# Of the champion's past at the wave's stations; below the least its p99 is not known.
_PAST_TIMES: Final = 2_000
_LEAST_TIMES: Final = 200
# Judgements may be stored a little out of the order of their times; those known already are dropped by their number.
_LOOK_BACK: Final = timedelta(minutes=10)


def gates_of(session: Session, row: RolloutRow, rollout: Rollout, now: datetime) -> dict[int, WaveAnswer]:
    """By wave, what the gates of those in shadow say."""
    return {
        wave.index: _answer_of(session, row, wave, wave.plan.shadow, now)
        for wave in rollout.waves
        if wave.plan.shadow is not None and wave.state is WaveState.RUNNING and not wave.is_shown
        if rollout.has_previous and any(item.progress is Progress.SHADOW for item in wave.stations)
    }


def _answer_of(session: Session, row: RolloutRow, wave: Wave, plan: ShadowPlan, now: datetime) -> WaveAnswer:
    """Take in what is new and ask. Writes the state of the gates, commits nothing."""
    stored = session.get(RolloutGate, (row.id, wave.index))
    gates = ShadowGates(plan, stored.state if stored is not None else None)
    stations = {item.station for item in wave.stations}
    if gates.latency is None and (p99_ms := _champion_p99_ms(session, row, stations, gates.fed)) is not None:
        gates.begin_latency(p99_ms)
    pairing = shadow.Pairing(row.package_id, champion=row.previous_package_id, is_simulated=row.is_simulated)
    while pairs := shadow.pairs_after(session, pairing, gates.fed.last_pair):
        for pair in pairs:
            if pair.station in stations:
                gates.take(pair)
        gates.fed.last_pair = pairs[-1].id
    since = gates.fed.last_judged_at - _LOOK_BACK if gates.fed.last_judged_at is not None else None
    gates.settle(shadow.judged_discordant(session, pairing, since))
    text = gates.to_json()
    if stored is None or stored.state != text:
        session.merge(RolloutGate(rollout_id=row.id or 0, wave=wave.index, state=text, changed_at=now))
    return gates.answer()


def _champion_p99_ms(session: Session, row: RolloutRow, stations: set[str], fed: Fed) -> float | None:
    """The champion's p99 at these stations; None: it has judged too few parts there as yet.

    Each look reads only the parts that came since the last one: what was read is kept with the gates.
    """
    c, s = columns_of(Inspection).c, columns_of(Station).c
    connection = session.connection()
    newest = connection.execute(sa_select(func.max(c.id))).scalar() or 0
    times = connection.execute(
        sa_select(c.infer_ms)
        .where(
            s.id == c.station_id,
            s.address.in_(stations),
            c.package_id == row.previous_package_id,
            c.product == row.product,
            c.infer_ms.is_not(None),
            c.id > fed.past_read_to,
            c.id <= newest,
        )
        .order_by(c.id.desc())
        .limit(_PAST_TIMES)
    )
    # Newest first, as they are read.
    fed.past_ms = [*times.scalars().all(), *fed.past_ms][:_PAST_TIMES]
    fed.past_read_to = newest
    if len(fed.past_ms) < _LEAST_TIMES:
        return None
    known = sorted(fed.past_ms)
    return known[math.ceil(0.99 * len(known)) - 1]
