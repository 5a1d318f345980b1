# SPDX-License-Identifier: Apache-2.0
"""`/audits`: the queue of parts that chance picked for a person's judgement.

Blind: until an audit is judged, no answer here carries verdict, score or package, nor, to an inspector, what would tell
a part that is shown once more: number, order, time of coming and bytes of the picture are each presentation's own.
"""

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Path, Query, Response

from central.api.auth import ServicesOf, allow
from central.api.evidence import picture_response
from central.api.schemas import AuditOutcome, AuditPart, AuditRecorded, AuditSummary, AuditTask
from central.api.views import audit_part, audit_task
from central.domain.shifts import ShiftPlan
from central.errors import ConflictError, NotFoundError
from central.services.audits.asked import asked_now
from central.services.picture_marks import marked
from central.services.trainings.suspect_labels import waiting_suspects
from central.store.repositories import audits
from central.store.repositories.audits import SUSPECT
from contracts.ids import Name
from contracts.vocabulary import AuditState, Judgement, Role, Verdict

router = APIRouter(prefix="/audits", tags=["audits"], dependencies=[Depends(allow(Role.VIEWER))])

_Number = Annotated[int, Path(ge=1, le=2**62)]

_judging = [Depends(allow(Role.INSPECTOR))]


_Limit = Annotated[int, Query(ge=1, le=1000)]


@router.get("", summary="Audits that can be judged, or were", dependencies=_judging)
def list_audits(
    services: ServicesOf,
    state: Literal[AuditState.OPEN, AuditState.JUDGED] | None = None,
    before_id: Annotated[int | None, Query(ge=0, le=2**62)] = None,
    limit: _Limit = 100,
) -> list[AuditTask]:
    """For programs that work through many at once; by falling number, which is chance.

    One more asking about a part appears together with a part that is new. People take `/audits/next`.
    """
    with services.database.read() as session:
        return [audit_task(entry) for entry in audits.listed_blind(session, state, before_id, limit)]


@router.get("/parts", summary="Audits and their parts, newest first", dependencies=[Depends(allow(Role.ADMIN))])
def list_parts(services: ServicesOf, state: AuditState | None = None, limit: _Limit = 100) -> list[AuditPart]:
    """Says which part is which, so who reads it can tell one that was asked before, and judges no part blindly.

    For who sets up or tries out a plant, and for the simulated inspector, who looks the truth up.
    """
    with services.database.read() as session:
        return [audit_part(entry) for entry in audits.listed(session, state, limit)]


@router.get(
    "/next",
    summary="The next one to judge",
    dependencies=_judging,
    response_model=AuditTask,
    responses={204: {"description": "Nothing to judge", "model": None}},
)
def next_audit(services: ServicesOf, inspector: Name) -> AuditTask | Response:
    """By chance among the open ones that this inspector has not judged; theirs for `audit.claim_s` seconds.

    Says neither which part it is nor when it was made: a part may be shown again, and is not to be told apart.
    """
    with services.database.begin() as session:
        claimed = audits.claim_next(
            session, inspector, services.clock.now(), services.settings.audit.claim_s, services.rng
        )
        waiting = audits.count_by_state(session)[AuditState.OPEN]
    return Response(status_code=204) if claimed is None else audit_task(claimed, waiting)


@router.get("/summary", summary="How the queue stands")
def summary(services: ServicesOf) -> AuditSummary:
    """Counts by state and by judgement, and the defect classes named so far."""
    with services.database.read() as session:
        states = audits.count_by_state(session)
        settings = services.settings.audit
        asked = asked_now(session, settings, ShiftPlan(settings.shifts, settings.time_zone), services.clock.now())
        return AuditSummary(
            awaiting_evidence=states[AuditState.AWAITING_EVIDENCE],
            open=states[AuditState.OPEN],
            judged=states[AuditState.JUDGED],
            lost=states[AuditState.LOST],
            unsettled=audits.count_unsettled(session),
            asked_budget=asked.budget,
            asked=asked.asked,
            asked_waiting=asked.waiting | ({SUSPECT: suspects} if (suspects := waiting_suspects(session)) else {}),
            by_judgement=dict.fromkeys(Judgement, 0) | audits.count_by_judgement(session),
            known_defect_classes=list(audits.known_defect_classes(session)),
        )


@router.get(
    "/{audit_id}/picture",
    summary="What is to be judged",
    dependencies=_judging,
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}},
)
def picture(services: ServicesOf, audit_id: _Number) -> Response:
    """The picture, with a mark in the file that differs with each presentation of it; pixels are untouched."""
    with services.database.read() as session:
        row = audits.entry(session, audit_id).audit
    if row.crop_sha256 is None:
        raise NotFoundError(f"audit {audit_id} has no picture yet; the station has not sent it")
    content, media_type = services.evidence.picture(row.crop_sha256)
    return picture_response(marked(content, row.number), media_type, tag=f"audit-{row.number}")


@router.post(
    "/{audit_id}/outcome",
    summary="Judge",
    dependencies=_judging,
    responses={409: {"description": "Judged already, or nothing to judge it by"}},
)
def outcome(services: ServicesOf, audit_id: _Number, said: AuditOutcome) -> AuditRecorded:
    """Once; the answer then shows what the machine had said.

    One answer may not settle the part: then another inspector is asked, who sees nothing of this one. `is_escape` says
    what this answer alone would make of the part. Nobody judges a part twice, but by a blind repeat.
    """
    now = services.clock.now()
    with services.database.begin() as session:
        held = audits.entry(session, audit_id).audit
        if held.claimed_by not in (None, said.inspector) and held.claimed_until and held.claimed_until > now:
            raise ConflictError(f"audit {audit_id} is being judged by {held.claimed_by}; take the next one")
        judged = audits.judge(
            session,
            audit_id,
            said.judgement,
            defect_class=said.defect_class,
            inspector=said.inspector,
            note=said.note,
            now=now,
            confirms=services.settings.audit.confirms,
        )
        waiting = audits.count_by_state(session)[AuditState.OPEN]
    verdict = judged.inspection.verdict
    return AuditRecorded(
        audit_id=audit_id,
        verdict=verdict,
        score=judged.inspection.score,
        judgement=said.judgement,
        is_escape=verdict is Verdict.OK and said.judgement is Judgement.DEFECTIVE,
        waiting=waiting,
        asked_because=judged.audit.asked_because,
    )
