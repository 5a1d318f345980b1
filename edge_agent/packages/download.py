# SPDX-License-Identifier: Apache-2.0
"""Brings one file of a package: from what is here, from where the last attempt stopped, the rest by HTTP ranges.

What has come lies beside the final place as `<name>.part`, from its beginning on and without holes, so a killed station
goes on where it was. The file gets its name only when its digest is right. Knows nothing of TUF, windows and packages;
used by `packages.fetch`, which says what the digest must be.

Nothing that a server says is trusted: no more bytes are taken than were asked for, each chunk and the whole are held
against their signed digests, and one that lies about ranges, or has none, is asked for the whole file, once.
"""

import hashlib
import logging
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import httpx

from contracts.manifest import FileChunk
from contracts.vocabulary import RefusalReason
from edge_agent.clock import Clock
from edge_agent.errors import TransportError
from edge_agent.packages.rate import RateLimit
from edge_agent.packages.reuse import LocalFiles
from edge_agent.packages.trust import PackageRefused, check_digest

_log = logging.getLogger(__name__)

_CODE: Final = "package-unreachable"
_PIECE_BYTES: Final = 1024 * 1024
# Below this a hole between two missing chunks is fetched with them: a request costs about as much.
_LEAST_HOLE_BYTES: Final = 2048
# A sender that gives less than this for long is one that would hold the installer for ever.
_SLOWEST_BYTES_PER_S: Final = 8192
_PAUSE_S: Final = 0.2
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class _RangesLieError(Exception):
    """The server's answer to a range cannot be what was asked for."""


@dataclass
class Transfer:
    """How far a package has come. `done` of `total` are here, `reused` of them were before, `received` came now."""

    total_bytes: int = 0
    done_bytes: int = 0
    reused_bytes: int = 0
    received_bytes: int = 0


@dataclass(frozen=True)
class Wanted:
    """One file as the signed metadata want it."""

    url: str
    path: Path
    size_bytes: int
    sha256: str
    chunks: Sequence[FileChunk] = ()

    @property
    def part(self) -> Path:
        """Where it grows."""
        return self.path.with_name(f"{self.path.name}.part")


class FileDownload:
    """See the module.

    Args:
        client: with token, time-outs and proxy.
        rate: bound on bytes a second.
        max_file_s: after this a file that comes too slowly is given up for now; more for a large one.
        check: called between pieces and while waiting; raises to call the download off.
        tell: called when `transfer` has changed.
        sleep: waits that many seconds.
    """

    def __init__(
        self,
        client: httpx.Client,
        clock: Clock,
        rate: RateLimit,
        *,
        max_file_s: float,
        check: Callable[[], None],
        tell: Callable[[], None],
        sleep: Callable[[float], None],
        transfer: Transfer,
    ) -> None:
        self._client = client
        self._clock = clock
        self._rate = rate
        self._max_file_s = max_file_s
        self._check = check
        self._tell = tell
        self._sleep = sleep
        self._transfer = transfer
        self._etag: str | None = None
        self._reused_before = 0

    def bring(self, wanted: Wanted, local: LocalFiles) -> None:
        """On return the file is whole at its place.

        Raises:
            PackageRefused: what came is wrong, also when all of it was fetched anew. Never retry.
            TransportError: the link is down or slow. What has come stays for the next attempt.
            OSError: the disk did not take it.
            Whatever `check` raises.
        """
        done_before = self._transfer.done_bytes
        self._reused_before = self._transfer.reused_bytes
        self._etag = None
        if not self._copy_whole(wanted, local):
            is_pure = False
            try:
                is_pure = self._assemble(wanted, local)
                self._verify(wanted)
            except (_RangesLieError, PackageRefused) as error:
                if is_pure or (isinstance(error, PackageRefused) and error.reason is not RefusalReason.DIGEST):
                    wanted.part.unlink(missing_ok=True)
                    raise
                # Old bytes and new ones do not fit together. All of it in one piece is either right or refused.
                _log.warning("download begins anew file=%s: %s", wanted.path.name, error)
                self._transfer.done_bytes, self._transfer.reused_bytes = done_before, self._reused_before
                self._fetch_whole(wanted)
        wanted.part.replace(wanted.path)

    def _copy_whole(self, wanted: Wanted, local: LocalFiles) -> bool:
        """The same file of another package."""
        found = local.file(wanted.sha256)
        if found is None or found == wanted.path:
            return False
        try:
            shutil.copyfile(found, wanted.part)
            self._verify(wanted)
        except (OSError, PackageRefused) as error:
            _log.warning("file on disk is not taken over file=%s: %s", wanted.path.name, error)
            wanted.part.unlink(missing_ok=True)
            return False
        self._count(reused=wanted.size_bytes)
        return True

    def _assemble(self, wanted: Wanted, local: LocalFiles) -> bool:
        """Fill the part up from its end on. True: every byte came in one answer: no other attempt could be better."""
        with wanted.part.open("ab") as file:
            place = self._go_on_from(file, wanted, local)
            self._count(done=place)
            while place < wanted.size_bytes:
                index, begin = _chunk_at(wanted.chunks, place)
                content = local.chunk(wanted.chunks[index]) if index is not None and begin == place else None
                if content is not None:
                    file.write(content)
                    place += len(content)
                    self._count(reused=len(content))
                    self._check()
                    continue
                end = wanted.size_bytes if index is None else _end_of_hole(wanted.chunks[index:], begin, local)
                if self._receive(file, wanted, place, end):
                    return True
                if index is not None:
                    self._check_chunks(wanted, wanted.chunks[index:], begin, end)
                place = end
        return False

    def _go_on_from(self, file: BinaryIO, wanted: Wanted, local: LocalFiles) -> int:
        """Where the part that is here ends."""
        here = file.tell()
        if here > wanted.size_bytes:
            here = 0
        index, begin = _chunk_at(wanted.chunks, here)
        if index is not None and local.has(wanted.chunks[index]):
            here = begin
        file.truncate(here)
        file.seek(here)
        return here

    def _check_chunks(self, wanted: Wanted, chunks: Sequence[FileChunk], begin: int, end: int) -> None:
        """A chunk that is wrong is found now, not at the end of the file."""
        with wanted.part.open("rb") as file:
            file.seek(begin)
            for chunk in chunks:
                place = file.tell()
                if place >= end:
                    return
                if hashlib.sha256(file.read(chunk.size_bytes)).hexdigest() != chunk.sha256:
                    msg = f"{wanted.url}: the bytes from {place} on are not those of the signed chunk list"
                    raise _RangesLieError(msg)

    def _fetch_whole(self, wanted: Wanted) -> None:
        """One answer with all bytes, without a range."""
        wanted.part.unlink(missing_ok=True)
        with wanted.part.open("wb") as file:
            self._receive(file, wanted, 0, wanted.size_bytes)
        try:
            self._verify(wanted)
        except PackageRefused:
            wanted.part.unlink(missing_ok=True)
            raise

    def _receive(self, file: BinaryIO, wanted: Wanted, begin: int, end: int) -> bool:
        """Append bytes `begin` … `end` of the file. True: the server sent all of it, which replaces what was here."""
        headers = {}
        is_part = (begin, end) != (0, wanted.size_bytes)
        if is_part:
            headers["Range"] = f"bytes={begin}-{end - 1}"
            if self._etag:
                headers["If-Range"] = self._etag
        self._check()
        try:
            request = self._client.build_request("GET", wanted.url, headers=headers)
            response = self._client.send(request, stream=True)
        except (httpx.HTTPError, RuntimeError) as error:
            # RuntimeError: the client was closed under us, at stop.
            raise _unreachable(f"{wanted.url}: {type(error).__name__}: {error}") from error
        try:
            is_range = self._read_head(response, wanted, begin, end, is_part=is_part)
            if is_part and not is_range:
                self._count(done=-begin)
                self._transfer.reused_bytes = self._reused_before
                begin, end = 0, wanted.size_bytes
                file.truncate(0)
                file.seek(0)
            self._write_body(file, response, wanted, end - begin, is_range=is_range)
        finally:
            response.close()
        file.flush()
        return not is_range

    def _read_head(self, response: httpx.Response, wanted: Wanted, begin: int, end: int, *, is_part: bool) -> bool:
        """Whether these are the bytes asked for; False: it is the whole file."""
        status = response.status_code
        if is_part and status == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            msg = f"{wanted.url}: the server has no bytes {begin} … {end - 1}"
            raise _RangesLieError(msg)
        if status == httpx.codes.OK:
            self._etag = _strong(response.headers.get("ETag"))
            return False
        if status != httpx.codes.PARTIAL_CONTENT or not is_part:
            raise _unreachable(f"{wanted.url}: expected HTTP 200 or 206, got {status}", status)
        told = response.headers.get("Content-Range", "")
        found = _RANGE.fullmatch(told)
        if found is None or (int(found[1]), int(found[2])) != (begin, end - 1):
            msg = f"{wanted.url}: asked for bytes {begin} … {end - 1}, the server says {told!r}"
            raise _RangesLieError(msg)
        etag = _strong(response.headers.get("ETag"))
        if found[3] not in ("*", str(wanted.size_bytes)) or (self._etag and etag and etag != self._etag):
            msg = f"{wanted.url}: the file at the server has changed"
            raise _RangesLieError(msg)
        self._etag = self._etag or etag
        return True

    def _write_body(
        self, file: BinaryIO, response: httpx.Response, wanted: Wanted, expected: int, *, is_range: bool
    ) -> None:
        give_up_at = self._clock.monotonic() + self._max_file_s + expected / _SLOWEST_BYTES_PER_S
        received = 0
        try:
            # As it comes, not in pieces of one size: a byte now and then must not keep us from looking at the time.
            for piece in response.iter_raw():
                received += len(piece)
                self._transfer.received_bytes += len(piece)
                if received > expected:
                    if is_range:
                        msg = f"{wanted.url}: more bytes than the range that was asked for"
                        raise _RangesLieError(msg)
                    # Endless data: the signed length is the bound.
                    msg = f"{wanted.url}: expected {expected} bytes, got more"
                    raise PackageRefused(RefusalReason.TOO_LARGE, msg)
                file.write(piece)
                self._count(done=len(piece))
                give_up_at += self._pause(self._rate.take(len(piece)))
                if self._clock.monotonic() > give_up_at:
                    # Slow retrieval: what has come stays, so an honest slow link still arrives.
                    raise _unreachable(f"{wanted.url}: too slow, {received} of {expected} bytes in time")
                self._check()
        except httpx.HTTPError as error:
            raise _unreachable(f"{wanted.url}: {type(error).__name__}: {error}") from error
        finally:
            file.flush()
        if received < expected:
            raise _unreachable(f"{wanted.url}: ended after {received} of {expected} bytes")

    def _pause(self, wait_s: float) -> float:
        """Wait for the rate limit, open to being called off. Returns the seconds waited."""
        left_s = wait_s
        while left_s > 0:
            self._sleep(min(left_s, _PAUSE_S))
            left_s -= _PAUSE_S
            self._check()
        return wait_s

    def _verify(self, wanted: Wanted) -> None:
        digest = hashlib.sha256()
        with wanted.part.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
        check_digest(wanted.path.name, digest.hexdigest(), wanted.sha256)

    def _count(self, *, done: int = 0, reused: int = 0) -> None:
        self._transfer.done_bytes += done + reused
        self._transfer.reused_bytes += reused
        self._tell()


def remedy_for(status: int | None) -> str:
    """What to do about an HTTP status that is no file; None: no answer came."""
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        return "check central.token in the station's settings"
    if status == httpx.codes.PROXY_AUTHENTICATION_REQUIRED:
        return "check central.proxy_username and central.proxy_password in the station's settings"
    return "check the link to central"


def _unreachable(text: str, status: int | None = None) -> TransportError:
    return TransportError(f"package download: {text}", remedy=remedy_for(status), code=_CODE)


def _strong(etag: str | None) -> str | None:
    """A weak one does not say that bytes are equal."""
    return etag if etag and etag.startswith('"') else None


def _chunk_at(chunks: Sequence[FileChunk], place: int) -> tuple[int | None, int]:
    """The chunk in which a byte lies, and where it begins; None without chunks and at the end."""
    begin = 0
    for index, chunk in enumerate(chunks):
        if place < begin + chunk.size_bytes:
            return index, begin
        begin += chunk.size_bytes
    return None, place


def _end_of_hole(chunks: Sequence[FileChunk], begin: int, local: LocalFiles) -> int:
    """Where the bytes end that are asked for at once: before the next chunk that is here and worth another request."""
    end = wanted_end = begin
    for chunk in chunks:
        end += chunk.size_bytes
        if not local.has(chunk) or wanted_end == begin:
            wanted_end = end
        elif end - wanted_end >= _LEAST_HOLE_BYTES:
            break
    return wanted_end
