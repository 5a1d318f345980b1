# SPDX-License-Identifier: Apache-2.0
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from securesystemslib.signer import SSlibKey

from central.trust.assignments import AssignmentError, open_assignment, seal_assignment
from central.trust.enrolment import initialise_trust
from central.trust.keys import KeyName, SigningKeyError, create_keys, load_signer
from contracts.commands import AssignPackage, ProductAssignment
from contracts.ids import StationAddress

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def an_assignment(number: int = 3) -> AssignPackage:
    return AssignPackage(
        station=StationAddress(site="demo", line="line-1", station="st-1"),
        number=number,
        issued_at=NOW,
        expires_at=NOW + timedelta(days=30),
        packages=[ProductAssignment(product="ring", package_id="a" * 64)],
    )


def test_a_sealed_assignment_reads_back_with_the_enrolled_key(tmp_path: Path) -> None:
    initialise_trust(tmp_path, NOW)
    signer = load_signer(tmp_path / "keys", KeyName.ASSIGNMENT)
    sealed = seal_assignment(an_assignment(), signer)
    content = json.loads((tmp_path / "enrolment" / "assignment.pub").read_text())
    key = SSlibKey.from_dict(content.pop("keyid"), content)
    assert open_assignment(sealed, key) == an_assignment()


def test_an_altered_assignment_is_refused(tmp_path: Path) -> None:
    create_keys(tmp_path)
    signer = load_signer(tmp_path, KeyName.ASSIGNMENT)
    envelope = json.loads(seal_assignment(an_assignment(), signer))
    envelope["payload"] = json.loads(seal_assignment(an_assignment(4), signer))["payload"]
    with pytest.raises(AssignmentError):
        open_assignment(json.dumps(envelope).encode(), signer.public_key)


def test_the_packaging_key_cannot_assign(tmp_path: Path) -> None:
    create_keys(tmp_path)
    sealed = seal_assignment(an_assignment(), load_signer(tmp_path, KeyName.PACKAGING))
    with pytest.raises(AssignmentError):
        open_assignment(sealed, load_signer(tmp_path, KeyName.ASSIGNMENT).public_key)


@pytest.mark.parametrize("sealed", [b"", b"{}", b"[1]", b'{"payload": "e30=", "payloadType": "x", "signatures": []}'])
def test_what_is_no_signed_envelope_is_refused(tmp_path: Path, sealed: bytes) -> None:
    create_keys(tmp_path)
    with pytest.raises(AssignmentError):
        open_assignment(sealed, load_signer(tmp_path, KeyName.ASSIGNMENT).public_key)


def test_keys_are_for_their_owner_alone(tmp_path: Path) -> None:
    create_keys(tmp_path)
    for name in KeyName:
        assert (tmp_path / f"{name}.pem").stat().st_mode & 0o777 == 0o600
    (tmp_path / "assignment.pem").chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        load_signer(tmp_path, KeyName.ASSIGNMENT)


def test_a_missing_key_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SigningKeyError, match="restore it from a backup"):
        load_signer(tmp_path, KeyName.ROOT)
