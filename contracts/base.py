# SPDX-License-Identifier: Apache-2.0
"""What every wire shape has in common: strict writer, tolerant reader, aware UTC times."""

from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from contracts import CONTRACT_VERSION

# Beyond it whoever adds a bake time or a time zone leaves what a computer's calendar knows.
FIRST_YEAR, LAST_YEAR = 1970, 2999


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        msg = f"time: expected an offset from UTC, got {value.isoformat()!r} without one"
        raise ValueError(msg)
    if not FIRST_YEAR <= value.year <= LAST_YEAR:
        msg = f"time: expected a year from {FIRST_YEAR} to {LAST_YEAR}, got {value.isoformat()!r}"
        raise ValueError(msg)
    return value.astimezone(UTC)


UtcTime = Annotated[datetime, AfterValidator(_to_utc)]

# The largest whole number that every reader of JSON holds exactly, and far below what a 64-bit column takes: whatever a
# message counts or numbers can be stored, and one more be added to it.
MOST: Final = 2**53
Whole = Annotated[int, Field(ge=-MOST, le=MOST)]
Count = Annotated[int, Field(ge=0, le=MOST)]
Ordinal = Annotated[int, Field(ge=1, le=MOST)]


class Shape(BaseModel):
    """Immutable part of a message. Unknown fields pass and are dropped (tolerant reader)."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class Message(Shape):
    """A whole message: carries the schema version. An unknown major version is refused by `codec.decode`."""

    schema_version: str = Field(default=CONTRACT_VERSION, pattern=r"^\d+\.\d+$")
