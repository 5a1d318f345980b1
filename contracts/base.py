# SPDX-License-Identifier: Apache-2.0
"""What every wire shape has in common: strict writer, tolerant reader, aware UTC times."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts import CONTRACT_VERSION


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        msg = f"time: expected an offset from UTC, got {value.isoformat()!r} without one"
        raise ValueError(msg)
    return value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_to_utc)]


class Shape(BaseModel):
    """Immutable part of a message. Unknown fields pass and are dropped (tolerant reader)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Message(Shape):
    """A whole message: carries the schema version. An unknown major version is refused by `codec.decode`."""

    schema_version: str = Field(default=CONTRACT_VERSION, pattern=r"^\d+\.\d+$")
