# SPDX-License-Identifier: Apache-2.0
"""What stations said last, read from their rows; and which number of an assignment follows from it.

A stored word that cannot be read (of another version of central, or with a number that no message may carry today) is
no word: whoever looks at all stations must not be stopped by one. Stores nothing.
"""

import logging
from datetime import datetime

from pydantic import ValidationError

from contracts.reports import PackageStatus, StationReported

_LOG = logging.getLogger(__name__)


def status_in(said: str | None) -> StationReported | None:
    """A station's stored status; None: there is none, or it cannot be read."""
    try:
        return StationReported.model_validate_json(said) if said else None
    except ValidationError as error:
        _LOG.warning("stored status cannot be read and counts as none: %s", _first(error))
        return None


def package_status_in(said: str | None) -> PackageStatus | None:
    """A station's stored word on its packages; None: there is none, or it cannot be read."""
    try:
        return PackageStatus.model_validate_json(said) if said else None
    except ValidationError as error:
        _LOG.warning("stored package status cannot be read and counts as none: %s", _first(error))
        return None


def next_number(given: int, named: int, now: datetime) -> int:
    """The number of a station's next assignment, above every one that central ever gave it.

    Args:
        given: the highest that our rows know.
        named: the one that the station says it follows.
        now: the time.

    A station that names a higher number than we gave contradicts us. Either our rows are an old backup: then all that
    was given since lies below the seconds of our clock, since numbers rise by one and by far less than one a second, or
    were seconds of the clock themselves. So the clock is where we go on, and the number that the station names moves
    nothing. Or it names one that we cannot have given, at or above the clock: then it is not followed at all.
    """
    clock = int(now.timestamp())
    return clock if given < named < clock else given + 1


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
