# SPDX-License-Identifier: Apache-2.0
"""The tables of dataset versions and of the test set that each product keeps.

Shapes and constraints only; `services/trainings/datasets.py` writes them. Rows of both are never changed and never
deleted.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Index
from sqlmodel import Field

from central.store.columns import LongNumber, UtcDateTime
from central.store.tables import Row


class DatasetVersion(Row, table=True):
    """What a training learnt from and was tested on. Its id is the digest of what its manifest says."""

    __tablename__ = "dataset_version"
    __table_args__ = (Index("ix_dataset_version_product", "product"),)

    dataset_id: str = Field(max_length=64, primary_key=True)
    product: str = Field(max_length=63)
    is_simulated: bool
    created_at: datetime = Field(sa_type=UtcDateTime)
    # JSON of `domain.datasets.DatasetQuery`.
    query: dict[str, Any] = Field(default_factory=dict, sa_type=JSON)
    pictures: int
    parts: int
    good: int
    defective: int
    held_out: int
    confirmed: int
    # The Parquet file in the blob store.
    file_sha256: str = Field(max_length=64)
    size_bytes: int = Field(sa_type=LongNumber)


class HeldOutPicture(Row, table=True):
    """A picture that was once in a product's test set: it stays there, and neither it nor its part ever trains."""

    __tablename__ = "held_out_picture"

    product: str = Field(max_length=63, primary_key=True)
    is_simulated: bool = Field(primary_key=True)
    sha256: str = Field(max_length=64, primary_key=True)
    part_group: str = Field(max_length=200)
    since: datetime = Field(sa_type=UtcDateTime)
    dataset_id: str = Field(max_length=64, foreign_key="dataset_version.dataset_id")
