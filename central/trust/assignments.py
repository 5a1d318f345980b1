# SPDX-License-Identifier: Apache-2.0
"""Signed assignments: `AssignPackage` in a DSSE envelope under the assignment key.

Seals and opens; does not choose packages, count numbers or publish. Called by `services/rollouts.py`.
"""

import json

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import CryptoSigner, Key

from central.errors import CentralError
from contracts import codec
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, AssignPackage


class AssignmentError(CentralError):
    """Not an assignment signed by this key. Never act on it."""


def seal_assignment(assignment: AssignPackage, signer: CryptoSigner) -> bytes:
    """The retained message for the station: a DSSE envelope as JSON."""
    envelope = Envelope(codec.encode(assignment), ASSIGNMENT_PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode()


def open_assignment(sealed: bytes, key: Key) -> AssignPackage:
    """Verify and read an envelope. Number, expiry and addressee are the reader's to check.

    Raises:
        AssignmentError: no envelope, wrong payload type, no signature of `key`, or unreadable payload.
    """
    try:
        envelope = Envelope.from_dict(json.loads(sealed))
        envelope.verify([key], threshold=1)
    except (ValueError, KeyError, TypeError, VerificationError) as error:
        raise AssignmentError(f"assignment: expected a DSSE envelope signed by {key.keyid}, got: {error}") from error
    if envelope.payload_type != ASSIGNMENT_PAYLOAD_TYPE:
        raise AssignmentError(f"assignment: expected {ASSIGNMENT_PAYLOAD_TYPE}, got {envelope.payload_type!r}")
    try:
        return codec.decode(AssignPackage, envelope.payload)
    except codec.CodecError as error:
        raise AssignmentError(str(error)) from error
