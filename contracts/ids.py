# SPDX-License-Identifier: Apache-2.0
"""Identifiers: their spelling, their bounds, nothing else.

Names that become topic levels, folder names or URL parts are restricted here once, so that no later layer
has to think about `+`, `#`, `/` or `..`.
"""

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

# Lower-case so that two spellings of one station cannot exist on a case-blind file system.
Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
PackageId = Sha256
PartId = Annotated[str, Field(min_length=1, max_length=128)]
Epoch = Annotated[int, Field(ge=1, le=2**53)]
Sequence = Annotated[int, Field(ge=1, le=2**53)]


class StationAddress(BaseModel):
    """Where a station stands: site, line, station. Written `site/line/station` in text."""

    model_config = ConfigDict(frozen=True)

    site: Name
    line: Name
    station: Name

    def __str__(self) -> str:
        return f"{self.site}/{self.line}/{self.station}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `site/line/station`.

        Raises:
            ValueError: not three names; the message says what was expected and what came.
        """
        parts = text.split("/")
        if len(parts) != 3:
            msg = f"station address: expected site/line/station, got {text!r}"
            raise ValueError(msg)
        return cls(site=parts[0], line=parts[1], station=parts[2])


class InspectionId(BaseModel):
    """One inspection, for ever: the station, the epoch of its process start, the number within it.

    `epoch` is the Unix time in ms at which the station opened its outbox, raised above the last one it
    wrote, so that a station whose disk was replaced still never repeats an id.
    """

    model_config = ConfigDict(frozen=True)

    station: StationAddress
    epoch: Epoch
    sequence: Sequence

    def __str__(self) -> str:
        return f"{self.station}/{self.epoch}/{self.sequence}"
