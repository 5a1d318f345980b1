# SPDX-License-Identifier: Apache-2.0
"""Attacks by who holds the server and the wire: each is refused, said why, and leaves the station as it was."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tuf.api.metadata import Metadata, Root, Targets

from central.key_plans import KeyPlans
from central.trust.enrolment import open_repository
from central.trust.keys import KeyName
from contracts.vocabulary import RefusalReason, Variant
from tests.edge.attacks.conftest import Target
from tests.edge.attacks.evil_server import EvilServer
from tests.edge.packages.conftest import STATION
from tests.fakes.packages import BuiltPackage, brightness_graph

REASON = RefusalReason


def assign(target: Target, package: BuiltPackage, number: int = 2) -> None:
    target.assign(number, {"ring": package.package_id})


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "int8-u8s8.onnx", "fp32.onnx"])
def test_altered_target_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage, name: str) -> None:
    package = target.built("next")
    path = f"targets/ring/{package.package_id}/{name}"
    content = evil.answer(path)
    assert content is not None
    evil.replaced[path] = content[:-1] + bytes([content[-1] ^ 1])
    assign(target, package)
    target.assert_refused(champion, REASON.DIGEST)


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets", "product-ring"])
def test_altered_metadata_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage, role: str) -> None:
    package = target.built("next")
    name = "timestamp.json" if role == "timestamp" else evil.newest(role)
    content = json.loads(evil.metadata(name))
    content["signed"]["expires"] = "2099-01-01T00:00:00Z"
    evil.replaced[f"metadata/{name}"] = json.dumps(content).encode()
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


def test_altered_root_is_refused_and_its_keys_do_not_count(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    package = target.built("next")
    coming = Metadata[Root].from_bytes(evil.root)
    coming.signed.version = 2
    # All of the station's trust, for the asking: signed by everyone but the root key.
    for name in (KeyName.PACKAGING, KeyName.SNAPSHOT, KeyName.TIMESTAMP):
        coming.sign(evil.key(name), append=True)
    evil.replaced["metadata/2.root.json"] = coming.to_bytes()
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)
    target.wait(lambda: any(fault.code == "root-refused" for fault in target.roots.faults()))
    assert target.keys.version == 1


def test_rollback_of_metadata_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    old = evil.metadata("timestamp.json")
    second, third = target.built("second"), target.built("third", scale=1.5)
    assign(target, second)
    target.wait_active(second)
    evil.replaced["metadata/timestamp.json"] = old
    assign(target, third, number=3)
    target.assert_refused(second, REASON.ROLLBACK)
    assert champion.package_id == target.store.slots("ring").previous


def test_freeze_with_an_expired_timestamp_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    package = target.built("next")
    evil.repository.resign(set(), datetime.now(UTC) - timedelta(days=8))
    assign(target, package)
    assert "expired" in target.assert_refused(champion, REASON.EXPIRED).lower()


@pytest.mark.parametrize("role", ["snapshot", "product-ring"])
def test_mix_and_match_of_metadata_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage, role: str
) -> None:
    old = evil.metadata(evil.newest(role))
    package = target.built("next")
    evil.replaced[f"metadata/{evil.newest(role)}"] = old
    assign(target, package)
    target.assert_refused(champion, REASON.ROLLBACK)


@pytest.mark.parametrize("where", ["metadata/timestamp.json", "metadata/2.root.json", "targets"])
def test_endless_data_is_cut_off(target: Target, evil: EvilServer, champion: BuiltPackage, where: str) -> None:
    package = target.built("next")
    evil.endless.add(f"targets/ring/{package.package_id}/golden.npz" if where == "targets" else where)
    assign(target, package)
    target.assert_refused(champion, REASON.TOO_LARGE)


def test_ten_gigabytes_of_zeros_packed_on_the_wire_are_cut_off(
    target: Target, evil: EvilServer, champion: BuiltPackage, zeros_gzip: bytes
) -> None:
    package = target.built("next")
    evil.zipped[f"targets/ring/{package.package_id}/fp32.onnx"] = zeros_gzip
    assign(target, package)
    target.assert_refused(champion, REASON.TOO_LARGE)


@pytest.mark.parametrize("where", ["metadata/timestamp.json", "targets"])
def test_slow_retrieval_is_given_up_and_told(target: Target, evil: EvilServer, where: str) -> None:
    target.max_file_s = 0.5
    first = target.built("champion", scale=1.0)
    target.start()
    assign(target, first, number=1)
    target.wait_active(first)
    package = target.built("next")
    evil.dripping.add(f"targets/ring/{package.package_id}/golden.npz" if where == "targets" else where)
    assign(target, package)
    # Not refused for good: a slow link is a link, and is tried again.
    target.wait(lambda: (row := target.progress()) is not None and row.reason is REASON.UNREACHABLE)
    row = target.progress()
    assert row is not None
    assert "not complete after 0.5 s" in row.detail or "bytes in time" in row.detail
    evil.dripping.clear()
    target.wait_active(package)
    target.assert_unharmed(package)


def test_package_of_a_wrong_product_is_refused(target: Target, champion: BuiltPackage) -> None:
    assign(target, target.built("board", "board"))
    assert "published for board" in target.assert_refused(champion, REASON.WRONG_PRODUCT)


def test_package_of_a_wrong_product_under_the_right_name_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    """The packaging key's holder errs: the manifest of another product, listed by this product's role."""
    package = target.built("board", "board")
    state = evil.repository.state()
    for path, listed in list(state.listed("product-board").items()):
        state.listed("product-ring")[path.replace("board/", "ring/", 1)] = type(listed)(
            listed.length, listed.hashes, path.replace("board/", "ring/", 1), {}
        )
    evil.repository._write(state, {"product-ring"}, datetime.now(UTC))
    assign(target, package)
    target.assert_refused(champion, REASON.WRONG_PRODUCT)


def test_package_signed_by_another_products_key_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    """Who may publish boards lists a ring under the ring's name, and the walk of roles comes to him first."""
    target.built("board", "board")
    evil.exchange("product:board")
    package = target.built("next")
    state = evil.repository.state()
    state.listed("product-board").update(state.listed("product-ring"))
    state.listed("product-ring").clear()
    delegations = state.targets.signed.delegations
    assert delegations is not None
    assert delegations.roles is not None
    # Even delegated too widely, a role speaks for its own product alone.
    delegations.roles["product-board"].paths = ["*/*/*"]
    delegations.roles = dict(sorted(delegations.roles.items()))
    assert next(iter(delegations.roles)) == "product-board"
    evil.repository._write(state, {"product-ring", "product-board", Targets.type}, datetime.now(UTC))
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


@pytest.mark.parametrize("prefix", ["ring/", ""])
def test_package_that_the_top_targets_alone_name_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage, prefix: str
) -> None:
    package = target.built("next")
    state = evil.repository.state()
    for path in [each for each in state.listed("product-ring") if package.package_id in each]:
        listed = state.listed("product-ring").pop(path)
        if prefix:
            # Under the old path, without the product, the top targets name it already.
            state.listed(Targets.type)[path] = listed
    evil.repository._write(state, {"product-ring", Targets.type}, datetime.now(UTC))
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


def test_package_without_any_signature_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    package = target.build("unsigned")
    shutil.copytree(package.folder, evil.trust_dir / "tuf" / "targets" / package.package_id)
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


def test_package_of_a_wrong_variant_is_refused(target: Target, champion: BuiltPackage) -> None:
    assign(target, target.built("gpu", graphs={Variant.FP16: brightness_graph(2.0)}))
    target.assert_refused(champion, REASON.NO_VARIANT)


def test_variant_in_the_place_of_another_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    graphs = {Variant.INT8_U8S8: brightness_graph(2.0), Variant.FP32: brightness_graph(2.5)}
    package = target.built("next", graphs=graphs)
    content = evil.answer(f"targets/ring/{package.package_id}/fp32.onnx")
    assert content is not None
    evil.replaced[f"targets/ring/{package.package_id}/int8-u8s8.onnx"] = content
    assign(target, package)
    target.assert_refused(champion, REASON.DIGEST)


@pytest.mark.parametrize("stolen", [KeyName.PACKAGING, KeyName.SNAPSHOT, KeyName.TIMESTAMP, "product:ring"])
def test_package_signed_by_a_revoked_key_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage, tmp_path: Path, stolen: str
) -> None:
    if stolen == "product:ring":
        evil.exchange(stolen)
    forged = Path(shutil.copytree(evil.trust_dir, tmp_path / "forged"))
    # The thief has every key of that day; one of them was exchanged since, which must be enough.
    evil.exchange(stolen)
    package, now = target.build("evil"), datetime.now(UTC)
    repository = open_repository(forged)
    repository.publish(package.folder, package.package_id, now)
    for _ in range(3):
        # Ahead of the real versions, so that it is not refused for being old.
        repository.resign({Targets.type, "product-ring"}, now)
    if stolen == "product:ring":
        # Of the delegator he has nothing: the delegation is the real one.
        _sign_as_the_real_one(evil, repository.metadata_dir)
    evil.forged = forged
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


def _sign_as_the_real_one(evil: EvilServer, forged_metadata: Path) -> None:
    """The real targets, snapshot and timestamp, but of the product's role the thief's file under the real version."""
    theirs = max(forged_metadata.glob("*.product-ring.json"), key=lambda path: int(path.name.split(".")[0]))
    metadata = Metadata[Targets].from_file(str(theirs))
    real = evil.newest("product-ring")
    metadata.signed.version = int(real.split(".")[0])
    content = metadata.to_bytes()
    for path in forged_metadata.iterdir():
        path.unlink()
    (forged_metadata / real).write_bytes(content)


def test_withdrawn_package_is_refused(target: Target, evil: EvilServer, champion: BuiltPackage) -> None:
    package = target.built("evil")
    evil.exchange(KeyName.PACKAGING, withdraws=(package.package_id,))
    assign(target, package)
    target.assert_refused(champion, REASON.SIGNATURE)


def test_withdrawn_package_on_the_stations_own_disk_is_refused(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    """It judged here before, so nothing of it need be downloaded."""
    package = target.built("next")
    assign(target, package)
    target.wait_active(package)
    evil.exchange(KeyName.PACKAGING, withdraws=(champion.package_id,))
    assign(target, champion, 3)
    target.assert_refused(package, REASON.SIGNATURE)


def test_station_follows_every_exchange_of_keys_and_loses_nothing(
    target: Target, evil: EvilServer, champion: BuiltPackage
) -> None:
    """The other side of all refusals: what central does by its own rules is taken."""
    for name in (KeyName.PACKAGING, KeyName.SNAPSHOT, KeyName.TIMESTAMP, "product:ring", KeyName.PACKAGING):
        evil.exchange(name)
    assert KeyPlans(evil.trust_dir, datetime.now(UTC)).repository.root().signed.version == 5
    package = target.built("next")
    assign(target, package)
    target.wait_active(package)
    assert target.judge()[1] == package.package_id
    assert champion.package_id == target.store.slots("ring").previous
    assert str(STATION) == str(target.status().station)
