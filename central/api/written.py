# SPDX-License-Identifier: Apache-2.0
"""What people write in bodies and queries, read strictly: reasons in words, times as times, fields that are known.

Types only. What stations send is read tolerantly and has its own shapes in `contracts`.
"""

import re
from datetime import date
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from contracts.base import Shape, UtcTime
from contracts.ids import PartId

MOST_LETTERS: Final = 1000
STATION_PATTERN: Final = r"^[a-z0-9][a-z0-9_-]{0,62}(/[a-z0-9][a-z0-9_-]{0,62}){2}$"
_NUMBER: Final = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?\s*")
# Of the control characters a text needs the tabulator and the ends of lines. NUL no PostgreSQL takes.
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class Written(Shape):
    """What a person writes: an unknown field is refused."""

    model_config = ConfigDict(extra="forbid")


def _as_time(value: object) -> object:
    """Pydantic takes 1 for a second after the beginning of 1970; whoever writes that meant something else."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        msg = f"expected a date and time with its offset, such as 2026-01-31T22:00:00Z, got {value!r}"
        raise ValueError(msg)
    return value


def _as_day(value: object) -> object:
    """As with times: 1 is no day."""
    if isinstance(value, int | float) or (isinstance(value, str) and _NUMBER.fullmatch(value)):
        raise ValueError(f"expected a day such as 2026-01-31, got {value!r}")
    return value


def _as_station(value: object) -> object:
    """The pattern again, in words."""
    if isinstance(value, str) and not re.fullmatch(STATION_PATTERN, value):
        raise ValueError(f"expected site/line/station, each of a-z 0-9 - _, got {value[:80]!r}")
    return value


def _without_controls(value: str) -> str:
    found = _CONTROLS.search(value)
    if found is not None:
        raise ValueError(f"expected text without control characters, got {found[0]!r} at letter {found.start() + 1}")
    return value


def _says_something(value: str) -> str:
    if not value.strip():
        raise ValueError(f"expected words that people read later, got {value[:20]!r}")
    return value


WrittenTime = Annotated[UtcTime, BeforeValidator(_as_time)]
# Free text that may be empty, and one that may not.
Remark = Annotated[str, Field(max_length=MOST_LETTERS), AfterValidator(_without_controls)]
Why = Annotated[
    str,
    Field(min_length=1, max_length=MOST_LETTERS),
    AfterValidator(_without_controls),
    AfterValidator(_says_something),
]
# What a person calls a part, and a defect.
WrittenPart = Annotated[PartId, AfterValidator(_without_controls), AfterValidator(_says_something)]
DefectClass = Annotated[str, Field(max_length=64), AfterValidator(_without_controls), AfterValidator(_says_something)]
WrittenDay = Annotated[date, BeforeValidator(_as_day)]
Station = Annotated[str, Field(pattern=STATION_PATTERN)]
AskedStation = Annotated[Station, BeforeValidator(_as_station, json_schema_input_type=Station)]
