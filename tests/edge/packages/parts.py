# SPDX-License-Identifier: Apache-2.0
"""Parts through a station's real loop and judge, with the packages of a bench; everything else in memory."""

from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from contracts.reports import ChallengerVerdict, InspectionReported
from edge_agent.clock import SystemClock
from edge_agent.frame_queue import FrameQueue, QueuedFrame
from edge_agent.judging import Judge
from edge_agent.loop import InspectionLoop
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.triggers import TriggerWatch
from tests.edge.packages.conftest import STATION, Bench
from tests.edge.station_fakes import MemoryEvidence, MemoryOutbox, MemoryOutput, frame_of


def picture(level: int, noise: int = 0) -> NDArray[np.uint8]:
    """A picture of that mean brightness but for the noise."""
    pixels = np.full((64, 64, 3), level, dtype=np.uint8)
    pixels[::2] += 10
    pixels[1::2] -= 10
    pixels[0, 0] = noise % 256
    return pixels


class Parts:
    """See the module."""

    def __init__(self, bench: Bench, *, deadline_ms: float = 60_000) -> None:
        self._clock = SystemClock()
        self._bench = bench
        story: list[str] = []
        self.outbox, self.output, self.evidence = MemoryOutbox(story), MemoryOutput(story), MemoryEvidence(story)
        recipe = Recipe(deadline_ms=deadline_ms)
        recipes = Recipes(MappingProxyType({"ring": recipe}))
        self._loop = InspectionLoop(
            STATION,
            queue=FrameQueue(4),
            judge=Judge(bench.slots, recipes, self._clock, default_product=None),
            triggers=TriggerWatch(None, 10),
            output=self.output,
            outbox=self.outbox,
            evidence=self.evidence,
            health=HealthMonitor(
                STATION, epoch=77, version="0", clock=self._clock, gauges=lambda: Gauges(active=bench.slots.snapshot())
            ),
            clock=self._clock,
            trials=bench.watch,
        )
        self._number = 0

    def show(self, level: int = 100) -> InspectionReported:
        """One part through the loop; its report."""
        self._number += 1
        frame = frame_of(self._number, self._clock, pixels=picture(level, self._number))
        self._loop._guarded(QueuedFrame(frame))
        return self.outbox.reports[-1]

    def show_until_judged(self, count: int, level: int = 100) -> None:
        """Parts until the challenger has judged so many in all: it judges between them, at its own pace."""

        def is_judged() -> bool:
            self.show(level)
            counts = self._bench.shadow.counts("ring")
            return counts is None or counts.judged >= count

        self._bench.wait(is_judged)

    def challenged(self) -> list[ChallengerVerdict]:
        """What the reports carried of the challenger."""
        return [report.challenger for report in self.outbox.reports if report.challenger is not None]
