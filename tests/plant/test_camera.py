# SPDX-License-Identifier: Apache-2.0
"""The camera simulator with a real client: every part has one truth, numbers have no gaps, losses are counted."""

import socket
import sqlite3
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from contracts.frames import FrameHeader, unpack_frame
from contracts.ids import StationAddress
from plant.errors import PlantError
from plant.line.camera import CameraSimulator
from plant.line.cameras import LineSimulator
from plant.line.feed import LinePart
from plant.line.truth import PartTruth, TruthBook
from plant.scenario import load_scenario

STATION = StationAddress(site="demo", line="line-1", station="st-1")
Eventually = Callable[[Callable[[], object], str], None]


class NumberedFeed:
    """Parts whose pixels tell their trigger number and side."""

    def __init__(self, size_px: int = 16, dropped: frozenset[int] = frozenset(), fails_at: int | None = None) -> None:
        self._size, self._dropped, self._fails_at = size_px, dropped, fails_at

    def part(self, trigger_number: int, side: str, since_side: int) -> LinePart:
        if trigger_number == self._fails_at:
            raise ValueError("picture 7 cannot be read")
        pixels = np.full((self._size, self._size, 3), trigger_number % 256, np.uint8)
        return LinePart(
            pixels=pixels,
            part_number=trigger_number,
            part_id=f"{side}-{trigger_number}-{since_side}",
            product="ring",
            is_defective=trigger_number % 5 == 0,
            defect_class="pit" if trigger_number % 5 == 0 else None,
            severity=None,
            mask_px=None,
            side=side,
            is_dropped=trigger_number in self._dropped,
        )

    def commissioning(self, product: str, count: int) -> Iterator[LinePart]:
        del product, count
        yield from ()


class Client:
    """A station's end of the wire."""

    def __init__(self, camera: CameraSimulator) -> None:
        self._socket = socket.create_connection(("127.0.0.1", camera.port), timeout=20)
        self._file = self._socket.makefile("rb")

    def frame(self) -> tuple[FrameHeader, bytes]:
        (length,) = struct.unpack(">I", self._file.read(4))
        return unpack_frame(self._file.read(length))

    def close(self) -> None:
        self._file.close()
        self._socket.close()


@pytest.fixture(name="truth")
def _truth(tmp_path: Path) -> Iterator[TruthBook]:
    book = TruthBook(tmp_path / "truth.db")
    yield book
    book.close()


@pytest.fixture(name="started")
def _started(truth: TruthBook) -> Iterator[Callable[..., CameraSimulator]]:
    cameras: list[CameraSimulator] = []

    def start(
        feed: NumberedFeed | None = None, takt_s: float = 0.005, *, limit: int | None = None, queue_frames: int = 2
    ) -> CameraSimulator:
        def hold_at_limit(_station: StationAddress, _trigger: int) -> None:
            if camera.parts_passed == limit:
                camera.stop_line()

        camera = CameraSimulator(
            STATION, feed or NumberedFeed(), truth, takt_s, on_trigger=hold_at_limit, queue_frames=queue_frames
        )
        camera.start()
        cameras.append(camera)
        return camera

    yield start
    for camera in cameras:
        camera.stop()


@pytest.fixture(name="connected")
def _connected(eventually: Eventually) -> Iterator[Callable[[CameraSimulator], Client]]:
    clients: list[Client] = []

    def connect(camera: CameraSimulator) -> Client:
        before = camera.counters().connections
        client = Client(camera)
        clients.append(client)
        eventually(lambda: camera.counters().connections > before, "the camera never took the connection")
        return client

    yield connect
    for client in clients:
        client.close()


def test_frames_carry_every_trigger_in_order_and_truth_stands_before(
    started: Callable[..., CameraSimulator],
    connected: Callable[[CameraSimulator], Client],
    truth: TruthBook,
    eventually: Eventually,
) -> None:
    camera = started(limit=60, queue_frames=100)
    client = connected(camera)
    camera.start_line()
    for number in range(1, 61):
        header, picture = client.frame()
        row = truth.truth(str(STATION), header.trigger_number)
        assert row is not None, "a frame came before its truth"
        assert header.trigger_number == number
        assert (row.part_id, row.captured_at) == (header.part_id, header.captured_at)
        assert header.is_simulated
        assert picture == bytes([number % 256]) * (16 * 16 * 3)
    eventually(lambda: camera.parts_passed == 60, "the line did not end at its limit")
    assert truth.count() == 60
    eventually(lambda: camera.counters().frames_sent == 60, "a frame that was sent is not counted")


def test_without_a_station_parts_pass_and_are_counted_as_lost(
    started: Callable[..., CameraSimulator], truth: TruthBook, eventually: Eventually
) -> None:
    camera = started(limit=30)
    camera.start_line()
    eventually(lambda: camera.parts_passed == 30, "the line stands still without a station")
    counters = camera.counters()
    assert (counters.parts_passed, counters.lost_no_station, counters.frames_sent) == (30, 30, 0)
    assert [row.trigger_number for row in truth.rows()] == list(range(1, 31))


def test_a_slow_station_loses_frames_but_no_trigger(
    started: Callable[..., CameraSimulator],
    connected: Callable[[CameraSimulator], Client],
    truth: TruthBook,
    eventually: Eventually,
) -> None:
    camera = started(NumberedFeed(size_px=700), takt_s=0.002, limit=60)
    client = connected(camera)
    camera.start_line()
    eventually(lambda: camera.parts_passed == 60, "a slow station holds the line up")
    counters = camera.counters()
    assert counters.lost_slow_station > 0
    assert [row.trigger_number for row in truth.rows()] == list(range(1, 61))
    # What was on its way is still whole; a station that reads nothing at all for long is cut off instead.
    first = client.frame()[0].trigger_number
    assert client.frame()[0].trigger_number > first


def test_a_station_that_comes_back_goes_on_with_later_numbers(
    started: Callable[..., CameraSimulator],
    connected: Callable[[CameraSimulator], Client],
    truth: TruthBook,
    eventually: Eventually,
) -> None:
    camera = started()
    first = connected(camera)
    camera.start_line()
    last = max(first.frame()[0].trigger_number for _ in range(5))
    first.close()
    eventually(lambda: camera.counters().lost_no_station > 0, "the camera did not see the station leave")
    second = connected(camera)
    assert second.frame()[0].trigger_number > last
    camera.stop_line()
    numbers = [row.trigger_number for row in truth.rows()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_the_newest_connection_is_served(
    started: Callable[..., CameraSimulator], connected: Callable[[CameraSimulator], Client]
) -> None:
    camera = started()
    connected(camera)
    fresh = connected(camera)
    camera.start_line()
    assert fresh.frame()[0].trigger_number >= 1


def test_frames_that_the_camera_loses_still_count(
    started: Callable[..., CameraSimulator],
    connected: Callable[[CameraSimulator], Client],
    truth: TruthBook,
) -> None:
    camera = started(NumberedFeed(dropped=frozenset({2, 3})), limit=5, queue_frames=10)
    client = connected(camera)
    camera.start_line()
    assert [client.frame()[0].trigger_number for _ in range(3)] == [1, 4, 5]
    assert truth.count() == 5
    assert camera.counters().lost_in_camera == 2


def test_after_a_change_of_side_no_part_of_the_other_side_is_shown(
    started: Callable[..., CameraSimulator], truth: TruthBook, eventually: Eventually
) -> None:
    camera = started()
    camera.start_line()
    eventually(lambda: camera.parts_passed > 10, "no parts pass")
    camera.use_side("B")
    switched_at = truth.last_trigger(str(STATION))
    eventually(lambda: camera.parts_passed > switched_at + 10, "no parts pass after the change")
    camera.stop_line()
    rows = list(truth.rows())
    assert {row.side for row in rows if row.trigger_number > switched_at} == {"B"}
    assert {row.side for row in rows if row.trigger_number <= switched_at} == {"A"}
    # The other side is played from its beginning.
    first = next(row for row in rows if row.side == "B")
    assert first.part_id == f"B-{first.trigger_number}-0"
    assert [row.trigger_number for row in rows] == list(range(1, len(rows) + 1))


def test_a_restarted_camera_goes_on_after_the_last_number_in_the_book(
    truth: TruthBook, started: Callable[..., CameraSimulator], eventually: Eventually
) -> None:
    first = started(limit=7)
    first.start_line()
    eventually(lambda: first.parts_passed == 7, "the first run did not end")
    first.stop()
    second = started(limit=3)
    assert second.parts_passed == 0
    second.start_line()
    eventually(lambda: second.parts_passed == 3, "the second run did not end")
    assert [row.trigger_number for row in truth.rows()] == list(range(1, 11))


def test_a_part_that_cannot_be_shown_stops_the_line_and_says_why(
    started: Callable[..., CameraSimulator], truth: TruthBook, eventually: Eventually
) -> None:
    camera = started(NumberedFeed(fails_at=4))
    camera.start_line()
    eventually(lambda: camera.fault is not None, "the fault was swallowed")
    assert camera.fault == "part 4: picture 7 cannot be read"
    eventually(lambda: truth.count() == 3, "parts before the fault were not shown")


def test_a_held_line_passes_nothing(started: Callable[..., CameraSimulator], eventually: Eventually) -> None:
    camera = started(limit=4)
    assert camera.parts_passed == 0
    camera.start_line()
    eventually(lambda: camera.parts_passed == 4, "no parts pass")
    time.sleep(0.1)
    assert camera.parts_passed == 4, "a held line goes on"
    camera.start_line()
    eventually(lambda: camera.parts_passed > 4, "the line does not go on")


def test_a_part_whose_truth_cannot_be_written_stops_the_line_and_says_why(
    started: Callable[..., CameraSimulator],
    truth: TruthBook,
    eventually: Eventually,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(_row: PartTruth) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    camera = started(limit=3)
    camera.start_line()
    eventually(lambda: camera.parts_passed == 3, "no parts pass")
    monkeypatch.setattr(truth, "record", refuse)
    camera.start_line()
    eventually(lambda: camera.fault is not None, "the fault was swallowed")
    assert camera.fault == "part 4: database or disk is full"
    assert camera.parts_passed == 3


def test_a_station_that_does_not_read_holds_up_no_stop(
    started: Callable[..., CameraSimulator],
    connected: Callable[[CameraSimulator], Client],
    eventually: Eventually,
) -> None:
    camera = started(NumberedFeed(size_px=900), takt_s=0.002, limit=40)
    connected(camera)
    camera.start_line()
    eventually(lambda: camera.counters().lost_slow_station > 0, "the buffers never filled")
    camera.stop()
    assert not any(thread.is_alive() for thread in [*camera._threads, camera._server._thread])


def test_a_line_whose_camera_can_show_no_more_parts_says_so(
    started: Callable[..., CameraSimulator], eventually: Eventually
) -> None:
    camera = started(NumberedFeed(fails_at=1))
    line = LineSimulator(load_scenario("new-defect"), {"st-1": camera}, {})
    eventually(lambda: camera.fault is not None, "the fault was swallowed")
    with pytest.raises(PlantError, match="camera st-1 stands still at part 1: picture 7 cannot be read"):
        line.take_due_steps()
