# SPDX-License-Identifier: Apache-2.0
"""Root metadata: who holds which key, and what makes the next version of it valid. Pure but for its signers.

Writes nothing. The root names, beside TUF's four roles, the key that may assign (ADR 0023). Used by the repository
and by changes of keys.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import Key
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp

from central.errors import CentralError
from central.trust.keys import KeyName
from contracts.trust import ASSIGNMENT_FIELD, HOLDER_FIELD

ROOT_LIFETIME: Final = timedelta(days=3650)
# In a carried copy: key id → holder of everybody who may sign it.
_SIGNERS_FIELD: Final = "x-sightline-signers"
ROLE_OF: Final[Mapping[str, str]] = {
    KeyName.ROOT: Root.type,
    KeyName.PACKAGING: Targets.type,
    KeyName.SNAPSHOT: Snapshot.type,
    KeyName.TIMESTAMP: Timestamp.type,
}


class RootError(CentralError):
    """A root that cannot be made or does not hold; the text says what was expected."""


def first_root(keys: Mapping[str, Key], now: datetime) -> Metadata[Root]:
    """Version 1, unsigned: one key for each role; `keys` by `KeyName`."""
    root = Root(version=1, expires=now + ROOT_LIFETIME, consistent_snapshot=True)
    for name, role in ROLE_OF.items():
        root.add_key(keys[name], role)
    name_assigner(root, keys[KeyName.ASSIGNMENT])
    return Metadata(root)


def next_root(present: Metadata[Root], now: datetime) -> Metadata[Root]:
    """A copy with the next version and a fresh expiry, unsigned, to be changed and signed."""
    root = Root.from_dict(present.signed.to_dict())
    root.version += 1
    root.expires = now.replace(microsecond=0) + ROOT_LIFETIME
    return Metadata(root)


def replace_key(root: Root, name: str, key: Key) -> None:
    """Let one key alone sign for a role, or assign."""
    if name == KeyName.ASSIGNMENT:
        name_assigner(root, key)
        return
    role = ROLE_OF[name]
    for keyid in list(root.roles[role].keyids):
        root.revoke_key(keyid, role)
    root.add_key(key, role)
    root.roles[role].threshold = 1


def replace_root_keys(root: Root, keys: Sequence[Key], threshold: int) -> None:
    """Let these holders, `threshold` of them together, sign the roots to come.

    Raises:
        RootError: the threshold cannot be met or protects nothing.
    """
    if not 1 <= threshold <= len(keys):
        raise RootError(f"threshold: expected 1 … {len(keys)} for {len(keys)} root keys, got {threshold}")
    for keyid in list(root.roles[Root.type].keyids):
        root.revoke_key(keyid, Root.type)
    for key in keys:
        root.add_key(key, Root.type)
    root.roles[Root.type].threshold = threshold


def root_keys(root: Root) -> dict[str, Key]:
    """Keys that sign the root, by key id."""
    return {keyid: root.keys[keyid] for keyid in root.roles[Root.type].keyids}


def holder_of(key: Key) -> str:
    """Who holds a key; empty: nobody said."""
    return str(key.unrecognized_fields.get(HOLDER_FIELD, ""))


def held(key: Key, holder: str) -> Key:
    """The key with its holder's name on it."""
    key.unrecognized_fields[HOLDER_FIELD] = holder
    return key


def name_assigner(root: Root, key: Key) -> None:
    """Write the only key that may assign into a root."""
    root.unrecognized_fields[ASSIGNMENT_FIELD] = {"threshold": 1, "keys": {key.keyid: key.to_dict()}}


def assigner_of(root: Root) -> str | None:
    """Key id that may assign; None: a root of before roots named it."""
    keys = root.unrecognized_fields.get(ASSIGNMENT_FIELD, {}).get("keys", {})
    return next(iter(keys), None)


def missing_signatures(present: Root, coming: Metadata[Root]) -> dict[str, int]:
    """How many more signatures the coming root needs, of the present holders and of its own; empty: it holds."""
    missing = {}
    for whose, root in (("present", present), ("coming", coming.signed)):
        result = root.get_verification_result(Root.type, coming.signed_bytes, coming.signatures)
        if not result.verified:
            missing[whose] = result.threshold - len(result.signed)
    return missing


def to_carry(coming: Metadata[Root], present: Root) -> Metadata[Root]:
    """A copy for a holder elsewhere. It says who may sign, so that a stranger hears it there and not on the way back.

    A hint outside of what is signed: whoever changes it is found out when the copy is taken over.
    """
    names = {keyid: holder_of(key) for keyid, key in {**root_keys(present), **root_keys(coming.signed)}.items()}
    return Metadata(coming.signed, dict(coming.signatures), {**coming.unrecognized_fields, _SIGNERS_FIELD: names})


def is_told(carried: Metadata[Root]) -> bool:
    """Whether a copy says who may sign it."""
    return isinstance(carried.unrecognized_fields.get(_SIGNERS_FIELD), dict)


def signers_of(coming: Metadata[Root], present: Root | None) -> dict[str, str]:
    """Key ids that may sign a coming root, and their holders. `present` None: as its copy says."""
    known = {keyid: holder_of(key) for keyid, key in root_keys(coming.signed).items()}
    if present is not None:
        return known | {keyid: holder_of(key) for keyid, key in root_keys(present).items()}
    told = coming.unrecognized_fields[_SIGNERS_FIELD] if is_told(coming) else {}
    return known | {str(keyid): str(holder) for keyid, holder in told.items()}


def merge_signatures(coming: Metadata[Root], present: Root, carried: Metadata[Root]) -> int:
    """Take over signatures that a holder gave elsewhere; how many were new.

    Raises:
        RootError: the carried file is another root.
    """
    if carried.signed != coming.signed:
        raise RootError("the carried root is not the pending one: expected the file that `keys sign --export` wrote")
    new = 0
    known = {**root_keys(present), **root_keys(coming.signed)}
    for keyid, signature in carried.signatures.items():
        key = known.get(keyid)
        if key is None or keyid in coming.signatures:
            continue
        try:
            key.verify_signature(signature, coming.signed_bytes)
        except SecureSystemsError as error:
            raise RootError(f"the carried signature of {holder_of(key) or keyid[:16]} does not hold") from error
        coming.signatures[keyid] = signature
        new += 1
    return new
