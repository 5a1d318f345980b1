# SPDX-License-Identifier: Apache-2.0
"""The private keys of central: ed25519, one file each, readable by their owner alone.

Makes them (`sightline-central init`, `keys`) and loads them; never prints or sends them, and replaces none: a change
of keys does (`trust/changes.py`). The packaging key vouches for what exists (TUF targets), the assignment key says
what goes where: two keys, so that one stolen key cannot do both. Root keys of a ceremony are encrypted with their
holder's password and lie where the holder wants them, not here.
"""

import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)
from securesystemslib.signer import CryptoSigner, Key, Signature, Signer

from central.errors import CentralError
from contracts.trust import product_role

KEY_MODE: Final = 0o600
MIN_PASSWORD: Final = 12


class SigningKeyError(CentralError):
    """A key is missing, unreadable or open to others; a person must put it right before central starts."""


class KeyName(StrEnum):
    """What each key signs. `PACKAGING` is TUF's targets role."""

    ROOT = "root"
    PACKAGING = "packaging"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"
    ASSIGNMENT = "assignment"


# `init` makes keys only with a new package repository: a key taken offline must not come back as another.
_NO_KEY: Final = (
    "restore it from a backup, bring it back if it was taken offline, or exchange it (`sightline-central keys`)"
)


def create_keys(folder: Path) -> None:
    """Make every key that does not exist yet. Existing ones are left alone, so it may run again."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in KeyName:
        if not key_path(folder, name).exists():
            create_key(folder, name)


def create_key(folder: Path, name: str) -> CryptoSigner:
    """Make one key, in place of another one of that name if there is one."""
    signer = CryptoSigner.generate_ed25519()
    write_whole(key_path(folder, name), signer.private_bytes, mode=KEY_MODE)
    return signer


def has_key(folder: Path, name: str) -> bool:
    """Whether the private half lies in this folder."""
    return key_path(folder, name).is_file()


def load_signer(folder: Path, name: str) -> CryptoSigner:
    """The signer of one key.

    Raises:
        SigningKeyError: absent, not an ed25519 key, or readable by others; the message says what to do.
    """
    path = key_path(folder, name)
    content = _read(path, f"key {name}", _NO_KEY)
    return _signer(content, None, f"key {name}", path)


def create_root_key(path: Path, password: str) -> CryptoSigner:
    """Make a root key of a ceremony, encrypted.

    Raises:
        SigningKeyError: there is a file already, the password is too short, or the folder cannot be written.
    """
    if path.exists():
        raise SigningKeyError(f"root key: {path} exists already; expected a folder without it, choose another one")
    if len(password) < MIN_PASSWORD:
        msg = f"password for {path.name}: expected at least {MIN_PASSWORD} characters, got {len(password)}"
        raise SigningKeyError(msg)
    private = Ed25519PrivateKey.generate()
    content = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    try:
        write_whole(path, content, mode=KEY_MODE)
    except OSError as error:
        raise SigningKeyError(
            f"root key: cannot write {path}: {error.strerror}; is the medium in its place?"
        ) from error
    return CryptoSigner(private)


def load_root_key(path: Path, password: str) -> CryptoSigner:
    """The signer of a root key that a holder keeps.

    Raises:
        SigningKeyError: absent, another password, or no key.
    """
    # Sticks are often FAT, where nothing has rights of its own; the password guards the key there.
    content = _read(path, "root key", "is the medium in its place?", is_open_allowed=True)
    return _signer(content, password.encode(), "root key", path)


class LiveSigner(Signer):
    """The key of one name as it lies in the folder at this moment, so that a running central follows an exchange.

    Raises:
        SigningKeyError: at once and whenever it signs, when the key cannot be used.
    """

    def __init__(self, folder: Path, name: KeyName) -> None:
        self._folder, self._name = folder, name
        self._stamp: tuple[int, int] | None = None
        self._signer = self._current()

    @property
    def public_key(self) -> Key:
        """Public half of the present key."""
        return self._current().public_key

    def sign(self, payload: bytes) -> Signature:
        """Sign with the present key."""
        return self._current().sign(payload)

    @classmethod
    def from_priv_key_uri(cls, *_args: object, **_more: object) -> "LiveSigner":
        """Not made from an address."""
        raise NotImplementedError

    def _current(self) -> CryptoSigner:
        try:
            found = key_path(self._folder, self._name).stat()
        except OSError:
            return load_signer(self._folder, self._name)
        stamp = (found.st_mtime_ns, found.st_ino)
        if stamp != self._stamp:
            self._signer, self._stamp = load_signer(self._folder, self._name), stamp
        return self._signer


def product_key(product: str) -> str:
    """Name of a product's own key. Absent: the packaging key signs for the product."""
    return product_role(product)


def key_path(folder: Path, name: str) -> Path:
    """Where a key lies."""
    return folder / f"{name!s}.pem"


def _read(path: Path, what: str, remedy: str, *, is_open_allowed: bool = False) -> bytes:
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise SigningKeyError(f"{what}: cannot read {path}: {error.strerror}; {remedy}") from error
    if mode & 0o077 and not is_open_allowed:
        raise SigningKeyError(f"{what}: expected mode 600 on {path}, got {mode:o}; run `chmod 600 {path}`")
    return content


def _signer(content: bytes, password: bytes | None, what: str, path: Path) -> CryptoSigner:
    try:
        private_key = load_pem_private_key(content, password=password)
    except TypeError as error:
        expected = "a key without a password" if password is None else "a key with a password"
        raise SigningKeyError(f"{what}: expected {expected} in {path}") from error
    except ValueError as error:
        fault = "is not a PEM private key" if password is None else "does not open with this password, or is no key"
        raise SigningKeyError(f"{what}: {path} {fault}") from error
    if not isinstance(private_key, Ed25519PrivateKey):
        raise SigningKeyError(f"{what}: expected ed25519 in {path}, got {type(private_key).__name__}")
    return CryptoSigner(private_key)


def write_whole(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write beside the final place, sync, then rename: a reader sees the old file or the new one, never half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
