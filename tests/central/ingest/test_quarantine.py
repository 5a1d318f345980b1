# SPDX-License-Identifier: Apache-2.0
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlmodel import select

from central.store.tables import Inspection, Quarantine, Station
from contracts import codec
from contracts.codec import encode
from contracts.reports import InspectionsReported, StationReported
from contracts.topics import Channel, topic
from contracts.vocabulary import StationState
from tests.central.conftest import START, STATION, StillClock, make_report
from tests.central.ingest.conftest import EPOCH, Bench

TOPIC = topic(STATION, Channel.REPORT)


def _message(*sequences: int) -> dict[str, Any]:
    message = InspectionsReported(station=STATION, epoch=EPOCH, reports=[make_report(number) for number in sequences])
    body: dict[str, Any] = json.loads(encode(message))
    return body


def _quarantine(bench: Bench) -> list[Quarantine]:
    with bench.database.read() as session:
        return list(session.exec(select(Quarantine).order_by("id")).all())


@pytest.mark.parametrize(
    ("payload", "error"),
    [
        (b"", "Invalid JSON"),
        (b"\x00\xff not json", "Invalid JSON"),
        (b"[]", "object"),
        (b'{"station": 3}', "station"),
        (json.dumps(_message(1) | {"schema_version": "2.0"}).encode(), "expected schema version 1.x, got 2.0"),
        (json.dumps(_message(1) | {"reports": []}).encode(), "reports"),
        (json.dumps(_message(1) | {"reports": [{}] * 501}).encode(), "reports"),
        (
            json.dumps(_message(1) | {"station": {"site": "plant", "line": "line-1", "station": "st-9"}}).encode(),
            "expected plant/line-1/st-1 as in the topic",
        ),
    ],
)
def test_unreadable_message_is_kept_with_its_error_and_the_loop_goes_on(
    bench: Bench, payload: bytes, error: str
) -> None:
    bench.send_bytes(TOPIC, payload)
    bench.send([make_report(1)])
    bench.work()
    (kept,) = _quarantine(bench)
    assert (kept.topic, kept.payload) == (TOPIC, payload)
    assert error in kept.error
    assert bench.stored() == [1]
    assert bench.acknowledged == [0, 1]
    assert bench.service.counts.quarantined == 1


def test_same_poison_sent_for_ever_takes_one_row(bench: Bench) -> None:
    for _ in range(5):
        bench.send_bytes(TOPIC, b"poison")
        bench.work()
    assert len(_quarantine(bench)) == 1
    assert bench.acknowledged == [0, 1, 2, 3, 4]


def test_topic_that_is_not_ours_is_quarantined(bench: Bench) -> None:
    bench.send_bytes("sightline/v1/UPPER/line-1/st-1/report", json.dumps(_message(1)).encode())
    bench.work()
    assert "not one of ours" in _quarantine(bench)[0].error
    assert bench.stored() == []


def test_one_bad_report_is_set_aside_alone_and_receipted_as_quarantined(bench: Bench) -> None:
    message = _message(1, 2, 3)
    message["reports"][1]["verdict"] = "PERHAPS"
    bench.send_bytes(TOPIC, json.dumps(message).encode())
    bench.work()
    assert bench.stored() == [1, 3]
    assert bench.receipted() == [1, 3]
    assert bench.receipted(quarantined=True) == [2]
    (kept,) = _quarantine(bench)
    assert (kept.epoch, kept.sequence) == (EPOCH, 2)
    assert "verdict" in kept.error
    assert json.loads(kept.payload)["verdict"] == "PERHAPS"


def test_quarantined_report_that_comes_again_is_receipted_again_and_kept_once(bench: Bench) -> None:
    message = _message(1)
    del message["reports"][0]["captured_at"]
    for _ in range(3):
        bench.send_bytes(TOPIC, json.dumps(message).encode())
        bench.work()
    assert len(_quarantine(bench)) == 1
    assert bench.receipted(quarantined=True) == [1, 1, 1]
    assert bench.stored() == []


def test_report_without_a_number_is_kept_but_cannot_be_receipted(bench: Bench) -> None:
    message = _message(1, 2)
    message["reports"][0]["sequence"] = "one"
    bench.send_bytes(TOPIC, json.dumps(message).encode())
    bench.work()
    assert bench.receipted() == [2]
    assert bench.receipted(quarantined=True) == []
    assert _quarantine(bench)[0].sequence is None


def test_unknown_fields_pass(bench: Bench) -> None:
    message = _message(1)
    message["reports"][0]["from_a_later_version"] = {"x": 1}
    bench.send_bytes(TOPIC, json.dumps(message).encode())
    bench.work()
    assert bench.stored() == [1]


@pytest.mark.parametrize("text", ["nul\0byte", "emoji \N{SNOWMAN}", "'; DROP TABLE inspection; --"])
def test_any_text_in_a_report_is_stored_or_set_aside_but_stops_nothing(bench: Bench, text: str) -> None:
    bench.send([make_report(1), make_report(2, part_id=text), make_report(3)])
    bench.send([make_report(4)])
    bench.work()
    assert {1, 3, 4} <= set(bench.stored())
    assert sorted(bench.receipted() + bench.receipted(quarantined=True)) == [1, 2, 3, 4]
    with bench.database.read() as session:
        kept = session.exec(select(Inspection.part_id).where(Inspection.sequence == 2)).all()
    # PostgreSQL cannot hold NUL in a text; SQLite can.
    assert kept in ([text], [])


def test_status_of_a_station_is_remembered_and_a_last_will_keeps_its_figures(bench: Bench) -> None:
    name = topic(STATION, Channel.STATUS)
    status = StationReported(
        station=STATION, at=START, is_connected=True, state=StationState.INSPECTING, parts_total=41, is_simulated=True
    )
    will = StationReported(station=STATION, at=START, is_connected=False, state=StationState.HALTED)
    bench.send_bytes(name, encode(status))
    bench.work()
    bench.send_bytes(name, encode(will))
    bench.work()
    with bench.database.read() as session:
        station = session.exec(select(Station)).one()
    assert station.status is not None
    kept = StationReported.model_validate_json(station.status)
    assert (kept.is_connected, kept.parts_total) == (False, 41)
    assert bench.acknowledged == [0, 1]


@pytest.mark.parametrize("is_retained", [False, True])
def test_a_status_that_the_broker_repeats_at_a_reconnect_is_no_sign_of_life(
    bench: Bench, clock: StillClock, *, is_retained: bool
) -> None:
    name = topic(STATION, Channel.STATUS)
    status = encode(
        StationReported(station=STATION, at=START, is_connected=True, state=StationState.INSPECTING, is_simulated=True)
    )
    bench.send_bytes(name, status)
    bench.work()
    heard_at = clock.now()
    clock.advance(3600)
    bench.send_bytes(name, status, is_retained=is_retained)
    bench.work()
    with bench.database.read() as session:
        station = session.exec(select(Station)).one()
    assert station.status_at == (heard_at if is_retained else clock.now())


def test_unreadable_status_is_quarantined(bench: Bench) -> None:
    bench.send_bytes(topic(STATION, Channel.STATUS), b"{}")
    bench.work()
    assert "StationReported" in _quarantine(bench)[0].error


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "1969-12-31T23:59:59Z"])
def test_time_that_no_calendar_holds_is_set_aside_alone_and_holds_nobody_up(bench: Bench, time: str) -> None:
    body = _message(1, 2, 3)
    body["reports"][1]["captured_at"] = time
    bench.send_bytes(TOPIC, json.dumps(body).encode())
    bench.send([make_report(4)])
    bench.work()
    assert bench.stored() == [1, 3, 4]
    assert bench.acknowledged == [0, 1]
    (kept,) = _quarantine(bench)
    assert f"expected a year from 1970 to 2999, got '{time[:10]}" in kept.error


def test_message_that_breaks_its_reader_is_set_aside_and_holds_nobody_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: Callable[..., Any] = codec.decode

    def breaks(shape: type[Any], payload: bytes) -> Any:
        if b"INSPECTING" in payload:
            raise OverflowError("date value out of range")
        return read(shape, payload)

    monkeypatch.setattr("central.services.ingest.decode", breaks)
    status = StationReported(station=STATION, at=START, is_connected=True, state=StationState.INSPECTING)
    bench.send_bytes(topic(STATION, Channel.STATUS), encode(status))
    bench.send([make_report(1)])
    bench.work()
    assert bench.stored() == [1]
    assert "date value out of range" in _quarantine(bench)[0].error
