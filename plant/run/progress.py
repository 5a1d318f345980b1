# SPDX-License-Identifier: Apache-2.0
"""What a person sees of a running plant: a live line on a terminal, a plain line every few seconds elsewhere.

Knows nothing of central or of scenarios; it is told texts and figures. Used by `plant.run.demo` and `plant.run.up`.
"""

import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.status import Status


@dataclass(frozen=True)
class Standing:
    """How the plant stands right now, as far as it is known. None: not known, or not begun."""

    parts: int = 0
    parts_planned: int | None = None
    parts_per_s: float | None = None
    verdicts: Mapping[str, int] = field(default_factory=dict)
    audits_judged: int = 0
    audits_waiting: int = 0
    alarms: int = 0
    training: str | None = None
    rollout: str | None = None

    def words(self) -> str:
        """One line for a person; only what there is to say."""
        planned = f"/{self.parts_planned}" if self.parts_planned else ""
        said = [f"parts {self.parts}{planned}"]
        if self.parts_per_s is not None:
            said.append(f"{self.parts_per_s:.1f}/s")
        said.append(" ".join(f"{name} {count}" for name, count in self.verdicts.items() if count))
        if self.audits_judged or self.audits_waiting:
            said.append(f"audits {self.audits_judged} judged, {self.audits_waiting} waiting")
        said.append(f"alarms {self.alarms}")
        if self.training:
            said.append(f"training {self.training}")
        if self.rollout:
            said.append(f"rollout {self.rollout}")
        return " | ".join(each for each in said if each)


class Progress:
    """Prints phases and notes at once and the standing every `interval_s`."""

    def __init__(self, stream: TextIO | None = None, *, interval_s: float = 5.0) -> None:
        self._stream = stream if stream is not None else sys.stdout
        self._console = Console(file=self._stream, highlight=False, soft_wrap=True)
        self._interval_s = interval_s
        self._started = time.monotonic()
        self._last_line = -interval_s
        self._phase = "start"
        self._lock = threading.Lock()
        self._live: Status | None = self._console.status("starting") if self._console.is_terminal else None
        if self._live is not None:
            self._live.start()

    def phase(self, name: str) -> None:
        """A new phase begins."""
        self._phase = name
        self._print(f"== {name}")
        self._last_line = -self._interval_s

    def note(self, text: str) -> None:
        """Something worth a line of its own."""
        self._print(f"   {text}")

    def raw(self, text: str) -> None:
        """A line of a child's log, as it is."""
        with self._lock:
            self._console.print(text, markup=False)

    def plain(self, text: str) -> None:
        """A line of the final report, without the clock."""
        with self._lock:
            self._console.print(text, markup=False)
            self._stream.flush()

    def standing(self, standing: Standing) -> None:
        """Show how it stands; often called, seldom printed."""
        words = standing.words()
        if self._live is not None:
            self._live.update(f"{self._clock()} {self._phase}: {words}")
        now = time.monotonic()
        # A terminal shows the live line; a log gets a plain one now and then.
        if now - self._last_line >= self._interval_s * (6 if self._live is not None else 1):
            self._last_line = now
            self._print(f"   {self._phase}: {words}")

    def close(self) -> None:
        """End the live line."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _clock(self) -> str:
        seconds = int(time.monotonic() - self._started)
        return f"{seconds // 60:02d}:{seconds % 60:02d}"

    def _print(self, text: str) -> None:
        with self._lock:
            self._console.print(f"{self._clock()} {text}", markup=False)
            self._stream.flush()
