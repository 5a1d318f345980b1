# SPDX-License-Identifier: Apache-2.0
"""What the monitors know: of drift one row a station, of novelty one a station, product and package.

Shapes only; `services/watches/drift.py` and `services/watches/novelty.py` write the rows and know what is in them.
"""

from datetime import datetime

from sqlalchemy import LargeBinary
from sqlmodel import Field

from central.store.columns import LongNumber, UtcDateTime
from central.store.tables import Row


class DriftState(Row, table=True):
    """A station's monitor as it was after `upto_inspection_id`, the same number for all that were saved together."""

    __tablename__ = "drift_state"

    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    upto_inspection_id: int = Field(sa_type=LongNumber)
    saved_at: datetime = Field(sa_type=UtcDateTime)
    # Capture time of the newest part taken in.
    last_at: datetime = Field(sa_type=UtcDateTime)
    # Parts that could not be taken in: without score or measures, with a capture time that is wrong or goes back.
    left_out: int = 0
    monitor: bytes = Field(sa_type=LargeBinary)


class NoveltyState(Row, table=True):
    """A monitor as it was after `upto_inspection_id`, the same number for all that were saved together."""

    __tablename__ = "novelty_state"

    station_id: int = Field(sa_type=LongNumber, foreign_key="station.id", primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    product: str = Field(max_length=63, primary_key=True)
    package_id: str = Field(max_length=64, primary_key=True)
    upto_inspection_id: int = Field(sa_type=LongNumber)
    saved_at: datetime = Field(sa_type=UtcDateTime)
    # Capture time of the newest part taken in.
    last_at: datetime = Field(sa_type=UtcDateTime)
    # Accepted parts that could not be taken in: with a capture time that is wrong or goes back.
    left_out: int = 0
    monitor: bytes = Field(sa_type=LargeBinary)
