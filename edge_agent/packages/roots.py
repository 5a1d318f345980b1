# SPDX-License-Identifier: Apache-2.0
"""Whose signature makes an assignment: followed along the chain of roots, from the one the station was enrolled with.

Pure rules (`next_root`, `assigner_of`) and the chain on disk (`AssignmentKeys`). Downloads nothing:
`packages.rootwatch` does. Why the root names the assignment key: ADR 0023. Packages follow the same roots
through python-tuf (`packages.fetch`); the two never differ in what they accept, only in when they looked.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import Key
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Metadata, Root
from tuf.api.serialization import DeserializationError

from contracts.trust import ASSIGNMENT_FIELD
from contracts.vocabulary import RefusalReason
from edge_agent.packages.store import write_whole
from edge_agent.packages.trust import PackageRefused

_log = logging.getLogger(__name__)

MAX_ROOT_BYTES: Final = 512 * 1024
_KEY_TYPE: Final = "ed25519"


def next_root(present: Metadata[Root], content: bytes) -> Metadata[Root]:
    """Decide whether these bytes are the root that follows (TUF 5.3): signed by the old threshold and by its own.

    Raises:
        PackageRefused: TOO_LARGE, UNREADABLE, ROLLBACK (another version than the next) or SIGNATURE.
    """
    expected = present.signed.version + 1
    if len(content) > MAX_ROOT_BYTES:
        raise PackageRefused(RefusalReason.TOO_LARGE, f"root: expected at most {MAX_ROOT_BYTES} bytes")
    try:
        coming = Metadata[Root].from_bytes(content)
        if not isinstance(coming.signed, Root):
            raise PackageRefused(RefusalReason.UNREADABLE, f"root {expected}: got metadata of {coming.signed.type}")
        if coming.signed.version != expected:
            msg = f"root: expected version {expected}, got {coming.signed.version}"
            raise PackageRefused(RefusalReason.ROLLBACK, msg)
        for judge in (present.signed, coming.signed):
            judge.verify_delegate(Root.type, coming.signed_bytes, coming.signatures)
    except DeserializationError as error:
        raise PackageRefused(RefusalReason.UNREADABLE, f"root {expected}: expected metadata ({error})") from error
    except RepositoryError as error:
        raise PackageRefused(RefusalReason.SIGNATURE, f"root {expected}: {error}") from error
    return coming


def assigner_of(root: Root) -> Key | None:
    """The key that the root lets assign; None: a root of before roots named it.

    Raises:
        PackageRefused: UNREADABLE: it names something that is no key of ours, or more than one.
    """
    named = root.unrecognized_fields.get(ASSIGNMENT_FIELD)
    if named is None:
        return None
    try:
        ((keyid, content),) = named["keys"].items()
        key = Key.from_dict(keyid, dict(content))
    except (KeyError, TypeError, ValueError, AttributeError, SecureSystemsError) as error:
        msg = f"root {root.version}: expected one public key in {ASSIGNMENT_FIELD}, got something else ({error!r})"
        raise PackageRefused(RefusalReason.UNREADABLE, msg) from error
    if key.keytype != _KEY_TYPE or named.get("threshold") != 1:
        msg = f"root {root.version}: expected one {_KEY_TYPE} key in {ASSIGNMENT_FIELD}, got {key.keytype}"
        raise PackageRefused(RefusalReason.UNREADABLE, msg)
    return key


class AssignmentKeys:
    """The chain of roots of one station; a `KeyRing`.

    Args:
        enrolled_root: bytes of the root the station was enrolled with.
        enrolled_key: counts until a root names another one, and never again afterwards.
        folder: where the roots that followed are kept; each is verified again at every start.
    """

    def __init__(self, enrolled_root: bytes, enrolled_key: Key, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        try:
            self._root = Metadata[Root].from_bytes(enrolled_root)
        except DeserializationError as error:
            # The package fetcher says so in its own words when it is asked; assignments need the key alone.
            _log.error("enrolled root unreadable: %s", error)
            self._root = Metadata(Root(version=1, consistent_snapshot=True))
        self._key = enrolled_key
        self._key = assigner_of(self._root.signed) or enrolled_key
        while (path := self._path(self._root.signed.version + 1)).is_file():
            try:
                self._adopt(next_root(self._root, path.read_bytes()))
            except (OSError, PackageRefused) as error:
                _log.error("stored root unusable path=%s error=%s", path, error)
                break

    def keys(self) -> Sequence[Key]:
        """Whose signature counts now."""
        return (self._key,)

    @property
    def version(self) -> int:
        """Of the newest root that was followed."""
        return self._root.signed.version

    def on_change(self, callback: Callable[[], None]) -> None:
        """Call back after another key may assign, on the thread that brought the root."""
        self._callbacks.append(callback)

    def offer(self, content: bytes) -> None:
        """Follow a root, durable before it counts.

        Raises:
            PackageRefused: it does not follow; the present one stays.
            OSError: it cannot be kept; the present one stays.
        """
        with self._lock:
            coming, before = next_root(self._root, content), self._key.keyid
            assigner_of(coming.signed)
            write_whole(self._path(coming.signed.version), content)
            self._adopt(coming)
            is_other = self._key.keyid != before
        _log.info("root followed version=%d assignment_key=%s", self.version, self._key.keyid[:16])
        if is_other:
            for callback in self._callbacks:
                callback()

    def _adopt(self, root: Metadata[Root]) -> None:
        # A root that says nothing leaves the key that an earlier one named: an old key never comes back by silence.
        self._key = assigner_of(root.signed) or self._key
        self._root = root

    def _path(self, version: int) -> Path:
        return self._folder / f"{version}.root.json"
