# SPDX-License-Identifier: Apache-2.0
"""Crops that nobody wants yet are kept plain; what central is offered is PNG, whenever it is asked for."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.ids import InspectionId
from edge_agent.reporting import evidence, free_room
from edge_agent.reporting.pictures import PLAIN_EXTRA_BYTES, encode_crop, encode_plain, png_of
from edge_agent.reporting.ring import EvidenceRing
from tests.edge.reporting.builders import STATION
from tests.edge.reporting.test_evidence import EPOCH, World, crop
from tests.fakes.evidence_server import EvidenceServer
from tests.fakes.waiting import wait_until


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with EvidenceServer() as server:
        made = World(tmp_path / "evidence", server)
        yield made
        made.stop()


def kept(world: World) -> list[str]:
    return sorted(path.name for path in (world.folder / "pictures").iterdir())


def pixels(content: bytes) -> NDArray[np.uint8]:
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, dtype=np.uint8)


@pytest.mark.parametrize("shape", [(33, 47, 3), (256, 256, 3), (1, 1, 3), (700, 5, 3)])
def test_plain_picture_becomes_the_png_of_the_very_crop(shape: tuple[int, int, int]) -> None:
    picture = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    plain = encode_plain(picture)
    assert png_of(plain) == encode_crop(picture)
    assert picture.nbytes < len(plain) <= picture.nbytes + PLAIN_EXTRA_BYTES


def test_only_crops_that_are_to_be_uploaded_are_encoded_before_anybody_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []

    def counting(picture: NDArray[np.uint8]) -> bytes:
        encoded.append(picture.nbytes)
        return encode_crop(picture)

    monkeypatch.setattr(evidence, "encode_crop", counting)
    world.start()
    for sequence in range(1, 11):
        world.record(sequence, upload=sequence == 4)
    assert world.recorder.flush(60)
    assert len(encoded) == 1
    assert kept(world) == sorted(
        f"{EPOCH}-{sequence}-crop.{'png' if sequence == 4 else 'bmp'}" for sequence in range(1, 11)
    )


def test_requested_crop_is_offered_as_png_with_the_digest_of_its_bytes_and_kept_so(world: World) -> None:
    world.start()
    for sequence in (1, 2, 3):
        world.record(sequence)
    world.request(2)
    wait_until(lambda: world.uploaded() == [(2, "CROP")] and world.recorder.pending == 0)
    (offer,) = world.server.offers
    content = world.server.complete[offer["sha256"]]
    assert (offer["media_type"], offer["size_bytes"]) == ("image/png", len(content))
    assert hashlib.sha256(content).hexdigest() == offer["sha256"]
    assert content.startswith(b"\x89PNG")
    assert np.array_equal(pixels(content), crop(2))
    assert kept(world) == [f"{EPOCH}-1-crop.bmp", f"{EPOCH}-2-crop.png", f"{EPOCH}-3-crop.bmp"]
    assert world.recorder._ring.size_bytes == sum(path.stat().st_size for path in (world.folder / "pictures").iterdir())


def test_upload_of_a_requested_crop_that_broke_off_goes_on_with_the_same_bytes(world: World) -> None:
    world.server.break_after = [500]
    world.start()
    world.record(1)
    world.request(1)
    wait_until(lambda: len(world.server.complete) == 1)
    assert len({offer["sha256"] for offer in world.server.offers}) == 1
    assert [offset for _, offset, _ in world.server.puts] == [0, 500]


def test_crop_that_was_plain_before_a_restart_is_there_for_an_audit_after_it(world: World) -> None:
    world.start()
    world.record(7)
    assert world.recorder.flush(60)
    world.stop()
    world.start()
    world.request(7)
    wait_until(lambda: world.uploaded() == [(7, "CROP")])
    (content,) = world.server.complete.values()
    assert np.array_equal(pixels(content), crop(7))


def test_plain_crops_never_cost_the_ring_its_depth(world: World) -> None:
    """Where the bound of bytes would hold fewer plain ones than inspections are promised, all are PNG."""
    one = crop(1).nbytes + PLAIN_EXTRA_BYTES
    world.start(max_inspections=10, max_bytes=10 * one)
    world.record(1)
    assert world.recorder.flush(60)
    assert kept(world) == [f"{EPOCH}-1-crop.bmp"]
    world.stop()
    world.start(max_inspections=10, max_bytes=10 * one - 10)
    world.record(2)
    assert world.recorder.flush(60)
    assert kept(world) == [f"{EPOCH}-1-crop.bmp", f"{EPOCH}-2-crop.png"]


@pytest.mark.parametrize(("spare", "form"), [(0, "bmp"), (-1, "png")])
def test_plain_crops_never_cost_the_ring_its_depth_on_a_small_disk(
    world: World, monkeypatch: pytest.MonkeyPatch, spare: int, form: str
) -> None:
    one = crop(1).nbytes + PLAIN_EXTRA_BYTES
    monkeypatch.setattr(free_room, "free_bytes", lambda _folder: 5000 + 10 * one + spare)
    world.start(max_inspections=10, keep_free_bytes=5000)
    world.record(1)
    assert world.recorder.flush(60)
    assert kept(world) == [f"{EPOCH}-1-crop.{form}"]


def test_picture_without_colour_is_kept_as_png(world: World) -> None:
    world.start()
    grey = np.random.default_rng(1).integers(0, 256, (40, 40), dtype=np.uint8)
    inspection = InspectionId(station=STATION, epoch=EPOCH, sequence=1)
    world.recorder.record(inspection, grey, None, upload=False, is_simulated=True)
    assert world.recorder.flush(60)
    assert kept(world) == [f"{EPOCH}-1-crop.png"]


@pytest.mark.parametrize("left", ["bmp", "png"])
def test_process_that_ended_between_the_two_forms_leaves_one_picture(world: World, left: str) -> None:
    world.start()
    world.record(1)
    assert world.recorder.flush(60)
    world.stop()
    pictures = world.folder / "pictures"
    name = f"{EPOCH}-1-crop"
    if left == "png":
        # Ended after the index had turned: the plain file is the one too many.
        content = png_of((pictures / f"{name}.bmp").read_bytes())
        (pictures / f"{name}.png").write_bytes(content)
        with sqlite3.connect(world.folder / "index.db") as index:
            index.execute(
                "UPDATE picture SET form = 'png', sha256 = ?, size_bytes = ?",
                (hashlib.sha256(content).hexdigest(), len(content)),
            )
        index.close()
    else:
        (pictures / f"{name}.png").write_bytes(b"half of a PNG")
    world.start()
    assert kept(world) == [f"{name}.{left}"]
    world.request(1)
    wait_until(lambda: world.uploaded() == [(1, "CROP")])


def test_disk_that_cannot_keep_the_png_does_not_keep_the_crop_from_central(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(EvidenceRing, "replace", full)
    world.start()
    world.record(1)
    world.request(1)
    wait_until(lambda: world.uploaded() == [(1, "CROP")] and world.recorder.pending == 0)
    assert kept(world) == [f"{EPOCH}-1-crop.bmp"]


def test_crop_that_left_the_ring_while_it_became_a_png_leaves_no_file(world: World) -> None:
    world.start(may_upload=lambda: False)
    world.record(1)
    world.request(1)
    assert world.recorder.flush(60)
    picture = world.recorder._ring.next_wanted()
    assert picture is not None
    plain = world.recorder._ring.read(picture)
    assert plain is not None
    world.recorder._ring.make_room(2**62)
    world.recorder._as_png(picture, plain)
    assert kept(world) == []
    assert world.recorder._ring.size_bytes == 0


def test_ring_of_before_there_were_plain_pictures_is_taken_over(world: World) -> None:
    world.start()
    world.record(1, upload=True)
    wait_until(lambda: len(world.server.complete) == 1 and world.recorder.pending == 0)
    world.stop()
    with sqlite3.connect(world.folder / "index.db") as index:
        index.execute("ALTER TABLE picture DROP COLUMN form")
    index.close()
    world.start()
    assert kept(world) == [f"{EPOCH}-1-crop.png"]
    world.request(1)
    wait_until(lambda: world.uploaded() == [(1, "CROP"), (1, "CROP")])
