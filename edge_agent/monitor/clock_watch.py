# SPDX-License-Identifier: Apache-2.0
"""Whether the times of parts can be trusted: wall clock and cameras' clocks against the station's steady clock.

The steady (monotonic) clock never jumps, so from one known moment on it tells what the wall clock should say. A part
whose time of capture does not agree is marked, and a person is told. Two clocks that disagree do not say which of them
is wrong, and of a clock that was wrong before the station's start nothing is known; where the kernel says that network
time keeps the wall clock right, a jump of it is believed from then on. Sets no clock and judges no part: what is late
by a wrong clock stays late, and is held. The loop asks for every part, the composition root for every status.
"""

import logging
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from contracts.reports import StationFault
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.kernel_clock import kernel_clock_is_synchronised
from edge_agent.reporting.faults import FaultBook

_log = logging.getLogger(__name__)

# Beyond what a picture takes on its way, and what network time moves at once without a person's doing.
TRUSTED_WITHIN_S: Final = 2.0
# A picture so old when it comes was held up for ever, or its clock is not ours.
_OLD_S: Final = 10.0
# This many in a row are no accident of one picture.
_IN_A_ROW: Final = 5
# How long a clock that was set, and is believed, stays on the screen.
_TOLD_S: Final = 600.0
_SYNC: Final = "keep the clock by network time (`timedatectl set-ntp true`)"


class ClockWatch:
    """See the module.

    Args:
        clock: the station's.
        is_synchronised: whether network time keeps the wall clock right; None: not known.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        is_synchronised: Callable[[], bool | None] = kernel_clock_is_synchronised,
    ) -> None:
        self._clock = clock
        self._is_synchronised = is_synchronised
        self._lock = threading.Lock()
        self._faults = FaultBook(clock)
        # What the wall clock should say when the steady one says `_base_s`.
        self._base, self._base_s = clock.now(), clock.monotonic()
        self._set_at_s: float | None = None
        self._set_by_s = 0.0
        self._old, self._odd = 0, 0
        self._age_s, self._error_s = 0.0, 0.0

    def error_s(self, frame: Frame) -> float | None:
        """By how much a frame's time of capture is off, in s: positive when it is ahead. None: it can be trusted."""
        self.jump_s()
        error_s = (frame.captured_at - self._right_at(frame.captured_monotonic)).total_seconds()
        age_s = self._clock.monotonic() - frame.captured_monotonic
        is_odd = abs(error_s) > TRUSTED_WITHIN_S
        with self._lock:
            self._old, self._age_s = (self._old + 1 if age_s > _OLD_S else 0), age_s
            self._odd, self._error_s = (self._odd + 1 if is_odd else 0), error_s
        return round(error_s, 3) if is_odd else None

    def jump_s(self) -> float:
        """How far the wall clock is from where it should be, in s; a jump that network time vouches for is none."""
        now_s = self._clock.monotonic()
        jump_s = (self._clock.now() - self._right_at(now_s)).total_seconds()
        if abs(jump_s) <= TRUSTED_WITHIN_S or not self._is_synchronised():
            return jump_s
        with self._lock:
            self._base += timedelta(seconds=jump_s)
            self._set_at_s, self._set_by_s = now_s, jump_s
        _log.warning("clock was set and is right now by_s=%.1f: parts before this were told the old time", jump_s)
        return 0.0

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        jump_s = self.jump_s()
        with self._lock:
            is_odd, is_old = self._odd >= _IN_A_ROW, self._old >= _IN_A_ROW
            error_s, age_s, set_at_s, set_by_s = self._error_s, self._age_s, self._set_at_s, self._set_by_s
        has_jumped = abs(jump_s) > TRUSTED_WITHIN_S
        self._say(
            "clock-jumped",
            has_jumped,
            f"this machine's clock is {_told(jump_s)} of where it should be; times of parts are marked",
            f"set the clock right, {_SYNC}, then restart the station",
        )
        was_set = set_at_s is not None and self._clock.monotonic() - set_at_s < _TOLD_S
        self._say(
            "clock-was-set",
            was_set and not has_jumped,
            f"this machine's clock was set by {set_by_s:+.1f} s and is right now; times of parts before that are not",
            "nothing, if somebody set it; else look why it was wrong: battery of the clock, network time at the start",
        )
        self._say(
            "camera-clock",
            is_odd and not has_jumped,
            f"the camera's times of capture are {_told(error_s)} of this machine's clock; they are marked",
            "set camera and station by the same time server (PTP or NTP)",
        )
        self._say(
            "pictures-old",
            is_old,
            f"{_IN_A_ROW} or more pictures in a row were old when they came, the last {age_s:.0f} s: parts are late",
            "set camera and station by the same time server, or set source.shares_clock = false; if they agree, "
            "look for what holds pictures up",
        )
        return self._faults.current()

    def _right_at(self, steady_s: float) -> datetime:
        with self._lock:
            return self._base + timedelta(seconds=steady_s - self._base_s)

    def _say(self, code: str, is_so: bool, message: str, remedy: str) -> None:
        if is_so:
            self._faults.add(code, message, remedy)
        else:
            self._faults.clear(code)


def _told(seconds: float) -> str:
    return f"{abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
