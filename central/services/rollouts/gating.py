# SPDX-License-Identifier: Apache-2.0
"""Feeds the gates of a wave in shadow with the parts that both packages judged, and asks for their answer.

Reads verdicts, times and labels since the order in commit order, each once; the gates
(`services/rollouts/shadow_gates.py`) are pure, and what they have seen is stored in the caller's transaction, so that a
restart of central neither loses nor repeats a part. A part counts beside the package that its station had when the
rollout touched it, which after a trial is not the rollout's previous one; one that another package judged (the station
fell back) counts for nothing, and that is said. Decides nothing: `domain/rollout_gates.py` brings the answers together,
`domain/rollout.py` acts. Called by `services/rollouts/moving.py`.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from sqlmodel import Session

from central.domain.naming import some_of
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_plan import ShadowPlan
from central.domain.rollout_shapes import Progress, Rollout, Wave
from central.services.rollouts.shadow_gates import ShadowGates
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
    beside = {item.station: _had(row, item.station) for item in wave.stations if not item.has_it}
    pairing = shadow.Pairing(row.package_id, is_simulated=row.is_simulated)
    while pairs := shadow.pairs_after(session, pairing, gates.fed.last_pair):
        for pair in pairs:
            if pair.station not in beside or pair.inspection_id <= _begun_after(row, pair.station):
                # Of another station, or shown to an earlier rollout of this package, which had a chance of its own.
                continue
            if pair.champion == beside[pair.station]:
                gates.take(pair)
            else:
                gates.fed.elsewhere[pair.champion] = gates.fed.elsewhere.get(pair.champion, 0) + 1
        gates.fed.last_pair = pairs[-1].id
    since = gates.fed.last_judged_at - _LOOK_BACK if gates.fed.last_judged_at is not None else None
    judged = [
        pair
        for champion in sorted({each for each in beside.values() if each is not None})
        for pair in shadow.judged_discordant(session, replace(pairing, champion=champion), since)
    ]
    gates.settle(sorted(judged, key=lambda pair: (pair.judged_at is None, pair.judged_at)))
    text = gates.to_json()
    if stored is None or stored.state != text:
        session.merge(RolloutGate(rollout_id=row.id or 0, wave=wave.index, state=text, changed_at=now))
    return _beside(gates.answer(), beside, gates.fed.elsewhere)


def _had(row: RolloutRow, station: str) -> str | None:
    """What the station was assigned when the rollout touched it: after a trial not the rollout's previous package."""
    touched = row.before.get(station)
    return touched["package_id"] if touched is not None else None


def _begun_after(row: RolloutRow, station: str) -> int:
    """The newest inspection as the station was ordered to judge in shadow; none is above it before."""
    touched = row.before.get(station)
    return int(touched["after_inspection_id"]) if touched is not None else sys.maxsize


def _beside(answer: WaveAnswer, beside: Mapping[str, str | None], elsewhere: Mapping[str, int]) -> WaveAnswer:
    """The answer with what the package stood beside, and why parts count for nothing."""
    at = defaultdict[str, list[str]](list)
    for station, package_id in sorted(beside.items()):
        at[package_id or "none"].append(station)
    evidence = {**answer.evidence, "beside": dict(at), "parts_beside_another": dict(elsewhere)}
    said = list[str]()
    if answer.outcome is WaveOutcome.NOT_ENOUGH_EVIDENCE:
        if elsewhere:
            others = some_of([package_id[:12] for package_id in sorted(elsewhere)])
            said.append(
                f"{sum(elsewhere.values())} parts were judged beside {others}, which is not what their station had "
                "when the shadow began, and count for nothing"
            )
        if "none" in at:
            said.append(f"nothing to stand beside at {some_of(at['none'])}")
    reasons = (*answer.reasons, *said)
    return WaveAnswer(answer.outcome, reasons, {**evidence, "reasons": list(reasons)})
