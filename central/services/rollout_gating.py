# SPDX-License-Identifier: Apache-2.0
"""Feeds the gates of a wave in shadow with the parts that both packages judged, and asks for their answer.

Reads verdicts, times and labels in commit order, each once; the gates (`services/shadow_gates.py`) are pure, and what
they have seen is stored in the caller's transaction, so that a restart of central neither loses nor repeats a part.
Decides nothing: `domain/rollout_gates.py` brings the answers together, `domain/rollout.py` acts. Called by
`services/rollouts.py`.
"""

from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from central.domain.rollout_gates import WaveAnswer
from central.domain.rollout_plan import ShadowPlan
from central.domain.rollout_shapes import Progress, Rollout, Wave
from central.services.shadow_gates import ShadowGates
from central.store.learning_tables import RolloutRow
from central.store.repositories import shadow
from central.store.rollout_tables import RolloutGate
from contracts.vocabulary import WaveState

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
