# SPDX-License-Identifier: Apache-2.0
"""Pictures from stations: offered, received piece by piece, verified, tied to their audit.

An upload that breaks off goes on where it stopped; bytes that are not what was promised are thrown away. Draws no
audit and asks no station for pictures: that is auditing. Called by the API for every request, ticked by the worker.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from central.clock import Clock
from central.errors import ConflictError, InvalidError, NotFoundError, OffsetError
from central.settings import EvidenceSettings
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.repositories import evidence
from contracts.ids import InspectionId
from contracts.reports import EvidenceOffered

log = logging.getLogger(__name__)

_SIGNATURES: Final = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}


@dataclass(frozen=True)
class UploadProgress:
    """Where an upload stands."""

    upload_offset: int
    is_complete: bool


@dataclass
class EvidenceCounts:
    """Since start."""

    offered: int = 0
    stored: int = 0
    bytes_received: int = 0
    refused: int = 0
    audits_opened: int = 0
    audits_lost: int = 0


class EvidenceService:
    """See the module."""

    name: Final = "evidence"
    period_s: Final = 1.0

    def __init__(self, database: Database, blobs: Blobs, settings: EvidenceSettings, clock: Clock) -> None:
        self._database: Final = database
        self._blobs: Final = blobs
        self._settings: Final = settings
        self._clock: Final = clock
        # One writer to the partial area at a time: two uploads of one picture must not interleave their bytes.
        self._partial_lock: Final = threading.Lock()
        self.counts: Final = EvidenceCounts()

    def offer(self, offered: EvidenceOffered) -> UploadProgress:
        """Remember the offer and say from where to send.

        Raises:
            InvalidError: larger than this central takes.
        """
        if offered.size_bytes > self._settings.max_bytes:
            self.counts.refused += 1
            raise InvalidError(f"size_bytes: expected at most {self._settings.max_bytes}, got {offered.size_bytes}")
        is_stored = self._blobs.has(offered.sha256)
        now = self._clock.now()
        with self._database.begin() as session:
            evidence.offer(session, offered, now, is_stored=is_stored)
            if is_stored:
                self.counts.audits_opened += evidence.open_audits(session, now, offered.sha256)
        self.counts.offered += 1
        if is_stored:
            return UploadProgress(offered.size_bytes, is_complete=True)
        return UploadProgress(self._blobs.upload_offset(offered.sha256), is_complete=False)

    def promised_bytes(self, sha256: str) -> int:
        """Size of an offered picture.

        Raises:
            NotFoundError: never offered; offer it first.
        """
        with self._database.read() as session:
            row = evidence.find(session, sha256)
        if row is None:
            raise NotFoundError(f"no picture {sha256} was offered; POST /evidence first")
        return row.size_bytes

    def receive(self, sha256: str, offset: int, chunk: bytes, size_bytes: int) -> UploadProgress:
        """Add bytes of an offered picture; the last ones complete it.

        Raises:
            ConflictError: the upload stands at another offset; offer again to learn it.
            DigestError: not what was promised; start again from 0.
        """
        with self._partial_lock:
            if self._blobs.has(sha256):
                return UploadProgress(size_bytes, is_complete=True)
            try:
                reached = self._blobs.append(sha256, offset, chunk, size_bytes)
            except OffsetError as error:
                raise ConflictError(str(error)) from error
            self.counts.bytes_received += len(chunk)
            if reached < size_bytes:
                return UploadProgress(reached, is_complete=False)
            self._blobs.finish(sha256)
        now = self._clock.now()
        with self._database.begin() as session:
            evidence.mark_stored(session, sha256, now)
            self.counts.audits_opened += evidence.open_audits(session, now, sha256)
        self.counts.stored += 1
        return UploadProgress(size_bytes, is_complete=True)

    def unavailable(self, inspections: Sequence[InspectionId]) -> int:
        """The station no longer has these pictures: their audits are lost. How many were waiting."""
        with self._database.begin() as session:
            lost = evidence.lose_audits(session, inspections)
        self.counts.audits_lost += lost
        if lost:
            log.info("audits lost, the station had no picture any more audits=%s", lost)
        return lost

    def picture(self, sha256: str) -> tuple[bytes, str]:
        """Bytes and media type of a stored picture.

        Raises:
            NotFoundError: unknown, or its bytes have not come yet.
        """
        with self._database.read() as session:
            row = evidence.find(session, sha256)
        if not self._blobs.has(sha256):
            raise NotFoundError(f"no picture {sha256} is stored")
        content = self._blobs.read(sha256)
        return content, row.media_type if row is not None else media_type_of(content)

    def tick(self, now: datetime) -> None:
        """Open audits that were drawn after their picture had come, or whose opening a crash cut off."""
        with self._database.read() as session:
            is_due = evidence.has_due_audits(session)
        if is_due:
            with self._database.begin() as session:
                self.counts.audits_opened += evidence.open_audits(session, now)


def media_type_of(content: bytes) -> str:
    """PNG or JPEG by signature, else a type that no browser runs."""
    for media_type, signature in _SIGNATURES.items():
        if content.startswith(signature):
            return media_type
    return "application/octet-stream"
