# SPDX-License-Identifier: Apache-2.0
"""What the station has already: files and chunks of the packages on its disk, by digest.

Looks only; a chunk's digest is checked again when it is taken, and the whole file's by whoever asked. Packages of any
product count, and the files that came just before. Used by `packages.fetch`.
"""

import hashlib
import logging
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from contracts import codec
from contracts.chunks import cut
from contracts.manifest import MANIFEST_NAME, FileChunk, FileRole, PackageFile, PackageManifest

_log = logging.getLogger(__name__)
_MOST_MANIFEST_BYTES: Final = 1024 * 1024


class LocalFiles:
    """What lies in some package folders.

    Args:
        folders: of whole packages. One that cannot be read is left out: what is not found is fetched.
        wanted: chunks that are worth looking for; others are not hashed.
    """

    def __init__(self, folders: Sequence[Path], wanted: Sequence[FileChunk] = ()) -> None:
        self._wanted = {(chunk.size_bytes, chunk.sha256) for chunk in wanted}
        self._sizes = {size for size, _ in self._wanted}
        self._files: dict[str, Path] = {}
        self._chunks: dict[str, tuple[Path, int]] = {}
        for folder in folders:
            self._add_folder(folder)

    def file(self, sha256: str) -> Path | None:
        """A file that should have this content."""
        path = self._files.get(sha256)
        return path if path is not None and path.exists() else None

    def chunk(self, chunk: FileChunk) -> bytes | None:
        """The content of a chunk, checked."""
        place = self._chunks.get(chunk.sha256)
        if place is None:
            return None
        path, begin = place
        try:
            with path.open("rb") as file:
                file.seek(begin)
                content = file.read(chunk.size_bytes)
        except OSError:
            content = b""
        if len(content) == chunk.size_bytes and hashlib.sha256(content).hexdigest() == chunk.sha256:
            return content
        # Altered since it was found, or before: what does not match is fetched.
        del self._chunks[chunk.sha256]
        return None

    def has(self, chunk: FileChunk) -> bool:
        """Whether `chunk` is likely to find it."""
        return chunk.sha256 in self._chunks

    def add(self, path: Path, entry: PackageFile) -> None:
        """A file has come, whole and checked: the next one may share chunks with it."""
        self._files[entry.sha256] = path
        self._add_chunks(path, entry)

    def _add_folder(self, folder: Path) -> None:
        path = folder / MANIFEST_NAME
        try:
            if path.stat().st_size > _MOST_MANIFEST_BYTES:
                return
            manifest = codec.decode(PackageManifest, path.read_bytes())
            for entry in manifest.files:
                found = folder / entry.name
                if found.is_file() and found.stat().st_size == entry.size_bytes:
                    self.add(found, entry)
        except (OSError, ValueError) as error:
            _log.warning("package on disk not looked into folder=%s error=%s", folder.name, error)

    def _add_chunks(self, path: Path, entry: PackageFile) -> None:
        if entry.role is not FileRole.MODEL or not self._sizes:
            return
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            # The list of its own manifest first: a trainer of another version may have cut otherwise.
            sizes = [chunk.size_bytes for chunk in entry.chunks] or cut(content)
            begin = 0
            for size in sizes:
                if size in self._sizes:
                    digest = hashlib.sha256(content[begin : begin + size]).hexdigest()
                    if (size, digest) in self._wanted:
                        self._chunks.setdefault(digest, (path, begin))
                begin += size
