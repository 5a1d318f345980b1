# SPDX-License-Identifier: Apache-2.0
"""What is rare is judged by more than one: confirmations, two of three, and who may not judge twice."""

import threading
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlmodel import select

from central.app import build_services
from central.audit_settings import AuditSettings
from central.domain.audit import MOST_ASKINGS
from central.services.audits.repeated import plant
from central.settings import load_settings
from central.store.tables import Audit, LabelledPicture
from contracts.vocabulary import AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import make_report

G, D, U = "GOOD", "DEFECTIVE", "UNSURE"


def _audits(api: Api, count: int, verdict: Verdict = Verdict.OK, probability: float = 0.5) -> list[int]:
    api.store(*(make_report(number, verdict) for number in range(1, count + 1)))
    return [
        api.draw_audit(number, probability, state=AuditState.OPEN, crop_sha256=f"{number:064x}")
        for number in range(1, count + 1)
    ]


def _next(api: Api, inspector: str) -> Any:
    return api.as_(Role.INSPECTOR).get("/api/v1/audits/next", params={"inspector": inspector})


def _say(api: Api, audit_id: int, judgement: str, inspector: str, **more: Any) -> Any:
    body = {"judgement": judgement, "inspector": inspector, **more}
    return api.as_(Role.INSPECTOR).post(f"/api/v1/audits/{audit_id}/outcome", json=body)


def _line(api: Api) -> Any:
    (line,) = [
        line for line in api.as_(Role.VIEWER).get("/api/v1/quality/rates").json()["lines"] if line["station"] == "*"
    ]
    return line


def _rows(api: Api) -> list[Audit]:
    with api.services.database.read() as session:
        return list(session.exec(select(Audit).order_by("id")).all())


def _labels(api: Api) -> list[LabelledPicture]:
    with api.services.database.read() as session:
        return list(session.exec(select(LabelledPicture)).all())


@pytest.mark.parametrize(
    ("verdict", "words", "outcome"),
    [
        (Verdict.OK, [G], G),
        (Verdict.OK, [D, D], D),
        (Verdict.OK, [D, G], G),
        (Verdict.OK, [U, G], G),
        (Verdict.OK, [U, D, U, D], D),
        (Verdict.OK, [U] * MOST_ASKINGS, U),
        (Verdict.NG, [G, G], G),
        (Verdict.NG, [D, D], D),
        (Verdict.NG, [G, D, G], G),
        (Verdict.NG, [D, G, U, D], D),
        (Verdict.REVIEW, [D, G, G], G),
    ],
)
def test_a_part_is_asked_until_it_is_settled_and_no_longer(
    api: Api, verdict: Verdict, words: list[str], outcome: str
) -> None:
    (audit_id,) = _audits(api, 1, verdict)
    for upto in range(1, len(words)):
        # Not before the last word: what is known so far says nothing.
        row = api.audit(audit_id)
        assert row.outcome is None, words[:upto]
        task = _next(api, f"p{upto - 1}").json()
        _say(api, task["audit_id"], words[upto - 1], f"p{upto - 1}").raise_for_status()
        assert _line(api)["escape_share_of_accepted"]["of"] == _line(api)["overkill_share_of_rejected"]["of"] == 0
        assert _labels(api) == []
    _say(api, _next(api, "last").json()["audit_id"], words[-1], "last").raise_for_status()
    row = api.audit(audit_id)
    assert (row.outcome, row.settled_at) == (outcome, api.clock.now())
    assert _next(api, "one-more").status_code == 204
    labelled = [label.judgement.value for label in _labels(api)]
    # Two who differ about an accepted part teach nothing.
    assert labelled == ([] if words == [D, G] and verdict is Verdict.OK else [outcome])


def test_an_escape_counts_once_two_have_seen_it_and_until_then_widens_the_interval(api: Api) -> None:
    ids = _audits(api, 20, probability=0.5)
    # As many again that were not drawn, else all parts would be known.
    api.store(*(make_report(number) for number in range(21, 41)))
    for audit_id in ids[1:]:
        _say(api, audit_id, G, "ann").raise_for_status()
    before = _line(api)["escape_share_of_accepted"]
    _say(api, ids[0], D, "ann", defect_class="pit").raise_for_status()
    waiting = _line(api)["escape_share_of_accepted"]
    assert (waiting["count"], waiting["of"], waiting["unsettled"]) == (0, 19, 1)
    assert (waiting["low"], waiting["estimate"]) == (0.0, 0.0)
    assert waiting["high"] > before["high"]
    (group,) = api.as_(Role.VIEWER).get("/api/v1/quality/figures").json()["groups"]
    assert (group["escapes"]["count"], group["escapes"]["of"], group["escapes"]["unsettled"]) == (0, 19, 1)
    assert api.as_(Role.VIEWER).get("/api/v1/audits/summary").json()["unsettled"] == 1
    _say(api, _next(api, "bob").json()["audit_id"], D, "bob").raise_for_status()
    after = _line(api)["escape_share_of_accepted"]
    assert (after["count"], after["of"], after["unsettled"]) == (1, 20, 0)
    assert after["estimate"] == pytest.approx(1 / 20)
    (group,) = api.as_(Role.VIEWER).get("/api/v1/quality/figures").json()["groups"]
    assert [(bar["defect_class"], bar["count"]) for bar in group["pareto"]] == [("pit", 1)]
    assert [label.defect_class for label in _labels(api) if label.judgement is Judgement.DEFECTIVE] == ["pit"]


def test_nobody_confirms_what_they_said_themselves(api: Api) -> None:
    (audit_id,) = _audits(api, 1)
    _say(api, audit_id, D, "ann").raise_for_status()
    assert _next(api, "ann").status_code == 204
    again = _rows(api)[1]
    refused = _say(api, again.number, D, "ann")
    assert (refused.status_code, "ann has judged this part before" in refused.json()["detail"]) == (409, True)
    assert api.audit(audit_id).outcome is None
    assert _say(api, again.number, D, "bob").status_code == 200
    assert api.audit(audit_id).outcome is Judgement.DEFECTIVE


def test_a_judgement_that_arrives_twice_counts_once(api: Api) -> None:
    (audit_id,) = _audits(api, 1)
    assert [_say(api, audit_id, D, "ann").status_code for _ in range(2)] == [200, 409]
    assert [row.ask for row in _rows(api)] == [1, 2]


@pytest.mark.parametrize("is_claimed", [True, False])
def test_of_two_who_answer_one_confirmation_at_once_one_counts(api: Api, *, is_claimed: bool) -> None:
    ids = _audits(api, 8)
    for audit_id in ids:
        _say(api, audit_id, D, "ann").raise_for_status()
    asked = [row.number for row in _rows(api) if row.ask == 2]
    answers: list[tuple[str, int, int]] = []

    def answer(name: str) -> None:
        if is_claimed:
            _take_all(api, name, answers)
        else:
            answers.extend((name, number, _say(api, number, D, name).status_code) for number in asked)

    people = [threading.Thread(target=answer, args=(name,)) for name in ("bob", "cem")]
    for person in people:
        person.start()
    for person in people:
        person.join()
    won = Counter(number for _, number, status in answers if status == 200)
    assert won == dict.fromkeys(asked, 1)
    assert {status for _, _, status in answers} <= {200, 409}
    rows = _rows(api)
    assert len(rows) == 16
    assert [row.outcome for row in rows if row.ask == 1] == [Judgement.DEFECTIVE] * 8


def _take_all(api: Api, name: str, answers: list[tuple[str, int, int]]) -> None:
    """Judge until the queue is empty."""
    for _ in range(40):
        if (task := _next(api, name)).status_code != 200:
            break
        number = task.json()["audit_id"]
        answers.append((name, number, _say(api, number, D, name).status_code))


def test_a_confirmation_looks_like_any_other_task(api: Api) -> None:
    ids = _audits(api, 3)
    _say(api, ids[0], D, "ann").raise_for_status()
    tasks = {}
    for name in ("bob", "cem", "dee"):
        task = _next(api, name).json()
        tasks[task["audit_id"]] = task
    again = _rows(api)[3].number
    assert set(tasks) == {ids[1], ids[2], again}
    shapes = {tuple(sorted((key, value is None) for key, value in task.items())) for task in tasks.values()}
    assert len(shapes) == 1
    for task in tasks.values():
        assert not {"captured_at", "epoch", "sequence", "trigger_number", "part_id", "crop_sha256"} & set(task)
        assert task["state"] == "OPEN"


def test_confirmations_come_soon_but_among_others(api: Api) -> None:
    ids = _audits(api, 60)
    _say(api, ids[0], D, "ann").raise_for_status()
    place = []
    for seed in range(40):
        api.services.rng.seed(seed)
        api.clock.advance(121)
        for turn in range(60):
            if _next(api, f"n{seed}-{turn}").json()["audit_id"] not in ids:
                place.append(turn)
                break
    # Half of the time at once; by chance alone it would be the 30th of 60.
    assert len(place) == 40
    assert max(place) > 0
    assert sum(turn == 0 for turn in place) <= 32
    assert sum(place) / 40 < 5


def test_one_answer_counts_where_there_is_one_inspector(api: Api) -> None:
    api.services.settings = _with_audit(api, confirms=False)
    (audit_id,) = _audits(api, 1)
    _say(api, audit_id, D, "ann").raise_for_status()
    assert api.audit(audit_id).outcome is Judgement.DEFECTIVE
    assert len(_rows(api)) == 1


def _with_audit(api: Api, **changes: Any) -> Any:
    return replace(api.services.settings, audit=replace(api.services.settings.audit, **changes))


def _plant(api: Api, drawn: int, share: float = 1.0) -> int:
    settings = AuditSettings(repeat_share=share, repeat_after_s=60.0)
    with api.services.database.begin() as session:
        return plant(session, settings, np.random.default_rng(2), drawn, api.clock.now())


def test_repeats_are_planted_later_once_and_change_no_outcome(api: Api) -> None:
    ids = _audits(api, 6)
    for audit_id in ids:
        _say(api, audit_id, G, "ann").raise_for_status()
    assert _plant(api, 100) == 0, "too soon"
    api.clock.advance(61)
    before = _line(api)["escape_share_of_accepted"]
    assert _plant(api, 4) == 4
    assert _plant(api, 100) == 2, "each part once"
    assert _plant(api, 100) == 0
    said = 0
    while (task := _next(api, "ann")).status_code == 200:
        # Those who judged a part may get its repeat; they contradict themselves on two.
        _say(api, task.json()["audit_id"], D if said < 2 else G, "ann").raise_for_status()
        said += 1
    assert said == 6
    assert _line(api)["escape_share_of_accepted"] == before
    assert [row.outcome for row in _rows(api) if row.ask == 1] == [Judgement.GOOD] * 6
    assert len(_labels(api)) == 6
    (view,) = api.as_(Role.VIEWER).get("/api/v1/quality/agreement").json()
    assert [(pair["first"], pair["second"]) for pair in view["pairs"]] == [("ann", "ann")]
    assert (view["repeats"]["count"], view["repeats"]["of"]) == (2, 6)
    # 2 e (1 - e) = 1/3.
    assert view["error_rate"]["estimate"] == pytest.approx(0.2113, abs=1e-4)
    assert view["error_rate"]["low"] < 0.2113 < view["error_rate"]["high"]


def test_what_confirmation_leaves_is_taken_in_once_repeats_tell_the_error_rate(api: Api) -> None:
    ids = _audits(api, 40)
    api.store(*(make_report(number) for number in range(41, 81)))
    for number, audit_id in enumerate(ids):
        _say(api, audit_id, D if number < 4 else G, "ann").raise_for_status()
    while (task := _next(api, "bob")).status_code == 200:
        _say(api, task.json()["audit_id"], D, "bob").raise_for_status()
    assert _line(api)["escape_share_allowing_for_errors"] is None, "no repeat was judged"
    api.clock.advance(61)
    assert _plant(api, 20) == 20
    for number, row in enumerate([row for row in _rows(api) if row.is_repeat]):
        first = api.audit(next(one.number for one in _rows(api) if one.inspection_id == row.inspection_id))
        same, other = (G, D) if first.judgement is Judgement.GOOD else (D, G)
        _say(api, row.number, other if number < 2 else same, "cem").raise_for_status()
    line = _line(api)
    plain, allowing = line["escape_share_of_accepted"], line["escape_share_allowing_for_errors"]
    # d = 1/10, so e = .0528, and .1 = share * (1 - e)^2 + (1 - share) * e^2.
    error = (1 - (1 - 2 * 0.1) ** 0.5) / 2
    expected = (0.1 - error**2) / ((1 - error) ** 2 - error**2)
    assert plain["estimate"] == pytest.approx(0.1)
    assert allowing["estimate"] == pytest.approx(expected)
    assert allowing["low"] < plain["low"]
    assert allowing["high"] > plain["high"]
    assert (allowing["count"], allowing["of"]) == (4, 40)


def test_a_restart_between_two_answers_changes_nothing(api: Api) -> None:
    ids = _audits(api, 2)
    _say(api, ids[0], D, "ann", defect_class="pit").raise_for_status()
    before = _line(api)
    folder = api.services.settings.data_dir
    api.services.database.close()
    api.services = build_services(load_settings(folder / "central.toml", {}), api.clock)
    api.app.state.services = api.services
    assert _line(api) == before
    assert _next(api, "ann").json()["audit_id"] == ids[1], "still not the part that she judged"
    _say(api, _rows(api)[2].number, D, "bob").raise_for_status()
    assert api.audit(ids[0]).outcome is Judgement.DEFECTIVE
    assert [label.defect_class for label in _labels(api)] == ["pit"]


def test_disagreement_is_told_by_pair_and_confirmations_apart(api: Api) -> None:
    ids = _audits(api, 5)
    for audit_id, word in zip(ids, (G, G, G, G, D), strict=True):
        _say(api, audit_id, word, "ann").raise_for_status()
    _say(api, _next(api, "bob").json()["audit_id"], G, "bob").raise_for_status()
    api.clock.advance(61)
    assert _plant(api, 5) == 5
    for number, word in enumerate((D, G, U, G, G)):
        row = [row for row in _rows(api) if row.is_repeat][number]
        _say(api, row.number, word, ("bob", "cem")[number % 2]).raise_for_status()
    (view,) = api.as_(Role.VIEWER).get("/api/v1/quality/agreement").json()
    pairs = {(pair["first"], pair["second"]): pair for pair in view["pairs"]}
    assert set(pairs) == {("ann", "bob"), ("ann", "cem")}
    assert sum(pair["differ"]["of"] + pair["unsure"] for pair in pairs.values()) == 5
    assert (view["refuted"]["count"], view["refuted"]["of"]) == (1, 1)
    assert api.as_(Role.VIEWER).get("/api/v1/quality/agreement", params={"minutes": 1}).json() != []
    api.clock.at += timedelta(days=60)
    assert api.as_(Role.VIEWER).get("/api/v1/quality/agreement").json() == []
