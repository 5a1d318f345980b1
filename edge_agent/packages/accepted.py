# SPDX-License-Identifier: Apache-2.0
"""The last accepted assignment on disk: its number (protects against rollback) and the signed envelope itself.

Verifies the signature again at every start. Decides nothing; the package installer asks and writes. The number is kept
a second time, in another folder: a damaged or wiped file must not let an assignment of yesterday come back.
"""

import json
import logging
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from contracts.reports import StationFault
from edge_agent.packages.store import write_whole
from edge_agent.packages.trust import Accepted, PackageRefused, Signatory, open_envelope

_log = logging.getLogger(__name__)

LAPSED: Final = "assignment-lapsed"


@dataclass(frozen=True)
class Unnoted:
    """An assignment that would be accepted, had the disk taken its number. `again_at_s`: monotonic, when to try."""

    number: int
    sealed: bytes
    again_at_s: float


class AcceptedAssignment:
    """One small file, rewritten whole.

    `number` is the highest number ever accepted, 0 on a fresh station. `last` is None on a fresh station, or when
    the stored envelope does not verify any more; the number counts all the same. `damage` says so in words.

    Args:
        path: the assignment.
        key: whose signature it must carry.
        number_path: the second copy of the number; None: none is kept.
    """

    def __init__(self, path: Path, key: Signatory, number_path: Path | None = None) -> None:
        self._path = path
        self._number_path = number_path
        self.number = 0
        self.last: Accepted | None = None
        self.damage = ""
        try:
            content = json.loads(path.read_bytes())
            self.number = int(content["number"])
            self.last = open_envelope(str(content["envelope"]).encode(), key)
        except FileNotFoundError:
            pass
        except (OSError, ValueError, KeyError, TypeError, PackageRefused) as error:
            self.damage = f"{path.name}: the stored assignment cannot be used: {error}"
            _log.error("stored assignment unusable path=%s number=%d error=%s", path, self.number, error)
        if (floor := self._second()) > self.number:
            # An older one put in its place, or none any more: either way what it says is no longer the last word.
            self.damage = self.damage or f"{path.name}: number {self.number}, but {floor} was accepted before"
            _log.error("stored assignment is not the last one path=%s number=%d floor=%d", path, self.number, floor)
            self.number, self.last = floor, None

    def save(self, sealed: bytes, accepted: Accepted) -> None:
        """Note an accepted assignment; durable on return.

        Raises:
            OSError: not noted; the assignment must not be acted on.
        """
        content = {"number": accepted.assignment.number, "envelope": sealed.decode()}
        write_whole(self._path, json.dumps(content).encode())
        if self._number_path is not None:
            write_whole(self._number_path, json.dumps({"number": accepted.assignment.number}).encode())
        self.number = accepted.assignment.number
        self.last = accepted
        self.damage = ""

    def lapsed(self, now: datetime) -> list[StationFault]:
        """A fault when the assignment in force has run out: central renews in time, so news does not reach the station.

        What runs goes on: a line must not stop because somebody cut a cable, but it must not stay unsaid either.
        """
        if self.last is None or (expired := self.last.assignment.expires_at) > now:
            return []
        assignment = self.last.assignment
        return [
            StationFault(
                code=LAPSED,
                message=f"assignment {assignment.number} of {assignment.issued_at.isoformat()} ran out at "
                f"{expired.isoformat()} and no newer one came; its packages judge on",
                remedy="look at the link to central and the broker; somebody may be keeping news from this station",
                since=expired,
            )
        ]

    def _second(self) -> int:
        if self._number_path is None:
            return 0
        try:
            return int(json.loads(self._number_path.read_bytes())["number"])
        except FileNotFoundError:
            return 0
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.error("second copy of the assignment number unusable path=%s error=%s", self._number_path, error)
            return 0
