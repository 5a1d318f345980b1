# SPDX-License-Identifier: Apache-2.0
"""The gap rule: which parts passed the camera without being seen. Pure.

Trigger numbers count parts at the camera without gaps, so a jump names the missed parts exactly, also across a
restart of the station. Reports nothing itself; the loop does. What cannot be known is not guessed: after the
camera has begun to count anew, the parts before its first number are unknown.
"""

from dataclasses import dataclass
from datetime import datetime

from contracts.vocabulary import VerdictCause


@dataclass(frozen=True)
class Sighting:
    """What one trigger number says.

    Args:
        missed: numbers of the parts that were not seen, oldest first; possibly shortened, see `unnamed`.
        cause: why they were missed.
        unnamed: how many more were missed beyond the bound; they get no report of their own.
        is_stray: the frame came after its part was already reported as missed; judging it would report it twice.
        is_recount: the camera has begun to count anew.
    """

    missed: range = range(0)
    cause: VerdictCause = VerdictCause.MISSED_FRAME
    unnamed: int = 0
    is_stray: bool = False
    is_recount: bool = False


class TriggerWatch:
    """Follows the trigger numbers of one camera.

    Args:
        last_recorded: the last number recorded before this process started; None: there was none.
        max_gap_parts: longest gap reported part by part. A longer one is more likely a camera that was away
            for days, or a changed counter, and would bury the line's live reports.
    """

    def __init__(self, last_recorded: int | None, max_gap_parts: int) -> None:
        self._last = last_recorded
        self._max_gap_parts = max_gap_parts
        self._last_captured_at: datetime | None = None

    def see(self, number: int, captured_at: datetime) -> Sighting:
        """Take in the number and the capture time of a frame, in the order in which frames came."""
        last, last_captured_at = self._last, self._last_captured_at
        if last is not None and number <= last:
            # An older picture is a straggler of a part that was given up; a newer one, a camera that starts over.
            if last_captured_at is not None and captured_at <= last_captured_at:
                return Sighting(is_stray=True)
            self._advance(number, captured_at)
            return Sighting(is_recount=True)
        self._advance(number, captured_at)
        if last is None:
            return Sighting()
        cause = VerdictCause.SESSION_CRASHED if last_captured_at is None else VerdictCause.MISSED_FRAME
        first = max(last + 1, number - self._max_gap_parts)
        return Sighting(missed=range(first, number), cause=cause, unnamed=first - last - 1)

    def _advance(self, number: int, captured_at: datetime) -> None:
        self._last = number
        self._last_captured_at = captured_at
