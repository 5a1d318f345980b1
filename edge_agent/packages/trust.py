# SPDX-License-Identifier: Apache-2.0
"""The rules of trust for assignments and packages. Pure: bytes in, a decision out.

Downloads nothing, writes nothing, reads no clock; `packages.installer` and `packages.store` act on what is decided
here. Each refusal names the attack or fault that it stops. TUF's own rules are applied by `packages.fetch`.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import Error as SecureSystemsError
from securesystemslib.signer import Key

from contracts import codec
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, AssignPackage
from contracts.ids import StationAddress
from contracts.manifest import FileRole, PackageFile, PackageManifest
from contracts.vocabulary import RefusalReason
from edge_agent.errors import SettingsError, TrustError

MAX_ENVELOPE_BYTES: Final = 256 * 1024
MAX_MANIFEST_BYTES: Final = 1024 * 1024
_KEY_TYPE: Final = "ed25519"


class KeyRing(Protocol):
    """Keys of which one must have signed; which ones may change while the station runs."""

    def keys(self) -> Sequence[Key]:
        """Those that count now."""
        ...


Signatory = Key | KeyRing


class PackageRefused(TrustError):  # noqa: N818 - a refusal is an answer, not an accident
    """An assignment or a package is not accepted. Report `reason`; never retry.

    `number` is set when the signature was good and the assignment is a new one for this station: only then is the
    refusal an answer to it.
    """

    default_code = "package-refused"

    def __init__(self, reason: RefusalReason, detail: str, *, number: int | None = None) -> None:
        super().__init__(detail, remedy="assign a package that this station can accept")
        self.reason = reason
        self.number = number


@dataclass(frozen=True)
class Accepted:
    """The assignment that was accepted last. `payload_sha256` tells a repeat from a rival with its number."""

    assignment: AssignPackage
    payload_sha256: str


def load_assignment_key(text: bytes) -> Key:
    """Read `assignment.pub`.

    Raises:
        SettingsError: not the public half of an ed25519 key.
    """
    try:
        content = json.loads(text)
        key = Key.from_dict(content.pop("keyid"), content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        msg = f"trust.assignment_key: expected the JSON of a public key with its keyid, got something else ({error!r})"
        raise SettingsError([msg]) from error
    if key.keytype != _KEY_TYPE:
        raise SettingsError([f"trust.assignment_key: expected {_KEY_TYPE}, got {key.keytype!r}"])
    return key


def open_envelope(sealed: bytes, key: Signatory) -> Accepted:
    """Verify the signature of an assignment and read it. Says nothing of number, expiry and addressee.

    Raises:
        PackageRefused: TOO_LARGE, UNREADABLE, or SIGNATURE.
    """
    payload = open_sealed("assignment", sealed, key, ASSIGNMENT_PAYLOAD_TYPE, MAX_ENVELOPE_BYTES)
    try:
        assignment = codec.decode(AssignPackage, payload)
    except codec.CodecError as error:
        raise PackageRefused(RefusalReason.UNREADABLE, str(error)) from error
    return Accepted(assignment, hashlib.sha256(payload).hexdigest())


def open_sealed(what: str, sealed: bytes, key: Signatory, payload_type: str, max_bytes: int) -> bytes:
    """The payload of a DSSE envelope that this key has signed for this purpose. `what` names it in messages.

    Raises:
        PackageRefused: TOO_LARGE, UNREADABLE, or SIGNATURE.
    """
    if len(sealed) > max_bytes:
        msg = f"{what}: expected at most {max_bytes} bytes, got {len(sealed)}"
        raise PackageRefused(RefusalReason.TOO_LARGE, msg)
    try:
        # Text first: from bytes json takes UTF-16 as well, which could not be stored as it came.
        envelope = Envelope.from_dict(json.loads(sealed.decode()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, SecureSystemsError) as error:
        msg = f"{what}: expected a DSSE envelope, got something else ({type(error).__name__})"
        raise PackageRefused(RefusalReason.UNREADABLE, msg) from error
    keys = [key] if isinstance(key, Key) else list(key.keys())
    try:
        envelope.verify(keys, threshold=1)
    except (SecureSystemsError, ValueError) as error:
        expected = ", ".join(each.keyid[:16] for each in keys)
        signers = ", ".join(str(keyid)[:16] for keyid in envelope.signatures) or "nobody"
        msg = f"{what}: expected the signature of key {expected}, got one of {signers} that does not hold"
        raise PackageRefused(RefusalReason.SIGNATURE, msg) from error
    if envelope.payload_type != payload_type:
        # A thing that the key signed for another purpose must not pass as this one.
        msg = f"{what}: expected payload type {payload_type}, got {envelope.payload_type!r}"
        raise PackageRefused(RefusalReason.SIGNATURE, msg)
    payload: bytes = envelope.payload
    return payload


def judge_assignment(
    offered: Accepted, *, station: StationAddress, last: Accepted | None, last_number: int, now: datetime
) -> bool:
    """Decide whether an assignment with a good signature replaces the last accepted one.

    Returns True for a new one, False for a repeat of the last one (brokers repeat what is retained).

    Raises:
        PackageRefused: WRONG_STATION, ROLLBACK, EXPIRED or UNREADABLE.
    """
    assignment = offered.assignment
    if assignment.station != station:
        msg = f"assignment {assignment.number}: expected station {station}, got {assignment.station}"
        raise PackageRefused(RefusalReason.WRONG_STATION, msg)
    if last is not None and offered.payload_sha256 == last.payload_sha256:
        return False
    if assignment.number <= last_number:
        # Replay of an older assignment, or a second one under a number already used.
        msg = f"assignment: expected a number above {last_number}, got {assignment.number}"
        raise PackageRefused(RefusalReason.ROLLBACK, msg)
    if assignment.expires_at <= now:
        # Freeze: an old assignment kept back and delivered late.
        msg = f"assignment {assignment.number}: expired at {assignment.expires_at.isoformat()}, now {now.isoformat()}"
        raise PackageRefused(RefusalReason.EXPIRED, msg, number=assignment.number)
    products = [package.product for package in assignment.packages]
    if len(set(products)) != len(products):
        msg = f"assignment {assignment.number}: expected each product once, got {', '.join(sorted(products))}"
        raise PackageRefused(RefusalReason.UNREADABLE, msg, number=assignment.number)
    return True


def read_manifest(content: bytes, *, package_id: str, product: str, max_package_bytes: int) -> PackageManifest:
    """Decide whether these bytes are the manifest of the assigned package for the assigned product.

    Raises:
        PackageRefused: TOO_LARGE, DIGEST, UNREADABLE or WRONG_PRODUCT.
    """
    if len(content) > MAX_MANIFEST_BYTES:
        msg = f"manifest: expected at most {MAX_MANIFEST_BYTES} bytes, got {len(content)}"
        raise PackageRefused(RefusalReason.TOO_LARGE, msg)
    check_digest("manifest", hashlib.sha256(content).hexdigest(), package_id)
    try:
        manifest = codec.decode(PackageManifest, content)
    except codec.CodecError as error:
        raise PackageRefused(RefusalReason.UNREADABLE, str(error)) from error
    if manifest.product != product:
        msg = f"package {package_id[:12]}: expected product {product}, got {manifest.product}"
        raise PackageRefused(RefusalReason.WRONG_PRODUCT, msg)
    names = [file.name for file in manifest.files]
    if len(set(names)) != len(names):
        raise PackageRefused(RefusalReason.UNREADABLE, f"manifest: a file is named twice: {', '.join(sorted(names))}")
    total = sum(file.size_bytes for file in manifest.files)
    if total > max_package_bytes:
        msg = f"package {package_id[:12]}: expected at most {max_package_bytes} bytes, got {total}"
        raise PackageRefused(RefusalReason.TOO_LARGE, msg)
    roles = {file.name: file.role for file in manifest.files}
    wanted = [(manifest.golden.file, FileRole.GOLDEN), *((form.file, FileRole.MODEL) for form in manifest.variants)]
    for name, role in wanted:
        if roles.get(name) is not role:
            msg = f"manifest: expected {name!r} among its files as {role.value}, got {roles.get(name)}"
            raise PackageRefused(RefusalReason.UNREADABLE, msg)
    return manifest


def file_named(manifest: PackageManifest, name: str) -> PackageFile:
    """The manifest's entry of one file; `read_manifest` has checked that it is there."""
    return next(file for file in manifest.files if file.name == name)


def check_digest(what: str, got: str, expected: str) -> None:
    """Arbitrary content under a trusted name ends here.

    Raises:
        PackageRefused: DIGEST.
    """
    if got != expected:
        raise PackageRefused(RefusalReason.DIGEST, f"{what}: expected sha256 {expected}, got {got}")
