# SPDX-License-Identifier: Apache-2.0
"""`/rollouts`: which package goes where, how far it has come and why.

Starts, pauses, resumes and aborts by the word of a person; decides nothing itself.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.learning_schemas import RolloutView, StartRollout, WaveStation, WaveView
from central.api.schemas import By, Rate
from central.api.trainings import loop_of
from central.domain.rollout import StationStep, Wave
from central.domain.rollout_conditions import BakePolicy
from central.errors import NotFoundError
from central.foundation import Services
from central.quality.rates import binomial_interval
from central.services.rollout_facts import counts_since
from central.services.rollouts import MACHINE
from central.store.learning_tables import RolloutRow
from central.store.tables import Station
from contracts.vocabulary import Role, RolloutState

router = APIRouter(prefix="/rollouts", tags=["rollouts"], dependencies=[Depends(allow(Role.VIEWER))])

RolloutNumber = Annotated[int, Path(ge=1, le=2**62)]
_engineer = [Depends(allow(Role.ENGINEER))]
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Not possible in the state it is in"}}


@router.get("", summary="Rollouts, newest first")
def list_rollouts(
    services: ServicesOf,
    state: RolloutState | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> list[RolloutView]:
    """All of them, or those in one state."""
    wanted = select(RolloutRow).order_by(col(RolloutRow.id).desc()).limit(limit)
    if state is not None:
        wanted = wanted.where(RolloutRow.state == state)
    with services.database.read() as session:
        return [_view(session, services, row) for row in session.exec(wanted).all()]


@router.get("/{rollout_id}", summary="One rollout")
def get_rollout(services: ServicesOf, rollout_id: RolloutNumber) -> RolloutView:
    """With its waves, conditions in words, and history."""
    with services.database.read() as session:
        row = session.get(RolloutRow, rollout_id)
        if row is None:
            raise NotFoundError(f"rollout {rollout_id}: no such rollout")
        return _view(session, services, row)


@router.post("", summary="Start a rollout", status_code=201, dependencies=_engineer, responses=_CONFLICT)
def start_rollout(services: ServicesOf, wanted: StartRollout) -> RolloutView:
    """Of a promoted package; going back to an older one is a rollout like any other.

    A rollout of this very package that is under way already is given back instead of a second one.
    """
    # The gate is asked right now about a package that was trained a moment ago.
    loop_of(services).promoting.tick(services.clock.now())
    rollout_id = loop_of(services).rollouts.start(
        wanted.package_id,
        stations=wanted.stations,
        canary=wanted.canary,
        reason=wanted.reason,
        now=services.clock.now(),
    )
    return get_rollout(services, rollout_id)


@router.post("/{rollout_id}/pause", summary="Pause", dependencies=_engineer, responses=_CONFLICT)
def pause_rollout(services: ServicesOf, rollout_id: RolloutNumber, who: By) -> RolloutView:
    """No further station is touched. Errors of touched stations still end it."""
    loop_of(services).rollouts.pause(rollout_id, who.by, services.clock.now())
    return get_rollout(services, rollout_id)


@router.post("/{rollout_id}/resume", summary="Resume", dependencies=_engineer, responses=_CONFLICT)
def resume_rollout(services: ServicesOf, rollout_id: RolloutNumber, who: By) -> RolloutView:
    """Go on after a pause."""
    loop_of(services).rollouts.resume(rollout_id, who.by, services.clock.now())
    return get_rollout(services, rollout_id)


@router.post("/{rollout_id}/abort", summary="Abort and roll back", dependencies=_engineer, responses=_CONFLICT)
def abort_rollout(services: ServicesOf, rollout_id: RolloutNumber, who: By) -> RolloutView:
    """Every touched station is assigned its previous package again."""
    loop_of(services).rollouts.abort(rollout_id, who.by, services.clock.now())
    return get_rollout(services, rollout_id)


def _view(session: Session, services: Services, row: RolloutRow) -> RolloutView:
    state = MACHINE.validate_json(row.machine)
    policy = loop_of(services).rollouts.policy_of(row)
    return RolloutView(
        id=row.id or 0,
        package_id=row.package_id,
        previous_package_id=row.previous_package_id,
        product=row.product,
        state=state.state,
        reason=row.reason,
        created_at=row.created_at,
        finished_at=row.finished_at,
        waves=[_wave_view(session, row, wave, policy) for wave in state.waves],
        history=list(state.history),
    )


def _wave_view(session: Session, row: RolloutRow, wave: Wave, policy: BakePolicy) -> WaveView:
    return WaveView(
        index=wave.index,
        state=wave.state,
        success_condition=policy.success_in_words(),
        error_condition=policy.error_in_words(),
        started_at=wave.started_at,
        finished_at=wave.finished_at,
        stations=[_station_view(session, row, item) for item in wave.stations],
    )


def _station_view(session: Session, row: RolloutRow, item: StationStep) -> WaveStation:
    touched = row.before.get(item.station)
    judged, rate = 0, None
    station = session.exec(select(Station).where(Station.address == item.station)).first()
    if touched is not None and station is not None:
        counts = counts_since(session, row, station, int(touched["after_inspection_id"]))
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
        detail=item.detail,
        parts_judged=judged,
        reject_rate=rate,
        is_done=item.progress.value == "DONE",
    )
