# SPDX-License-Identifier: Apache-2.0
"""A camera's own frame ids to trigger numbers that rise by one for each part, seen or not. Pure.

GigE Vision counts frames in 16 bits, from 1 to 65535 and again from 1, or in 64 bits where the camera has extended
ids; 0 says that it does not count. A frame that was lost on the way has used its id up, so the next trigger number
jumps by it. What passed while the station was not connected is unknown: the first frame of a connection follows on.
"""

from typing import Final

_CYCLE: Final = 65_535
# A jump that no camera could have made in the time is a camera that counts anew. The highest rate of the settings.
_MAX_RATE_HZ: Final = 1000.0
_MARGIN: Final = 100


class BlockIds:
    """Follows the frame ids of one camera.

    Args:
        first_trigger: number of the first frame.
    """

    def __init__(self, first_trigger: int) -> None:
        self._next = first_trigger
        self._last_id = 0
        self._last_at_s = 0.0
        self.gaps = 0
        self.recounts = 0

    def restart(self) -> None:
        """A new connection: the next frame follows on, whatever its id."""
        self._last_id = 0

    def number(self, frame_id: int, at_s: float) -> int:
        """Trigger number of the frame with this id.

        Args:
            frame_id: the camera's, 0 when it does not count.
            at_s: when the frame came, monotonic.
        """
        lost = self._lost_before(frame_id, at_s - self._last_at_s) if self._last_id and frame_id else 0
        self._last_id, self._last_at_s = frame_id, at_s
        self.gaps += lost
        number = self._next + lost
        self._next = number + 1
        return number

    def _lost_before(self, frame_id: int, elapsed_s: float) -> int:
        step = frame_id - self._last_id
        if step < 0 and frame_id <= _CYCLE and self._last_id <= _CYCLE:
            step += _CYCLE
        if step < 1 or step - 1 > elapsed_s * _MAX_RATE_HZ + _MARGIN:
            self.recounts += 1
            return 0
        return step - 1
