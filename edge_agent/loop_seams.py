# SPDX-License-Identifier: Apache-2.0
"""What the inspection loop asks of the rooms around it: nothing that waits.

Protocols only; the rooms themselves are put in by the composition root. Used by `loop` and by tests that play a room.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, InspectionReported
from edge_agent.camera.source import Frame
from edge_agent.judging import Judgement


class ReportOutbox(Protocol):
    """What the loop asks of the outbox."""

    @property
    def epoch(self) -> int:
        """The epoch of this process start."""
        ...

    def next_sequence(self) -> int:
        """A fresh number for the next report."""
        ...

    @property
    def is_behind(self) -> bool:
        """Whether reports have waited too long to become durable."""
        ...

    def put(self, report: InspectionReported) -> None:
        """Take a report without waiting for the disk."""
        ...


class EvidenceSink(Protocol):
    """What the loop asks of the evidence recorder."""

    def record(
        self,
        inspection: InspectionId,
        crop: NDArray[np.uint8],
        heatmap: NDArray[np.float32] | None,
        *,
        upload: bool,
        is_simulated: bool,
        ng_limit: float | None = None,
    ) -> None:
        """Take a picture without waiting; may drop it, counted."""
        ...


class PartWatch(Protocol):
    """Somebody who looks on, such as the station's page. Must not wait and must not raise."""

    def reported(self, report: InspectionReported) -> None:
        """A part was reported, seen or missed."""
        ...

    def judged(self, frame: Frame, judgement: Judgement) -> None:
        """The newest part that was seen."""
        ...


class PackageTrials(Protocol):
    """Whoever follows what packages do and lets challengers judge in shadow. Must not wait."""

    def begun(self) -> None:
        """A part is taken up: the processor belongs to the champion."""
        ...

    def ended(self) -> None:
        """The part is through: judged, acted upon, recorded."""
        ...

    def judged(self, inspection: InspectionId, judgement: Judgement, report: InspectionReported) -> None:
        """A part that was judged and acted upon."""
        ...

    def due(self) -> ChallengerVerdict | None:
        """What a challenger said of an earlier part, for the next report; each once."""
        ...


class CaptureTimes(Protocol):
    """Somebody who knows whether times of capture can be trusted, such as `monitor.clock_watch`."""

    def error_s(self, frame: Frame) -> float | None:
        """By how much a frame's time of capture is off, in s; None: it can be trusted."""
        ...
