# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures, or one picture, played as a camera at a steady rate.

Everything it gives is marked simulated: a picture played again is not a part on the line. Videos are played by
`camera.video`; truth and layouts of data sets are the plant's business. Numbers follow on from the last one
the station recorded, so that a restart neither repeats one nor shows a gap.
"""

from pathlib import Path
from typing import Final

from edge_agent.camera.decoding import decode_picture
from edge_agent.camera.pacing import Pace
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import DeviceError, SourceEnded

PICTURE_SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"})
_MAX_PART_ID: Final = 128


class ReplaySource:
    """Pictures of a folder, in the order of their path names, sub-folders included.

    Args:
        path: folder, or a single picture.
        clock: the station's clock.
        rate_hz: pictures per second.
        is_looping: begin again after the last picture.
        first_trigger: number of the first frame.
        product: product of every frame.
    """

    def __init__(
        self,
        path: Path,
        clock: Clock,
        *,
        rate_hz: float = 1.0,
        is_looping: bool = False,
        first_trigger: int = 0,
        product: str | None = None,
    ) -> None:
        self._path = path
        self._clock = clock
        self._pace = Pace(clock, rate_hz)
        self._is_looping = is_looping
        self._next_trigger = first_trigger
        self._product = product
        self._files: list[Path] = []
        self._position = 0

    def open(self) -> None:
        """List the pictures; keeps its place when opened again.

        Raises:
            DeviceError: no such folder, or no picture in it.
        """
        candidates = [self._path] if self._path.is_file() else sorted(self._path.rglob("*"))
        self._files = [file for file in candidates if file.suffix.lower() in PICTURE_SUFFIXES and file.is_file()]
        if not self._files:
            msg = f"no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) at {self._path}"
            raise DeviceError(msg, remedy="correct source.url", code="source-gone")
        self._pace.start()

    def read(self, timeout_s: float) -> Frame | None:
        """The next picture once its time has come.

        Raises:
            SourceEnded: the last picture was played and the source does not loop.
            DeviceError: not open.
        """
        files = self._files
        if not files:
            msg = f"{self._path} is not open"
            raise DeviceError(msg, remedy="open it first", code="source-gone")
        if self._position >= len(files):
            if not self._is_looping:
                msg = f"all {len(files)} pictures of {self._path} were played"
                raise SourceEnded(msg, remedy="set source.loop = true to begin again")
            self._position = 0
        if not self._pace.wait(timeout_s):
            return None
        file = files[self._position]
        self._position += 1
        return self._frame_of(file)

    def close(self) -> None:
        """Nothing is held open; the place is kept."""
        self._pace.stop()
        self._files = []

    def _frame_of(self, file: Path) -> Frame:
        try:
            pixels, fault = decode_picture(file.read_bytes())
        except OSError as error:
            pixels, fault = None, f"cannot read the picture: {error}"
        trigger_number = self._next_trigger
        self._next_trigger += 1
        root = self._path if self._path.is_dir() else self._path.parent
        return Frame(
            pixels=pixels,
            captured_at=self._clock.now(),
            captured_monotonic=self._clock.monotonic(),
            trigger_number=trigger_number,
            part_id=file.relative_to(root).as_posix()[-_MAX_PART_ID:],
            product=self._product,
            is_simulated=True,
            fault=fault,
        )
