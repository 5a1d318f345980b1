# SPDX-License-Identifier: Apache-2.0
"""A part that is shown once more cannot be told by what the API says of it before it is judged."""

import hashlib
import zlib
from typing import Any

import cv2
import numpy as np
import pytest
from sqlmodel import select

from central.audit_settings import AuditSettings
from central.services.audits.repeated import plant
from central.services.picture_marks import marked
from central.store.tables import Audit
from contracts.vocabulary import AuditState, Judgement, Role
from tests.central.api.conftest import EPOCH, Api
from tests.central.conftest import STATION, make_report

P = "/api/v1/audits"
_FIRST, _NEW = 8, 8


def _file(ending: str) -> bytes:
    _, made = cv2.imencode(ending, np.random.default_rng(1).integers(0, 256, (40, 60, 3), np.uint8))
    return made.tobytes()


def _pixels(content: bytes) -> bytes:
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, "no picture"
    return image.tobytes()


def _stored(api: Api, content: bytes) -> str:
    """A picture as a station sends it; its digest."""
    sha256, station = hashlib.sha256(content).hexdigest(), api.as_(Role.STATION)
    offer = {
        "inspection": {"station": STATION.model_dump(), "epoch": EPOCH, "sequence": 1}, "kind": "CROP",
        "sha256": sha256, "size_bytes": len(content), "media_type": "image/png", "is_simulated": True,
    }  # fmt: skip
    station.post("/api/v1/evidence", json=offer).raise_for_status()
    station.put(f"/api/v1/evidence/{sha256}", content=content, headers={"Upload-Offset": "0"}).raise_for_status()
    return sha256


def _listed(api: Api, **asked: Any) -> list[dict[str, Any]]:
    return list(api.as_(Role.INSPECTOR).get(P, params=asked).raise_for_status().json())


def _say(api: Api, number: int, judgement: str, inspector: str) -> None:
    said = {"judgement": judgement, "inspector": inspector}
    api.as_(Role.INSPECTOR).post(f"{P}/{number}/outcome", json=said).raise_for_status()


def _open(api: Api, sequences: range, sha256: str) -> list[int]:
    shown: dict[str, Any] = {"state": AuditState.OPEN, "crop_sha256": sha256, "opened_at": api.clock.now()}
    return [api.draw_audit(sequence, **shown) for sequence in sequences]


@pytest.fixture(name="sha256")
def _sha256(api: Api) -> str:
    """All parts look alike here: what tells them apart is not the picture."""
    api.store(*(make_report(number) for number in range(1, _FIRST + _NEW + 1)))
    return _stored(api, _file(".png"))


@pytest.fixture(name="repeats")
def _repeats(api: Api, sha256: str) -> list[Audit]:
    """Eight parts were judged good; repeats of all of them were planted, and nothing new has come since."""
    for number in _open(api, range(1, _FIRST + 1), sha256):
        _say(api, number, "GOOD", "ann")
    api.clock.advance(61)
    with api.services.database.begin() as session:
        settings = AuditSettings(repeat_share=1.0, repeat_after_s=60.0)
        assert plant(session, settings, np.random.default_rng(2), 100, api.clock.now()) == _FIRST
    with api.services.database.read() as session:
        return list(session.exec(select(Audit).where(Audit.ask == 2)).all())


def test_repeats_are_listed_with_parts_that_are_new_and_look_like_them(
    api: Api, sha256: str, repeats: list[Audit]
) -> None:
    judged = {task["audit_id"] for task in _listed(api)}
    assert _listed(api, state="OPEN") == [], "by itself each would be known for a repeat"
    api.clock.advance(10)
    new = _open(api, range(_FIRST + 1, _FIRST + _NEW + 1), sha256)
    tasks = _listed(api, state="OPEN")
    assert {task["audit_id"] for task in tasks} == {*new, *(row.number for row in repeats)}
    assert not {task["audit_id"] for task in tasks} & judged
    assert len({tuple(sorted((task | {"audit_id": 0}).items())) for task in tasks}) == 1
    assert not {"captured_at", "epoch", "sequence", "part_id", "trigger_number", "crop_sha256"} & set(tasks[0])


def test_neither_number_nor_place_in_the_list_says_which_came_first(
    api: Api, sha256: str, repeats: list[Audit]
) -> None:
    api.clock.advance(10)
    _open(api, range(_FIRST + 1, _FIRST + _NEW + 1), sha256)
    again = {row.number for row in repeats}
    order = [task["audit_id"] for task in _listed(api, state="OPEN")]
    assert order == sorted(order, reverse=True)
    # All eight on one side of the new eight has a chance of 2 in 12,870.
    assert {number in again for number in order[:_FIRST]} == {True, False}
    pages = [_listed(api, state="OPEN", limit=5)]
    while len(pages[-1]) == 5:
        pages.append(_listed(api, state="OPEN", limit=5, before_id=pages[-1][-1]["audit_id"]))
    assert [task["audit_id"] for page in pages for task in page] == order


def test_what_is_asked_again_is_not_known_by_coming_at_once(api: Api, sha256: str) -> None:
    first, other = _open(api, range(1, 3), sha256)
    api.clock.advance(1)
    _say(api, first, "DEFECTIVE", "ann")
    assert [task["audit_id"] for task in _listed(api, state="OPEN")] == [other]
    assert {task["audit_id"] for task in _listed(api)} == {first, other}
    # People get it all the same: their queue gives one part at a time.
    given = api.as_(Role.INSPECTOR).get(f"{P}/next", params={"inspector": "bob"}).json()["audit_id"]
    _say(api, given, "GOOD", "bob")
    api.clock.advance(1)
    (new,) = _open(api, range(3, 4), sha256)
    open_now = {task["audit_id"] for task in _listed(api, state="OPEN")}
    assert new in open_now
    assert len(open_now) == 2


def test_the_same_picture_is_another_file_each_time_and_the_same_pixels(
    api: Api, sha256: str, repeats: list[Audit]
) -> None:
    assert {row.crop_sha256 for row in repeats} == {sha256}
    inspector = api.as_(Role.INSPECTOR)
    answers = [inspector.get(f"{P}/{row.number}/picture").raise_for_status() for row in repeats]
    assert len({answer.content for answer in answers}) == len({answer.headers["etag"] for answer in answers}) == _FIRST
    assert len({len(answer.content) for answer in answers}) > 1
    assert sha256 not in "".join(str(answer.headers) for answer in answers)
    assert {_pixels(answer.content) for answer in answers} == {_pixels(_file(".png"))}
    again = inspector.get(f"{P}/{repeats[0].number}/picture")
    assert again.content == answers[0].content, "one presentation, one file"


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_marked_files_decode_to_the_same_pixels(kind: str) -> None:
    plain = _file(kind)
    one, other = marked(plain, 7), marked(plain, 2**52)
    assert len({plain, one, other}) == 3
    assert _pixels(one) == _pixels(other) == _pixels(plain)
    assert marked(b"neither", 7) == b"neither"


def test_a_marked_png_has_whole_chunks() -> None:
    """Readers differ in what they forgive; browsers refuse a wrong checksum."""
    content, place, kinds = marked(_file(".png"), 7), 8, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kinds.append(content[place + 4 : place + 8])
        body, end = content[place + 4 : place + 8 + length], place + 8 + length
        assert int.from_bytes(content[end : end + 4], "big") == zlib.crc32(body)
        place = end + 4
    assert kinds[:2] == [b"IHDR", b"tEXt"]
    assert (kinds[-1], place) == (b"IEND", len(content))


def test_answers_land_with_the_part_that_was_shown(api: Api, sha256: str, repeats: list[Audit]) -> None:
    api.clock.advance(10)
    new = _open(api, range(_FIRST + 1, _FIRST + _NEW + 1), sha256)
    said: dict[int, str] = {}
    for task in _listed(api, state="OPEN"):
        said[task["audit_id"]] = "UNSURE" if len(said) % 2 else "GOOD"
        _say(api, task["audit_id"], said[task["audit_id"]], "bob")
    for row in repeats:
        answered = api.audit(row.number)
        assert (answered.judgement, answered.outcome) == (Judgement(said[row.number]), None)
    for place, number in enumerate(new):
        answered = api.audit(number)
        assert answered.inspection_id == _FIRST + place + 1
        assert answered.judgement is Judgement(said[number])
        assert answered.outcome is (Judgement.GOOD if said[number] == "GOOD" else None)


def test_who_judges_is_not_told_which_part_it_is(api: Api, sha256: str) -> None:
    (number,) = _open(api, range(1, 2), sha256)
    assert api.as_(Role.ENGINEER).get(f"{P}/parts").status_code == 403
    (known,) = api.as_(Role.ADMIN).get(f"{P}/parts").json()
    assert (known["audit_id"], known["part_id"], known["crop_sha256"]) == (number, "part-1", sha256)
    # What waits for its picture is asked for the first time.
    assert api.as_(Role.INSPECTOR).get(P, params={"state": "AWAITING_EVIDENCE"}).status_code == 422


def test_waiting_audit_is_not_listed_and_has_no_picture_to_fetch(api: Api) -> None:
    api.store(make_report(1))
    number = api.draw_audit(1)
    assert _listed(api) == []
    answer = api.as_(Role.INSPECTOR).get(f"{P}/{number}/picture")
    assert (answer.status_code, "has not sent it" in answer.json()["detail"]) == (404, True)
    assert api.as_(Role.INSPECTOR).get(f"{P}/1/picture").status_code == 404
