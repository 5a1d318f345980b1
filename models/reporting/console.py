# SPDX-License-Identifier: Apache-2.0
"""What a command says to a person or a script: a line of progress, aligned tables, one JSON file.

Knows nothing of figures. Called by `measuring` and the modules that render their own tables.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self, TextIO

from models.clock import Clock
from models.errors import InputError
from models.files import write_whole
from models.stdout import say

_PERIOD_S: Final = 0.2
STDOUT: Final = "-"
_MOST_LEFT_OUT: Final = 20


class Ticker:
    """One line on a terminal that is written over; silent where the stream is no terminal.

    Args:
        clock: says when the last line is old enough to be replaced.
        stream: stderr, so that stdout holds the result alone.
    """

    def __init__(self, clock: Clock, stream: TextIO | None = None) -> None:
        self._clock = clock
        self._stream = sys.stderr if stream is None else stream
        self._is_shown = self._stream.isatty()
        self._told_s = float("-inf")
        self._width = 0

    def tell(self, stage: str, count: int, of: int) -> None:
        """`count` of `of` done in a stage; the last one is always shown."""
        now_s = self._clock.monotonic_s()
        if not self._is_shown or (count < of and now_s - self._told_s < _PERIOD_S):
            return
        self._told_s = now_s
        line = f"{stage} {count}/{of}"
        self._stream.write("\r" + line.ljust(self._width))
        self._stream.flush()
        self._width = len(line)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        """Take the line away, so that what comes next, be it an error, stands on a line of its own."""
        if self._is_shown and self._width:
            self._stream.write("\r" + " " * self._width + "\r")
            self._stream.flush()
        self._width = 0


def check_target(path: Path | None, *packages: Path, option: str = "--json") -> None:
    """Refuse a file for the figures that cannot or must not be written, before minutes are spent on them.

    Raises:
        InputError: it lies in one of the packages, something other than JSON or a folder stands there, or its folder
            cannot be made or takes no file.
    """
    if path is None or str(path) == STDOUT:
        return
    if path.is_dir():
        raise InputError(f"{option}: expected a file to write, got the folder {path}; give {path / 'figures.json'}")
    for package in packages:
        if path.resolve().is_relative_to(package.resolve()):
            raise InputError(f"{option}: {path} lies in the package {package}, which must stay; give another file")
    if path.is_file() and not _may_be_figures(path):
        raise InputError(f"{option}: {path} holds something other than JSON, which would be lost; give another file")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{option}: {path.parent} cannot be made a folder ({error.strerror}); give another") from error
    try:
        # Only writing tells: rights, a disk that is mounted to be read, names that it does not take.
        beside = path.with_name(f".{path.name}.part")
        beside.touch()
        beside.unlink()
    except OSError as error:
        raise InputError(f"{option}: {path} cannot be written ({error.strerror}); give another file") from error


def _may_be_figures(path: Path) -> bool:
    """Whether a file that stands there is empty, or JSON by its first character."""
    try:
        with path.open("rb") as file:
            return file.read(64).lstrip()[:1] in (b"", b"{", b"[")
    except OSError:
        # Writing will tell.
        return True


def write_figures(told: dict[str, Any], text: str, path: Path | None, *, option: str = "--json") -> None:
    """JSON into a file, or to stdout for `-`; without a path the readable text.

    Raises:
        InputError: the file or stdout cannot be written.
    """
    if path is None:
        say(text)
        return
    content = json.dumps(told, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == STDOUT:
        say(content)
        return
    try:
        write_whole(path, content.encode())
    except OSError as error:
        raise InputError(f"{option}: {path} cannot be written ({error.strerror}); give another file") from error


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows as lines, columns aligned: the first to the left, the others to the right."""
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))] if rows else []
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def told_left_out(lines: Sequence[str], where: str) -> list[str]:
    """The first of what was left out, and how many more stand `where`."""
    told = [f"left out: {line}" for line in lines[:_MOST_LEFT_OUT]]
    if len(lines) > _MOST_LEFT_OUT:
        told.append(f"left out: {len(lines) - _MOST_LEFT_OUT} more, {where}")
    return told


def number(value: float | None, digits: int = 4) -> str:
    """A figure, or a dash where it is not known."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(value: float | None) -> str:
    """A share as per cent, or a dash."""
    return "–" if value is None else f"{100 * value:.1f} %"


def told_rate(rate: dict[str, Any]) -> str:
    """A rate with its interval and denominator."""
    if not rate["of"]:
        return "– (of 0)"
    interval = f"{100 * rate['low']:.1f} – {100 * rate['high']:.1f}"
    return f"{percent(rate['rate'])} ({interval}; {rate['count']} of {rate['of']})"
