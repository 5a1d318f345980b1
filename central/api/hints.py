# SPDX-License-Identifier: Apache-2.0
"""`/quality/hints`: how many escapes the scores alone let expect. Marked as a hint; nothing else of central reads it.

See `quality/label_free` for what is assumed. Kept apart from `/quality/rates` on purpose: those rest on labels.
"""

from datetime import timedelta
from typing import Annotated, Final, Literal

import numpy as np
from fastapi import APIRouter, Depends, Query
from sqlmodel import Session

from central.api.auth import ServicesOf, allow
from central.api.quality import quality_scope
from central.api.queries import StationQuery
from central.api.written import WrittenTime
from central.domain.audit import Pool
from central.quality.label_free import LEAST_OF_EACH, calibrate, expected_escapes
from central.store.repositories import hint_rows, quality
from central.store.repositories.quality import PoolKey, Scope
from contracts.base import Shape, UtcTime
from contracts.ids import Name
from contracts.vocabulary import Role

router = APIRouter(prefix="/quality/hints", tags=["quality"], dependencies=[Depends(allow(Role.VIEWER))])

ASSUMPTION: Final = (
    "A hint, not a measurement: no label of these parts is in it. It assumes that parts of one score are defective as "
    "often as among the audits it was learnt from (no new kind of defect), and no covariate shift beyond calibration: "
    "scores in the range that was audited."
)


class EscapeHint(Shape):
    """What is expected of the parts that one package accepted, of one product at one station. Never evidence.

    `expected_share`: of defective parts among `accepted` ones with a score; None: not known, `why` says what lacks.
    `low`, `high`: for how well the curve of `audits` (`defective` of them) is known, 95 %, and for nothing else.
    `beyond_calibration`: share of the parts whose score is outside what was audited; they count as its nearer end.
    """

    is_hint: Literal[True] = True
    assumption: str = ASSUMPTION
    station: str
    product: str | None
    is_simulated: bool
    package_id: str
    since: UtcTime
    until: UtcTime
    accepted: int
    audits: int
    defective: int
    expected_share: float | None = None
    low: float = 0.0
    high: float = 1.0
    beyond_calibration: float | None = None
    why: str | None = None


@router.get("", summary="A hint at escapes, from scores alone")
def hints(
    services: ServicesOf,
    *,
    minutes: Annotated[int, Query(ge=1, le=60 * 24 * 31)] = 60,
    calibration_minutes: Annotated[int, Query(ge=1, le=60 * 24 * 400)] = 60 * 24 * 30,
    station: StationQuery = None,
    product: Name | None = None,
    until: WrittenTime | None = None,
) -> list[EscapeHint]:
    """Of the last `minutes`, by audits of the last `calibration_minutes` of the same package, by station and product.

    For looking at between audits. No gate, no alarm and no rate uses it, and it sees no new kind of defect.
    """
    scope = quality_scope(services.clock.now(), minutes, station, product, until)
    with services.database.read() as session:
        pools = quality.pools(session, scope)
        ordered = sorted(pools, key=lambda key: (key[0], key[1] or "", key[2]))
        return [_hint(session, key, pools[key], scope, timedelta(minutes=calibration_minutes)) for key in ordered]


def _hint(session: Session, key: PoolKey, pool: Pool, scope: Scope, calibration: timedelta) -> EscapeHint:
    audited = hint_rows.audited_scores(session, key, pool.package_id, scope.until - calibration, scope.until)
    score = np.array(hint_rows.accepted_scores(session, key, pool.package_id, scope.since, scope.until))
    said = np.array([is_defective for _, is_defective, _ in audited], dtype=np.bool_)
    about = EscapeHint(
        station=key[0],
        product=key[1],
        is_simulated=key[2],
        package_id=pool.package_id,
        since=scope.since,
        until=scope.until,
        accepted=len(score),
        audits=len(audited),
        defective=int(said.sum()),
    )
    learnt = calibrate(np.array([each[0] for each in audited]), said, np.array([each[2] for each in audited]))
    if learnt is None:
        why = f"expected at least {LEAST_OF_EACH} good and {LEAST_OF_EACH} defective audits of this package"
        return about.model_copy(update={"why": why})
    if not len(score):
        return about.model_copy(update={"why": "no part was accepted by its score in this period"})
    found = expected_escapes(learnt, score)
    return about.model_copy(
        update={
            "expected_share": found.expected,
            "low": found.low,
            "high": found.high,
            "beyond_calibration": found.beyond,
        }
    )
