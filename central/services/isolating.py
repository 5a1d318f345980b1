# SPDX-License-Identifier: Apache-2.0
"""Runs the parts of a tick each by itself: one that fails must not stop those after it, and must not be forgotten.

What failed is logged at once and raised together at the end, so that the worker counts the tick as failed.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

log = logging.getLogger(__name__)
_MOST_TOLD = 5
_MOST_CHARACTERS = 200


class TickError(Exception):
    """Parts of a tick failed; the others were done. The message names them."""


class Parts:
    """The parts of one tick. `failed`: by name, what went wrong, in one line."""

    def __init__(self) -> None:
        self.failed: dict[str, str] = {}

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Do one part; whatever it raises is kept and not passed on."""
        try:
            yield
        except Exception as error:
            self.failed[name] = in_one_line(error)
            log.exception("part of a tick failed part=%s", name)

    def end(self) -> None:
        """To be called last.

        Raises:
            TickError: a part failed.
        """
        if self.failed:
            told = [f"{name}: {why}" for name, why in list(self.failed.items())[:_MOST_TOLD]]
            more = len(self.failed) - len(told)
            raise TickError("; ".join(told) + (f"; and {more} more" if more else ""))


def in_one_line(error: Exception) -> str:
    """Kind and first line of an error."""
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first}"[:_MOST_CHARACTERS]
