# SPDX-License-Identifier: Apache-2.0
"""A change of keys, from its plan to the moment it holds. At most one at a time; a crash at any place loses nothing.

A change lies in `trust/pending/`: `plan.json`, the coming `root.json` with the signatures it has so far, and `keys/`
with the private halves that will take their place. Until the marker `applying` is there it has no effect and can be
undone; from then on it is finished, by this command, the next one, or a start of central. What is signed while the
marker is there carries the old key's signature and the new one's, and the root comes last: so no station meets, at any
moment, metadata that the root it follows does not cover.

Asks nobody and prints nothing. What a plan is, and whether all of it is there: `trust/plan.py`. Called by
`central/keys_command.py` and at the start of central.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.exceptions import StorageError
from securesystemslib.signer import CryptoSigner
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root, Snapshot, Targets
from tuf.api.serialization import DeserializationError

from central.trust.enrolment import open_repository, write_enrolment
from central.trust.keys import KEY_MODE, KeyName, key_path, write_whole
from central.trust.plan import (
    COMING_KEYS,
    COMING_ROOT,
    KeyChangeError,
    LostKeyError,
    Plan,
    again_for,
    is_exchange,
    lost_of,
    plan_of,
)
from central.trust.repository import PENDING_FOLDER, PENDING_MARKER
from central.trust.roots import is_told, merge_signatures, missing_signatures, signers_of
from central.trust.state import metadata_bytes

__all__ = ["KeyChangeError", "KeyChanges", "LostKeyError", "Plan", "read_root", "sign_root"]

_LOG = logging.getLogger(__name__)
_PLAN: Final = "plan.json"
# Beside `pending`: what is to become a change, and what was one.
_NEW: Final = ".new"
_GONE: Final = ".gone"


class KeyChanges:
    """See the module."""

    def __init__(self, trust_dir: Path) -> None:
        self._trust_dir = trust_dir
        self._folder = trust_dir / PENDING_FOLDER
        self._repository = open_repository(trust_dir)

    def pending(self) -> Plan | None:
        """The change under way; None: none.

        Raises:
            KeyChangeError: its plan cannot be read.
        """
        path = self._folder / _PLAN
        try:
            return plan_of(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError) as error:
            remedy = "restore it from a backup"
            if not self.is_applying:
                remedy += ", or forget the change with `keys undo`: it has had no effect yet"
            raise KeyChangeError(f"{path} cannot be read ({error}); {remedy}") from error

    @property
    def is_applying(self) -> bool:
        """Whether the change can no longer be undone."""
        return (self._folder / PENDING_MARKER).exists()

    def begin(self, plan: Plan, keys: Mapping[str, CryptoSigner], root: Metadata[Root] | None) -> None:
        """Write a change down, without effect yet. `root` None: it needs no new root.

        Raises:
            KeyChangeError: another change is under way.
        """
        with self._repository.lock:
            if (other := self.pending()) is not None:
                msg = f"'{other.what}' of {other.begun_at} is under way; sign it to its end, or undo it"
                raise KeyChangeError(msg)
            self._clear()
            scratch = self._folder.with_suffix(_NEW)
            try:
                (scratch / COMING_KEYS).mkdir(parents=True, mode=0o700)
                for name, signer in keys.items():
                    write_whole(key_path(scratch / COMING_KEYS, name), signer.private_bytes, mode=KEY_MODE)
                if root is not None:
                    write_whole(scratch / COMING_ROOT, metadata_bytes(root))
                write_whole(scratch / _PLAN, json.dumps(asdict(plan), indent=2).encode())
                scratch.rename(self._folder)
            except BaseException:
                # Ctrl-C too: no key may lie about that nothing names. What was renamed is the change, and stays.
                _destroy(scratch)
                raise
            _sync(self._trust_dir)
        _LOG.info("change of keys begun what=%s why=%s", plan.what, plan.why)

    def root(self) -> Metadata[Root] | None:
        """The coming root with its signatures so far; None: the change needs none."""
        path = self._folder / COMING_ROOT
        return read_root(path) if path.exists() else None

    def sign(self, signer: CryptoSigner) -> None:
        """Add a holder's signature.

        Raises:
            KeyChangeError: nothing is under way, or neither root knows this key.
        """
        with self._repository.lock:
            coming = self._coming()
            sign_root(coming, self._repository.root().signed, signer)
            write_whole(self._folder / COMING_ROOT, metadata_bytes(coming))

    def take_over(self, carried: Metadata[Root]) -> int:
        """Add the signatures of a copy that was signed elsewhere; how many were new.

        Raises:
            KeyChangeError: nothing is under way.
            RootError: it is another root.
        """
        with self._repository.lock:
            coming = self._coming()
            new = merge_signatures(coming, self._repository.root().signed, carried)
            write_whole(self._folder / COMING_ROOT, metadata_bytes(coming))
            return new

    def missing(self) -> dict[str, int]:
        """Signatures that the coming root still needs, of the `present` holders and of the `coming` ones."""
        coming, present = self.root(), self._repository.root()
        if coming is None or self._holds_already(coming, present):
            return {}
        return missing_signatures(present.signed, coming)

    def finish(self, now: datetime) -> bool:
        """Let the change hold, if it has all signatures. Returns whether it does; may be done again after a crash.

        Raises:
            LostKeyError: a file of it is gone; nothing more was done.
            KeyChangeError: it was made for another root.
        """
        with self._repository.lock:
            plan = self.pending()
            if plan is None:
                return False
            # Before the marker: from then on stations may follow a root whose key nobody has.
            self._check_whole(plan)
            if self.missing():
                return False
            coming, present = self.root(), self._repository.root()
            if coming is not None and not self._is_next(coming, present):
                base = coming.signed.version - 1
                msg = f"'{plan.what}' was made for root version {base}, there is {present.signed.version}"
                raise KeyChangeError(f"{msg}; undo it and begin again")
            write_whole(self._folder / PENDING_MARKER, b"")
            for package_id in plan.withdraws:
                self._repository.withdraw(package_id, now)
            self._repository.resign(_roles(plan.installs), now)
            if coming is not None:
                self._repository.write_root(coming)
            for name in plan.installs:
                source = key_path(self._folder / COMING_KEYS, name)
                if source.is_file():
                    write_whole(key_path(self._repository.keys_dir, name), source.read_bytes(), mode=KEY_MODE)
            for name in plan.removes:
                _shred(key_path(self._repository.keys_dir, name))
            write_enrolment(self._trust_dir)
            self._forget()
        _LOG.info("change of keys holds what=%s why=%s", plan.what, plan.why)
        return True

    def recover(self, now: datetime) -> bool:
        """Finish what a crash interrupted after the point of no return. Returns whether there was something.

        Keys of a change that a crash cut short before it was written down, or while it was forgotten, are removed.
        """
        with self._repository.lock:
            self._clear()
            return self.is_applying and self.finish(now)

    def undo(self) -> Plan | None:
        """Forget a change that has no effect yet, or whose new key is lost. None: its plan could not be read.

        Raises:
            KeyChangeError: nothing is under way, or stations may know of it already and it can be finished.
        """
        with self._repository.lock:
            try:
                plan = self.pending()
            except KeyChangeError:
                if self.is_applying:
                    raise
                self._forget()
                return None
            if plan is None:
                raise KeyChangeError("nothing is under way: there is nothing to undo")
            if self.is_applying and not (
                is_exchange(plan) and lost_of(plan, self._folder, self._repository.keys_dir, self.root())
            ):
                msg = f"'{plan.what}' is being applied and stations may know of it: run `keys sign` to finish it"
                raise KeyChangeError(msg)
            self._forget()
            return plan

    def _check_whole(self, plan: Plan) -> None:
        if not (lost := lost_of(plan, self._folder, self._repository.keys_dir, self.root())):
            return
        restore = f"restore it from a backup of the data folder that was made after {plan.begun_at}"
        if not self.is_applying:
            msg = f"'{plan.what}' cannot hold: {lost}; {restore}, or forget the change with `keys undo` (it has had no "
            raise LostKeyError(f"{msg}effect yet) and begin it again")
        if not is_exchange(plan):
            raise LostKeyError(f"'{plan.what}' is half done: {lost}; {restore}")
        again = " and ".join(f"`keys rotate {each}`" for each in again_for(plan))
        msg = f"'{plan.what}' is half done: {lost}; {restore}, or run `keys undo` and then {again} at once: until "
        raise LostKeyError(f"{msg}then stations take nothing new that this key signs")

    def _coming(self) -> Metadata[Root]:
        if self.pending() is None:
            raise KeyChangeError("nothing is under way: there is nothing to sign")
        coming = self.root()
        if coming is None:
            raise KeyChangeError("the change under way needs no signature of a root key; run `keys sign` without one")
        return coming

    def _holds_already(self, coming: Metadata[Root], present: Metadata[Root]) -> bool:
        return bool(coming.signed == present.signed)

    def _is_next(self, coming: Metadata[Root], present: Metadata[Root]) -> bool:
        return self._holds_already(coming, present) or bool(coming.signed.version == present.signed.version + 1)

    def _forget(self) -> None:
        # One rename first: half a folder must not look like a change.
        gone = self._folder.with_suffix(_GONE)
        _destroy(gone)
        self._folder.rename(gone)
        _destroy(gone)

    def _clear(self) -> None:
        """Remove what no change names. Under the lock: whoever is writing such files holds it.

        `pending.new` became no change, `pending.gone` is none any more (its keys were installed before, or undone), and
        a half-written key in `trust/keys` was never read. Anything else stays, a plan that cannot be read too.
        """
        for suffix in (_NEW, _GONE):
            left = self._folder.with_suffix(suffix)
            if left.exists():
                _destroy(left)
                _LOG.warning("left of a change of keys that was cut short, removed folder=%s", left.name)
        for path in self._repository.keys_dir.glob(".*.pem.*"):
            _shred(path)
            _LOG.warning("left of a change of keys that was cut short, removed file=%s", path.name)


def read_root(path: Path) -> Metadata[Root]:
    """Read a root that is under way or was carried here.

    Raises:
        KeyChangeError: not a root.
    """
    try:
        return Metadata[Root].from_file(str(path))
    except (OSError, StorageError, RepositoryError, DeserializationError) as error:
        raise KeyChangeError(f"{path}: expected root metadata, got something else ({error})") from error


def sign_root(coming: Metadata[Root], present: Root | None, signer: CryptoSigner) -> None:
    """Sign a root by one of its holders; `present` None: the carried copy says who may (`roots.to_carry`).

    Raises:
        KeyChangeError: a key that neither root names. Its signature would be left out wherever it was carried.
    """
    known = signers_of(coming, present)
    keyid = signer.public_key.keyid
    if keyid not in known:
        others = "" if present is not None or is_told(coming) else "; a copy of an older version: export it again"
        expected = ", ".join(sorted(holder or held_id[:16] for held_id, holder in known.items()))
        msg = f"key {keyid[:16]} is no root key, of the present root or the coming one"
        raise KeyChangeError(f"{msg}: expected that of {expected}{others}; nothing was signed")
    coming.sign(signer, append=True)


def _roles(installs: list[str]) -> set[str]:
    """Roles that a set of new keys signs for; products' roles are found by the repository, the timestamp always is."""
    roles = {KeyName.PACKAGING: Targets.type, KeyName.SNAPSHOT: Snapshot.type}
    return {role for name, role in roles.items() if name in installs}


def _destroy(folder: Path) -> None:
    """A folder of a change with the keys in it, if it is there."""
    if (folder / COMING_KEYS).is_dir():
        for path in (folder / COMING_KEYS).iterdir():
            _shred(path)
    shutil.rmtree(folder, ignore_errors=True)


def _shred(path: Path) -> None:
    """Overwrite, then remove. On flash memory the old blocks may live on; the runbook says so."""
    try:
        with path.open("r+b") as file:
            file.write(os.urandom(path.stat().st_size))
            file.flush()
            os.fsync(file.fileno())
    except FileNotFoundError:
        return
    except OSError as error:
        # A disk that takes no byte more must at least not keep the key under its name.
        _LOG.warning("key could not be overwritten before it is removed file=%s: %s", path.name, error)
    path.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
