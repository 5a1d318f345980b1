# SPDX-License-Identifier: Apache-2.0
"""The TUF repository of packages: one folder of metadata, one of targets, written so that a crash loses nothing.

Publishes and refreshes; does not decide what deserves to be published and does not serve (the API does).
Called by `services/learning.py` (publish), by the worker (refresh before expiry) and by `sightline-central init`.

Layout: `metadata/N.root.json`, `metadata/N.targets.json`, `metadata/N.snapshot.json`, `metadata/timestamp.json`
(consistent snapshot) and `targets/{package_id}/{file}` without a hash prefix: the package id is a digest already,
so a path never changes its content. The order of writing is targets files, targets, snapshot, timestamp: only
the last rename makes a new state visible, and an interrupted publication is simply done again.
"""

import logging
import shutil
import threading
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, MetaFile, Root, Signed, Snapshot, TargetFile, Targets, Timestamp
from tuf.api.serialization.json import JSONSerializer

from central.errors import CentralError
from central.trust.keys import KeyName, load_signer, write_whole
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest

_LOG = logging.getLogger(__name__)
_S = TypeVar("_S", Root, Targets, Snapshot, Timestamp)

ROOT_LIFETIME: Final = timedelta(days=3650)
TARGETS_LIFETIME: Final = timedelta(days=365)
SNAPSHOT_LIFETIME: Final = timedelta(days=30)
# Short: a station that hears nothing newer for this long knows that it is being kept from news (freeze attack).
TIMESTAMP_LIFETIME: Final = timedelta(days=7)
# Renewed when less than this share of a lifetime is left.
RENEW_BELOW: Final = 0.5
_ROLE_KEYS: Final = {
    Root.type: KeyName.ROOT,
    Targets.type: KeyName.PACKAGING,
    Snapshot.type: KeyName.SNAPSHOT,
    Timestamp.type: KeyName.TIMESTAMP,
}
_SERIALIZER: Final = JSONSerializer(compact=True)


class PackageRepositoryError(CentralError):
    """The repository's folder or a package to publish is not whole; a person must look at it."""


class PackageRepository:
    """One writer at a time (a lock); readers fetch files, which are always whole."""

    def __init__(self, folder: Path, keys_folder: Path) -> None:
        self.metadata_dir: Final = folder / "metadata"
        self.targets_dir: Final = folder / "targets"
        self._keys_folder = keys_folder
        self._lock = threading.Lock()

    def create(self, now: datetime) -> None:
        """Write the first metadata where there is none yet; else do nothing."""
        with self._lock:
            if self._timestamp_path().exists():
                return
            self.targets_dir.mkdir(parents=True, exist_ok=True)
            signers = {role: load_signer(self._keys_folder, name) for role, name in _ROLE_KEYS.items()}
            root = Root(version=1, expires=now + ROOT_LIFETIME, consistent_snapshot=True)
            for role, signer in signers.items():
                root.add_key(signer.public_key, role)
            self._write(Metadata(root), "1.root.json", signers[Root.type])
            self._write(Metadata(Targets(1, expires=now + TARGETS_LIFETIME)), "1.targets.json", signers[Targets.type])
            snapshot = Snapshot(1, expires=now + SNAPSHOT_LIFETIME, meta={"targets.json": MetaFile(1)})
            self._write(Metadata(snapshot), "1.snapshot.json", signers[Snapshot.type])
            timestamp = Timestamp(1, expires=now + TIMESTAMP_LIFETIME, snapshot_meta=MetaFile(1))
            self._write(Metadata(timestamp), "timestamp.json", signers[Timestamp.type])

    def first_root(self) -> bytes:
        """Bytes of root version 1, which stations are enrolled with."""
        return (self.metadata_dir / "1.root.json").read_bytes()

    def has(self, package_id: str) -> bool:
        """Whether the signed targets name this package."""
        with self._lock:
            return f"{package_id}/{MANIFEST_NAME}" in self._load_state()[2].signed.targets

    def publish(self, package_dir: Path, package_id: str, now: datetime) -> None:
        """Copy a package's files, then sign them into the targets. Publishing the same package again does nothing.

        Raises:
            PackageRepositoryError: the folder is not the package it claims to be; nothing was published.
        """
        manifest_bytes = (package_dir / MANIFEST_NAME).read_bytes()
        manifest = codec.decode(PackageManifest, manifest_bytes)
        variants = {variant.file: variant.variant.value for variant in manifest.variants}
        custom = {"product": manifest.product, "package_id": package_id}
        files: dict[str, TargetFile] = {}
        for name in [MANIFEST_NAME, *(file.name for file in manifest.files)]:
            target = self._copy(package_dir / name, f"{package_id}/{name}")
            role = "manifest" if name == MANIFEST_NAME else next(f.role.value for f in manifest.files if f.name == name)
            extra = {"variant": variants[name]} if name in variants else {}
            target.unrecognized_fields["custom"] = {**custom, "role": role, **extra}
            files[target.path] = target
        expected = {f"{package_id}/{file.name}": file.sha256 for file in manifest.files}
        expected[f"{package_id}/{MANIFEST_NAME}"] = package_id
        for path, digest in expected.items():
            if files[path].hashes["sha256"] != digest:
                shutil.rmtree(self.targets_dir / package_id)
                raise PackageRepositoryError(f"package file {path}: expected sha256 {digest}, got {files[path].hashes}")
        with self._lock:
            timestamp, snapshot, targets = self._load_state()
            if all(targets.signed.targets.get(path) == target for path, target in files.items()):
                return
            targets.signed.targets.update(files)
            self._bump(timestamp, snapshot, targets, now)
        _LOG.info("package published package_id=%s product=%s files=%d", package_id, manifest.product, len(files))

    def refresh(self, now: datetime) -> bool:
        """Sign anew whatever has used up half of its lifetime. Returns whether anything was written."""
        with self._lock:
            timestamp, snapshot, targets = self._load_state()
            is_targets_due = _is_due(targets.signed, TARGETS_LIFETIME, now)
            if is_targets_due or _is_due(snapshot.signed, SNAPSHOT_LIFETIME, now):
                self._bump(timestamp, snapshot, targets if is_targets_due else None, now)
            elif _is_due(timestamp.signed, TIMESTAMP_LIFETIME, now):
                self._bump(timestamp, None, None, now)
            else:
                return False
        _LOG.info("package metadata renewed timestamp_version=%d", timestamp.signed.version)
        return True

    def _bump(
        self,
        timestamp: Metadata[Timestamp],
        snapshot: Metadata[Snapshot] | None,
        targets: Metadata[Targets] | None,
        now: datetime,
    ) -> None:
        """Raise versions and write from the leaves up; `timestamp.json` last makes all of it current."""
        if targets is not None and snapshot is not None:
            targets.signed.version += 1
            targets.signed.expires = now + TARGETS_LIFETIME
            self._write(targets, f"{targets.signed.version}.targets.json", self._signer(Targets.type))
            snapshot.signed.meta["targets.json"] = MetaFile(targets.signed.version)
        if snapshot is not None:
            snapshot.signed.version += 1
            snapshot.signed.expires = now + SNAPSHOT_LIFETIME
            self._write(snapshot, f"{snapshot.signed.version}.snapshot.json", self._signer(Snapshot.type))
            timestamp.signed.snapshot_meta = MetaFile(snapshot.signed.version)
        timestamp.signed.version += 1
        timestamp.signed.expires = now + TIMESTAMP_LIFETIME
        self._write(timestamp, "timestamp.json", self._signer(Timestamp.type))

    def _load_state(self) -> tuple[Metadata[Timestamp], Metadata[Snapshot], Metadata[Targets]]:
        """What `timestamp.json` makes current; files left by an interrupted publication are not looked at."""
        try:
            timestamp = Metadata[Timestamp].from_file(str(self._timestamp_path()))
            version = timestamp.signed.snapshot_meta.version
            snapshot = Metadata[Snapshot].from_file(str(self.metadata_dir / f"{version}.snapshot.json"))
            version = snapshot.signed.meta["targets.json"].version
            targets = Metadata[Targets].from_file(str(self.metadata_dir / f"{version}.targets.json"))
        except (RepositoryError, OSError) as error:
            msg = f"package repository {self.metadata_dir}: {error}; restore it from a backup or run `init` anew"
            raise PackageRepositoryError(msg) from error
        return timestamp, snapshot, targets

    def _copy(self, source: Path, target_path: str) -> TargetFile:
        destination = self.targets_dir / target_path
        if not source.is_file():
            raise PackageRepositoryError(f"package file {source} is missing")
        if not destination.exists() or destination.stat().st_size != source.stat().st_size:
            write_whole(destination, source.read_bytes())
        return TargetFile.from_file(target_path, str(destination), ["sha256"])

    def _write(self, metadata: Metadata[_S], name: str, signer: CryptoSigner) -> None:
        metadata.sign(signer)
        write_whole(self.metadata_dir / name, metadata.to_bytes(_SERIALIZER))

    def _signer(self, role: str) -> CryptoSigner:
        return load_signer(self._keys_folder, _ROLE_KEYS[role])

    def _timestamp_path(self) -> Path:
        return self.metadata_dir / "timestamp.json"


def _is_due(signed: Signed, lifetime: timedelta, now: datetime) -> bool:
    return signed.expires - now < lifetime * RENEW_BELOW
