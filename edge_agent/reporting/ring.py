# SPDX-License-Identifier: Apache-2.0
"""The ring of recent pictures on the station's disk, with its index and its upload queue in SQLite.

Bounded by inspections, bytes and waiting uploads; survives a restart. Encodes nothing and uploads nothing. Used by
the evidence recorder alone. Pictures are a convenience, reports are not: the index is written without waiting
for the disk, and a damaged ring is emptied, never repaired.
"""

import contextlib
import errno
import hashlib
import logging
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from contracts.commands import InspectionKey
from contracts.vocabulary import EvidenceKind
from edge_agent.reporting.free_room import FreeRoom
from edge_agent.reporting.ring_index import Form, Picture, Wish, open_index

_log = logging.getLogger(__name__)

# The oldest inspection of which nothing is to be uploaded.
_OLDEST_FREE: Final = """
SELECT epoch, sequence FROM picture AS one
WHERE wish = 0 AND NOT EXISTS (
    SELECT 1 FROM picture AS other
    WHERE other.epoch = one.epoch AND other.sequence = one.sequence AND other.wish > 0
)
ORDER BY id LIMIT 1
"""
_INDEX: Final = "index.db"
_COLUMNS: Final = "id, epoch, sequence, kind, form, sha256, size_bytes, is_simulated, wish"
_MAX_MISSING: Final = 10_000
_UNLINKED_AT_ONCE: Final = 20


class EvidenceRing:
    """See the module. Safe for many threads.

    Args:
        folder: holds the index and the pictures; made when absent.
        max_inspections: newest inspections kept.
        max_bytes: of all pictures together.
        max_pending: automatic uploads waiting at most; the oldest is given up first.
        keep_free_bytes: of the disk, left to others.

    Raises:
        OSError: the folder cannot be used.
    """

    def __init__(
        self, folder: Path, *, max_inspections: int, max_bytes: int, max_pending: int, keep_free_bytes: int = 0
    ) -> None:
        self._pictures = folder / "pictures"
        self._folder = f"{self._pictures}{os.sep}"
        self._keep_free_bytes = keep_free_bytes
        self._max_inspections = max_inspections
        self._max_bytes = max_bytes
        self._max_pending = max_pending
        self._lock = threading.Lock()
        self._free = FreeRoom(self._pictures)
        # Uploads that were promised and given up for a bound.
        self.dropped = 0
        self._pictures.mkdir(parents=True, exist_ok=True)
        index = folder / _INDEX
        try:
            self._db = open_index(index)
        except sqlite3.DatabaseError as error:
            _log.error("evidence index damaged, the ring is emptied path=%s error=%s", index, error)
            for suffix in ("", "-wal", "-shm"):
                index.with_name(index.name + suffix).unlink(missing_ok=True)
            self._db = open_index(index)
        self._remove_orphans()
        self._bytes, self._inspections = self._totals()

    def add(
        self,
        key: InspectionKey,
        kind: EvidenceKind,
        content: bytes,
        *,
        is_simulated: bool,
        wish: Wish,
        form: Form = Form.PNG,
    ) -> None:
        """Keep a picture; what exceeds the bounds goes, oldest first, pictures without a wish before others.

        Raises:
            OSError: the disk did not take it.
            sqlite3.Error: the index did not take it.
        """
        digest = hashlib.sha256(content).hexdigest()
        if self._keep_free_bytes and not self._make_room_for(len(content)):
            raise OSError(errno.ENOSPC, f"less than {self._keep_free_bytes} bytes of the disk would be left")
        _write_whole(self._path(key, kind, form), content)
        self._free.wrote(len(content))
        with self._lock:
            with self._transaction():
                self._db.execute(
                    "INSERT OR REPLACE INTO picture"
                    " (epoch, sequence, kind, form, sha256, size_bytes, is_simulated, wish)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (key.epoch, key.sequence, kind.value, form.value, digest, len(content), is_simulated, int(wish)),
                )
            self._bytes += len(content)
            if kind is EvidenceKind.CROP:
                self._inspections += 1
            self._shrink(is_promised=wish is not Wish.KEPT)

    def holds_as_many_of(self, size_bytes: int) -> bool:
        """Whether the ring, full of pictures of that size, keeps within its bytes and those of the disk."""
        full_bytes = self._max_inspections * size_bytes
        free_bytes = self._free.lately() - self._keep_free_bytes
        return full_bytes <= min(self._max_bytes, self._bytes + free_bytes)

    def replace(self, old: Picture, new: Picture, content: bytes) -> None:
        """Keep a picture in another form. One that left the ring meanwhile stays gone.

        A process that ends in between leaves one of the two files without a row, which the next start removes.

        Raises:
            OSError: the disk did not take it; the old form is still there.
            sqlite3.Error: the index did not take it; the old form is still there.
        """
        with self._lock:
            _write_whole(self._path(new.key, new.kind, new.form), content)
            with self._transaction():
                is_there = self._db.execute(
                    "UPDATE picture SET form = ?, sha256 = ?, size_bytes = ? WHERE id = ?",
                    (new.form.value, new.sha256, new.size_bytes, old.picture_id),
                ).rowcount
            if not is_there:
                self._path_of(new).unlink(missing_ok=True)
                return
            self._path_of(old).unlink(missing_ok=True)
            self._bytes += new.size_bytes - old.size_bytes

    def make_room(self, wanted_bytes: int) -> bool:
        """Remove pictures, oldest first, until that much of the disk is free. False: none is left to remove.

        Raises:
            sqlite3.Error: the index takes nothing, with no picture left to make room for it.
        """
        with self._lock:
            while self._free.now() < wanted_bytes:
                try:
                    if not self._evict_oldest():
                        return False
                except sqlite3.OperationalError:
                    # To forget a row the index needs some pages; one small picture may not have freed them.
                    if not self._unlink_oldest():
                        raise
        return True

    def _make_room_for(self, size_bytes: int) -> bool:
        """A picture of that size leaves others what is theirs. False: it does not, and none is left to remove."""
        wanted_bytes = self._keep_free_bytes + size_bytes
        return self._free.is_surely(wanted_bytes) or self.make_room(wanted_bytes)

    def _unlink_oldest(self) -> bool:
        """Remove some files and leave their rows. Returns whether there were any."""
        gone = 0
        for row in self._db.execute("SELECT epoch, sequence, kind, form FROM picture ORDER BY id"):
            path = self._pictures / _name(*row)
            if path.exists():
                path.unlink()
                gone += 1
                if gone >= _UNLINKED_AT_ONCE:
                    break
        return bool(gone)

    def want(self, keys: Iterable[InspectionKey]) -> int:
        """Pictures of these inspections are requested; those we no longer have are noted as missing.

        Returns how many inspections are missing.
        """
        missing = 0
        with self._lock, self._transaction():
            for key in keys:
                found = self._db.execute(
                    "UPDATE picture SET wish = ? WHERE epoch = ? AND sequence = ?",
                    (int(Wish.REQUESTED), key.epoch, key.sequence),
                ).rowcount
                if not found:
                    missing += 1
                    self._db.execute("INSERT OR IGNORE INTO missing VALUES (?, ?)", (key.epoch, key.sequence))
            # Bounded: whoever asks for more than this at once is told of the newest only.
            self._db.execute(
                "DELETE FROM missing WHERE (epoch, sequence) NOT IN"
                " (SELECT epoch, sequence FROM missing ORDER BY epoch DESC, sequence DESC LIMIT ?)",
                (_MAX_MISSING,),
            )
        return missing

    def next_wanted(self, except_ids: Collection[int] = ()) -> Picture | None:
        """The picture to upload next: requested ones first, then oldest first."""
        marks = ",".join("?" * len(except_ids))
        query = (
            f"SELECT {_COLUMNS} FROM picture"  # noqa: S608 - marks
            f" WHERE wish > 0 AND id NOT IN ({marks}) ORDER BY wish DESC, id LIMIT 1"
        )
        with self._lock:
            row = self._db.execute(query, tuple(except_ids)).fetchone()
        if row is None:
            return None
        return Picture(
            picture_id=row[0],
            key=InspectionKey(epoch=row[1], sequence=row[2]),
            kind=EvidenceKind(row[3]),
            form=Form(row[4]),
            sha256=row[5],
            size_bytes=row[6],
            is_simulated=bool(row[7]),
            wish=Wish(row[8]),
        )

    def read(self, picture: Picture) -> bytes | None:
        """The bytes of a picture; None when the file is gone or is not what was stored (power loss)."""
        try:
            content = self._path_of(picture).read_bytes()
        except OSError:
            return None
        return content if hashlib.sha256(content).hexdigest() == picture.sha256 else None

    def settle(self, picture: Picture) -> None:
        """Uploaded, or refused for good: it stays in the ring without a wish."""
        with self._lock, self._transaction():
            self._db.execute("UPDATE picture SET wish = 0 WHERE id = ?", (picture.picture_id,))

    def lose(self, picture: Picture) -> None:
        """Its file is gone or damaged: forget it, and say so when it was requested."""
        with self._lock:
            with self._transaction():
                self._db.execute("DELETE FROM picture WHERE id = ?", (picture.picture_id,))
                if picture.wish is Wish.REQUESTED and picture.kind is EvidenceKind.CROP:
                    self._db.execute(
                        "INSERT OR IGNORE INTO missing VALUES (?, ?)", (picture.key.epoch, picture.key.sequence)
                    )
            self._path_of(picture).unlink(missing_ok=True)
            self.dropped += 1
            self._bytes, self._inspections = self._totals()

    def missing(self, limit: int) -> list[InspectionKey]:
        """Requested inspections whose pictures are gone and of which central does not know yet."""
        with self._lock:
            rows = self._db.execute("SELECT epoch, sequence FROM missing LIMIT ?", (limit,)).fetchall()
        return [InspectionKey(epoch=epoch, sequence=sequence) for epoch, sequence in rows]

    def missing_told(self, keys: Iterable[InspectionKey]) -> None:
        """Central knows now."""
        with self._lock, self._transaction():
            self._db.executemany(
                "DELETE FROM missing WHERE epoch = ? AND sequence = ?", [(key.epoch, key.sequence) for key in keys]
            )

    @property
    def pending(self) -> int:
        """Pictures waiting for their upload."""
        with self._lock:
            return self._pending()

    @property
    def inspections(self) -> int:
        """Inspections whose crop is in the ring."""
        return self._inspections

    @property
    def size_bytes(self) -> int:
        """Bytes of all pictures in the ring."""
        return self._bytes

    def close(self) -> None:
        """Release the index."""
        with self._lock:
            self._db.close()

    def _shrink(self, *, is_promised: bool) -> None:
        while is_promised and (over := self._pending() - self._max_pending) > 0:
            with self._transaction():
                given_up = self._db.execute(
                    "UPDATE picture SET wish = 0 WHERE id IN"
                    " (SELECT id FROM picture WHERE wish = 1 ORDER BY id LIMIT ?)",
                    (over,),
                ).rowcount
            if not given_up:
                break
            self.dropped += given_up
        while self._inspections > self._max_inspections or self._bytes > self._max_bytes:
            if not self._evict_oldest():
                return

    def _evict_oldest(self) -> bool:
        is_promised = False
        row = self._db.execute(_OLDEST_FREE).fetchone()
        if row is None:
            is_promised = True
            row = self._db.execute("SELECT epoch, sequence FROM picture ORDER BY id LIMIT 1").fetchone()
        if row is None:
            return False
        self._evict(InspectionKey(epoch=row[0], sequence=row[1]), is_promised=is_promised)
        return True

    def _evict(self, key: InspectionKey, *, is_promised: bool) -> None:
        rows = self._db.execute(
            "SELECT kind, form, size_bytes FROM picture WHERE epoch = ? AND sequence = ?", (key.epoch, key.sequence)
        ).fetchall()
        # Files first: on a full disk the index cannot even forget a row before there is room. A row without its file
        # is known as such when it is read.
        for kind, form, _ in rows:
            Path(self._path(key, EvidenceKind(kind), Form(form))).unlink(missing_ok=True)
        with self._transaction():
            self._db.execute("DELETE FROM picture WHERE epoch = ? AND sequence = ?", (key.epoch, key.sequence))
        for kind, _, size_bytes in rows:
            self._bytes -= size_bytes
            if kind == EvidenceKind.CROP.value:
                self._inspections -= 1
            if is_promised:
                self.dropped += 1

    def _pending(self) -> int:
        return int(self._db.execute("SELECT COUNT(*) FROM picture WHERE wish > 0").fetchone()[0])

    def _totals(self) -> tuple[int, int]:
        total, crops = self._db.execute(
            "SELECT COALESCE(SUM(size_bytes), 0), COUNT(*) FILTER (WHERE kind = 'CROP') FROM picture"
        ).fetchone()
        return int(total), int(crops)

    def _remove_orphans(self) -> None:
        """Files without a row (a crash between the two) would never be evicted."""
        known = {_name(*row) for row in self._db.execute("SELECT epoch, sequence, kind, form FROM picture")}
        for path in self._pictures.iterdir():
            if path.name not in known:
                path.unlink(missing_ok=True)

    def _path_of(self, picture: Picture) -> Path:
        return Path(self._path(picture.key, picture.kind, picture.form))

    def _path(self, key: InspectionKey, kind: EvidenceKind, form: Form) -> str:
        # As text: one is made for every part, and a Path costs more than the rest of its row.
        return f"{self._folder}{_name(key.epoch, key.sequence, kind.value, form.value)}"

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")
            raise


def _name(epoch: int, sequence: int, kind: str, form: str) -> str:
    return f"{epoch}-{sequence}-{kind.lower()}.{form}"


def _write_whole(path: str, content: bytes) -> None:
    new = f"{path}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = memoryview(content)
        while left:
            left = left[os.write(descriptor, left) :]
    finally:
        os.close(descriptor)
    os.replace(new, path)  # noqa: PTH105 - see `_path`
