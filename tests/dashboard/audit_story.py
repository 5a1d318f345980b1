# SPDX-License-Identifier: Apache-2.0
"""What the stub central says of how severely is audited: one station as usual, the other by samples no more."""

from datetime import datetime, timedelta
from typing import Any

from central.api import schemas
from central.api.audit_shifts import AuditShiftView, Resume
from central.quality.switching import Inspection
from tests.dashboard.learning_story import PRODUCT, STATIONS


def shifts(story: Any) -> list[AuditShiftView]:
    """Newest first, as central lists them."""
    if not story.has_stations:
        return []
    stopped = (Inspection.DISCONTINUED, "5 shifts not accepted while tightened, 3 of 40 <audits> defective", None)
    resumed = (Inspection.TIGHTENED, f"resumed by anna: {story.resumed}", "anna")
    return [
        _shift(story, 2, STATIONS[1], resumed if story.resumed else stopped),
        _shift(story, 1, STATIONS[0], (Inspection.NORMAL, "the first shift of this product at this station", None)),
    ]


def resume(story: Any, shift_id: int, role: str, body: bytes) -> tuple[int, object]:
    """As central: an engineer's matter."""
    if role != "ENGINEER":
        return 403, schemas.Problem(error="not allowed", detail="expected role ENGINEER, got VIEWER")
    story.resumed = Resume.model_validate_json(body).note
    return 200, next(each for each in shifts(story) if each.shift_id == shift_id)


def _shift(story: Any, number: int, station: str, state: tuple[Inspection, str, str | None]) -> AuditShiftView:
    now: datetime = story.now
    return AuditShiftView(
        shift_id=number,
        station=station,
        product=PRODUCT,
        is_simulated=story.is_simulated,
        shift="2026-03-01 06:00",
        begins_at=now - timedelta(hours=2),
        ends_at=now + timedelta(hours=6),
        is_newest=True,
        inspection=state[0],
        reason=state[1],
        changed_at=now - timedelta(hours=1),
        changed_by=state[2],
        budget=48 if number == 1 else None,
        accepted=1200,
        drawn=12,
        score=6,
        accepted_in_a_row=0,
        rejected_while_tightened=0,
        is_steady=True,
        counted_at=None,
        audits=None,
        defective=None,
        is_accepted=None,
    )
