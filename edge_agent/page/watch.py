# SPDX-License-Identifier: Apache-2.0
"""What the page has seen of the loop: the newest reports, and the newest part with its picture.

Keeps references and works nothing out, so that the judge is not held up. The loop is the only writer.
"""

from collections import deque
from dataclasses import dataclass
from typing import Final

from contracts.reports import InspectionReported
from edge_agent.camera.source import Frame
from edge_agent.judging import Judgement
from edge_agent.recipes.recipe import Recipe, Recipes

_KEPT_PARTS: Final = 50


@dataclass(frozen=True, eq=False)
class SeenPart:
    """The newest part that was seen. `number` rises by one with each, whatever the camera counts."""

    number: int
    frame: Frame
    judgement: Judgement

    def recipe(self, recipes: Recipes) -> Recipe:
        """The recipe that was followed; frames that carry none follow the station's own."""
        return self.frame.recipe or recipes.of(self.judgement.product)


class LoopWatch:
    """See the module. Implements `loop.PartWatch`; never waits and never raises."""

    def __init__(self) -> None:
        self._reports: deque[InspectionReported] = deque(maxlen=_KEPT_PARTS)
        self._newest: SeenPart | None = None

    def reported(self, report: InspectionReported) -> None:
        """See `PartWatch`."""
        self._reports.append(report)

    def judged(self, frame: Frame, judgement: Judgement) -> None:
        """See `PartWatch`. A frame without pixels leaves the last picture standing."""
        if frame.pixels is not None:
            self._newest = SeenPart(1 if self._newest is None else self._newest.number + 1, frame, judgement)

    @property
    def newest(self) -> SeenPart | None:
        """The newest part that has a picture."""
        return self._newest

    def reports(self) -> list[InspectionReported]:
        """The newest reports, newest first."""
        # A copy in one step: the loop may append meanwhile.
        return list(self._reports.copy())[::-1]
