# SPDX-License-Identifier: Apache-2.0
"""Signed assignments: `AssignPackage` and `AssignRecipes` in DSSE envelopes under the assignment key.

Seals and opens; does not choose packages or recipes, count numbers or publish. Called by
`services/rollouts/assigning.py` and `services/recipes.py`. The payload type is signed too, so that neither can be
passed off as the other.
"""

import json

from securesystemslib.dsse import Envelope
from securesystemslib.exceptions import VerificationError
from securesystemslib.signer import Key, Signer

from central.errors import CentralError
from contracts import codec
from contracts.base import Message
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, AssignPackage
from contracts.recipes import RECIPES_PAYLOAD_TYPE, AssignRecipes


class AssignmentError(CentralError):
    """Not an assignment signed by this key. Never act on it."""


def seal_assignment(assignment: AssignPackage, signer: Signer) -> bytes:
    """The retained message for the station: a DSSE envelope as JSON."""
    return _seal(assignment, ASSIGNMENT_PAYLOAD_TYPE, signer)


def seal_recipes(assignment: AssignRecipes, signer: Signer) -> bytes:
    """The same for recipes."""
    return _seal(assignment, RECIPES_PAYLOAD_TYPE, signer)


def _seal(message: Message, payload_type: str, signer: Signer) -> bytes:
    envelope = Envelope(codec.encode(message), payload_type, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict(), separators=(",", ":")).encode()


def signer_of(sealed: str) -> str:
    """Key id that an envelope of ours was sealed with; empty: none can be read."""
    try:
        return str(json.loads(sealed)["signatures"][0]["keyid"])
    except (ValueError, KeyError, IndexError, TypeError):
        return ""


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
