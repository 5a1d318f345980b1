# SPDX-License-Identifier: Apache-2.0
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlmodel import select

from central.api.views import sync_word
from central.services.alarms.rows import Signal, close, find_alarm, raise_alarm
from central.store.repositories import stations
from central.store.tables import Inspection
from contracts.codec import encode
from contracts.ids import StationAddress
from contracts.reports import PackageProgress, PackageStatus, StageLatency, StationReported
from contracts.vocabulary import (
    AlarmKind,
    AuditState,
    ImageFault,
    Judgement,
    PackageState,
    RefusalReason,
    Role,
    StationState,
    Verdict,
    VerdictCause,
)
from tests.central.api.conftest import EPOCH, Api
from tests.central.conftest import PACKAGE, START, STATION, make_report

OTHER = StationAddress(site="plant", line="line-1", station="st-2")


def _get(api: Api, path: str, **query: Any) -> Any:
    answer = api.as_(Role.VIEWER).get(f"/api/v1/{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_pages_reach_every_inspection_once_newest_first(api: Api) -> None:
    api.store(*(make_report(number) for number in range(1, 26)))
    seen: list[int] = []
    query: dict[str, Any] = {"limit": 10}
    while True:
        page = _get(api, "inspections", **query)
        seen += [item["sequence"] for item in page["items"]]
        if page["next_id"] is None:
            break
        query["before_id"] = page["next_id"]
    assert seen == list(range(25, 0, -1))


def test_follower_sees_what_came_after_in_order(api: Api) -> None:
    api.store(*(make_report(number) for number in range(1, 4)))
    last = _get(api, "inspections", limit=1)["items"][0]["id"]
    assert _get(api, "inspections", after_id=last) == {"items": [], "next_id": None}
    api.store(make_report(5), make_report(4))
    followed = _get(api, "inspections", after_id=last, limit=1)
    assert [item["sequence"] for item in followed["items"]] == [5]
    assert [item["sequence"] for item in _get(api, "inspections", after_id=followed["next_id"])["items"]] == [4]


@pytest.mark.parametrize(
    ("query", "sequences"),
    [
        ({"verdict": "NG"}, [2]),
        ({"product": "board"}, [3]),
        ({"station": "plant/line-1/st-2"}, [4]),
        ({"package_id": "b" * 64}, [5]),
        ({"since": (START + timedelta(seconds=50)).isoformat()}, [6]),
        ({"until": START.isoformat(), "verdict": "OK"}, []),
        ({"station": "no/such/station"}, []),
    ],
)
def test_filters_narrow_the_list(api: Api, query: dict[str, Any], sequences: list[int]) -> None:
    api.store(
        make_report(1),
        make_report(2, Verdict.NG),
        make_report(3, product="board"),
        make_report(5, package_id="b" * 64),
        make_report(6, captured_at=START + timedelta(minutes=1)),
    )
    api.store(make_report(4), station=OTHER)
    assert [item["sequence"] for item in _get(api, "inspections", **query)["items"]] == sequences


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"verdict": "MAYBE"}, "verdict"),
        ({"since": "2026-01-01T00:00:00"}, "offset from UTC"),
        ({"before_id": 1, "after_id": 1}, "got both"),
        ({"before_id": 2**64}, "before_id"),
    ],
)
def test_impossible_query_is_told_what_was_expected(api: Api, query: dict[str, Any], named: str) -> None:
    answer = api.as_(Role.VIEWER).get("/api/v1/inspections", params=query)
    assert answer.status_code == 422
    assert named in answer.json()["detail"]


def test_one_inspection_is_shown_as_it_was_reported(api: Api) -> None:
    api.store(make_report(7, Verdict.NG, defect_class="pit"))
    shown = _get(api, f"inspections/plant/line-1/st-1/{EPOCH}/7")
    assert (shown["verdict"], shown["defect_class"], shown["latency"]["verdict_ms"]) == ("NG", "pit", 8.0)
    every = {"capture_ms": 1.5, "prepare_ms": 1.0, "infer_ms": 5.0, "decide_ms": 0.5, "actuate_ms": 0.5}
    assert shown["latency"] == {**every, "verdict_ms": 8.0, "reject_ms": 8.5}
    assert shown["captured_at"] == "2026-03-01T06:00:30Z"
    fault = make_report(8, Verdict.NO_DECISION, cause=VerdictCause.IMAGE_FAULT)
    api.store(fault.model_copy(update={"image_fault": ImageFault.TOO_DARK, "recipe_version": 3}))
    dark = _get(api, f"inspections/plant/line-1/st-1/{EPOCH}/8")
    assert (dark["image_fault"], dark["recipe_version"], shown["image_fault"]) == ("TOO_DARK", 3, None)
    missing = api.as_(Role.VIEWER).get(f"/api/v1/inspections/plant/line-1/st-1/{EPOCH}/9")
    assert (missing.status_code, missing.json()["error"]) == (404, "not found")


def _line(lines: list[dict[str, Any]], station: str, *, is_simulated: bool = True) -> dict[str, Any]:
    (found,) = [line for line in lines if line["station"] == station and line["is_simulated"] is is_simulated]
    return found


def test_rates_carry_interval_and_denominator_and_all_stations_together(api: Api) -> None:
    api.store(*(make_report(number, Verdict.NG if number <= 2 else Verdict.OK) for number in range(1, 11)))
    api.store(make_report(1, Verdict.NO_DECISION), station=OTHER)
    lines = _get(api, "quality/rates")["lines"]
    reject = _line(lines, "plant/line-1/st-1")["reject_rate"]
    assert (reject["estimate"], reject["count"], reject["of"]) == (0.2, 2, 10)
    assert 0 < reject["low"] < 0.2 < reject["high"] < 1
    total = _line(lines, "*")
    assert (total["parts"], total["verdicts"]["NG"], total["causes"]["LATE"]) == (11, 2, 1)
    assert [line["station"] for line in _get(api, "quality/rates", station="plant/line-1/st-2")["lines"]] == [
        "plant/line-1/st-2"
    ]


def test_rate_without_audits_is_not_known_rather_than_zero(api: Api) -> None:
    api.store(make_report(1))
    line = _line(_get(api, "quality/rates")["lines"], "*")
    for name in ("escape_share_of_accepted", "overkill_share_of_rejected"):
        assert (line[name]["estimate"], line[name]["low"], line[name]["high"], line[name]["of"]) == (None, 0.0, 1.0, 0)


def test_escape_share_weighs_audits_by_their_chance(api: Api) -> None:
    api.store(*(make_report(number) for number in range(1, 101)))
    for number in range(1, 11):
        judgement = Judgement.DEFECTIVE if number == 1 else Judgement.GOOD
        api.draw_audit(number, 0.1 if number <= 5 else 0.5, state=AuditState.JUDGED, judgement=judgement)
    api.draw_audit(11, 0.1, state=AuditState.JUDGED, judgement=Judgement.UNSURE)
    escape = _line(_get(api, "quality/rates")["lines"], "*")["escape_share_of_accepted"]
    # One of weight 10 among five of weight 10 and five of weight 2.
    assert escape["estimate"] == pytest.approx(10 / 60)
    assert (escape["count"], escape["of"]) == (1, 10)


NEW_PACKAGE = "c" * 64


def _judge(api: Api, sequences: range, *, defective: int = 0, chance: float = 0.5) -> None:
    for place, sequence in enumerate(sequences):
        judgement = Judgement.DEFECTIVE if place < defective else Judgement.GOOD
        api.draw_audit(sequence, chance, state=AuditState.JUDGED, judgement=judgement)


def _at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def test_audits_of_an_earlier_package_are_not_pooled(api: Api) -> None:
    api.store(*(make_report(number, captured_at=_at(-20)) for number in range(1, 11)))
    api.store(*(make_report(number, captured_at=_at(-10), package_id=NEW_PACKAGE) for number in range(11, 21)))
    _judge(api, range(1, 6), defective=5)
    _judge(api, range(11, 15), defective=1)
    for station in ("*", "plant/line-1/st-1"):
        line = _line(_get(api, "quality/rates")["lines"], station)
        assert (line["escape_share_of_accepted"]["count"], line["escape_share_of_accepted"]["of"]) == (1, 4)
        # The minute of the first part that the new package judged.
        assert datetime.fromisoformat(line["audits_since"]) == _at(-10).replace(second=0)
        assert line["audits_since_cut"] == "PACKAGE"
    # The earlier period asked for alone, they are what there is to say.
    until = _at(-15).isoformat()
    before = _line(_get(api, "quality/rates", until=until)["lines"], "*")["escape_share_of_accepted"]
    assert (before["count"], before["of"]) == (5, 5)


def test_a_package_that_came_back_starts_anew(api: Api) -> None:
    for first, minute, package in ((1, -30, PACKAGE), (11, -20, NEW_PACKAGE), (21, -10, PACKAGE)):
        numbers = range(first, first + 10)
        api.store(*(make_report(number, captured_at=_at(minute), package_id=package) for number in numbers))
    _judge(api, range(1, 6), defective=5)
    _judge(api, range(21, 24))
    escape = _line(_get(api, "quality/rates")["lines"], "*")["escape_share_of_accepted"]
    assert (escape["count"], escape["of"]) == (0, 3)


def test_a_change_at_one_station_leaves_the_audits_of_the_others(api: Api) -> None:
    api.store(*(make_report(number, captured_at=_at(-20)) for number in range(1, 11)))
    api.store(*(make_report(number, captured_at=_at(-20)) for number in range(101, 111)), station=OTHER)
    api.store(*(make_report(number, captured_at=_at(-10), package_id=NEW_PACKAGE) for number in range(11, 21)))
    _judge(api, range(1, 6), defective=5)
    _judge(api, range(101, 104))
    lines = _get(api, "quality/rates")["lines"]
    assert _line(lines, "plant/line-1/st-1")["escape_share_of_accepted"]["estimate"] is None
    assert _line(lines, "plant/line-1/st-2")["escape_share_of_accepted"]["of"] == 3
    assert _line(lines, "*")["escape_share_of_accepted"]["of"] == 3
    assert _line(lines, "*")["audits_since_cut"] == "PERIOD"


@pytest.mark.parametrize("is_closed", [False, True])
def test_audits_from_before_an_alarm_on_escapes_are_not_pooled(api: Api, *, is_closed: bool) -> None:
    api.store(*(make_report(number, captured_at=_at(-20)) for number in range(1, 11)))
    api.store(*(make_report(number, captured_at=_at(-10)) for number in range(11, 21)))
    api.store(*(make_report(number, captured_at=_at(-2)) for number in range(21, 31)))
    _judge(api, range(1, 6), defective=5)
    _judge(api, range(11, 15), defective=2)
    _judge(api, range(21, 24))
    with api.services.database.begin() as session:
        product = session.exec(select(Inspection.product)).first()
        signal = Signal(
            kind=AlarmKind.ESCAPES, product=product, is_simulated=True, message="m", remedy="r", evidence={}
        )
        raise_alarm(session, signal, _at(-15))
    if is_closed:
        with api.services.database.begin() as session:
            close(find_alarm(session, 1), "anna", _at(-5))
    line = _line(_get(api, "quality/rates")["lines"], "*")
    escape = line["escape_share_of_accepted"]
    assert (escape["count"], escape["of"]) == ((0, 3) if is_closed else (2, 7))
    assert line["audits_since_cut"] == "ALARM"


def test_overkill_is_weighed_and_reviews_are_in_no_estimate(api: Api) -> None:
    api.store(*(make_report(number, Verdict.NG) for number in range(1, 21)))
    api.store(*(make_report(number, Verdict.REVIEW) for number in range(21, 31)))
    _judge(api, range(1, 3), chance=0.1)
    _judge(api, range(3, 7), defective=4, chance=0.5)
    _judge(api, range(21, 25), defective=4)
    line = _line(_get(api, "quality/rates")["lines"], "*")
    overkill = line["overkill_share_of_rejected"]
    assert overkill["estimate"] == pytest.approx(20 / 28)
    assert (overkill["count"], overkill["of"]) == (2, 6)
    assert line["escape_share_of_accepted"]["of"] == 0


def test_simulated_and_real_parts_never_share_a_line(api: Api) -> None:
    api.store(make_report(1), make_report(2, is_simulated=False))
    lines = _get(api, "quality/rates")["lines"]
    assert _line(lines, "*", is_simulated=True)["parts"] == _line(lines, "*", is_simulated=False)["parts"] == 1


def test_rates_cover_the_asked_minutes_only(api: Api) -> None:
    api.store(make_report(1, captured_at=START - timedelta(minutes=30)), make_report(2))
    assert _line(_get(api, "quality/rates", minutes=10)["lines"], "*")["parts"] == 1
    assert _line(_get(api, "quality/rates", minutes=60)["lines"], "*")["parts"] == 2


def test_timeline_gives_minutes_with_means_and_a_latency_that_is_never_too_low(api: Api) -> None:
    slow = StageLatency(verdict_ms=80.0)
    api.store(
        *(make_report(number) for number in range(1, 50)),
        make_report(50, latency=slow),
        make_report(51, captured_at=START + timedelta(minutes=1)),
    )
    newest, oldest = _get(api, "quality/timeline", until=(START + timedelta(minutes=5)).isoformat())
    assert (newest["minute"], newest["parts"]) == ("2026-03-01T06:01:00Z", 1)
    assert (oldest["minute"], oldest["parts"], oldest["package_id"]) == ("2026-03-01T06:00:00Z", 50, PACKAGE)
    assert oldest["mean_score"] == pytest.approx(0.25)
    assert oldest["mean_brightness"] == pytest.approx(120.0)
    assert 80.0 <= oldest["p99_verdict_ms"] <= 88.0
    assert 8.0 <= newest["p99_verdict_ms"] <= 8.8


def test_stations_show_what_runs_beside_what_should(api: Api) -> None:
    api.store(make_report(1), make_report(4))
    now = api.clock.now()
    with api.services.database.begin() as session:
        status = StationReported(station=STATION, at=now, is_connected=True, state=StationState.INSPECTING)
        stations.keep_status(session, status, now)
        item = PackageProgress(product="ring", package_id=PACKAGE, state=PackageState.ACTIVE, at=now)
        reported = PackageStatus(station=STATION, assignment_number=3, at=now, packages=[item])
        stations.keep_package_status(session, STATION, encode(reported).decode(), now)
        station = stations.find(session, str(STATION))
        assert station is not None
        station.assignment_number, station.assigned = 3, {"ring": PACKAGE}
        session.add(station)
    (shown,) = _get(api, "stations")
    assert (shown["station"], shown["sync"], shown["inspections"], shown["gaps"]) == (
        "plant/line-1/st-1",
        "IN_SYNC",
        2,
        2,
    )
    assert shown["assigned"] == {"ring": PACKAGE}


def test_a_station_was_heard_when_it_last_reported_or_beat(api: Api) -> None:
    api.store(make_report(1))
    api.clock.advance(60)
    now = api.clock.now()
    with api.services.database.begin() as session:
        status = StationReported(station=STATION, at=now, is_connected=True, state=StationState.READY)
        stations.keep_status(session, status, now)
    (shown,) = _get(api, "stations")
    assert datetime.fromisoformat(shown["heard_at"]) == now
    assert shown["last_report_at"] < shown["heard_at"]


@pytest.mark.parametrize(
    ("number", "reported_number", "state", "refused", "word"),
    [
        (None, None, None, None, "REGISTERED"),
        (1, None, None, None, "UNKNOWN"),
        (2, 1, PackageState.ACTIVE, None, "PENDING"),
        (1, 1, PackageState.DOWNLOADING, None, "PENDING"),
        (1, 1, PackageState.ACTIVE, None, "IN_SYNC"),
        (1, 1, PackageState.REFUSED, None, "ERROR"),
        (1, 1, PackageState.ACTIVE, RefusalReason.EXPIRED, "ERROR"),
    ],
)
def test_fleet_word_follows_the_station_not_the_wish(
    number: int | None,
    reported_number: int | None,
    state: PackageState | None,
    refused: RefusalReason | None,
    word: str,
) -> None:
    reported = None
    if reported_number is not None and state is not None:
        item = PackageProgress(product="ring", package_id=PACKAGE, state=state, at=START)
        reported = PackageStatus(
            station=STATION, assignment_number=reported_number, at=START, refused=refused, packages=[item]
        )
    assert sync_word(number, {"ring": PACKAGE}, reported) == word


def test_counters_and_metrics_tell_the_same(api: Api) -> None:
    api.store(make_report(1), make_report(3))
    counters = _get(api, "admin/counters")
    assert (counters["inspections"], counters["quarantined"]) == (2, 0)
    text = api.as_(Role.VIEWER).get("/metrics").text
    assert 'sightline_central_station_inspections_stored{station="plant/line-1/st-1"} 2\n' in text
    assert 'sightline_central_station_sequences_missing{station="plant/line-1/st-1"} 1\n' in text
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE ")]
    assert len(names) == len(set(names))


def test_ready_says_which_part_is_away(api: Api) -> None:
    answer = api.anonymous.get("/ready")
    assert answer.status_code == 503
    assert (answer.json()["database"], answer.json()["broker"]) == ("ok", "unreachable")
    assert api.anonymous.get("/health").json()["status"] == "ok"


def test_ready_names_services_that_keep_failing(api: Api) -> None:
    worker = api.services.worker
    assert worker is not None
    counts = worker.counts["rollouts"]
    counts.failed_in_a_row, counts.failing_since = 4, api.clock.now() - timedelta(hours=1)
    assert api.anonymous.get("/ready").json()["failing"] == []
    counts.failed_in_a_row = 5
    assert api.anonymous.get("/ready").json()["failing"] == ["rollouts"]


def test_unexpected_failure_shows_nothing_of_its_insides(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(stations, "list_all", fail)
    answer = api.as_(Role.VIEWER).get("/api/v1/stations")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert set(answer.json()) == {"error", "detail"}


def test_unknown_path_and_method_are_problems_too(api: Api) -> None:
    client = api.as_(Role.ADMIN)
    for answer, status in ((client.get("/api/v1/nothing"), 404), (client.delete("/api/v1/stations"), 405)):
        assert answer.status_code == status
        assert set(answer.json()) == {"error", "detail"}
