# SPDX-License-Identifier: Apache-2.0
"""`/evidence`: stations offer and upload pictures, people look at them.

An upload is a row of PUTs, each continuing at `Upload-Offset`; the answer always says how far the bytes have come.
"""

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Path, Request, Response
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from central.api.auth import ServicesOf, allow
from central.errors import InvalidError
from central.services.evidence import UploadProgress
from contracts.base import MOST, Shape
from contracts.ids import InspectionId, Sha256
from contracts.reports import EvidenceOffered
from contracts.vocabulary import Role

router = APIRouter(prefix="/evidence", tags=["evidence"])

# Pictures leave in pieces; each is written as it comes, so that little is lost when the link breaks.
_PIECE_BYTES = 256 * 1024


class UploadState(Shape):
    """How far an upload has come; continue at `upload_offset` unless it is complete."""

    upload_offset: int
    is_complete: bool


class EvidenceUnavailable(Shape):
    """These inspections' pictures no longer exist at the station."""

    inspections: list[InspectionId] = Field(min_length=1, max_length=500)


class AuditsLost(Shape):
    """How many audits had been waiting for them."""

    audits_lost: int


@router.post("", summary="Offer a picture", dependencies=[Depends(allow(None, station=True))])
def offer(services: ServicesOf, offered: EvidenceOffered) -> UploadState:
    """Answers from where to send. Offering again is harmless."""
    return _state(services.evidence.offer(offered))


@router.post("/unavailable", summary="Pictures are gone", dependencies=[Depends(allow(None, station=True))])
def unavailable(services: ServicesOf, gone: EvidenceUnavailable) -> AuditsLost:
    """Audits that wait for these pictures are lost."""
    return AuditsLost(audits_lost=services.evidence.unavailable(gone.inspections))


@router.put(
    "/{sha256}",
    summary="Send bytes of an offered picture",
    dependencies=[Depends(allow(None, station=True))],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def upload(
    services: ServicesOf,
    request: Request,
    sha256: Annotated[Sha256, Path()],
    upload_offset: Annotated[int, Header(ge=0, le=MOST)],
) -> UploadState:
    """409 with another offset when this one is not where the upload stands; 422 when the digest is wrong."""
    evidence = services.evidence
    size_bytes = await run_in_threadpool(evidence.promised_bytes, sha256)
    progress = UploadProgress(upload_offset, is_complete=False)
    waiting = bytearray()
    async for chunk in request.stream():
        waiting += chunk
        if len(waiting) >= _PIECE_BYTES:
            progress = await run_in_threadpool(
                evidence.receive, sha256, progress.upload_offset, bytes(waiting), size_bytes
            )
            waiting.clear()
    if waiting:
        progress = await run_in_threadpool(evidence.receive, sha256, progress.upload_offset, bytes(waiting), size_bytes)
    elif progress.upload_offset == upload_offset:
        raise InvalidError(f"expected the picture's bytes from {upload_offset} on as body, got none")
    return _state(progress)


@router.get(
    "/{sha256}",
    summary="A picture",
    dependencies=[Depends(allow(Role.VIEWER))],
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/jpeg": {}}}},
)
def picture(services: ServicesOf, sha256: Annotated[Sha256, Path()]) -> Response:
    """Its bytes. They never change, so they may be cached for ever."""
    return picture_response(*services.evidence.picture(sha256), tag=sha256)


def picture_response(content: bytes, media_type: str, *, tag: str) -> Response:
    """Bytes that never change under their address, whose `tag` they have."""
    headers = {
        "Cache-Control": "private, max-age=31536000, immutable",
        "ETag": f'"{tag}"',
        # Bytes from a station must never be run by a browser.
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    return Response(content, media_type=media_type, headers=headers)


def _state(progress: UploadProgress) -> UploadState:
    return UploadState(upload_offset=progress.upload_offset, is_complete=progress.is_complete)
