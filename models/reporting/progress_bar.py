# SPDX-License-Identifier: Apache-2.0
"""How far a training is, for the person who waits: a bar on a terminal, a plain line every few seconds elsewhere.

Writes to the stream it is given and reads nothing. Called by `training.asking`; `training.progress` is
given it to tell.
"""

import shutil
from typing import Final, TextIO

from models.clock import Clock

_LINE_PERIOD_S: Final = 5.0
_BAR_CELLS: Final = 24
# Earlier than this the rate says nothing yet.
_TELLING_S: Final = 3.0
_TELLING_FRACTION: Final = 0.03
# Takes a bar away before another line is written over it; also the prefix of log lines on a terminal.
CLEAR_LINE: Final = "\r\x1b[K"


class ProgressBar:
    """Called with the stage and the fraction 0 … 1 of the whole.

    Args:
        clock: tells how long it has taken.
        stream: where to write; a terminal gets the bar.
        is_silent: write nothing.
    """

    def __init__(self, clock: Clock, stream: TextIO, *, is_silent: bool = False) -> None:
        self._clock = clock
        self._stream = stream
        self._is_silent = is_silent
        self._is_terminal = stream.isatty()
        self._started_s = clock.monotonic_s()
        self._line_s = self._started_s

    def __call__(self, stage: str, fraction: float) -> None:
        """Tell the stage and the fraction 0 … 1."""
        if self._is_silent:
            return
        now_s = self._clock.monotonic_s()
        left = told_left(now_s - self._started_s, fraction)
        if self._is_terminal:
            done = round(_BAR_CELLS * fraction)
            line = f"[{'#' * done}{'.' * (_BAR_CELLS - done)}] {fraction:4.0%}  {stage}{left}"
            # The cursor stays at the start: what another writes there begins by clearing the line.
            self._write(f"{CLEAR_LINE}{line[: shutil.get_terminal_size().columns - 1]}\r")
        elif now_s - self._line_s >= _LINE_PERIOD_S:
            self._line_s = now_s
            self._write(f"{fraction:4.0%} {stage}{left}\n")

    def close(self) -> None:
        """Take the bar away."""
        if self._is_terminal and not self._is_silent:
            self._write(CLEAR_LINE)

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text)
            self._stream.flush()
        except OSError:
            # Who watched has gone, or the disk behind the stream is full: that must not cost the training.
            self._is_silent = True


def told_left(elapsed_s: float, fraction: float) -> str:
    """The time left as text, taken from the time so far; empty while that says nothing, or when nothing is left."""
    if elapsed_s < _TELLING_S or not _TELLING_FRACTION <= fraction < 1:
        return ""
    left_s = elapsed_s * (1 - fraction) / fraction
    if left_s < 90:
        return f", about {max(5, 5 * round(left_s / 5))} s left"
    return f", about {round(left_s / 60)} min left"
