# SPDX-License-Identifier: Apache-2.0
"""The shift report over real HTTP: the same figures as the API's, clear refusals, nothing that breaks it."""

import csv
import io
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pypdf import PdfReader

from central.quality.cause import Cause
from central.services.alarms.rows import Signal, close, raise_alarm, say_cause
from central.store.recipe_tables import RecipeVersion
from contracts.ids import StationAddress
from contracts.vocabulary import AlarmKind, AuditState, ImageFault, Judgement, Role, SignalState, Verdict, VerdictCause
from tests.central.api.conftest import Api
from tests.central.conftest import PACKAGE, START, STATION, make_report

OTHER = StationAddress(site="plant", line="line-2", station="st-9")
NEW_PACKAGE = "b" * 64
# START is 06:00:30; the shift before it.
BEGAN, ENDED = START.replace(hour=22, minute=0, second=0) - timedelta(days=1), START.replace(second=0)


def _ask(api: Api, ending: str, **query: Any) -> httpx.Response:
    return api.as_(Role.VIEWER).get(f"/api/v1/reports/shift.{ending}", params=query)


def _rows(api: Api, **query: Any) -> list[dict[str, str]]:
    answer = _ask(api, "csv", **query)
    assert answer.status_code == 200, answer.text
    return list(csv.DictReader(io.StringIO(answer.content.decode("utf-8"), newline="")))


def _text(api: Api, **query: Any) -> tuple[str, int]:
    """Text of the PDF with all white space made one blank, and its number of pages."""
    answer = _ask(api, "pdf", **query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/pdf"
    pages = PdfReader(io.BytesIO(answer.content)).pages
    return " ".join(" ".join(page.extract_text() for page in pages).split()), len(pages)


AUDITED = ("escapes", "escapes_found", "escapes_audited", "overkill", "overkill_cost")


def _figures(api: Api, by: str) -> dict[str, Any]:
    """By this grouping, but what rests on audits as of the shift: a piece of the past pools all of them."""
    return _asked(api, by) | {name: value for name, value in _asked(api, "shift").items() if name in AUDITED}


def _asked(api: Api, by: str) -> dict[str, Any]:
    query: dict[str, Any] = {"by": by, "minutes": 480, "until": ENDED.isoformat()}
    answer = api.as_(Role.VIEWER).get("/api/v1/quality/figures", params=query | {"cost_of_part": 4, "currency": "EUR"})
    assert answer.status_code == 200, answer.text
    (group,) = answer.json()["groups"]
    return dict(group)


def _night(api: Api, parts: int = 480) -> None:
    """A night shift of one station: each tenth part rejected, a new package half-way, people judging some."""
    made = []
    for n in range(parts):
        verdict = Verdict.NG if n % 10 == 0 else Verdict.OK
        at = BEGAN + timedelta(hours=8) * n / parts
        made.append(make_report(n + 1, verdict, captured_at=at, package_id=PACKAGE if 2 * n < parts else NEW_PACKAGE))
    late = {"captured_at": BEGAN + timedelta(hours=4), "signal": SignalState.FAILED}
    made.append(make_report(parts + 1, Verdict.NO_DECISION, **late))
    fault: dict[str, object] = {"cause": VerdictCause.IMAGE_FAULT, "image_fault": ImageFault.TOO_DARK}
    made.append(make_report(parts + 2, Verdict.NO_DECISION, captured_at=BEGAN + timedelta(hours=5), **fault))
    api.store(*made)
    for n in range(1, parts, 10):
        said = Judgement.GOOD if n % 40 == 1 else Judgement.DEFECTIVE
        kind = {"defect_class": "pit" if n % 20 == 1 else "刮痕 Ржавчина"} if said is Judgement.DEFECTIVE else {}
        api.draw_audit(n, 1.0, state=AuditState.JUDGED, judgement=said, **kind)
    for n in range(2, parts, 10):
        said = Judgement.DEFECTIVE if n == 2 else Judgement.GOOD
        api.draw_audit(n, 0.25, state=AuditState.JUDGED, judgement=said)
    api.draw_audit(3, 0.25, state=AuditState.LOST)
    api.draw_audit(4, 0.25, state=AuditState.OPEN)


def test_the_pdf_says_what_the_api_says(api: Api) -> None:
    _night(api)
    text, pages = _text(api, cost_of_part=4, currency="EUR", by="Q. Manager")
    group = _figures(api, "site")
    assert group["parts"] == 482
    first_pass = group["first_pass_yield"]
    assert (
        f"{100 * first_pass['estimate']:.2f} % ({100 * first_pass['low']:.2f} to {100 * first_pass['high']:.2f} %"
        in text
    )
    escapes = group["escapes"]
    assert f"{escapes['estimate']:,.0f} ppm of accepted parts ({escapes['low']:,.0f} to {escapes['high']:,.0f})" in text
    assert f"1 defective of 48 audited, drawn from 432 accepted; {escapes['method']}" in text
    overkill = group["overkill"]
    assert (overkill["count"], overkill["of"]) == (12, 48)
    assert "25.00 %" in text
    cost = group["overkill_cost"]
    assert f"{cost['estimate']:.1f} EUR ({cost['low']:.1f} to {cost['high']:.1f}), at 4 EUR a part" in text
    for said in (
        "Shift report 2026-02-28 22:00", "Q. Manager (token test-viewer)", "1 LATE, 1 IMAGE_FAULT", "1 TOO_DARK",
        "2 of 2 held parts", "1 FAILED", "98 by chance", "1 LOST", NEW_PACKAGE, PACKAGE, "signature",
        "刮痕", "1 audits of these parts are not judged yet",
    ):  # fmt: skip
        assert said in text, said
    assert pages in {2, 3}


def test_letters_beyond_latin_are_printed_where_the_system_has_a_font_for_them(api: Api) -> None:
    if not Path("/usr/share/fonts/truetype/dejavu/DejaVuSans-Bold.ttf").is_file():
        pytest.skip("needs DejaVu Sans; on Debian: apt-get install fonts-dejavu-core")
    _night(api)
    assert "Ржавчина" in _text(api)[0]


def test_the_same_rows_at_the_same_moment_give_the_same_file(api: Api) -> None:
    _night(api, 40)
    assert _ask(api, "pdf").content == _ask(api, "pdf").content


def test_the_csv_says_what_the_api_says(api: Api) -> None:
    _night(api)
    rows = _rows(api, cost_of_part=4, currency="EUR")
    for by in ("site", "station", "product"):
        group = _figures(api, by)
        own = {row["name"]: row for row in rows if row["section"] == "figures" and row["group_by"] == by}
        for name in ("first_pass_yield", "reject_rate"):
            assert [float(own[name][f"{end}_share"]) for end in ("low", "estimate", "high")] == [
                group[name][end] for end in ("low", "estimate", "high")
            ]
        assert float(own["escapes"]["estimate_ppm"]) == group["escapes"]["estimate"]
        assert float(own["overkill_of_rejects"]["high_share"]) == group["overkill"]["high"]
        assert (float(own["overkill_cost"]["low_cost"]), own["overkill_cost"]["cost_unit"]) == (
            group["overkill_cost"]["low"],
            "EUR",
        )
        bars = [row["name"] for row in rows if row["section"] == "pareto" and row["group_by"] == by]
        assert bars == [bar["defect_class"] for bar in group["pareto"]]


def test_the_chart_is_that_of_the_api(api: Api) -> None:
    made = []
    for sample in range(48):
        at = BEGAN + timedelta(minutes=10 * sample)
        verdicts = [Verdict.NG if n < sample // 8 else Verdict.OK for n in range(10)]
        made += [make_report(10 * sample + n + 1, each, captured_at=at) for n, each in enumerate(verdicts)]
    api.store(*made)
    query: dict[str, Any] = {"minutes": 480, "sample_minutes": 10, "until": ENDED.isoformat()}
    (chart,) = api.as_(Role.VIEWER).get("/api/v1/quality/attribute-charts", params=query).json()
    rows = [row for row in _rows(api) if row["section"] == "p_chart"]
    assert [(float(row["estimate_share"]), float(row["high_share"]), row["text"]) for row in rows] == [
        (point["value"], point["high"], "; ".join(point["rules"])) for point in chart["points"]
    ]
    assert any(row["text"] for row in rows)
    assert f"centre line {100 * chart['centre_line']:.2f} %" in _text(api)[0]


def test_alarms_causes_and_changes_of_the_shift_are_listed(api: Api) -> None:
    _night(api)
    at = BEGAN + timedelta(hours=3)
    with api.services.database.begin() as session:
        for station, message in ((STATION, "more rejects <b>here</b> & now"), (OTHER, "elsewhere")):
            signal = Signal(AlarmKind.REJECT_RATE, message, "look", is_simulated=True, station=str(station))
            alarm = raise_alarm(session, signal, at)
            say_cause(alarm, Cause.CAMERA_OR_LAMP, "kim", "lamp 3", at)
            session.add(alarm)
        session.add(
            RecipeVersion(product="ring", version=7, document="{}", created_at=at, created_by="lee", note="=wider")
        )
    text, _ = _text(api, at=str(STATION))
    assert "more rejects <b>here</b> & now" in text
    assert "elsewhere" not in text
    assert "(said by kim): lamp 3" in text
    assert "ring: version 7 made by lee: =wider" in text
    assert "Package and recipe changes (2)" in text
    kinds = [row["name"] for row in _rows(api) if row["section"] == "change"]
    assert kinds == ["recipe", "package"]


def test_nothing_in_the_csv_is_a_formula(api: Api) -> None:
    api.store(make_report(1, Verdict.NG, captured_at=BEGAN), make_report(2, Verdict.NG, captured_at=BEGAN))
    for n, said in enumerate(('=cmd|" /C calc"!A0', '\uff1d1+1,\r\n"x"'), start=1):
        api.draw_audit(n, 1.0, state=AuditState.JUDGED, judgement=Judgement.DEFECTIVE, defect_class=said)
    answer = _ask(api, "csv", by="@SUM(1)")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    raw = answer.content.decode("utf-8")
    assert raw.count("\r\n") >= len(_rows(api))
    cells = [cell for row in csv.reader(io.StringIO(raw, newline="")) for cell in row]
    assert not [cell for cell in cells if cell.lstrip()[:1] in {"=", "+", "@", "\uff1d"}]
    assert '\'=cmd|" /C calc"!A0' in cells
    assert any(cell.startswith("'@SUM(1)") for cell in cells)


def test_an_empty_shift_knows_nothing_and_says_so(api: Api) -> None:
    text, pages = _text(api)
    assert pages == 1
    assert "No part was reported in this period." in text
    assert not [row for row in _rows(api) if row["section"] == "figures"]


def test_what_nobody_judged_has_a_reason(api: Api) -> None:
    api.store(make_report(1, captured_at=BEGAN), make_report(2, Verdict.NG, captured_at=BEGAN))
    text, _ = _text(api)
    assert "not known: no accepted part was judged in an audit" in text
    assert "not known: no rejected part was judged in an audit" in text
    assert "not known: the cost of a part was not given" in text
    (escapes,) = [row for row in _rows(api) if row["name"] == "escapes" and row["group_by"] == "site"]
    assert (escapes["estimate_ppm"], escapes["high_ppm"]) == ("", "")


def test_a_shift_under_way_is_preliminary(api: Api) -> None:
    api.store(make_report(1))
    query = {"day": f"{START:%Y-%m-%d}", "shift": "06:00"}
    text, _ = _text(api, **query)
    assert "PRELIMINARY: this shift is still under way" in text
    assert "counted up to 2026-03-01 06:01 UTC" in text
    assert "Not to be signed" in text
    assert "preliminary" in _ask(api, "csv", **query).headers["content-disposition"]


def test_held_parts_that_a_person_judged_are_answered(api: Api) -> None:
    api.store(*(make_report(n, Verdict.REVIEW, captured_at=BEGAN) for n in range(1, 5)))
    api.draw_audit(1, 0.5, state=AuditState.JUDGED, judgement=Judgement.GOOD)
    api.draw_audit(2, 0.5, state=AuditState.JUDGED, judgement=Judgement.UNSURE)
    text, _ = _text(api)
    assert "3 of 4 held parts" in text


def test_what_a_challenger_asked_for_is_in_no_count_of_chance(api: Api) -> None:
    api.store(*(make_report(n, captured_at=BEGAN) for n in range(1, 4)))
    api.draw_audit(1, 0.5, state=AuditState.JUDGED, judgement=Judgement.GOOD)
    api.draw_audit(2, 0.0, state=AuditState.JUDGED, judgement=Judgement.DEFECTIVE, is_discordant=True)
    text, _ = _text(api)
    assert "1 by chance: 1 JUDGED" in text
    assert "1 where a challenger disagreed" in text


def test_a_part_that_several_inspectors_were_asked_about_is_one_audit(api: Api) -> None:
    api.store(make_report(1, captured_at=BEGAN))
    api.draw_audit(1, 0.5, state=AuditState.JUDGED, judgement=Judgement.DEFECTIVE)
    again = {"state": AuditState.JUDGED, "judgement": Judgement.DEFECTIVE, "outcome": None}
    api.draw_audit(1, 0.5, ask=2, **again)
    api.draw_audit(1, 0.5, ask=3, is_repeat=True, **again)
    assert "1 by chance: 1 JUDGED" in _text(api)[0]


def test_alarms_of_before_are_listed_while_they_are_open(api: Api) -> None:
    api.store(make_report(1, captured_at=BEGAN))
    with api.services.database.begin() as session:
        for product, closed_at in (("a", BEGAN - timedelta(hours=1)), ("b", BEGAN + timedelta(hours=1)), ("c", None)):
            signal = Signal(AlarmKind.DRIFT, f"about {product}", "look", is_simulated=True, product=product)
            alarm = raise_alarm(session, signal, BEGAN - timedelta(hours=2))
            if closed_at is not None:
                close(alarm, "kim", closed_at)
            session.add(alarm)
    assert [row["group"] for row in _rows(api) if row["section"] == "alarm"] == ["b", "c"]


def test_real_and_simulated_parts_are_told_apart(api: Api) -> None:
    api.store(make_report(1, captured_at=BEGAN), make_report(2, captured_at=BEGAN, is_simulated=False))
    text, _ = _text(api)
    assert "What was made: plant SIMULATED" in text
    assert "What was made: plant Parts 1:" in text


def test_shifts_follow_the_clock_of_the_plant(api: Api) -> None:
    inside, outside = datetime.fromisoformat("2026-02-28T04:30Z"), datetime.fromisoformat("2026-02-28T05:30Z")
    api.store(make_report(1, captured_at=inside), make_report(2, captured_at=outside))
    query = {"day": "2026-02-27", "shift": "18:00", "shifts": "06:00,18:00", "time_zone": "Europe/Berlin"}
    (parts,) = [row for row in _rows(api, **query) if row["name"] == "verdict_OK" and row["group_by"] == "site"]
    assert parts["count_parts"] == "1"


def test_a_site_is_no_prefix_of_another(api: Api) -> None:
    near = StationAddress(site="plant", line="line-10", station="st-1")
    api.store(make_report(1, captured_at=BEGAN))
    api.store(make_report(1, captured_at=BEGAN), make_report(2, captured_at=BEGAN), station=near)
    for at, parts in (("plant", "3"), ("plant/line-1", "1"), (str(near), "2")):
        (row,) = [row for row in _rows(api, at=at) if row["name"] == "verdict_OK" and row["group_by"] == "site"]
        assert row["count_parts"] == parts, at


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({"at": "plant/line-1/nobody"}, 404, "knows no station 'plant/line-1/nobody'; it knows plant/line-1/st-1"),
        ({"at": "plant/"}, 422, "expected site, site/line or site/line/station"),
        ({"product": "nut"}, 404, "no part of 'nut' was ever reported; there are ring"),
        ({"day": "2026-02-28"}, 422, "expected shift (HH:MM at which it begins) and day together"),
        ({"day": "2026-02-28", "shift": "07:00"}, 422, "expected one of 06:00, 14:00, 22:00, got '07:00'"),
        ({"day": "2026-03-02", "shift": "06:00"}, 422, "expected a period that has begun"),
        ({"since": "2026-02-01T00:00Z", "until": "2026-02-20T00:00Z"}, 422, "at most 7 days, got 19 days"),
        ({"since": "2026-02-02T00:00Z", "until": "2026-02-01T00:00Z"}, 422, "at least a minute after since"),
        ({"since": "2026-02-02T00:00Z"}, 422, "since and until together"),
        ({"time_zone": "Mars/Olympus"}, 422, "a name of the IANA database"),
        ({"day": "9999-12-31", "shift": "22:00"}, 422, "expected one in reach"),
    ],
)
@pytest.mark.parametrize("ending", ["pdf", "csv"])
def test_what_cannot_be_reported_is_refused(
    api: Api, ending: str, query: dict[str, str], status: int, said: str
) -> None:
    api.store(make_report(1, captured_at=BEGAN))
    answer = _ask(api, ending, **query)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text


def test_many_alarms_take_many_pages_and_every_page_is_numbered(api: Api) -> None:
    _night(api, 40)
    with api.services.database.begin() as session:
        for n in range(230):
            signal = Signal(AlarmKind.DRIFT, f"number {n} " + "x" * 300, "look", is_simulated=True, product=f"p-{n}")
            raise_alarm(session, signal, BEGAN + timedelta(minutes=n))
    text, pages = _text(api)
    assert pages > 5
    assert f"page {pages} of {pages}" in text
    assert "The first 200 are listed; the CSV has all of them." in text
    assert len([row for row in _rows(api) if row["section"] == "alarm"]) == 230
