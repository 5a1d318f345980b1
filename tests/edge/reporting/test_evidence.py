# SPDX-License-Identifier: Apache-2.0
"""Pictures are kept within bounds, brought to central in pieces that resume, and never hold anything up."""

import hashlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.commands import InspectionKey
from contracts.ids import InspectionId
from contracts.vocabulary import EvidenceKind
from edge_agent.clock import SystemClock
from edge_agent.reporting import free_room
from edge_agent.reporting.evidence import EvidenceRecorder
from edge_agent.reporting.ring import EvidenceRing
from edge_agent.reporting.ring_index import Wish
from edge_agent.reporting.uploader import EvidenceUploader
from tests.edge.reporting.builders import STATION
from tests.fakes.evidence_server import TOKEN, EvidenceServer
from tests.fakes.waiting import wait_until

EPOCH = 1000


def crop(seed: int, side: int = 48) -> NDArray[np.uint8]:
    """Noise: does not compress, so sizes are known."""
    return np.random.default_rng(seed).integers(0, 256, (side, side + 16, 3), dtype=np.uint8)


class World:
    """A recorder on a disk that survives restarts, and central."""

    def __init__(self, folder: Path, server: EvidenceServer) -> None:
        self.folder = folder
        self.server = server
        self._running: list[EvidenceRecorder] = []

    def start(self, *, is_running: bool = True, **bounds: object) -> EvidenceRecorder:
        self.recorder = EvidenceRecorder(
            self.folder,
            STATION,
            EvidenceUploader(self.server.url, TOKEN),
            SystemClock(),
            retry_first_s=0.05,
            retry_longest_s=0.1,
            **bounds,  # type: ignore[arg-type]
        )
        if is_running:
            self.recorder.start()
        self._running.append(self.recorder)
        return self.recorder

    def record(self, sequence: int, *, upload: bool = False, with_heatmap: bool = False) -> None:
        heatmap = np.full((8, 8), 0.5, dtype=np.float32) if with_heatmap else None
        inspection = InspectionId(station=STATION, epoch=EPOCH, sequence=sequence)
        self.recorder.record(inspection, crop(sequence), heatmap, upload=upload, is_simulated=True, ng_limit=1.0)

    def request(self, *sequences: int) -> None:
        self.recorder.request([InspectionKey(epoch=EPOCH, sequence=sequence) for sequence in sequences])

    def uploaded(self) -> list[tuple[int, str]]:
        """(sequence, kind) of what central has whole, in the order of the offers."""
        return [
            (offer["inspection"]["sequence"], offer["kind"])
            for offer in self.server.offers
            if offer["sha256"] in self.server.complete
        ]

    def stop(self) -> None:
        for recorder in self._running:
            recorder.stop()
        self._running.clear()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with EvidenceServer() as server:
        made = World(tmp_path / "evidence", server)
        yield made
        made.stop()


def test_rejected_parts_are_uploaded_by_themselves_and_others_only_kept(world: World) -> None:
    world.start()
    world.record(1)
    world.record(2, upload=True, with_heatmap=True)
    wait_until(lambda: len(world.server.complete) == 2)
    assert world.uploaded() == [(2, "CROP"), (2, "HEATMAP")]
    assert all(offer["is_simulated"] for offer in world.server.offers)
    wait_until(lambda: world.recorder.pending == 0)
    assert world.recorder.dropped == 0


def test_uploaded_crop_is_the_very_picture_that_was_judged(world: World) -> None:
    world.start()
    world.record(5, upload=True)
    wait_until(lambda: len(world.server.complete) == 1)
    (content,) = world.server.complete.values()
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded, crop(5))


def test_requested_pictures_are_uploaded_and_missing_ones_are_reported(world: World) -> None:
    world.start()
    for sequence in range(1, 4):
        world.record(sequence)
    world.request(2, 77, 78)
    wait_until(lambda: world.uploaded() == [(2, "CROP")] and len(world.server.unavailable) == 2)
    assert sorted(world.server.unavailable) == [77, 78]
    wait_until(lambda: world.recorder.pending == 0)
    world.request(2)
    wait_until(lambda: len(world.server.offers) == 2)


def test_requested_pictures_go_before_automatic_ones(world: World) -> None:
    world.start(may_upload=lambda: False)
    for sequence in range(1, 6):
        world.record(sequence, upload=sequence < 5)
    world.request(5)
    assert world.recorder.flush(60)
    world.stop()
    world.start()
    wait_until(lambda: len(world.server.complete) == 5)
    assert world.uploaded()[0] == (5, "CROP")


def test_upload_queue_missing_list_and_ring_survive_a_restart(world: World) -> None:
    world.server.token = "another"  # central refuses everything for now
    world.start()
    world.record(1, upload=True)
    world.record(2)
    world.request(99)
    assert world.recorder.flush(60)
    wait_until(lambda: [fault.code for fault in world.recorder.faults()] == ["evidence-token"])
    world.stop()
    world.server.token = TOKEN
    world.start()
    wait_until(lambda: world.uploaded() == [(1, "CROP")] and world.server.unavailable == [99])
    world.request(2)
    wait_until(lambda: (2, "CROP") in world.uploaded())


def test_token_fault_is_cleared_when_central_accepts_again(world: World) -> None:
    world.server.token = "another"
    world.start()
    world.record(1, upload=True)
    wait_until(lambda: bool(world.recorder.faults()))
    world.server.token = TOKEN
    wait_until(lambda: len(world.server.complete) == 1 and not world.recorder.faults())


def test_broken_upload_resumes_where_central_stands(world: World) -> None:
    world.server.break_after = [2000, 3000]
    world.start()
    world.record(1, upload=True)
    wait_until(lambda: len(world.server.complete) == 1)
    size = len(next(iter(world.server.complete.values())))
    assert [(offset, count) for _, offset, count in world.server.puts] == [(0, 2000), (2000, 3000), (5000, size - 5000)]


def test_wrong_bytes_at_central_are_sent_again_from_the_start(world: World) -> None:
    world.start(may_upload=lambda: False)
    world.record(1, upload=True)
    assert world.recorder.flush(60)
    picture = world.recorder._ring.next_wanted()
    assert picture is not None
    world.server.partial[picture.sha256] = b"rubbish"
    world.stop()
    world.start()
    wait_until(lambda: picture.sha256 in world.server.complete)


@pytest.mark.parametrize("status", [404, 409, 429, 500, 503])
def test_passing_trouble_is_retried(world: World, status: int) -> None:
    world.server.forced = [status] * 3
    world.start()
    world.record(1, upload=True)
    wait_until(lambda: len(world.server.complete) == 1)
    assert world.recorder.counters.retries == 3


def test_picture_that_central_refuses_for_good_is_given_up(world: World) -> None:
    world.server.forced = [413]
    world.start()
    world.record(1, upload=True)
    world.record(2, upload=True)
    wait_until(lambda: len(world.server.complete) == 1)
    assert world.recorder.counters.refused == 1
    wait_until(lambda: world.recorder.pending == 0)


def test_picture_that_keeps_failing_does_not_hold_up_the_others(world: World) -> None:
    world.start(may_upload=lambda: False)
    for sequence in range(1, 4):
        world.record(sequence, upload=True)
    assert world.recorder.flush(60)
    bad = world.recorder._ring.next_wanted()
    assert bad is not None
    world.server.refused_digests[bad.sha256] = 500
    world.stop()
    world.start()
    wait_until(lambda: len(world.server.complete) == 2)
    world.server.refused_digests.clear()
    wait_until(lambda: len(world.server.complete) == 3)


def test_ring_keeps_the_newest_inspections(world: World, tmp_path: Path) -> None:
    recorder = world.start(max_inspections=5)
    for sequence in range(1, 21):
        world.record(sequence)
        assert recorder.flush(60)
    names = sorted(path.name for path in (tmp_path / "evidence" / "pictures").iterdir())
    assert names == sorted(f"{EPOCH}-{sequence}-crop.bmp" for sequence in range(16, 21))
    assert recorder._ring.inspections == 5
    assert recorder.dropped == 0


def test_ring_is_bounded_in_bytes(world: World, tmp_path: Path) -> None:
    recorder = world.start(max_bytes=50_000)
    for sequence in range(1, 21):
        world.record(sequence)
        assert recorder.flush(60)
    on_disk = sum(path.stat().st_size for path in (tmp_path / "evidence" / "pictures").iterdir())
    assert on_disk == recorder._ring.size_bytes
    assert 20_000 < on_disk <= 50_000


def test_pictures_waiting_for_upload_outlive_others_until_their_own_bound(world: World) -> None:
    world.server.token = "another"
    recorder = world.start(max_inspections=6, max_pending=3)
    for sequence in range(1, 6):
        world.record(sequence, upload=True)
        assert recorder.flush(60)
    assert recorder.pending == 3
    assert recorder.dropped == 2
    for sequence in range(6, 30):
        world.record(sequence)
        assert recorder.flush(60)
    assert recorder.pending == 3
    world.server.token = TOKEN
    wait_until(lambda: {key for key, _ in world.uploaded()} == {3, 4, 5})


def test_full_queue_gives_up_kept_pictures_before_wanted_ones(world: World) -> None:
    recorder = world.start(is_running=False, max_waiting=3)
    for sequence in range(1, 4):
        world.record(sequence)
    world.record(4)
    for sequence in range(5, 8):
        world.record(sequence, upload=True)
    assert recorder.counters.queue_dropped == 4
    assert recorder.dropped == 4
    recorder.start()
    wait_until(lambda: {key for key, _ in world.uploaded()} == {5, 6, 7})


def test_waiting_pictures_are_bounded_in_bytes(world: World) -> None:
    one = crop(1).nbytes
    recorder = world.start(is_running=False, max_waiting_bytes=3 * one + 1)
    for sequence in range(1, 8):
        world.record(sequence, upload=True)
    assert recorder.counters.queue_dropped == 4
    recorder.start()
    wait_until(lambda: {key for key, _ in world.uploaded()} == {5, 6, 7})


def test_recorded_crop_is_a_copy(world: World) -> None:
    recorder = world.start(is_running=False)
    image = crop(1)
    inspection = InspectionId(station=STATION, epoch=EPOCH, sequence=1)
    recorder.record(inspection, image, None, upload=True, is_simulated=True)
    image[:] = 0
    recorder.start()
    wait_until(lambda: len(world.server.complete) == 1)
    (content,) = world.server.complete.values()
    decoded = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert np.array_equal(decoded, crop(1))


def test_file_damaged_on_disk_is_not_uploaded_but_reported_missing(world: World, tmp_path: Path) -> None:
    world.start()
    world.record(1)
    assert world.recorder.flush(60)
    path = tmp_path / "evidence" / "pictures" / f"{EPOCH}-1-crop.bmp"
    path.write_bytes(path.read_bytes()[:-10])
    world.request(1)
    wait_until(lambda: world.server.unavailable == [1])
    assert not world.server.complete
    assert world.recorder.dropped == 1
    assert not path.exists()


def test_damaged_index_empties_the_ring_and_goes_on(world: World, tmp_path: Path) -> None:
    world.start()
    world.record(1)
    assert world.recorder.flush(60)
    world.stop()
    (tmp_path / "evidence" / "index.db").write_bytes(b"no database" * 500)
    world.start()
    assert not list((tmp_path / "evidence" / "pictures").iterdir())
    world.record(2, upload=True)
    wait_until(lambda: world.uploaded() == [(2, "CROP")])


def test_disk_that_takes_no_pictures_is_a_fault_and_counted(world: World, tmp_path: Path) -> None:
    recorder = world.start()
    pictures = tmp_path / "evidence" / "pictures"
    pictures.rmdir()
    world.record(1, upload=True)
    wait_until(lambda: [fault.code for fault in recorder.faults()] == ["evidence-disk"])
    assert recorder.dropped == 1
    pictures.mkdir()
    world.record(2, upload=True)
    wait_until(lambda: world.uploaded() == [(2, "CROP")] and not recorder.faults())


def test_digest_of_the_offer_is_that_of_the_bytes(world: World) -> None:
    world.start()
    world.record(1, upload=True, with_heatmap=True)
    wait_until(lambda: len(world.server.complete) == 2)
    for offer in world.server.offers:
        content = world.server.complete[offer["sha256"]]
        assert hashlib.sha256(content).hexdigest() == offer["sha256"]
        assert offer["size_bytes"] == len(content)
        assert EvidenceKind(offer["kind"])


def test_pictures_go_oldest_first_before_the_disk_has_less_than_its_reports_need(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 100_000

    def free_bytes(folder: Path) -> int:
        return free - sum(path.stat().st_size for path in folder.iterdir())

    monkeypatch.setattr(free_room, "free_bytes", free_bytes)
    recorder = world.start(keep_free_bytes=50_000)
    for sequence in range(1, 21):
        world.record(sequence)
        assert recorder.flush(5)
    kept = sorted(int(path.name.split("-")[1]) for path in (world.folder / "pictures").iterdir())
    assert kept == list(range(21 - len(kept), 21))
    assert 1 < len(kept) < 20
    recorder.make_room(90_000)
    assert recorder.flush(5)
    assert free_bytes(world.folder / "pictures") >= 90_000
    recorder.make_room(200_000)
    wait_until(lambda: recorder.flush(5) and not list((world.folder / "pictures").iterdir()))
    world.record(30)
    assert recorder.flush(5)
    free = 40_000
    world.record(31)
    assert recorder.flush(5)
    assert [fault.code for fault in recorder.faults()] == ["evidence-disk"]


def test_index_that_cannot_forget_a_row_for_want_of_room_gets_it_from_the_oldest_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = EvidenceRing(tmp_path, max_inspections=100, max_bytes=2**30, max_pending=10)
    for sequence in range(1, 31):
        key = InspectionKey(epoch=EPOCH, sequence=sequence)
        made.add(key, EvidenceKind.CROP, b"x" * 1000, is_simulated=True, wish=Wish.KEPT)
    monkeypatch.setattr(free_room, "free_bytes", lambda folder: 30_000 - 1000 * len(list(folder.iterdir())))
    evict = made._evict_oldest

    def evict_with_room() -> bool:
        if free_room.free_bytes(tmp_path / "pictures") < 5000:
            raise sqlite3.OperationalError("database or disk is full")
        return evict()

    monkeypatch.setattr(made, "_evict_oldest", evict_with_room)
    assert made.make_room(25_000)
    kept = sorted(int(path.name.split("-")[1]) for path in (tmp_path / "pictures").iterdir())
    assert kept == [26, 27, 28, 29, 30]
    made.close()
