# SPDX-License-Identifier: Apache-2.0
"""The TUF repository of packages: one folder of metadata, one of targets, written so that a crash loses nothing.

Publishes and refreshes; does not decide what deserves to be published and does not serve (the API does). Exchanges no
keys: `trust/changes.py` does, by `resign` and `write_root`. Called by `services/trainings/learning.py` (publish), by
the worker (refresh before expiry) and by `sightline-central init`.

Layout: `metadata/N.root.json`, `metadata/N.targets.json`, `metadata/N.product-NAME.json`, `metadata/N.snapshot.json`,
`metadata/timestamp.json` (consistent snapshot) and `targets/{package_id}/{file}` without a hash prefix: the package id
is a digest already, so a path never changes its content.

Every product has a delegated role; a station takes a product's package from that role alone. The same files are named
by the top targets as well while the packaging key is here, for stations of before there were delegations.
"""

import hashlib
import logging
import shutil
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, TargetFile, Targets, Timestamp

from central.trust import state as states
from central.trust.keys import KeyName, has_key, load_signer, product_key, write_whole
from central.trust.lock import TrustLock
from central.trust.roots import assigner_of, first_root, name_assigner, next_root
from central.trust.state import PackageRepositoryError, RepositoryState, load_state, metadata_bytes, write_metadata
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.trust import product_of, product_role, target_path

__all__ = ["PackageRepository", "PackageRepositoryError"]

_LOG = logging.getLogger(__name__)
_KEYS_OF: Final = {
    Targets.type: KeyName.PACKAGING,
    Snapshot.type: KeyName.SNAPSHOT,
    Timestamp.type: KeyName.TIMESTAMP,
}
_LOCK_NAME: Final = "trust.lock"
# A change of keys that is under way (`trust/changes.py`); with the marker its keys sign beside the old ones.
PENDING_FOLDER: Final = "pending"
PENDING_MARKER: Final = "applying"


class PackageRepository:
    """One writer at a time (a lock over processes); readers fetch files, which are always whole."""

    def __init__(self, folder: Path, keys_folder: Path) -> None:
        self.metadata_dir: Final = folder / "metadata"
        self.targets_dir: Final = folder / "targets"
        self.keys_dir: Final = keys_folder
        self.lock: Final = TrustLock(folder.parent / _LOCK_NAME)

    def create(self, now: datetime) -> None:
        """Write the first metadata where there is none yet; else do nothing."""
        with self.lock:
            if self._timestamp_path().exists():
                return
            self.targets_dir.mkdir(parents=True, exist_ok=True)
            public = {name.value: load_signer(self.keys_dir, name).public_key for name in KeyName}
            self.write_root(first_root(public, now), [load_signer(self.keys_dir, KeyName.ROOT)])
            RepositoryState.first(now).raise_and_write(
                self.metadata_dir, {Targets.type, Snapshot.type}, now, self._signers
            )

    def upgrade(self, now: datetime) -> list[str]:
        """Bring a repository of an earlier version to the present shape; what was done, one line each.

        Every product gets its delegated role. The root names the assignment key when the root key lies here; after a
        ceremony the ceremony has done that.
        """
        with self.lock:
            done = []
            root = self.root()
            if assigner_of(root.signed) is None and has_key(self.keys_dir, KeyName.ROOT):
                coming = next_root(root, now)
                name_assigner(coming.signed, load_signer(self.keys_dir, KeyName.ASSIGNMENT).public_key)
                self.write_root(coming, [load_signer(self.keys_dir, KeyName.ROOT)])
                done.append(f"root version {coming.signed.version} names the assignment key")
            state, changed = load_state(self.metadata_dir), set()
            if not has_key(self.keys_dir, KeyName.PACKAGING):
                return done
            for path, target in state.listed(Targets.type).items():
                product = (target.custom or {}).get("product")
                if not isinstance(product, str) or path.startswith(f"{product}/"):
                    continue
                if product_role(product) not in state.products:
                    state.delegate(product, self._product_signer(product).public_key, now)
                    changed |= {Targets.type, product_role(product)}
                    done.append(f"packages of {product} are delegated to a role of their own")
                if product_role(product) in changed:
                    package_id, _, name = path.partition("/")
                    listed = _renamed(target, target_path(product, package_id, name))
                    state.listed(product_role(product))[listed.path] = listed
            if changed:
                self._write(state, changed, now)
            for line in done:
                _LOG.info("package repository upgraded: %s", line)
            return done

    def root(self) -> Metadata[Root]:
        """The newest root.

        Raises:
            PackageRepositoryError: there is none that can be read.
        """
        found = sorted(int(path.name.split(".")[0]) for path in self.metadata_dir.glob("[0-9]*.root.json"))
        if not found:
            raise PackageRepositoryError(
                f"package repository {self.metadata_dir}: no root.json; restore the folder from a backup"
            )
        try:
            return Metadata[Root].from_file(str(self.metadata_dir / f"{found[-1]}.root.json"))
        except (RepositoryError, StorageError, OSError) as error:
            msg = f"package repository {self.metadata_dir}: {error}; restore it from a backup"
            raise PackageRepositoryError(msg) from error

    def state(self) -> RepositoryState:
        """What is current."""
        return load_state(self.metadata_dir)

    def has(self, package_id: str) -> bool:
        """Whether a product's signed targets name this package."""
        with self.lock:
            state = load_state(self.metadata_dir)
            return any(
                target_path(product_of(role) or "", package_id, MANIFEST_NAME) in state.listed(role)
                for role in state.products
            )

    def named(self) -> frozenset[str]:
        """Folders of all files that any role names: the ids of packages are among them.

        Raises:
            PackageRepositoryError: the metadata cannot be read.
        """
        with self.lock:
            state = load_state(self.metadata_dir)
            roles = (Targets.type, *state.products)
            return frozenset(folder for role in roles for path in state.listed(role) for folder in path.split("/")[:-1])

    def is_withdrawn(self, package_id: str) -> bool:
        """Whether no role names a package that was published once: no station that asks will take it.

        Raises:
            PackageRepositoryError: the metadata cannot be read.
        """
        return package_id not in self.named()

    def publish(self, package_dir: Path, package_id: str, now: datetime) -> None:
        """Copy a package's files, then sign them into its product's targets. Doing it again changes nothing.

        Raises:
            PackageRepositoryError: the folder is not the package it claims to be, or its product has no role and the
                packaging key that could delegate is not here; nothing was published.
        """
        manifest = codec.decode(PackageManifest, (package_dir / MANIFEST_NAME).read_bytes())
        files = self._copied(package_dir, package_id, manifest)
        role, is_here = product_role(manifest.product), has_key(self.keys_dir, KeyName.PACKAGING)
        named = {
            path: _renamed(target, path)
            for target in files
            for path in [target_path(manifest.product, *target.path.split("/", 1))]
        }
        with self.lock:
            state, changed = load_state(self.metadata_dir), set()
            if role not in state.products:
                if not is_here:
                    msg = (
                        f"product {manifest.product}: no role signs for it and the packaging key is not on this machine"
                    )
                    raise PackageRepositoryError(msg)
                state.delegate(manifest.product, self._product_signer(manifest.product).public_key, now)
                changed |= {Targets.type, role}
            if any(state.listed(role).get(path) != target for path, target in named.items()):
                state.listed(role).update(named)
                changed.add(role)
                if is_here:
                    state.listed(Targets.type).update({target.path: target for target in files})
                    changed.add(Targets.type)
            if not changed:
                return
            self._write(state, changed, now)
        _LOG.info("package published package_id=%s product=%s files=%d", package_id, manifest.product, len(files))

    def withdraw(self, package_id: str, now: datetime) -> bool:
        """No role names this package any more; whether one did. Its files stay, for whoever looks into it."""
        with self.lock:
            state, changed = load_state(self.metadata_dir), set()
            for role in (Targets.type, *state.products):
                listed = state.listed(role)
                gone = [path for path in listed if package_id in path.split("/")]
                for path in gone:
                    del listed[path]
                    changed.add(role)
            if changed:
                self._write(state, changed, now)
            return bool(changed)

    def refresh(self, now: datetime) -> bool:
        """Sign anew whatever has used up half of its lifetime. Returns whether anything was written."""
        with self.lock:
            state = load_state(self.metadata_dir)
            due = {role for role in state.due(now) if self._can_sign(role)}
            for role in state.due(now) - due:
                _LOG.error("metadata runs out and its key is not here role=%s expires=%s", role, state.expiries()[role])
            if not due and not states.is_due(state.timestamp.signed, states.TIMESTAMP_LIFETIME, now):
                return False
            self._write(state, due, now)
        _LOG.info("package metadata renewed timestamp_version=%d", state.timestamp.signed.version)
        return True

    def resign(self, roles: Collection[str], now: datetime) -> None:
        """Sign these roles anew, by the keys that lie here and by those of a change that is being applied.

        Products whose key is exchanged are delegated to the new one; those without one of their own to the packaging
        key.
        """
        with self.lock:
            state, changed, coming = load_state(self.metadata_dir), set(roles), self._coming_keys()
            for role in list(state.products):
                own = coming.get(role)
                if own is None and not has_key(self.keys_dir, role):
                    own = coming.get(KeyName.PACKAGING)
                if own is not None:
                    state.delegate(product_of(role) or "", own.public_key, now)
                    changed |= {role, Targets.type}
            self._write(state, changed, now)

    def write_root(self, root: Metadata[Root], signers: Sequence[Signer] = ()) -> None:
        """Add these signatures and write. A root that is there already is not written again."""
        path = self.metadata_dir / f"{root.signed.version}.root.json"
        if signers:
            write_metadata(root, path, signers)
        else:
            write_whole(path, metadata_bytes(root))

    def _write(self, state: RepositoryState, changed: Collection[str], now: datetime) -> None:
        state.raise_and_write(self.metadata_dir, changed, now, self._signers)

    def _signers(self, role: str) -> list[Signer]:
        """Of a role: the key that lies here, and the one that is about to take its place."""
        name, keys = self._key_of(role), self._coming_keys()
        coming = keys.get(role, keys.get(name))
        found: list[Signer] = []
        if coming is None or has_key(self.keys_dir, name):
            found.append(load_signer(self.keys_dir, name))
        if coming is not None and all(coming.public_key.keyid != each.public_key.keyid for each in found):
            found.append(coming)
        return found

    def _coming_keys(self) -> Mapping[str, CryptoSigner]:
        folder = self.lock.path.parent / PENDING_FOLDER
        if not (folder / PENDING_MARKER).exists():
            return {}
        return {path.stem: load_signer(folder / "keys", path.stem) for path in sorted((folder / "keys").glob("*.pem"))}

    def _key_of(self, role: str) -> str:
        product = product_of(role)
        if product is None:
            return _KEYS_OF[role]
        return product_key(product) if has_key(self.keys_dir, product_key(product)) else KeyName.PACKAGING

    def _can_sign(self, role: str) -> bool:
        return has_key(self.keys_dir, self._key_of(role))

    def _product_signer(self, product: str) -> CryptoSigner:
        return load_signer(self.keys_dir, self._key_of(product_role(product)))

    def _copied(self, package_dir: Path, package_id: str, manifest: PackageManifest) -> list[TargetFile]:
        """The package's files, checked and copied to their place, as the top targets name them.

        A copy that is damaged touches nothing: the sound one may be published, and stations fetch it.
        """
        variants = {variant.file: variant.variant.value for variant in manifest.variants}
        roles = {MANIFEST_NAME: "manifest", **{file.name: file.role.value for file in manifest.files}}
        digests = {MANIFEST_NAME: package_id, **{file.name: file.sha256 for file in manifest.files}}
        for name, expected in digests.items():
            if not (package_dir / name).is_file():
                raise PackageRepositoryError(f"package file {package_dir / name} is missing")
            with (package_dir / name).open("rb") as content:
                found = hashlib.file_digest(content, "sha256").hexdigest()
            if found != expected:
                raise PackageRepositoryError(f"package file {name}: expected sha256 {expected}, got {found}")
        files, is_new = [], not (self.targets_dir / package_id).exists()
        try:
            for name, role in roles.items():
                target = self._copy(package_dir / name, f"{package_id}/{name}")
                extra = {"variant": variants[name]} if name in variants else {}
                custom = {"product": manifest.product, "package_id": package_id, "role": role, **extra}
                target.unrecognized_fields["custom"] = custom
                files.append(target)
        except BaseException:
            # Named by nobody yet, and on a full disk the rest would be in everybody's way.
            if is_new:
                shutil.rmtree(self.targets_dir / package_id, ignore_errors=True)
            raise
        return files

    def _copy(self, source: Path, path: str) -> TargetFile:
        destination, target = self.targets_dir / path, TargetFile.from_file(path, str(source), ["sha256"])
        # What an interrupted publication left, or a disk has spoilt, is written anew.
        if not destination.exists() or TargetFile.from_file(path, str(destination), ["sha256"]) != target:
            write_whole(destination, source.read_bytes())
        return target

    def _timestamp_path(self) -> Path:
        return self.metadata_dir / states.TIMESTAMP_NAME


def _renamed(target: TargetFile, path: str) -> TargetFile:
    return TargetFile(target.length, dict(target.hashes), path, dict(target.unrecognized_fields))
