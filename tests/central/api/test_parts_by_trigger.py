# SPDX-License-Identifier: Apache-2.0
"""A part that the line names, from its trigger to central's API: its name, number and time, also unseen."""

from datetime import datetime
from typing import Any

from contracts.codec import decode, encode
from contracts.reports import InspectionsReported
from contracts.vocabulary import Role
from edge_agent.frame_queue import FrameQueue
from tests.central.api.conftest import Api
from tests.edge.station_fakes import STATION, Bench
from tests.edge.triggering.rigs import Paired


def _parts(api: Api) -> dict[str, Any]:
    answer = api.as_(Role.VIEWER).get("/api/v1/inspections", params={"limit": 10})
    assert answer.status_code == 200, answer.text
    return {item["part_id"]: item for item in answer.json()["items"]}


def test_name_number_and_capture_time_of_a_part_ride_from_its_trigger_to_the_api(api: Api) -> None:
    line, station, queue = Paired("hardware", window_s=0.04, arrival_s=0.05), Bench(), FrameQueue(4)
    station.activate(0.1)
    for number in (1, 2, 3):
        line.triggers.at(0.1 * number, f"SN-{number}", number=4710 + number)
    line.frames_at(0.11, 0.31)
    frames = line.run(1.0)
    for frame in frames:
        queue.put(frame)
        queued = queue.get(0.0)
        assert queued is not None
        station.loop.inspect(queued)
    sent = InspectionsReported(station=STATION, epoch=77, reports=station.outbox.reports)
    api.store(*decode(InspectionsReported, encode(sent)).reports, epoch=77)
    found = _parts(api)
    assert list(found) == ["SN-3", "SN-2", "SN-1"]
    assert [found[f"SN-{number}"]["trigger_number"] for number in (1, 2, 3)] == [4711, 4712, 4713]
    assert [found[f"SN-{number}"]["verdict"] for number in (1, 2, 3)] == ["OK", "NO_DECISION", "OK"]
    assert (found["SN-2"]["cause"], found["SN-2"]["disposition"]) == ("MISSED_FRAME", "HELD")
    for number, frame in enumerate(frames, 1):
        captured_at = datetime.fromisoformat(found[f"SN-{number}"]["captured_at"])
        assert captured_at == frame.captured_at
