# SPDX-License-Identifier: Apache-2.0
"""Pictures and package files by digest: `{root}/{first two}/{sha256}` on any fsspec file system.

Uploads grow in a local partial area, can be continued at any offset, and move to their place only when whole and
verified (object stores cannot append, and a half picture must never have a final name). Knows no table and no rights:
`services/evidence.py` says who may store what, `services/retention.py` what may go.
"""

import hashlib
import os
import re
import shutil
import uuid
from pathlib import Path
from typing import Any, Final

import fsspec

from central.errors import DigestError, OffsetError, StoreError

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_COPY_BYTES: Final = 1024 * 1024


class Blobs:
    """Content-addressed store. `url`: `file:///folder` or any fsspec URL; `partial_dir`: a local folder.

    Raises:
        StoreError: the URL cannot be used; fix `blobs` in the settings.
    """

    def __init__(self, url: str, partial_dir: Path) -> None:
        try:
            self._fs, root = fsspec.core.url_to_fs(url)
        except (ValueError, ImportError, OSError) as error:
            msg = f"blobs: expected file:///FOLDER or another fsspec URL, got {url!r}: {error}"
            raise StoreError(msg) from error
        self._root: Final = str(root).rstrip("/")
        self._is_local: Final = "file" in _protocols(self._fs)
        self._partial: Final = partial_dir
        self._partial.mkdir(parents=True, exist_ok=True)
        if self._is_local:
            Path(self._root).mkdir(parents=True, exist_ok=True)

    def size(self, sha256: str) -> int | None:
        """Bytes of a stored blob; None: not here."""
        try:
            return int(self._fs.size(self._place(sha256)))
        except FileNotFoundError:
            return None

    def has(self, sha256: str) -> bool:
        """Whether the blob is whole and in its place."""
        return self.size(sha256) is not None

    def read(self, sha256: str) -> bytes:
        """All bytes.

        Raises:
            StoreError: not here.
        """
        try:
            return bytes(self._fs.cat_file(self._place(sha256)))
        except FileNotFoundError as error:
            msg = f"blob {sha256} is not stored"
            raise StoreError(msg) from error

    def put(self, content: bytes) -> str:
        """Store bytes, give their SHA-256. Storing again changes nothing."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256):
            scratch = self._partial / f"{sha256}.{uuid.uuid4().hex}.put"
            try:
                _write_durably(scratch, content)
                self._move_in(scratch, sha256)
            finally:
                scratch.unlink(missing_ok=True)
        return sha256

    def put_file(self, path: Path) -> str:
        """Store a file's bytes without moving the file, give their SHA-256."""
        return self.put(path.read_bytes())

    def delete(self, sha256: str) -> None:
        """Remove a blob; no error when it is gone already."""
        try:
            self._fs.rm_file(self._place(sha256))
        except FileNotFoundError:
            return

    def local_path(self, sha256: str, cache_dir: Path) -> Path:
        """A local file with these bytes: the blob itself when the store is a folder, else a copy in `cache_dir`.

        Raises:
            StoreError: not here.
        """
        if self._is_local:
            place = Path(self._place(sha256))
            if not place.is_file():
                msg = f"blob {sha256} is not stored"
                raise StoreError(msg)
            return place
        copy = cache_dir / sha256
        if not copy.is_file():
            cache_dir.mkdir(parents=True, exist_ok=True)
            scratch = cache_dir / f"{sha256}.{uuid.uuid4().hex}"
            _write_durably(scratch, self.read(sha256))
            scratch.replace(copy)
        return copy

    def upload_offset(self, sha256: str) -> int:
        """How many bytes of an unfinished upload are here."""
        try:
            return self._partial_file(sha256).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, sha256: str, offset: int, chunk: bytes, size_bytes: int) -> int:
        """Add bytes to an upload, give the new offset.

        Raises:
            OffsetError: `offset` is not where the upload stands; continue from `expected`.
            DigestError: more bytes than promised; the upload starts again from 0.
        """
        stands_at = self.upload_offset(sha256)
        if offset != stands_at:
            raise OffsetError(stands_at, offset)
        if offset + len(chunk) > size_bytes:
            self.forget_upload(sha256)
            msg = f"upload {sha256}: expected {size_bytes} bytes, got at least {offset + len(chunk)}"
            raise DigestError(msg)
        with self._partial_file(sha256).open("ab") as file:
            file.write(chunk)
        return offset + len(chunk)

    def finish(self, sha256: str) -> None:
        """Verify a whole upload and move it to its place.

        Raises:
            DigestError: the bytes are not what was promised; the upload starts again from 0.
        """
        if self.has(sha256):
            self.forget_upload(sha256)
            return
        partial = self._partial_file(sha256)
        digest = hashlib.sha256()
        with partial.open("rb") as file:
            while piece := file.read(_COPY_BYTES):
                digest.update(piece)
            os.fsync(file.fileno())
        if digest.hexdigest() != sha256:
            self.forget_upload(sha256)
            msg = f"upload: expected SHA-256 {sha256}, got {digest.hexdigest()}; start again from 0"
            raise DigestError(msg)
        self._move_in(partial, sha256)

    def forget_upload(self, sha256: str) -> None:
        """Drop an unfinished upload."""
        self._partial_file(sha256).unlink(missing_ok=True)

    def partial_uploads(self) -> list[tuple[Path, float]]:
        """Unfinished files with their last change (Unix seconds), for retention."""
        found = []
        for path in self._partial.iterdir():
            try:
                found.append((path, path.stat().st_mtime))
            except FileNotFoundError:  # finished meanwhile
                continue
        return found

    def _place(self, sha256: str) -> str:
        return f"{self._root}/{_checked(sha256)[:2]}/{sha256}"

    def _partial_file(self, sha256: str) -> Path:
        return self._partial / f"{_checked(sha256)}.part"

    def _move_in(self, scratch: Path, sha256: str) -> None:
        place = self._place(sha256)
        if not self._is_local:
            # An object store shows an object only once it is whole: its put is the rename.
            self._fs.put_file(str(scratch), place)
            scratch.unlink(missing_ok=True)
            return
        target = Path(place)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            scratch.replace(target)
        except OSError:  # the partial area lies on another disk
            beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
            shutil.copyfile(scratch, beside)
            beside.replace(target)
            scratch.unlink(missing_ok=True)
        _sync_folder(target.parent)


def _checked(sha256: str) -> str:
    # The digest becomes a path: nothing but a digest may pass.
    if not _SHA256.fullmatch(sha256):
        msg = f"blob: expected a SHA-256 in lower-case hex, got {sha256!r}"
        raise StoreError(msg)
    return sha256


def _protocols(fs: Any) -> tuple[str, ...]:
    return (fs.protocol,) if isinstance(fs.protocol, str) else tuple(fs.protocol)


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
