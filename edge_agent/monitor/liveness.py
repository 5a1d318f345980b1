# SPDX-License-Identifier: Apache-2.0
"""Which of the threads that a station cannot do without still live.

Each says within which time it will be heard again; one that is not, is overdue. Ends nothing and restarts nothing: the
supervisor does, when the watchdog falls silent. Fed by the judge's and the grab thread, asked by
`supervision.watchdog`.
"""

from typing import Final

from edge_agent.clock import Clock

JUDGE: Final = "judge"
GRAB: Final = "grab"


class Liveness:
    """Promises of threads. Safe for many: each name has one writer; a reader sees its old promise or its new one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due_s: dict[str, float] = {}

    def beat(self, thread: str, within_s: float) -> None:
        """`thread` lives, and will be heard again within `within_s`."""
        self._due_s[thread] = self._clock.monotonic() + within_s

    def ended(self, thread: str) -> None:
        """`thread` has ended on purpose; nobody waits for it."""
        self._due_s.pop(thread, None)

    def overdue(self) -> list[str]:
        """Threads that have not been heard when they had promised, by name."""
        now_s = self._clock.monotonic()
        return sorted(thread for thread, due_s in dict(self._due_s).items() if now_s > due_s)
