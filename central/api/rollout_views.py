# SPDX-License-Identifier: Apache-2.0
"""Turns a rollout's row into what the API says of it: waves, conditions in words, what it waits for.

Reads rows; decides nothing. Used by `api/rollouts.py`.
"""

from collections.abc import Mapping

from sqlmodel import Session

from central.api.rollout_schemas import PlanBody, RolloutView, WaveStation, WaveView, WayBack
from central.api.schemas import Rate
from central.domain.rollout_conditions import BakePolicy
from central.domain.rollout_shapes import Progress, Rollout, StationStep, Wave
from central.domain.rollout_station import conditions_of
from central.quality.rates import binomial_interval
from central.services.rollouts.assigning import package_status_of
from central.services.rollouts.counts import PartCounts, counts_of
from central.services.rollouts.facts import touched_of
from central.services.rollouts.planning import plan_of
from central.services.rollouts.state import state_of
from central.store.learning_tables import RolloutRow
from central.store.repositories import stations
from central.store.tables import Station
from contracts.vocabulary import PackageState, RolloutState, WaveState

_ORDERED_BACK = frozenset({Progress.ROLLED_BACK, Progress.SET_ASIDE})
_SETTLED = frozenset({Progress.DONE, Progress.SET_ASIDE, Progress.ROLLED_BACK, Progress.ERRED})


def rollout_view(session: Session, row: RolloutRow, policy: BakePolicy) -> RolloutView:
    """A rollout as the API shows it. `policy`: the settings' conditions; each wave's plan may change them."""
    state = state_of(row)
    known = {station.address: station for station in stations.of(session, row.before)}
    counts = counts_of(session, row, {address: touched_of(row, station) for address, station in known.items()})
    return RolloutView(
        id=row.id or 0,
        package_id=row.package_id,
        previous_package_id=row.previous_package_id,
        product=row.product,
        state=state.state,
        reason=row.reason,
        risk=row.risk,
        plan=PlanBody.of(plan_of(row)),
        waits_for=_waits_for(state),
        created_at=row.created_at,
        finished_at=row.finished_at,
        waves=[_wave_view(row, wave, conditions_of(wave, policy), counts, known) for wave in state.waves],
        history=list(state.history),
    )


def _waits_for(rollout: Rollout) -> list[str]:
    """In words, with since when; nothing of a rollout that has ended or goes on by itself right now."""
    if rollout.state is RolloutState.WAITING_FOR_APPROVAL:
        index = next(wave.index for wave in rollout.waves if wave.state is WaveState.SCHEDULED)
        return [f"approval of wave {index + 1} by a person"]
    if rollout.state is RolloutState.PAUSED:
        return ["a person who resumes it"]
    if rollout.state is RolloutState.READY and rollout.history:
        return [rollout.history[-1]]
    if rollout.state is not RolloutState.RUNNING:
        return []
    running = [wave for wave in rollout.waves if wave.state is WaveState.RUNNING]
    stations = [
        f"{item.station} {item.progress.value}{_since(item)}: {item.detail or 'no word of it yet'}"
        for wave in running
        for item in wave.stations
        if item.progress not in _SETTLED
    ]
    return [*stations, *(f"wave {wave.index + 1}: {wave.waits}" for wave in running if wave.waits)]


def _since(item: StationStep) -> str:
    return f" since {item.since:%Y-%m-%d %H:%M:%S} UTC" if item.since is not None else ""


def _wave_view(
    row: RolloutRow,
    wave: Wave,
    policy: BakePolicy,
    counts: Mapping[str, PartCounts],
    known: Mapping[str, Station],
) -> WaveView:
    return WaveView(
        index=wave.index,
        state=wave.state,
        success_condition=policy.success_in_words(),
        error_condition=policy.error_in_words() + _limits_in_words(wave),
        needs_approval=wave.plan.needs_approval,
        approved_by=wave.approved_by,
        started_at=wave.started_at,
        finished_at=wave.finished_at,
        stations=[
            _station_view(row, item, counts.get(item.station), known.get(item.station)) for item in wave.stations
        ],
    )


def _limits_in_words(wave: Wave) -> str:
    control = wave.plan.control
    if control is None:
        return ""
    return (
        "; or rejects (too many or too few), image faults or parts without a decision leave what the same stations did "
        f"before, with at most {control.alpha:.0%} chance of a false alarm in the wave"
    )


def _station_view(row: RolloutRow, item: StationStep, counts: PartCounts | None, known: Station | None) -> WaveStation:
    touched = row.before.get(item.station)
    judged, rate = 0, None
    if counts is not None:
        judged = counts.judged
        interval = binomial_interval(counts.diverted, counts.judged)
        rate = Rate(
            estimate=interval.estimate,
            low=interval.low,
            high=interval.high,
            count=counts.diverted,
            of=counts.judged,
            method=f"NG or REVIEW of the parts judged with the new package, {interval.method}",
        )
    return WaveStation(
        station=item.station,
        assignment_number=int(touched["number"]) if touched else None,
        progress=item.progress.value,
        since=item.since,
        detail=item.detail,
        parts_judged=judged,
        reject_rate=rate,
        is_done=item.progress.value == "DONE",
        before_package_id=touched["package_id"] if touched else None,
        way_back=_way_back(row, item, known) if touched and known is not None else None,
    )


def _way_back(row: RolloutRow, item: StationStep, station: Station) -> WayBack | None:
    """None: it was not ordered back. What it should run is what it is assigned now, whoever decided that since."""
    wanted = station.assigned.get(row.product)
    is_ordered = item.progress in _ORDERED_BACK or (item.progress is Progress.ERRED and row.finished_at is not None)
    if not is_ordered or wanted == row.package_id:
        return None
    return _how_far(row, WayBack(state="ORDERED", package_id=wanted, since=item.since), station)


def _how_far(row: RolloutRow, ordered: WayBack, station: Station) -> WayBack:
    """By the station's own word on the assignment in force."""
    wanted, status, number = ordered.package_id, package_status_of(station), station.assignment_number or 0
    if status is None or status.assignment_number != number:
        heard = "nothing" if status is None else f"of assignment {status.assignment_number}"
        return ordered.model_copy(update={"detail": f"assignment {number}; its last word: {heard}"})
    if status.refused is not None:
        detail = f"assignment {number}: {status.refused} {status.detail}".strip()
        return WayBack(state="REFUSED", package_id=wanted, since=status.at, detail=detail)
    said = next((each for each in status.packages if each.product == row.product), None)
    if said is None:
        return WayBack(state="BACK", package_id=None, since=status.at) if wanted is None else ordered
    if said.package_id == wanted and said.state is PackageState.ACTIVE:
        return WayBack(state="BACK", package_id=wanted, since=said.at)
    if said.package_id == wanted and said.state in (PackageState.REFUSED, PackageState.FELL_BACK):
        detail = f"{said.state}: {said.reason or 'no reason given'} {said.detail}".strip()
        return WayBack(state="REFUSED", package_id=wanted, since=said.at, detail=detail)
    return ordered.model_copy(update={"detail": f"its last word: {said.state}"})
