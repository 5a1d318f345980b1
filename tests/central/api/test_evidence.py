# SPDX-License-Identifier: Apache-2.0
import hashlib
from typing import Any

import pytest

from contracts.vocabulary import AuditState, Role
from tests.central.api.conftest import EPOCH, Api
from tests.central.conftest import STATION, make_report

PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 3000
SHA256 = hashlib.sha256(PICTURE).hexdigest()


def _offer(sequence: int = 1, sha256: str = SHA256, size: int = len(PICTURE), kind: str = "CROP") -> dict[str, Any]:
    return {
        "inspection": {"station": STATION.model_dump(), "epoch": EPOCH, "sequence": sequence},
        "kind": kind,
        "sha256": sha256,
        "size_bytes": size,
        "media_type": "image/png",
        "is_simulated": True,
    }


def _put(api: Api, offset: int, content: bytes, sha256: str = SHA256) -> Any:
    return api.as_(Role.STATION).put(
        f"/api/v1/evidence/{sha256}", content=content, headers={"Upload-Offset": str(offset)}
    )


def _upload(api: Api, **offer: Any) -> None:
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer(**offer)).raise_for_status()
    assert _put(api, 0, PICTURE).json() == {"upload_offset": len(PICTURE), "is_complete": True}


def test_upload_that_broke_off_goes_on_where_it_stopped(api: Api) -> None:
    station = api.as_(Role.STATION)
    assert station.post("/api/v1/evidence", json=_offer()).json() == {"upload_offset": 0, "is_complete": False}
    assert _put(api, 0, PICTURE[:1000]).json() == {"upload_offset": 1000, "is_complete": False}
    assert station.post("/api/v1/evidence", json=_offer()).json() == {"upload_offset": 1000, "is_complete": False}
    assert _put(api, 1000, PICTURE[1000:]).json() == {"upload_offset": len(PICTURE), "is_complete": True}
    assert station.post("/api/v1/evidence", json=_offer()).json() == {
        "upload_offset": len(PICTURE),
        "is_complete": True,
    }
    answer = api.as_(Role.VIEWER).get(f"/api/v1/evidence/{SHA256}")
    assert (answer.content, answer.headers["content-type"]) == (PICTURE, "image/png")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_wrong_offset_is_a_conflict_that_names_the_right_one(api: Api) -> None:
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer())
    _put(api, 0, PICTURE[:1000])
    answer = _put(api, 500, PICTURE[500:])
    assert answer.status_code == 409
    assert "continue from 1000" in answer.json()["detail"]


def test_wrong_digest_is_refused_and_the_upload_starts_again(api: Api) -> None:
    station = api.as_(Role.STATION)
    station.post("/api/v1/evidence", json=_offer())
    answer = _put(api, 0, PICTURE[:-1] + b"?")
    assert (answer.status_code, answer.json()["error"]) == (422, "wrong digest")
    assert station.post("/api/v1/evidence", json=_offer()).json() == {"upload_offset": 0, "is_complete": False}
    assert api.as_(Role.VIEWER).get(f"/api/v1/evidence/{SHA256}").status_code == 404


def test_bytes_beyond_the_promise_are_refused(api: Api) -> None:
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer(size=100))
    assert _put(api, 0, PICTURE).status_code == 422


def test_picture_that_was_never_offered_is_refused(api: Api) -> None:
    assert _put(api, 0, PICTURE).status_code == 404


@pytest.mark.parametrize("size", [0, 65 * 1024 * 1024])
def test_picture_out_of_bounds_is_refused_before_any_byte(api: Api, size: int) -> None:
    assert api.as_(Role.STATION).post("/api/v1/evidence", json=_offer(size=size)).status_code == 422


def test_empty_body_is_told_what_is_missing(api: Api) -> None:
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer())
    answer = _put(api, 0, b"")
    assert (answer.status_code, "got none" in answer.json()["detail"]) == (422, True)


def test_offer_before_its_inspection_is_shown_with_it_later(api: Api) -> None:
    _upload(api)
    api.store(make_report(1))
    shown = api.as_(Role.VIEWER).get(f"/api/v1/inspections/plant/line-1/st-1/{EPOCH}/1").json()
    assert [item["sha256"] for item in shown["evidence"]] == [SHA256]


def test_picture_that_is_only_promised_is_not_shown(api: Api) -> None:
    api.store(make_report(1))
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer())
    shown = api.as_(Role.VIEWER).get("/api/v1/inspections").json()
    assert shown["items"][0]["evidence"] == []


def test_same_picture_of_a_second_inspection_needs_no_second_upload(api: Api) -> None:
    _upload(api)
    answer = api.as_(Role.STATION).post("/api/v1/evidence", json=_offer(sequence=2)).json()
    assert answer == {"upload_offset": len(PICTURE), "is_complete": True}


def test_audit_opens_when_its_crop_is_whole(api: Api) -> None:
    api.store(make_report(1))
    audit_id = api.draw_audit(1)
    api.as_(Role.STATION).post("/api/v1/evidence", json=_offer())
    _put(api, 0, PICTURE[:1000])
    assert api.audit(audit_id).state is AuditState.AWAITING_EVIDENCE
    _put(api, 1000, PICTURE[1000:])
    opened = api.audit(audit_id)
    assert (opened.state, opened.crop_sha256) == (AuditState.OPEN, SHA256)


def test_heatmap_alone_opens_no_audit(api: Api) -> None:
    api.store(make_report(1))
    audit_id = api.draw_audit(1)
    _upload(api, kind="HEATMAP")
    assert api.audit(audit_id).state is AuditState.AWAITING_EVIDENCE


def test_audit_drawn_after_its_crop_came_is_opened_by_the_worker(api: Api) -> None:
    api.store(make_report(1))
    _upload(api)
    audit_id = api.draw_audit(1)
    api.services.evidence.tick(api.clock.now())
    assert api.audit(audit_id).state is AuditState.OPEN


def test_picture_that_is_gone_loses_the_waiting_audit_but_no_other(api: Api) -> None:
    api.store(make_report(1), make_report(2), make_report(3))
    waiting, judged = api.draw_audit(1), api.draw_audit(2, state=AuditState.JUDGED)
    gone = [{"station": STATION.model_dump(), "epoch": EPOCH, "sequence": number} for number in (1, 2, 3, 99)]
    answer = api.as_(Role.STATION).post("/api/v1/evidence/unavailable", json={"inspections": gone})
    assert answer.json() == {"audits_lost": 1}
    assert api.audit(waiting).state is AuditState.LOST
    assert api.audit(judged).state is AuditState.JUDGED
