# SPDX-License-Identifier: Apache-2.0
"""The row of a part that chance drew for audit. Draws nothing; `auditing.py` and `rejected.py` do."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from sqlmodel import Session

from central.store.repositories import evidence
from central.store.tables import Audit
from contracts.vocabulary import AuditState


class DrawnPart(Protocol):
    """What is known of a part that was drawn."""

    @property
    def id(self) -> int:
        """Of its inspection."""
        ...

    @property
    def station_id(self) -> int:
        """Of its station's row."""
        ...

    @property
    def epoch(self) -> int:
        """Of its report."""
        ...

    @property
    def sequence(self) -> int:
        """Of its report."""
        ...

    @property
    def product(self) -> str | None:
        """None: not known."""
        ...

    @property
    def is_simulated(self) -> bool:
        """Whether it was never made."""
        ...


@dataclass(frozen=True)
class Draw:
    """One draw from one population: its name, its size, when it was, and the shift whose budget paid for it."""

    stratum: str
    stratum_size: int
    at: datetime
    shift_id: int | None = None


def add_audit(session: Session, part: DrawnPart, draw: Draw, chance: float, *, is_floor: bool = True) -> None:
    """Add the row. It is open at once where the picture is here already: somebody asked for it earlier."""
    crop = evidence.stored_crop(session, part.station_id, part.epoch, part.sequence)
    session.add(
        Audit(
            inspection_id=part.id,
            product=part.product,
            drawn_at=draw.at,
            stratum=draw.stratum,
            stratum_size=draw.stratum_size,
            inclusion_probability=chance,
            state=AuditState.AWAITING_EVIDENCE if crop is None else AuditState.OPEN,
            crop_sha256=crop,
            opened_at=None if crop is None else draw.at,
            is_floor=is_floor,
            is_simulated=part.is_simulated,
            shift_id=draw.shift_id,
        )
    )
