# SPDX-License-Identifier: Apache-2.0
"""Pictures that were not fit to be judged, as messages to whoever keeps the camera: one fault for each kind.

A fault stays until pictures are sound again for a while, so that one that comes and goes is one message and not many;
it names the inspection whose picture shows it. Judges nothing. Fed and asked by the loop and the health monitor.
"""

from typing import Final

from contracts.ids import InspectionId
from contracts.vocabulary import ImageFault
from edge_agent.errors import ImageFaultError
from edge_agent.monitor.health import HealthMonitor

# So long no picture of this kind, and it is over.
_OVER_AFTER_S: Final = 30.0


class ImageFaults:
    """What is wrong with pictures now.

    Args:
        health: where the faults are shown.
    """

    def __init__(self, health: HealthMonitor) -> None:
        self._health = health
        # By kind: when it was seen last, and whose picture shows it.
        self._open: dict[ImageFault, tuple[float, InspectionId]] = {}

    def note(self, error: ImageFaultError, inspection: InspectionId, now_s: float) -> bool:
        """Take in a picture that was not fit. Returns whether its picture should be shown: it is the first."""
        is_first = error.fault not in self._open
        shown = inspection if is_first else self._open[error.fault][1]
        self._open[error.fault] = (now_s, shown)
        self._health.set_fault(code_of(error.fault), error.message, error.remedy, inspection=shown)
        return is_first and error.picture is not None

    def sound(self, now_s: float) -> None:
        """A picture was fit: what has not been seen for a while is over."""
        for fault, (last_s, _) in list(self._open.items()):
            if now_s - last_s >= _OVER_AFTER_S:
                del self._open[fault]
                self._health.clear_fault(code_of(fault))


def code_of(fault: ImageFault) -> str:
    """Code of the station fault, e.g. `image-too-dark`."""
    return f"image-{fault.lower().replace('_', '-')}"
