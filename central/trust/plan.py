# SPDX-License-Identifier: Apache-2.0
"""What a change of keys will do, as it lies in `trust/pending`, and whether all that it needs is still there.

Reads only. Called by `trust/changes.py`, which writes plans and lets them hold.
"""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tuf.api.metadata import Metadata, Root

from central.errors import CentralError
from central.trust.keys import KeyName, SigningKeyError, key_path, load_signer
from central.trust.roots import ROLE_OF, assigner_of
from contracts.trust import product_of

COMING_ROOT: Final = "root.json"
COMING_KEYS: Final = "keys"
_KEY_NAME: Final = re.compile(r"[^./\\\x00][^/\\\x00]{0,199}")
_PACKAGE_ID: Final = re.compile(r"[0-9a-f]{64}")


class KeyChangeError(CentralError):
    """A change of keys that cannot be begun, signed, finished or undone; the text says what to do."""


class LostKeyError(KeyChangeError):
    """What the change under way would put in force is gone; the text says what, and both ways out."""


@dataclass(frozen=True)
class Plan:
    """What a change will do.

    Args:
        what: in words, for people: "rotate packaging".
        why: of the person who asked.
        begun_at: ISO time.
        installs: names of the keys that will lie in `trust/keys`.
        removes: names of keys that will lie there no more: a root key after a ceremony.
        withdraws: packages that no role will name any more.
    """

    what: str
    why: str
    begun_at: str
    installs: list[str] = field(default_factory=list)
    removes: list[str] = field(default_factory=list)
    withdraws: list[str] = field(default_factory=list)


def plan_of(content: bytes) -> Plan:
    """Read a plan strictly: its names become paths, and what it withdraws no station takes again.

    Raises:
        ValueError: not JSON, or a value that no plan has.
        TypeError: a field that is missing, or one that no plan has.
    """
    found = json.loads(content)
    if not isinstance(found, dict):
        raise TypeError(f"expected an object, got {type(found).__name__}")
    plan = Plan(**found)
    for name, value in found.items():
        is_text = name in {"what", "why", "begun_at"}
        kind = "a text" if is_text else "a list of texts"
        if not (_is_text(value) if is_text else isinstance(value, list) and all(map(_is_text, value))):
            raise ValueError(f"{name}: expected {kind}, got {value!r:.60}")
    for name in [*plan.installs, *plan.removes]:
        if not _KEY_NAME.fullmatch(name):
            raise ValueError(f"expected the name of a key, got {name!r:.60}")
    for package_id in plan.withdraws:
        if not _PACKAGE_ID.fullmatch(package_id):
            raise ValueError(f"withdraws: expected package ids, got {package_id!r:.80}")
    return plan


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def again_for(plan: Plan) -> list[str]:
    """What a person calls the keys that this change would have installed."""
    products = {name: product_of(name) for name in plan.installs}
    return [name if product is None else f"product:{product}" for name, product in products.items()]


def is_exchange(plan: Plan) -> bool:
    """Whether all that it does can be done once more by another exchange."""
    return bool(plan.installs) and not plan.removes


def lost_of(plan: Plan, folder: Path, keys_dir: Path, coming: Metadata[Root] | None) -> str:
    """What is gone of what this change would put in force; empty: nothing.

    Raises:
        SigningKeyError: a new key is open to others.
    """
    if coming is None and not (plan.installs and all(product_of(name) for name in plan.installs)):
        return f"its new root {folder / COMING_ROOT} is missing"
    for name in plan.installs:
        named = None if coming is None else _named(coming.signed, name)
        path = key_path(folder / COMING_KEYS, name)
        if not path.is_file():
            # Installed before a crash, and lost afterwards: nobody needs it any more.
            if named is None or _installed(keys_dir, name) != named:
                return f"its new key {path} is missing"
            continue
        try:
            keyid = load_signer(path.parent, name).public_key.keyid
        except SigningKeyError as error:
            if path.stat().st_mode & 0o077:
                raise
            return f"its new key cannot be used ({error})"
        if named not in (None, keyid):
            return f"its new key {path} is another one than its new root names"
    return ""


def _installed(keys_dir: Path, name: str) -> str | None:
    """Id of the key of this name that lies in `trust/keys`; None: none that can be used."""
    try:
        return load_signer(keys_dir, name).public_key.keyid
    except SigningKeyError:
        return None


def _named(root: Root, name: str) -> str | None:
    """Id of the key that a root names for what this one signs; None: roots name no such key."""
    if name == KeyName.ASSIGNMENT:
        return assigner_of(root)
    role = ROLE_OF.get(name)
    return None if role is None else next(iter(root.roles[role].keyids), None)
