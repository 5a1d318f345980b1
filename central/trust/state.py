# SPDX-License-Identifier: Apache-2.0
"""The metadata that is current in the package repository: read, delegated, raised, signed and written.

Decides nothing about what is published and takes no lock; `trust/repository.py` does. The order of writing is
products' targets, targets, snapshot, timestamp: only the last rename makes a new state visible, and what an
interrupted writing left is not looked at and written over.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import Key, Signer
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Signed,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from central.errors import CentralError
from central.trust.keys import write_whole
from contracts.trust import product_paths, product_role

TARGETS_LIFETIME: Final = timedelta(days=365)
SNAPSHOT_LIFETIME: Final = timedelta(days=30)
# Short: a station that hears nothing newer for this long knows that it is being kept from news (freeze attack).
TIMESTAMP_LIFETIME: Final = timedelta(days=7)
# Renewed when less than this share of a lifetime is left.
RENEW_BELOW: Final = 0.5
TIMESTAMP_NAME: Final = "timestamp.json"
_SERIALIZER: Final = JSONSerializer(compact=True)
_S = TypeVar("_S", Root, Targets, Snapshot, Timestamp)
# Everyone who signs for a role now: during an exchange of keys the old key and the new one.
SignersOf = Callable[[str], Sequence[Signer]]


class PackageRepositoryError(CentralError):
    """The repository's folder or a package to publish is not whole; a person must look at it."""


@dataclass
class RepositoryState:
    """What `timestamp.json` makes current. `products`: delegated targets by role name; `fresh`: not yet written."""

    timestamp: Metadata[Timestamp]
    snapshot: Metadata[Snapshot]
    targets: Metadata[Targets]
    products: dict[str, Metadata[Targets]]
    fresh: set[str] = field(default_factory=set)

    @classmethod
    def first(cls, now: datetime) -> "RepositoryState":
        """Empty and not yet written."""
        targets, snapshot = Metadata(Targets(1, expires=now)), Metadata(Snapshot(1, expires=now))
        fresh = {Targets.type, Snapshot.type, Timestamp.type}
        return cls(Metadata(Timestamp(1, expires=now)), snapshot, targets, {}, fresh)

    def delegate(self, product: str, key: Key, now: datetime) -> bool:
        """Let a product's role be signed by this key alone. Returns whether that is new."""
        targets = self.targets.signed
        if targets.delegations is None:
            targets.delegations = Delegations({}, {})
        delegations, role = targets.delegations, product_role(product)
        roles = delegations.roles
        if roles is None:
            raise PackageRepositoryError("targets.json delegates to succinct roles: expected one role for each product")
        present = roles.get(role)
        if present is not None and present.keyids == [key.keyid]:
            return False
        roles[role] = DelegatedRole(role, [key.keyid], 1, terminating=True, paths=product_paths(product))
        delegations.keys[key.keyid] = key
        used = {keyid for each in roles.values() for keyid in each.keyids}
        for keyid in set(delegations.keys) - used:
            del delegations.keys[keyid]
        if role not in self.products:
            self.products[role] = Metadata(Targets(1, expires=now))
            self.fresh.add(role)
        return True

    def listed(self, role: str) -> dict[str, TargetFile]:
        """Files that a role names."""
        found: dict[str, TargetFile] = self._targets_of(role).signed.targets
        return found

    def due(self, now: datetime) -> set[str]:
        """Roles that have used up their share of life, the timestamp aside."""
        roles = {Targets.type, *self.products}
        due = {role for role in roles if is_due(self._targets_of(role).signed, TARGETS_LIFETIME, now)}
        if is_due(self.snapshot.signed, SNAPSHOT_LIFETIME, now):
            due.add(Snapshot.type)
        return due

    def expiries(self) -> dict[str, datetime]:
        """When each role runs out."""
        return {
            **{role: self._targets_of(role).signed.expires for role in (Targets.type, *sorted(self.products))},
            Snapshot.type: self.snapshot.signed.expires,
            Timestamp.type: self.timestamp.signed.expires,
        }

    def raise_and_write(self, folder: Path, changed: Collection[str], now: datetime, signers_of: SignersOf) -> None:
        """Raise the versions of what changed and of what names it, sign, write; the timestamp makes it current."""
        now = now.replace(microsecond=0)
        for role in (*sorted(self.products), Targets.type):
            if role in changed:
                metadata = self._targets_of(role)
                self._raise(role, metadata.signed, now + TARGETS_LIFETIME)
                write_metadata(metadata, folder / f"{metadata.signed.version}.{role}.json", signers_of(role))
                self.snapshot.signed.meta[f"{role}.json"] = MetaFile(metadata.signed.version)
        if changed:
            self._raise(Snapshot.type, self.snapshot.signed, now + SNAPSHOT_LIFETIME)
            name = f"{self.snapshot.signed.version}.{Snapshot.type}.json"
            write_metadata(self.snapshot, folder / name, signers_of(Snapshot.type))
            self.timestamp.signed.snapshot_meta = MetaFile(self.snapshot.signed.version)
        self._raise(Timestamp.type, self.timestamp.signed, now + TIMESTAMP_LIFETIME)
        write_metadata(self.timestamp, folder / TIMESTAMP_NAME, signers_of(Timestamp.type))

    def _raise(self, role: str, signed: Signed, expires: datetime) -> None:
        if role in self.fresh:
            self.fresh.discard(role)
        else:
            signed.version += 1
        signed.expires = expires

    def _targets_of(self, role: str) -> Metadata[Targets]:
        return self.targets if role == Targets.type else self.products[role]


def load_state(folder: Path) -> RepositoryState:
    """Read what is current.

    Raises:
        PackageRepositoryError: a file is missing or damaged.
    """
    try:
        timestamp = Metadata[Timestamp].from_file(str(folder / TIMESTAMP_NAME))
        version = timestamp.signed.snapshot_meta.version
        snapshot = Metadata[Snapshot].from_file(str(folder / f"{version}.{Snapshot.type}.json"))
        versions = {name.removesuffix(".json"): meta.version for name, meta in snapshot.signed.meta.items()}
        found = {
            role: Metadata[Targets].from_file(str(folder / f"{version}.{role}.json"))
            for role, version in versions.items()
        }
        return RepositoryState(timestamp, snapshot, found.pop(Targets.type), found)
    except (RepositoryError, StorageError, OSError, KeyError) as error:
        msg = f"package repository {folder}: {error}; restore the folder from a backup"
        raise PackageRepositoryError(msg) from error


def write_metadata(metadata: Metadata[_S], path: Path, signers: Sequence[Signer]) -> None:
    """Sign by all of these, and by nobody else, and write."""
    metadata.signatures.clear()
    for signer in signers:
        metadata.sign(signer, append=True)
    write_whole(path, metadata.to_bytes(_SERIALIZER))


def metadata_bytes(metadata: Metadata[_S]) -> bytes:
    """As it is written."""
    content: bytes = metadata.to_bytes(_SERIALIZER)
    return content


def is_due(signed: Signed, lifetime: timedelta, now: datetime) -> bool:
    """Whether it has used up its share of life."""
    return bool(signed.expires - now < lifetime * RENEW_BELOW)
