# SPDX-License-Identifier: Apache-2.0
"""`/rollouts`: which package goes where, how far it has come, why, and what it was exposed to.

Starts, pauses, resumes, approves and aborts by the word of a person; decides nothing itself.
"""

import csv
import io
from collections.abc import Iterator
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Path, Query, Response
from fastapi.responses import StreamingResponse
from sqlmodel import Session, col, select

from central.api.auth import ServicesOf, allow
from central.api.queries import StationQuery
from central.api.rollout_schemas import (
    Approve,
    ExposureAtStation,
    QuarantinePartView,
    RolloutEvidence,
    RolloutExposure,
    RolloutLook,
    RolloutStep,
    RolloutView,
    SetAside,
    StartRollout,
)
from central.api.rollout_views import rollout_view
from central.api.schemas import By
from central.api.trainings import loop_of
from central.domain.naming import some_of
from central.errors import NotFoundError
from central.foundation import Services
from central.services.rollouts.evidence import exposure_of, given_it, quarantine_of, riskiest_of
from central.services.rollouts.limits import looks_of
from central.store.learning_tables import RolloutRow
from central.store.repositories import rollout_policies
from contracts.vocabulary import Role, RolloutState, Verdict

router = APIRouter(prefix="/rollouts", tags=["rollouts"], dependencies=[Depends(allow(Role.VIEWER))])

RolloutNumber = Annotated[int, Path(ge=1, le=2**62)]
_engineer = [Depends(allow(Role.ENGINEER))]
_QUARANTINE_HEAD: Final = ("station", "captured_at", "part_id", "trigger_number", "epoch", "sequence", "score")
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")
_ROWS_A_CHUNK: Final = 500
_MOST_LOOKS: Final = 500
_CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Not possible in the state it is in"}}
_FOUND: dict[int | str, dict[str, Any]] = {200: {"model": RolloutView, "description": "Under way already, as wished"}}


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
        policy = loop_of(services).rollouts.policy_of
        return [rollout_view(session, row, policy(row)) for row in session.exec(wanted).all()]


@router.get("/{rollout_id}", summary="One rollout")
def get_rollout(services: ServicesOf, rollout_id: RolloutNumber) -> RolloutView:
    """With its waves, conditions in words, what it waits for, and history."""
    with services.database.read() as session:
        row = _row(session, rollout_id)
        return rollout_view(session, row, loop_of(services).rollouts.policy_of(row))


@router.get("/{rollout_id}/exposure", summary="Parts that the package of a rollout judged")
def get_exposure(services: ServicesOf, rollout_id: RolloutNumber) -> RolloutExposure:
    """By station, from its assignment on; also of a rollout that was aborted."""
    with services.database.read() as session:
        return _exposure(session, _row(session, rollout_id))


@router.get("/{rollout_id}/evidence", summary="All that a rollout rested on, as one file")
def get_evidence(services: ServicesOf, rollout_id: RolloutNumber) -> RolloutEvidence:
    """The rollout, every step with its facts, and the parts its package judged."""
    with services.database.read() as session:
        row = _row(session, rollout_id)
        return RolloutEvidence(
            rollout=rollout_view(session, row, loop_of(services).rollouts.policy_of(row)),
            steps=[
                RolloutStep(at=event.at, lines=event.lines, evidence=event.evidence)
                for event in rollout_policies.events(session, rollout_id)
            ],
            looks=[
                RolloutLook(wave=look.wave, at=look.at, evidence=look.evidence)
                for look in looks_of(session, rollout_id, _MOST_LOOKS)
            ],
            exposure=_exposure(session, row),
        )


@router.get("/{rollout_id}/quarantine", summary="Parts that its package let pass, nearest to its limit first")
def get_riskiest(
    services: ServicesOf,
    rollout_id: RolloutNumber,
    station: StationQuery = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> list[QuarantinePartView]:
    """Where to look first. All of them are in `quarantine.csv`."""
    with services.database.read() as session:
        row = _row(session, rollout_id)
        if station is not None and station not in (given := given_it(session, row)):
            # An empty list would read as "nothing to look for at that station".
            touched = some_of(sorted(given)) or "none yet"
            raise NotFoundError(f"station {station}: rollout {rollout_id} has not touched it; touched are: {touched}")
        parts = riskiest_of(session, row, limit, station)
    return [QuarantinePartView.model_validate(part, from_attributes=True) for part in parts]


@router.get(
    "/{rollout_id}/quarantine.csv",
    summary="Parts that the package of a rollout let pass",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/csv": {}}, "description": "One line a part, by station and capture time"}},
)
def get_quarantine(services: ServicesOf, rollout_id: RolloutNumber) -> StreamingResponse:
    """To find them on the line or in the store: escapes of a bad package hide among the parts that it passed."""
    with services.database.read() as session:
        _row(session, rollout_id)
    headers = {"Content-Disposition": f'attachment; filename="quarantine-rollout-{rollout_id}.csv"'}
    return StreamingResponse(_quarantine_lines(services, rollout_id), media_type="text/csv", headers=headers)


@router.post("", summary="Start a rollout", status_code=201, dependencies=_engineer, responses=_CONFLICT | _FOUND)
def start_rollout(services: ServicesOf, wanted: StartRollout, response: Response) -> RolloutView:
    """Of a promoted package; going back to an older one is a rollout like any other.

    A rollout of this very package that is under way already is given back (200) instead of a second one.
    """
    # The gate is asked right now about a package that was trained a moment ago.
    loop_of(services).promoting.tick(services.clock.now())
    begun = loop_of(services).rollouts.start(
        wanted.package_id,
        stations=wanted.stations,
        canary=wanted.canary,
        reason=wanted.reason,
        now=services.clock.now(),
        plan=wanted.plan.read() if wanted.plan is not None else None,
        inherits=wanted.plan.unsaid() if wanted.plan is not None else frozenset(),
    )
    if not begun.is_new:
        response.status_code = 200
    return get_rollout(services, begun.rollout_id)


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


@router.post("/{rollout_id}/approve", summary="Approve the next wave", dependencies=_engineer, responses=_CONFLICT)
def approve_rollout(services: ServicesOf, rollout_id: RolloutNumber, said: Approve) -> RolloutView:
    """Lets the wave that waits for a person begin; one approval, one wave, and only the one that is named."""
    loop_of(services).rollouts.approve(rollout_id, said.by, services.clock.now(), wave=said.wave)
    return get_rollout(services, rollout_id)


@router.post("/{rollout_id}/set-aside", summary="Go on without a station", dependencies=_engineer, responses=_CONFLICT)
def set_station_aside(services: ServicesOf, rollout_id: RolloutNumber, said: SetAside) -> RolloutView:
    """One that holds its wave up. It is assigned its previous package and catches up after a rollout to all."""
    loop_of(services).rollouts.set_aside(rollout_id, said.station, said.by, services.clock.now())
    return get_rollout(services, rollout_id)


@router.post("/{rollout_id}/abort", summary="Abort and roll back", dependencies=_engineer, responses=_CONFLICT)
def abort_rollout(services: ServicesOf, rollout_id: RolloutNumber, who: By) -> RolloutView:
    """Every touched station is assigned its previous package again."""
    loop_of(services).rollouts.abort(rollout_id, who.by, services.clock.now())
    return get_rollout(services, rollout_id)


def _row(session: Session, rollout_id: int) -> RolloutRow:
    row = session.get(RolloutRow, rollout_id)
    if row is None:
        raise NotFoundError(f"rollout {rollout_id}: no such rollout")
    return row


def _exposure(session: Session, row: RolloutRow) -> RolloutExposure:
    stations = exposure_of(session, row)
    return RolloutExposure(
        rollout_id=row.id or 0,
        package_id=row.package_id,
        parts=sum(sum(each.verdicts.values()) for each in stations),
        passed=sum(each.verdicts.get(Verdict.OK, 0) for each in stations),
        stations=[ExposureAtStation.model_validate(each, from_attributes=True) for each in stations],
    )


def _quarantine_lines(services: Services, rollout_id: int) -> Iterator[str]:
    """The table, some rows at a time: a bad night is a hundred thousand parts."""
    text = io.StringIO()
    lines = csv.writer(text)
    lines.writerow(_QUARANTINE_HEAD)
    with services.database.read() as session:
        for number, part in enumerate(quarantine_of(session, _row(session, rollout_id)), 1):
            captured_at = part.captured_at.isoformat()
            part_id = _as_text(part.part_id)
            lines.writerow(
                (part.station, captured_at, part_id, part.trigger_number, part.epoch, part.sequence, part.score)
            )
            if number % _ROWS_A_CHUNK == 0:
                yield text.getvalue()
                text.seek(0)
                text.truncate()
    yield text.getvalue()


def _as_text(cell: str | None) -> str | None:
    """A serial that a spreadsheet would take for a formula, marked as text."""
    return f"'{cell}" if cell is not None and cell.startswith(_FORMULA_STARTS) else cell
