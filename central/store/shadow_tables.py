# SPDX-License-Identifier: Apache-2.0
"""What challengers in shadow said of parts: one row a part.

Shape and constraints only; `store/repositories/shadow.py` asks the questions. What the champion said of the same part
is in its inspection and written nowhere else.
"""

from datetime import datetime

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field

from central.store.columns import LongNumber, RowNumber, UtcDateTime, Word
from central.store.tables import Row
from contracts.vocabulary import Verdict


class ShadowVerdict(Row, table=True):
    """A challenger's verdict. It may come before its inspection is committed: no foreign key on purpose.

    NO_DECISION: the challenger failed. `id` grows in commit order.
    """

    __tablename__ = "shadow_verdict"
    __table_args__ = (
        UniqueConstraint("station_id", "epoch", "sequence"),
        Index("ix_shadow_verdict_package_id_id", "package_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: int | None = Field(default=None, sa_type=RowNumber, primary_key=True)
    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id")
    epoch: int = Field(sa_type=LongNumber)
    sequence: int = Field(sa_type=LongNumber)
    package_id: str = Field(max_length=64)
    verdict: Verdict = Field(sa_type=Word(Verdict))
    score: float | None = None
    infer_ms: float | None = None
    champion_infer_ms: float | None = None
    committed_at: datetime = Field(sa_type=UtcDateTime)
