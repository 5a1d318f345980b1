# SPDX-License-Identifier: Apache-2.0
"""Central's word on how severely accepted parts are audited. Mirrors the API's body by name."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class AuditShift:
    """What holds now for one product at one station. `inspection`: NORMAL, TIGHTENED, REDUCED, SKIP_LOT, DISCONTINUED.

    `budget`: accepted parts to audit in the shift; None: a share of them, or all.
    """

    shift_id: int
    station: str
    product: str | None
    is_simulated: bool
    shift: str
    ends_at: datetime
    inspection: str
    reason: str
    changed_at: datetime
    accepted: int
    drawn: int
    budget: int | None = None
    changed_by: str | None = None
