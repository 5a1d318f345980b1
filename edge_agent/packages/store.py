# SPDX-License-Identifier: Apache-2.0
"""Packages on the station's disk: two slots per product, current and previous, and one for a challenger in shadow.

Writes whole, then renames; checks every digest again when a package is taken out. Does not download, does not
open sessions, decides nothing about trust (rules: `packages.trust`). Used by the package installer alone.

Layout below the root: `{product}/{package_id}/…`, `{product}/slots.json`, `notes.json`, `.staging/…` (emptied at
start), `.partial/{package_id}/…` (downloads that go on after a restart).
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter, ValidationError

from contracts.base import Shape
from contracts.ids import Name, PackageId
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.packages.trust import PackageRefused, check_digest, file_named, read_manifest

_log = logging.getLogger(__name__)

_STAGING: Final = ".staging"
_PARTIAL: Final = ".partial"
_SLOTS: Final = "slots.json"
_NOTES: Final = "notes.json"
_CHUNK_BYTES: Final = 1024 * 1024
_PRODUCT: Final[TypeAdapter[str]] = TypeAdapter(Name)


class Slots(Shape):
    """The packages of a product. `current` None: the product is not to be judged. `challenger`: judges in shadow."""

    current: PackageId | None = None
    previous: PackageId | None = None
    challenger: PackageId | None = None


@dataclass(frozen=True)
class StoredPackage:
    """A package on disk whose files matched their digests a moment ago."""

    package_id: str
    manifest: PackageManifest
    folder: Path

    def path(self, name: str) -> Path:
        """Path of one of its files."""
        return self.folder / name


class PackageStore:
    """See the module. One process, one thread; another one may look beside it.

    Args:
        root: folder of all packages.
        max_package_bytes: bound for one package.
        is_looking: only take out; nothing is made or emptied, so a store at work is not disturbed.

    Raises:
        OSError: the root cannot be made (as from every method that writes).
    """

    def __init__(self, root: Path, *, max_package_bytes: int, is_looking: bool = False) -> None:
        self._root = root
        self._max_package_bytes = max_package_bytes
        if is_looking:
            return
        # What a crash left half-written is worth nothing.
        shutil.rmtree(root / _STAGING, ignore_errors=True)
        (root / _STAGING).mkdir(parents=True, exist_ok=True)

    @property
    def notes_path(self) -> Path:
        """Where the station notes what it saw of its packages."""
        return self._root / _NOTES

    def stage(self) -> Path:
        """A fresh folder to download into, on the same file system. Hand it to `keep` or `discard`."""
        return Path(tempfile.mkdtemp(dir=self._root / _STAGING))

    def partial(self, package_id: str) -> Path:
        """Where a download of this package goes on, also after a restart. Hand it to `keep` or `discard`."""
        folder = self._root / _PARTIAL / package_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def drop_partials(self, wanted: Collection[str]) -> None:
        """Forget the downloads of packages that are not wanted any more."""
        for folder in (self._root / _PARTIAL).glob("*"):
            if folder.name not in wanted:
                self.discard(folder)
                _log.info("download dropped, package is not assigned any more package=%s", folder.name)

    def folders(self) -> list[Path]:
        """Folders of all packages, in a slot or not."""
        return [path.parent for path in sorted(self._root.glob(f"*/*/{MANIFEST_NAME}")) if path.parts[-3][0] != "."]

    def discard(self, staged: Path) -> None:
        """Forget a staged package."""
        shutil.rmtree(staged, ignore_errors=True)

    def keep(self, staged: Path, product: str, package_id: str) -> None:
        """Sync a staged, verified package to disk and rename it to its place. Does not make it current."""
        for path in staged.iterdir():
            _sync(path)
        _sync(staged)
        final = self._folder(product, package_id)
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            # Only a copy that failed its check is downloaded again.
            shutil.rmtree(final)
        staged.rename(final)
        _sync(final.parent)

    def load(self, product: str, package_id: str, *, variants: list[Variant]) -> StoredPackage | None:
        """Take a package out, verifying the manifest, the golden set and the files of `variants` again.

        Only variants that are on the disk are checked; at least one of them must be. None: not there.

        Raises:
            PackageRefused: what lies there is not the package any more (altered, half-written).
        """
        folder = self._folder(product, package_id)
        try:
            content = (folder / MANIFEST_NAME).read_bytes()
        except FileNotFoundError:
            return None
        manifest = read_manifest(
            content, package_id=package_id, product=product, max_package_bytes=self._max_package_bytes
        )
        stored = StoredPackage(package_id, manifest, folder)
        offered = {form.variant: form.file for form in manifest.variants}
        present = [
            offered[wanted] for wanted in variants if wanted in offered and stored.path(offered[wanted]).exists()
        ]
        if not present:
            return None
        for name in (manifest.golden.file, *present):
            verify_file(stored.path(name), manifest)
        return stored

    def slots(self, product: str) -> Slots:
        """The slots of a product; empty ones when there are none or the note of them is damaged."""
        path = self._root / product / _SLOTS
        try:
            return Slots.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return Slots()
        except (OSError, ValidationError) as error:
            _log.error("slots unreadable, product is treated as unassigned product=%s error=%s", product, error)
            return Slots()

    def products(self) -> list[str]:
        """Products that have slots on this disk, sorted."""
        found = []
        for path in sorted(self._root.glob(f"*/{_SLOTS}")):
            with contextlib.suppress(ValidationError):
                found.append(_PRODUCT.validate_python(path.parent.name))
        return found

    def set_current(self, product: str, package_id: str) -> None:
        """Let `current` point to a package, the old one becoming `previous`; other packages are removed."""
        old = self.slots(product)
        if old.current == package_id:
            return
        previous = old.current or (old.previous if old.previous != package_id else None)
        challenger = old.challenger if old.challenger != package_id else None
        self._write_slots(product, Slots(current=package_id, previous=previous, challenger=challenger))

    def set_challenger(self, product: str, package_id: str | None) -> None:
        """Keep this package on the disk beside the two; None: no longer."""
        old = self.slots(product)
        if old.challenger != package_id:
            self._write_slots(product, old.model_copy(update={"challenger": package_id}))

    def clear_current(self, product: str) -> None:
        """The product is not to be judged any more; its last package stays as `previous`."""
        old = self.slots(product)
        if old.current is not None:
            self._write_slots(product, old.model_copy(update={"current": None, "previous": old.current}))

    def prune(self, product: str) -> None:
        """Remove every package of a product that is in no slot."""
        slots = self.slots(product)
        for folder in (self._root / product).iterdir() if (self._root / product).is_dir() else ():
            if folder.is_dir() and folder.name not in (slots.current, slots.previous, slots.challenger):
                shutil.rmtree(folder, ignore_errors=True)
                _log.info("package removed from disk product=%s package=%s", product, folder.name)

    def forget(self, product: str, package_id: str) -> None:
        """Remove a package that was refused; one in a slot stays, since it judged before or may judge again."""
        if package_id not in self.kept():
            shutil.rmtree(self._folder(product, package_id), ignore_errors=True)

    def kept(self) -> set[str]:
        """Ids of the packages in any slot."""
        slots = [self.slots(product) for product in self.products()]
        return {each for slot in slots for each in (slot.current, slot.previous, slot.challenger) if each}

    def _write_slots(self, product: str, slots: Slots) -> None:
        write_whole(self._root / product / _SLOTS, json.dumps(slots.model_dump()).encode())

    def _folder(self, product: str, package_id: str) -> Path:
        return self._root / product / package_id


def verify_file(path: Path, manifest: PackageManifest) -> None:
    """Check size and digest of one file of a package against the manifest.

    Raises:
        PackageRefused: DIGEST, also for a missing file.
    """
    entry = file_named(manifest, path.name)
    try:
        size = path.stat().st_size
        if size != entry.size_bytes:
            msg = f"{path.name}: expected {entry.size_bytes} bytes, got {size}"
            raise PackageRefused(RefusalReason.DIGEST, msg)
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK_BYTES):
                digest.update(chunk)
    except FileNotFoundError as error:
        raise PackageRefused(RefusalReason.DIGEST, f"{path.name}: the file is missing") from error
    check_digest(path.name, digest.hexdigest(), entry.sha256)


def write_whole(path: Path, content: bytes) -> None:
    """Write beside the final place, sync, rename: a reader sees the old file or the new one, never half.

    Raises:
        OSError: the old file is still there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
        _sync(path.parent)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
