# SPDX-License-Identifier: Apache-2.0
"""The private keys of central: ed25519, one file each, readable by their owner alone.

Makes them once (`sightline-central init`) and loads them; never prints, replaces or sends them. Called by
the composition root and by `trust/enrolment.py`. The packaging key vouches for what exists (TUF targets),
the assignment key says what goes where: two keys, so that one stolen key cannot do both.
"""

import os
import stat
import tempfile
from enum import StrEnum
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from securesystemslib.signer import CryptoSigner

from central.errors import CentralError

KEY_MODE = 0o600


class SigningKeyError(CentralError):
    """A key is missing, unreadable or open to others; a person must put it right before central starts."""


class KeyName(StrEnum):
    """What each key signs. `PACKAGING` is TUF's targets role."""

    ROOT = "root"
    PACKAGING = "packaging"
    SNAPSHOT = "snapshot"
    TIMESTAMP = "timestamp"
    ASSIGNMENT = "assignment"


def create_keys(folder: Path) -> None:
    """Make every key that does not exist yet. Existing ones are left alone, so it may run again."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in KeyName:
        path = _path(folder, name)
        if not path.exists():
            write_whole(path, CryptoSigner.generate_ed25519().private_bytes, mode=KEY_MODE)


def load_signer(folder: Path, name: KeyName) -> CryptoSigner:
    """The signer of one key.

    Raises:
        SigningKeyError: absent, not an ed25519 key, or readable by others; the message says what to do.
    """
    path = _path(folder, name)
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        content = path.read_bytes()
    except OSError as error:
        raise SigningKeyError(
            f"key {name}: cannot read {path}: {error.strerror}; run `sightline-central init`"
        ) from error
    if mode & 0o077:
        raise SigningKeyError(f"key {name}: expected mode 600 on {path}, got {mode:o}; run `chmod 600 {path}`")
    try:
        private_key = load_pem_private_key(content, password=None)
    except ValueError as error:
        raise SigningKeyError(f"key {name}: {path} is not a PEM private key") from error
    if not isinstance(private_key, Ed25519PrivateKey):
        raise SigningKeyError(f"key {name}: expected ed25519 in {path}, got {type(private_key).__name__}")
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


def _path(folder: Path, name: KeyName) -> Path:
    return folder / f"{name.value}.pem"
