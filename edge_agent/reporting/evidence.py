# SPDX-License-Identifier: Apache-2.0
"""Keeps pictures of recent inspections and brings those that are wanted to central.

The loop hands over arrays and goes on; one thread encodes and stores, another uploads, at lower priority than
reports. Every judged crop goes into the ring; `upload=True` (NG, REVIEW) and requested ones (audits) are sent as PNG.
Of all others hardly one is ever asked for, and a PNG takes a third of the time of judging: they are kept plain, and
become PNG once they are asked for. Where the ring or the disk has no room for as many plain ones, all are PNG.
What a bound costs is counted in `dropped`: pictures may be lost, reports never. Built by the composition root.
"""

import hashlib
import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.commands import InspectionKey
from contracts.ids import InspectionId, StationAddress
from contracts.reports import EvidenceOffered, StationFault
from contracts.vocabulary import EvidenceKind
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.reporting.faults import FaultBook
from edge_agent.reporting.pictures import PLAIN_EXTRA_BYTES, encode_crop, encode_heatmap, encode_plain, png_of
from edge_agent.reporting.ring import EvidenceRing
from edge_agent.reporting.ring_index import Form, Picture, Wish
from edge_agent.reporting.uploader import EvidenceUploader, UploadRefused

_log = logging.getLogger(__name__)

_MAX_WAITING: Final = 64
_MAX_WAITING_BYTES: Final = 256 * 1024 * 1024
_MAX_REQUESTS: Final = 200
_MISSING_PER_MESSAGE: Final = 500
_MAX_FAILED: Final = 100
_STOP_TIMEOUT_S: Final = 3.0
_TICK_S: Final = 1.0
_DISK_FAULT: Final = "evidence-disk"
_TOKEN_FAULT: Final = "evidence-token"  # noqa: S105 - the name of a fault


@dataclass
class EvidenceCounters:
    """What happened since the start. Written by the recorder, read by anyone."""

    recorded: int = 0
    uploaded: int = 0
    refused: int = 0
    retries: int = 0
    requested: int = 0
    unavailable: int = 0
    queue_dropped: int = 0
    disk_dropped: int = 0
    requests_dropped: int = 0


@dataclass(frozen=True)
class _Raw:
    key: InspectionKey
    crop: NDArray[np.uint8]
    heatmap: NDArray[np.float32] | None
    ng_limit: float | None
    upload: bool
    is_simulated: bool


class EvidenceRecorder:
    """See the module.

    Args:
        folder: where the ring lives.
        uploader: the way to central.
        max_inspections: newest inspections kept in the ring.
        max_bytes: of the ring.
        max_pending: automatic uploads that may wait; the oldest is given up first.
        max_waiting: pictures waiting to be encoded; when full, one that nobody wants uploaded goes first.
        max_waiting_bytes: the same in bytes of pixels, for cameras with large fields of view.
        keep_free_bytes: of the disk, left to the reports: pictures go, oldest first, before it becomes less.
        may_upload: asked before each upload; False lets reports go first.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(
        self,
        folder: Path,
        station: StationAddress,
        uploader: EvidenceUploader,
        clock: Clock,
        *,
        max_inspections: int = 2000,
        max_bytes: int = 2 * 1024**3,
        max_pending: int = 1000,
        keep_free_bytes: int = 0,
        max_waiting: int = _MAX_WAITING,
        max_waiting_bytes: int = _MAX_WAITING_BYTES,
        retry_first_s: float = 1.0,
        retry_longest_s: float = 30.0,
        may_upload: Callable[[], bool] = lambda: True,
    ) -> None:
        self.counters = EvidenceCounters()
        self._station = station
        self._uploader = uploader
        self._faults = FaultBook(clock)
        self._ring = EvidenceRing(
            folder,
            max_inspections=max_inspections,
            max_bytes=max_bytes,
            max_pending=max_pending,
            keep_free_bytes=keep_free_bytes,
        )
        # Bytes that the reports ask for; 0: nothing.
        self._room_wanted_bytes = 0
        self._max_waiting = max_waiting
        self._max_waiting_bytes = max_waiting_bytes
        self._waiting_bytes = 0
        self._retry_first_s = retry_first_s
        self._retry_longest_s = retry_longest_s
        self._may_upload = may_upload
        self._state = threading.Condition()
        self._waiting: deque[_Raw] = deque()
        self._requests: deque[Sequence[InspectionKey]] = deque()
        self._is_busy = False
        self._stopping = threading.Event()
        # Pictures whose upload failed since the last success: others go first, lest one bad picture blocks all.
        self._failed: set[int] = set()
        self._upload_is_due = threading.Event()
        self._upload_is_due.set()
        self._encoder = threading.Thread(target=self._encode_for_ever, name="evidence-encoder", daemon=True)
        self._sender = threading.Thread(target=self._upload_for_ever, name="evidence-upload", daemon=True)

    def start(self) -> None:
        """Begin to store and upload; what was wanted before a restart goes on."""
        self._encoder.start()
        self._sender.start()

    def stop(self) -> None:
        """Store what waits, end both threads. Uploads under way go on after the next start. May be called twice."""
        with self._state:
            was_stopping = self._stopping.is_set()
            self._stopping.set()
            self._state.notify_all()
        self._upload_is_due.set()
        if was_stopping:
            return
        for thread in (self._encoder, self._sender):
            if thread.is_alive():
                thread.join(_STOP_TIMEOUT_S)
        self._uploader.close()
        if not self._encoder.is_alive() and not self._sender.is_alive():
            self._ring.close()

    @property
    def pending(self) -> int:
        """Pictures waiting: to be stored, or for their upload."""
        with self._state:
            waiting = len(self._waiting)
            return waiting if self._stopping.is_set() else waiting + self._ring.pending

    @property
    def dropped(self) -> int:
        """Pictures lost to a bound or to the disk since the start."""
        return self._ring.dropped + self.counters.queue_dropped + self.counters.disk_dropped

    def faults(self) -> list[StationFault]:
        """What a person must look at now."""
        return self._faults.current()

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
        """Take the pictures of an inspection. Copies the crop, waits for nothing, may drop (counted).

        Args:
            inspection: whose pictures these are.
            crop: what the model saw, uint8 H × W × 3 BGR.
            heatmap: float32 h × w on the score's scale, or None.
            upload: send it without being asked.
            is_simulated: not of a real part.
            ng_limit: limit of the package that judged; scales the heatmap's grey values.
        """
        key = InspectionKey(epoch=inspection.epoch, sequence=inspection.sequence)
        raw = _Raw(key, crop.copy(), heatmap, ng_limit, upload, is_simulated)
        with self._state:
            if self._stopping.is_set():
                return
            while self._waiting and self._is_full_for(raw):
                if not self._drop_one_for(raw):
                    return
            self._waiting.append(raw)
            self._waiting_bytes += raw.crop.nbytes
            self._state.notify_all()

    def request(self, keys: Sequence[InspectionKey]) -> None:
        """Central wants these pictures. Uploads what is there, says of the rest that it is gone. Does not wait."""
        with self._state:
            if len(self._requests) >= _MAX_REQUESTS:
                self.counters.requests_dropped += 1
                _log.warning("evidence request dropped station=%s inspections=%d", self._station, len(keys))
                return
            self._requests.append(tuple(keys))
            self._state.notify_all()

    def make_room(self, wanted_bytes: int) -> None:
        """Reports need this much of the disk: pictures go, oldest first. Does not wait."""
        with self._state:
            self._room_wanted_bytes = wanted_bytes
            self._state.notify_all()

    def flush(self, timeout_s: float | None = None) -> bool:
        """Wait until what was handed over is stored (not uploaded). False: not in time."""
        with self._state:
            return self._state.wait_for(
                lambda: not (self._waiting or self._requests or self._room_wanted_bytes or self._is_busy), timeout_s
            )

    def _is_full_for(self, raw: _Raw) -> bool:
        is_over = self._waiting_bytes + raw.crop.nbytes > self._max_waiting_bytes
        return is_over or len(self._waiting) >= self._max_waiting

    def _drop_one_for(self, raw: _Raw) -> bool:
        """Make room: a picture that is to be uploaded is worth more than one that is only kept.

        Returns False when `raw` itself is the one to go.
        """
        self.counters.queue_dropped += 1
        if not raw.upload:
            return False
        index = next((index for index, waiting in enumerate(self._waiting) if not waiting.upload), 0)
        self._waiting_bytes -= self._waiting[index].crop.nbytes
        del self._waiting[index]
        return True

    def _encode_for_ever(self) -> None:
        while True:
            with self._state:
                self._is_busy = False
                self._state.notify_all()
                self._state.wait_for(
                    lambda: self._waiting or self._requests or self._room_wanted_bytes or self._stopping.is_set()
                )
                if not self._waiting and not self._requests and not self._room_wanted_bytes:
                    return
                room_bytes, self._room_wanted_bytes = self._room_wanted_bytes, 0
                self._is_busy = True
                # Room for reports first; then pictures: a request that follows its inspection at once must find it.
                raw = self._waiting.popleft() if self._waiting and not room_bytes else None
                keys = self._requests.popleft() if raw is None and not room_bytes else ()
                self._waiting_bytes -= raw.crop.nbytes if raw is not None else 0
            try:
                if room_bytes:
                    self._ring.make_room(room_bytes)
                elif raw is not None:
                    self._store(raw)
                else:
                    self.counters.requested += len(keys)
                    self._ring.want(keys)
            except (OSError, sqlite3.Error, ValueError) as error:
                self.counters.disk_dropped += 1
                if self._faults.add(_DISK_FAULT, f"pictures cannot be kept: {error}", "check the disk of data_dir"):
                    _log.error("evidence cannot be stored station=%s error=%s", self._station, error)
            else:
                if raw is not None:
                    self._faults.clear(_DISK_FAULT)
            self._upload_is_due.set()

    def _store(self, raw: _Raw) -> None:
        wish = Wish.AUTOMATIC if raw.upload else Wish.KEPT
        form = Form.BMP if self._is_kept_plain(raw) else Form.PNG
        crop = encode_plain(raw.crop) if form is Form.BMP else encode_crop(raw.crop)
        self._ring.add(raw.key, EvidenceKind.CROP, crop, is_simulated=raw.is_simulated, wish=wish, form=form)
        if raw.heatmap is not None:
            height, width = raw.crop.shape[:2]
            grey = encode_heatmap(raw.heatmap, (height, width), raw.ng_limit)
            self._ring.add(raw.key, EvidenceKind.HEATMAP, grey, is_simulated=raw.is_simulated, wish=wish)
        self.counters.recorded += 1

    def _is_kept_plain(self, raw: _Raw) -> bool:
        is_colour = raw.crop.ndim == 3 and raw.crop.shape[2] == 3
        return not raw.upload and is_colour and self._ring.holds_as_many_of(raw.crop.nbytes + PLAIN_EXTRA_BYTES)

    def _upload_for_ever(self) -> None:
        pause_s = 0.0
        while not self._stopping.is_set():
            if pause_s:
                with self._state:
                    self._state.wait_for(self._stopping.is_set, pause_s)
            else:
                self._upload_is_due.wait(_TICK_S)
            if self._stopping.is_set():
                return
            self._upload_is_due.clear()
            try:
                self._upload_all()
                pause_s = 0.0
                self._faults.clear(_TOKEN_FAULT)
            except TransportError as error:
                self.counters.retries += 1
                if not pause_s:
                    _log.warning("evidence upload waits station=%s: %s", self._station, error)
                if error.code == _TOKEN_FAULT:
                    self._faults.add(_TOKEN_FAULT, error.message, error.remedy)
                pause_s = min(max(self._retry_first_s, pause_s * 2), self._retry_longest_s)
            except Exception:  # noqa: BLE001 - an upload thread that ends silently would starve the audits
                _log.exception("evidence upload failed station=%s", self._station)
                pause_s = self._retry_longest_s

    def _upload_all(self) -> None:
        while not self._stopping.is_set() and self._may_upload():
            missing = self._ring.missing(_MISSING_PER_MESSAGE)
            if missing:
                self._tell_missing(missing)
            picture = self._ring.next_wanted(self._failed) or self._ring.next_wanted()
            if picture is not None:
                self._upload(picture)
            elif not missing:
                return

    def _tell_missing(self, keys: list[InspectionKey]) -> None:
        try:
            self._uploader.report_unavailable([self._id(key) for key in keys])
            self.counters.unavailable += len(keys)
        except UploadRefused as error:
            self.counters.refused += len(keys)
            _log.error("central does not take word of missing evidence count=%d: %s", len(keys), error)
        self._ring.missing_told(keys)

    def _upload(self, picture: Picture) -> None:
        content = self._ring.read(picture)
        if content is None:
            _log.warning("evidence file damaged epoch=%d sequence=%d", picture.key.epoch, picture.key.sequence)
            self._ring.lose(picture)
            return
        if picture.form is not Form.PNG:
            picture, content = self._as_png(picture, content)
        offered = EvidenceOffered(
            inspection=self._id(picture.key),
            kind=picture.kind,
            sha256=picture.sha256,
            size_bytes=picture.size_bytes,
            media_type="image/png",
            is_simulated=picture.is_simulated,
        )
        try:
            self._uploader.upload(offered, content)
            self.counters.uploaded += 1
            self._failed.clear()
        except TransportError:
            if len(self._failed) >= _MAX_FAILED or picture.picture_id in self._failed:
                self._failed.clear()
            self._failed.add(picture.picture_id)
            raise
        except UploadRefused as error:
            self.counters.refused += 1
            _log.error("evidence refused for good sha256=%s: %s", picture.sha256, error)
        self._ring.settle(picture)

    def _as_png(self, plain: Picture, content: bytes) -> tuple[Picture, bytes]:
        png = png_of(content)
        picture = replace(plain, form=Form.PNG, sha256=hashlib.sha256(png).hexdigest(), size_bytes=len(png))
        try:
            # Kept as it is offered: an upload that breaks off goes on with the same bytes, whoever goes on with it.
            self._ring.replace(plain, picture, png)
        except (OSError, sqlite3.Error) as error:
            # A full disk is no reason to keep it from central.
            _log.warning("evidence goes out without being kept as PNG station=%s: %s", self._station, error)
        return picture, png

    def _id(self, key: InspectionKey) -> InspectionId:
        return InspectionId(station=self._station, epoch=key.epoch, sequence=key.sequence)
