# SPDX-License-Identifier: Apache-2.0
"""Packages on disk: whole or not there, checked again each time, two slots a product."""

import shutil
from pathlib import Path

import pytest

from contracts.vocabulary import RefusalReason, Variant
from edge_agent.packages.store import PackageStore, Slots
from edge_agent.packages.trust import PackageRefused
from tests.fakes.packages import BuiltPackage, build_package

VARIANTS = [Variant.INT8_U8S8, Variant.FP32]


@pytest.fixture
def store(tmp_path: Path) -> PackageStore:
    return PackageStore(tmp_path / "packages", max_package_bytes=10**9)


@pytest.fixture
def package(tmp_path: Path) -> BuiltPackage:
    return build_package(tmp_path / "built")


def keep(store: PackageStore, package: BuiltPackage) -> None:
    staged = store.stage()
    shutil.copytree(package.folder, staged, dirs_exist_ok=True)
    store.keep(staged, "ring", package.package_id)


def test_kept_package_is_loaded(store: PackageStore, package: BuiltPackage) -> None:
    assert store.load("ring", package.package_id, variants=VARIANTS) is None
    keep(store, package)
    found = store.load("ring", package.package_id, variants=VARIANTS)
    assert found is not None
    assert found.manifest == package.manifest
    assert store.products() == []


@pytest.mark.parametrize("name", ["manifest.json", "golden.npz", "fp32.onnx"])
def test_package_altered_on_disk_is_refused(
    store: PackageStore, package: BuiltPackage, tmp_path: Path, name: str
) -> None:
    keep(store, package)
    path = tmp_path / "packages" / "ring" / package.package_id / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(PackageRefused) as caught:
        store.load("ring", package.package_id, variants=VARIANTS)
    assert caught.value.reason is RefusalReason.DIGEST


def test_package_without_its_golden_set_is_refused(store: PackageStore, package: BuiltPackage, tmp_path: Path) -> None:
    keep(store, package)
    (tmp_path / "packages" / "ring" / package.package_id / "golden.npz").unlink()
    with pytest.raises(PackageRefused, match="missing"):
        store.load("ring", package.package_id, variants=VARIANTS)


def test_variant_that_is_not_on_disk_is_no_fault_while_another_is(
    store: PackageStore, package: BuiltPackage, tmp_path: Path
) -> None:
    keep(store, package)
    folder = tmp_path / "packages" / "ring" / package.package_id
    (folder / "fp32.onnx").unlink()
    assert store.load("ring", package.package_id, variants=VARIANTS) is not None
    assert store.load("ring", package.package_id, variants=[Variant.FP32]) is None


def test_half_downloaded_package_is_forgotten_at_the_next_start(
    store: PackageStore, package: BuiltPackage, tmp_path: Path
) -> None:
    staged = store.stage()
    shutil.copy(package.folder / "manifest.json", staged)
    again = PackageStore(tmp_path / "packages", max_package_bytes=10**9)
    assert not staged.exists()
    assert again.products() == []


def test_slots_move_current_to_previous_and_survive(store: PackageStore, tmp_path: Path) -> None:
    one, two = "1" * 64, "2" * 64
    assert store.slots("ring") == Slots()
    store.set_current("ring", one)
    store.set_current("ring", two)
    store.set_current("ring", two)
    assert store.slots("ring") == Slots(current=two, previous=one)
    store.set_current("ring", one)
    assert PackageStore(tmp_path / "packages", max_package_bytes=1).slots("ring") == Slots(current=one, previous=two)
    store.clear_current("ring")
    assert store.slots("ring") == Slots(current=None, previous=one)
    store.set_current("ring", one)
    assert store.slots("ring") == Slots(current=one, previous=None)
    assert store.products() == ["ring"]


def test_damaged_slots_count_as_unassigned(store: PackageStore, tmp_path: Path) -> None:
    store.set_current("ring", "1" * 64)
    (tmp_path / "packages" / "ring" / "slots.json").write_text('{"current": "../../etc"}')
    assert store.slots("ring") == Slots()


def test_prune_leaves_the_two_slots(store: PackageStore, tmp_path: Path) -> None:
    for digit in "123":
        (tmp_path / "packages" / "ring" / (digit * 64)).mkdir(parents=True)
        store.set_current("ring", digit * 64)
    store.prune("ring")
    folders = sorted(path.name for path in (tmp_path / "packages" / "ring").iterdir() if path.is_dir())
    assert folders == ["2" * 64, "3" * 64]
