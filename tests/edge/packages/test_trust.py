# SPDX-License-Identifier: Apache-2.0
"""The rules of trust, as tables: bytes in, a decision out."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from contracts import codec
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, AssignPackage, ProductAssignment
from contracts.ids import StationAddress
from contracts.manifest import MANIFEST_NAME
from contracts.vocabulary import RefusalReason
from edge_agent.errors import SettingsError
from edge_agent.packages.accepted import AcceptedAssignment
from edge_agent.packages.trust import (
    MAX_ENVELOPE_BYTES,
    MAX_MANIFEST_BYTES,
    Accepted,
    PackageRefused,
    judge_assignment,
    load_assignment_key,
    open_envelope,
    read_manifest,
)
from tests.edge.reporting.builders import NOW, STATION
from tests.fakes.packages import BuiltPackage, build_package

SIGNER = CryptoSigner.generate_ed25519()
KEY = SIGNER.public_key


def assignment(number: int = 1, *, products: tuple[str, ...] = ("ring",), days: float = 1) -> AssignPackage:
    return AssignPackage(
        station=STATION,
        number=number,
        issued_at=NOW,
        expires_at=NOW + timedelta(days=days),
        packages=[ProductAssignment(product=product, package_id="a" * 64) for product in products],
    )


def seal(payload: bytes, *, signer: CryptoSigner = SIGNER, payload_type: str = ASSIGNMENT_PAYLOAD_TYPE) -> bytes:
    envelope = Envelope(payload, payload_type, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict()).encode()


def sealed(found: AssignPackage) -> bytes:
    return seal(codec.encode(found))


def opened(found: AssignPackage) -> Accepted:
    return open_envelope(sealed(found), KEY)


def judge(offered: AssignPackage, last: AssignPackage | None = None, last_number: int | None = None) -> bool:
    before = None if last is None else opened(last)
    number = last_number if last_number is not None else (last.number if last else 0)
    return judge_assignment(opened(offered), station=STATION, last=before, last_number=number, now=NOW)


def test_signed_assignment_opens_and_fresh_station_takes_it() -> None:
    assert opened(assignment(5)).assignment == assignment(5)
    assert judge(assignment(5))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", RefusalReason.UNREADABLE),
        (b"[]", RefusalReason.UNREADABLE),
        (b'{"payload":"e30=","payloadType":"x","signatures":[{}]}', RefusalReason.UNREADABLE),
        (b'{"payload":"e30=","payloadType":"x","signatures":[]}', RefusalReason.SIGNATURE),
        (b" " * (MAX_ENVELOPE_BYTES + 1), RefusalReason.TOO_LARGE),
        (seal(codec.encode(assignment()), signer=CryptoSigner.generate_ed25519()), RefusalReason.SIGNATURE),
        (seal(codec.encode(assignment()), payload_type="application/other"), RefusalReason.SIGNATURE),
        (seal(b"{}"), RefusalReason.UNREADABLE),
        (seal(codec.encode(assignment()).replace(b'"1.', b'"9.')), RefusalReason.UNREADABLE),
    ],
)
def test_envelope_that_is_not_a_signed_assignment_is_refused(content: bytes, reason: RefusalReason) -> None:
    with pytest.raises(PackageRefused) as caught:
        open_envelope(content, KEY)
    assert caught.value.reason is reason
    assert caught.value.number is None


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_changed_byte_of_payload_or_signature_is_accepted(data: st.DataObject) -> None:
    content = json.loads(sealed(assignment(3)))
    envelope = Envelope.from_dict(json.loads(json.dumps(content)))
    field = data.draw(st.sampled_from(["payload", "sig"]))
    old = envelope.payload if field == "payload" else bytes.fromhex(envelope.signatures[KEY.keyid].signature)
    position = data.draw(st.integers(0, len(old) - 1))
    changed = bytearray(old)
    changed[position] ^= data.draw(st.integers(1, 255))
    if field == "payload":
        envelope.payload = bytes(changed)
    else:
        envelope.signatures[KEY.keyid].signature = changed.hex()
    with pytest.raises(PackageRefused) as caught:
        open_envelope(json.dumps(envelope.to_dict()).encode(), KEY)
    assert caught.value.reason is RefusalReason.SIGNATURE


def test_number_must_rise() -> None:
    assert judge(assignment(6), last=assignment(5))
    for number in (1, 4):
        with pytest.raises(PackageRefused) as caught:
            judge(assignment(number), last=assignment(5))
        assert caught.value.reason is RefusalReason.ROLLBACK


def test_same_assignment_again_is_a_repeat_even_when_expired() -> None:
    assert not judge(assignment(5), last=assignment(5))
    assert not judge(assignment(5, days=-1), last=assignment(5, days=-1))


def test_rival_with_the_same_number_is_refused() -> None:
    with pytest.raises(PackageRefused) as caught:
        judge(assignment(5, products=("board",)), last=assignment(5))
    assert caught.value.reason is RefusalReason.ROLLBACK


def test_number_counts_though_the_old_assignment_is_unreadable() -> None:
    with pytest.raises(PackageRefused) as caught:
        judge(assignment(5), last=None, last_number=5)
    assert caught.value.reason is RefusalReason.ROLLBACK


@pytest.mark.parametrize("days", [0, -0.001, -100])
def test_expired_assignment_is_refused_and_its_number_named(days: float) -> None:
    with pytest.raises(PackageRefused) as caught:
        judge(assignment(5, days=days))
    assert (caught.value.reason, caught.value.number) == (RefusalReason.EXPIRED, 5)


def test_assignment_for_another_station_is_refused() -> None:
    other = StationAddress(site="demo", line="line-1", station="st-2")
    with pytest.raises(PackageRefused) as caught:
        judge_assignment(opened(assignment()), station=other, last=None, last_number=0, now=NOW)
    assert caught.value.reason is RefusalReason.WRONG_STATION


def test_product_named_twice_is_refused() -> None:
    with pytest.raises(PackageRefused) as caught:
        judge(assignment(products=("ring", "ring")))
    assert caught.value.reason is RefusalReason.UNREADABLE


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> BuiltPackage:
    return build_package(tmp_path_factory.mktemp("packages") / "one")


def _manifest(package: BuiltPackage, **changes: Any) -> bytes:
    content = json.loads((package.folder / MANIFEST_NAME).read_bytes())
    return json.dumps(content | changes).encode()


def read(content: bytes, *, product: str = "ring", max_bytes: int = 10**9) -> None:
    digest = hashlib.sha256(content).hexdigest()
    read_manifest(content, package_id=digest, product=product, max_package_bytes=max_bytes)


def test_manifest_of_the_assigned_package_is_read(package: BuiltPackage) -> None:
    content = (package.folder / MANIFEST_NAME).read_bytes()
    found = read_manifest(content, package_id=package.package_id, product="ring", max_package_bytes=10**9)
    assert found == package.manifest


def test_manifest_whose_tiles_do_not_make_up_its_field_is_refused(package: BuiltPackage) -> None:
    graph = json.loads((package.folder / MANIFEST_NAME).read_bytes())["graph"]
    with pytest.raises(PackageRefused, match="square tiles of one size to make up the field") as caught:
        read(_manifest(package, graph=graph | {"tiles": {"rows": 1, "columns": 2}}))
    assert caught.value.reason is RefusalReason.UNREADABLE


def test_manifest_with_another_digest_is_refused(package: BuiltPackage) -> None:
    with pytest.raises(PackageRefused) as caught:
        read_manifest(_manifest(package), package_id="b" * 64, product="ring", max_package_bytes=10**9)
    assert caught.value.reason is RefusalReason.DIGEST


FILE = {"role": "model", "sha256": "0" * 64, "size_bytes": 1}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"product": "board"}, RefusalReason.WRONG_PRODUCT),
        ({"schema_version": "2.0"}, RefusalReason.UNREADABLE),
        ({"files": []}, RefusalReason.UNREADABLE),
        ({"files": [FILE | {"name": "a.onnx"}] * 2}, RefusalReason.UNREADABLE),
        ({"files": [FILE | {"name": "../a"}, FILE | {"name": "b"}]}, RefusalReason.UNREADABLE),
        ({"files": [FILE | {"name": "a"}, FILE | {"name": "b"}]}, RefusalReason.UNREADABLE),
        ({"golden": {"file": "int8-u8s8.onnx", "images": 1, "tolerance": 1}}, RefusalReason.UNREADABLE),
        ({"golden": {"file": "golden.npz", "images": 1, "tolerance": 0}}, RefusalReason.UNREADABLE),
        ({"limits": {"ok_limit": 2, "ng_limit": 1, "sound_parts": 1, "rule": ""}}, RefusalReason.UNREADABLE),
        ({"variants": [{"variant": "fp32", "file": "absent.onnx"}]}, RefusalReason.UNREADABLE),
        ({"filler": "x" * MAX_MANIFEST_BYTES}, RefusalReason.TOO_LARGE),
    ],
)
def test_manifest_that_breaks_a_rule_is_refused(
    package: BuiltPackage, changes: dict[str, Any], reason: RefusalReason
) -> None:
    with pytest.raises(PackageRefused) as caught:
        read(_manifest(package, **changes))
    assert caught.value.reason is reason


def test_package_larger_than_the_bound_is_refused(package: BuiltPackage) -> None:
    with pytest.raises(PackageRefused) as caught:
        read(_manifest(package), max_bytes=100)
    assert caught.value.reason is RefusalReason.TOO_LARGE


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"{}",
        b'{"keyid":"x"}',
        json.dumps(CryptoSigner.generate_ecdsa().public_key.to_dict() | {"keyid": "x"}).encode(),
    ],
)
def test_assignment_key_that_is_no_ed25519_key_is_a_settings_fault(text: bytes) -> None:
    with pytest.raises(SettingsError, match=r"trust\.assignment_key"):
        load_assignment_key(text)


def test_accepted_assignment_is_verified_again_when_read(tmp_path: Path) -> None:
    path = tmp_path / "assignment.json"
    fresh = AcceptedAssignment(path, KEY)
    assert (fresh.number, fresh.last, fresh.damage) == (0, None, "")
    fresh.save(sealed(assignment(4)), opened(assignment(4)))
    again = AcceptedAssignment(path, KEY)
    assert again.number == 4
    assert again.last == opened(assignment(4))
    foreign = AcceptedAssignment(path, CryptoSigner.generate_ed25519().public_key)
    assert (foreign.number, foreign.last) == (4, None)
    assert "cannot be used" in foreign.damage
    path.write_bytes(b"{")
    damaged = AcceptedAssignment(path, KEY)
    assert (damaged.number, damaged.last) == (0, None)
    assert damaged.damage
