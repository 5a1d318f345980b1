# SPDX-License-Identifier: Apache-2.0
"""Downloads go on where they stopped, take what is here already, and believe no server."""

import shutil
from hashlib import sha256
from pathlib import Path

import pytest

from contracts.vocabulary import RefusalReason, Variant
from edge_agent.errors import TransportError
from edge_agent.packages.trust import PackageRefused
from tests.edge.packages.fetching import BANK_BYTES, TRUNK, Rig, bank
from tests.fakes.package_server import PackageServer
from tests.fakes.packages import BuiltPackage, build_package, weighted_graph


@pytest.fixture
def rig(tmp_path: Path, server: PackageServer) -> Rig:
    return Rig(tmp_path, server)


def test_download_goes_on_where_the_network_was_cut(rig: Rig) -> None:
    package = rig.build("first", has_chunks=False)
    rig.server.ranges.cut_after[rig.graph(package)] = 100_000
    with pytest.raises(TransportError, match="check the link"):
        rig.fetch(package)
    here = (rig.into / "fp32.onnx.part").stat().st_size
    assert 0 < here <= 100_000
    rig.fetch(package)
    size = (package.folder / "fp32.onnx").stat().st_size
    assert rig.asked(package) == ["", f"bytes={here}-{size - 1}"]
    assert rig.is_right(package)


def test_link_that_breaks_within_every_chunk_still_brings_the_file(rig: Rig) -> None:
    package = rig.build("first")
    for _ in range(3):
        rig.server.ranges.cut_after[rig.graph(package)] = TRUNK.nbytes // 2
        with pytest.raises(TransportError):
            rig.fetch(package)
    rig.fetch(package)
    begins = [int(told.removeprefix("bytes=").split("-")[0]) for told in rig.asked(package)[1:]]
    assert begins == sorted(set(begins))
    assert begins[-1] > TRUNK.nbytes
    assert rig.is_right(package)


def test_what_has_come_before_is_not_fetched_again(rig: Rig) -> None:
    package = rig.build("first")
    rig.server.ranges.cut_after[rig.graph(package)] = 10
    with pytest.raises(TransportError):
        rig.fetch(package)
    rig.fetch(package)
    assert sum("golden" in path for path, _ in rig.server.ranges.asked) == 1
    assert rig.is_right(package)


def test_server_without_ranges_sends_all_of_it_again(rig: Rig) -> None:
    package = rig.build("first")
    rig.server.ranges.is_served = False
    rig.server.ranges.cut_after[rig.graph(package)] = TRUNK.nbytes + 50_000
    with pytest.raises(TransportError):
        rig.fetch(package)
    rig.fetch(package)
    assert rig.is_right(package)


@pytest.mark.parametrize("lie", ["shifted", "elsewhere", "too-long", "none-there"])
@pytest.mark.parametrize("has_chunks", [True, False])
def test_server_that_lies_about_ranges_is_asked_for_all_of_it_once(rig: Rig, lie: str, has_chunks: bool) -> None:
    package = rig.build("first", has_chunks=has_chunks)
    rig.server.ranges.cut_after[rig.graph(package)] = TRUNK.nbytes + 50_000
    with pytest.raises(TransportError):
        rig.fetch(package)
    rig.server.ranges.lie = lie
    rig.fetch(package)
    assert rig.is_right(package)
    assert [bool(told) for told in rig.asked(package)] == [False, True, False]


def test_file_that_changed_between_two_ranges_is_fetched_anew(rig: Rig) -> None:
    """The first half came of another file: halves of two files never make a package."""
    package = rig.build("first", has_chunks=False)
    right = (package.folder / "fp32.onnx").read_bytes()
    rig.server.replaced[rig.graph(package)] = bytes(len(right))
    rig.server.ranges.cut_after[rig.graph(package)] = 100_000
    with pytest.raises(TransportError):
        rig.fetch(package)
    del rig.server.replaced[rig.graph(package)]
    rig.fetch(package)
    assert rig.is_right(package)


def test_file_that_changes_for_good_is_refused_and_nothing_of_it_stays(rig: Rig) -> None:
    package = rig.build("first", has_chunks=False)
    rig.server.ranges.cut_after[rig.graph(package)] = 100_000
    with pytest.raises(TransportError):
        rig.fetch(package)
    rig.server.replaced[rig.graph(package)] = bytes((package.folder / "fp32.onnx").stat().st_size)
    with pytest.raises(PackageRefused) as caught:
        rig.fetch(package)
    assert caught.value.reason is RefusalReason.DIGEST
    assert not list(rig.into.glob("fp32*"))


def test_change_while_ranges_of_one_file_are_fetched_is_noticed_by_its_etag(rig: Rig) -> None:
    old = rig.build("old", {"trunk": TRUNK, "bank": bank(), "more": TRUNK + 1, "head": bank()})
    new = rig.build("new", {"trunk": TRUNK, "bank": bank(), "more": TRUNK + 1, "head": bank()})
    right = (new.folder / "fp32.onnx").read_bytes()
    asked: list[str] = []

    def change(path: str) -> None:
        if path == rig.graph(new):
            asked.append(path)
            if len(asked) == 2:
                rig.server.replaced[path] = right[:-1] + b"\0"

    rig.server.on_request = change
    with pytest.raises(PackageRefused) as caught:
        rig.fetch(new, have=[old.folder])
    assert caught.value.reason is RefusalReason.DIGEST
    # The second range was answered with the changed file, whole, since its ETag was another.
    assert [bool(told) for told in rig.asked(new)] == [True, True]


def test_never_more_than_the_signed_length_is_taken(rig: Rig) -> None:
    package = rig.build("first")
    right = (package.folder / "fp32.onnx").read_bytes()
    rig.server.replaced[rig.graph(package)] = right + bytes(3 * 1024 * 1024)
    with pytest.raises(PackageRefused) as caught:
        rig.fetch(package)
    assert caught.value.reason is RefusalReason.TOO_LARGE
    assert rig.transfer.done_bytes <= rig.transfer.total_bytes


def test_disk_without_room_is_refused_before_a_byte_of_a_graph_is_fetched(rig: Rig) -> None:
    package = rig.build("first")
    with pytest.raises(
        PackageRefused, match=r"bytes of room on the station's disk beside the 1000 that are kept"
    ) as no:
        rig.fetch(package, keep_free_bytes=1000, free_bytes=lambda _: 300_000)
    assert no.value.reason is RefusalReason.DISK
    assert "make room" in no.value.remedy
    assert rig.asked(package) == []
    rig.fetch(package, keep_free_bytes=1000, free_bytes=lambda _: 600_000)


def test_room_is_wanted_only_for_what_is_missing(rig: Rig) -> None:
    package = rig.build("first", has_chunks=False)
    rig.server.ranges.cut_after[rig.graph(package)] = TRUNK.nbytes
    with pytest.raises(TransportError):
        rig.fetch(package)
    here = (rig.into / "fp32.onnx.part").stat().st_size
    size = (package.folder / "fp32.onnx").stat().st_size
    rig.fetch(package, free_bytes=lambda _: size - here)
    assert rig.is_right(package)


def test_unchanged_tensors_are_taken_from_the_package_that_is_here(rig: Rig) -> None:
    old, new = rig.build("old"), rig.build("new")
    rig.fetch(new, have=[old.folder])
    assert rig.is_right(new)
    assert BANK_BYTES <= rig.server.ranges.sent[rig.graph(new)] < BANK_BYTES + 3000
    assert rig.transfer.done_bytes == rig.transfer.total_bytes
    assert rig.transfer.reused_bytes > TRUNK.nbytes


def test_package_from_before_there_were_chunks_gives_its_tensors_too(rig: Rig) -> None:
    old, new = rig.build("old", has_chunks=False), rig.build("new")
    rig.fetch(new, have=[old.folder])
    assert rig.is_right(new)
    assert rig.server.ranges.sent[rig.graph(new)] < BANK_BYTES + 3000


def test_release_of_new_limits_alone_fetches_its_manifest_alone(rig: Rig) -> None:
    old = rig.build("old")
    limits = old.manifest.limits.model_dump(exclude_none=True) | {"ok_limit": 0.61}
    new = rig.folder / "built" / "new"
    shutil.copytree(old.folder, new)
    content = old.manifest.model_copy(update={"limits": old.manifest.limits.model_validate(limits)}).model_dump_json(
        exclude_none=True
    )
    (new / "manifest.json").write_text(content)
    package = BuiltPackage(sha256(content.encode()).hexdigest(), new, old.manifest)
    rig.server.publish(package)
    rig.fetch(package, have=[old.folder])
    assert rig.is_right(package)
    sent = {path for path in rig.server.ranges.sent if path.startswith(f"targets/{package.package_id}/")}
    assert sent == {f"targets/{package.package_id}/manifest.json"}


@pytest.mark.parametrize("has_chunks", [True, False])
def test_copy_on_disk_that_was_altered_is_not_built_upon(rig: Rig, has_chunks: bool) -> None:
    old, new = rig.build("old", has_chunks=has_chunks), rig.build("new")
    content = bytearray((old.folder / "fp32.onnx").read_bytes())
    place = content.index(TRUNK.tobytes())
    content[place + 10] ^= 1
    (old.folder / "fp32.onnx").write_bytes(bytes(content))
    rig.fetch(new, have=[old.folder])
    assert rig.is_right(new)


def test_chunk_list_that_is_wrong_costs_bytes_and_no_trust(rig: Rig) -> None:
    old = rig.build("old")
    tensors = {"trunk": TRUNK, "bank": bank()}
    wrong = build_package(rig.folder / "built" / "probe", graphs={Variant.FP32: weighted_graph(tensors)})
    tree = wrong.manifest.model_dump(mode="json", exclude_none=True)
    for file in tree["files"]:
        # Digests of the old package's chunks: assembled so, it would be the old graph.
        if file["chunks"]:
            file["chunks"] = next(
                each.model_dump(mode="json")["chunks"] for each in old.manifest.files if each.name == file["name"]
            )
    new = rig.build("new", tensors, changes={"files": tree["files"]})
    rig.fetch(new, have=[old.folder])
    assert rig.is_right(new)
