# SPDX-License-Identifier: Apache-2.0
"""`/products/{product}`: reference parts that people judged beforehand, and how many judged pictures there are.

Stores pictures and judgements; trains nothing. Audits bring the other judged pictures.
"""

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from central.api.auth import CallerOf, ServicesOf, allow
from central.api.learning_schemas import LabelCounts, ReferencePartAdded
from central.api.written import DefectClass, WrittenPart
from central.errors import InvalidError
from central.foundation import Services
from central.services.evidence import media_type_of
from central.services.trainings.jobs import label_counts, prefers_simulated
from central.store.repositories.audits import keep_label
from central.store.tables import LabelledPicture
from contracts.base import Shape
from contracts.ids import Name
from contracts.vocabulary import Judgement, LabelSource, Role

router = APIRouter(prefix="/products", tags=["products"])


class ReferencePart(Shape):
    """What is said of the picture, as query."""

    judgement: Judgement
    defect_class: DefectClass | None = None
    part_id: WrittenPart | None = None
    is_simulated: bool = False


_PICTURES: Final = ("image/png", "image/jpeg")
_BODY: Final = {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in _PICTURES}}


@router.post(
    "/{product}/reference-parts",
    summary="Add a judged picture of a reference part",
    status_code=201,
    dependencies=[Depends(allow(Role.ENGINEER))],
    responses={200: {"model": ReferencePartAdded, "description": "Known already; nothing was added"}},
    openapi_extra={"requestBody": {"required": True, **_BODY}},
)
async def add_reference_part(
    *,
    services: ServicesOf,
    caller: CallerOf,
    request: Request,
    response: Response,
    product: Annotated[Name, Path()],
    said: Annotated[ReferencePart, Query()],
) -> ReferencePartAdded:
    """The body is the picture, as the station would crop it. The same picture again changes nothing."""
    if said.judgement is Judgement.UNSURE:
        raise InvalidError("judgement: a reference part is GOOD or DEFECTIVE, got UNSURE")
    if said.defect_class is not None and said.judgement is Judgement.GOOD:
        raise InvalidError(f"defect_class: only a defective part has one, got {said.defect_class!r} for a good one")
    content = await _bounded_body(request, services.settings.evidence.max_bytes)
    if media_type_of(content) not in _PICTURES:
        raise InvalidError(f"body: expected a PNG or JPEG picture, got {len(content)} bytes of something else")
    added = await run_in_threadpool(_store, services, caller.name, content, product, said)
    if not added.is_new:
        response.status_code = 200
    return added


@router.get("/{product}/labels", summary="Judged pictures of a product", dependencies=[Depends(allow(Role.VIEWER))])
def labels(services: ServicesOf, product: Annotated[Name, Path()], is_simulated: bool | None = None) -> LabelCounts:
    """Of one kind, real or simulated; left open: the kind that a training would use. UNSURE ones never train."""
    with services.database.read() as session:
        kind = prefers_simulated(session, product) if is_simulated is None else is_simulated
        counts = label_counts(session, product, is_simulated=kind)
    return LabelCounts(product=product, by_source=counts, is_simulated=kind)


async def _bounded_body(request: Request, max_bytes: int) -> bytes:
    content = bytearray()
    async for chunk in request.stream():
        content += chunk
        if len(content) > max_bytes:
            raise InvalidError(f"body: expected at most {max_bytes} bytes")
    return bytes(content)


def _store(services: Services, caller: str, content: bytes, product: str, said: ReferencePart) -> ReferencePartAdded:
    # The picture first: a row must never name one that is not there.
    sha256 = services.blobs.put(content)
    part = said.part_id or f"picture-{sha256}"
    label = LabelledPicture(
        product=product,
        sha256=sha256,
        media_type=media_type_of(content),
        judgement=said.judgement,
        defect_class=said.defect_class,
        part_id=part,
        source=LabelSource.REFERENCE,
        added_at=services.clock.now(),
        added_by=caller,
        is_simulated=said.is_simulated,
    )
    with services.database.begin() as session:
        is_new = keep_label(session, label)
    return ReferencePartAdded(sha256=sha256, product=product, judgement=said.judgement, part_id=part, is_new=is_new)
