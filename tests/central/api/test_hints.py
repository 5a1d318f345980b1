# SPDX-License-Identifier: Apache-2.0
"""The hint without labels over real HTTP: what it says, that it is marked, and that nothing else moves by it."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from contracts.vocabulary import AuditState, Judgement, Role, Verdict
from tests.central.api.conftest import Api
from tests.central.conftest import START, STATION, make_report

_LIMIT = 2.0


def _hints(api: Api, **query: Any) -> Any:
    answer = api.as_(Role.VIEWER).get("/api/v1/quality/hints", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _day(api: Api, first: int, parts: int, rng: np.random.Generator, **changes: object) -> tuple[Any, Any]:
    """Parts of which 8 % are defective and score higher; OK below the limit."""
    defective = rng.random(parts) < 0.08
    score = np.exp(rng.standard_normal(parts) + 2.5 * defective)
    made = [
        make_report(
            first + n,
            Verdict.OK if np.log(score[n]) < _LIMIT else Verdict.NG,
            score=float(score[n]),
            **changes,
        )
        for n in range(parts)
    ]
    api.store(*made)
    return score, defective


def _audited_day(api: Api, rng: np.random.Generator) -> None:
    score, defective = _day(api, 1, 1200, rng, captured_at=START - timedelta(days=2))
    for n in range(0, 1200, 2):
        if np.log(score[n]) < _LIMIT or n % 4 == 0:
            said = Judgement.DEFECTIVE if defective[n] else Judgement.GOOD
            chance = 0.5 if np.log(score[n]) < _LIMIT else 0.25
            api.draw_audit(n + 1, chance, state=AuditState.JUDGED, judgement=said, judged_at=api.clock.now())


def test_a_day_that_nobody_audited_is_hinted_at_and_marked_as_such(api: Api) -> None:
    rng = np.random.default_rng(21)
    _audited_day(api, rng)
    score, defective = _day(api, 5001, 2000, rng)
    (hint,) = _hints(api)
    accepted = np.log(score) < _LIMIT
    truth = float(defective[accepted].mean())
    assert (hint["station"], hint["product"], hint["accepted"]) == (str(STATION), "ring", int(accepted.sum()))
    assert hint["audits"] > 500
    assert hint["expected_share"] == pytest.approx(truth, rel=0.4)
    assert hint["low"] < hint["expected_share"] < hint["high"]
    assert hint["beyond_calibration"] < 0.02
    assert hint["is_hint"] is True
    assert hint["assumption"].startswith("A hint, not a measurement")
    assert "no covariate shift beyond calibration" in hint["assumption"]
    # What rests on labels knows nothing of it: of this hour nobody judged a part.
    (line,) = api.as_(Role.VIEWER).get("/api/v1/quality/rates", params={"station": str(STATION)}).json()["lines"]
    assert line["escape_share_of_accepted"]["estimate"] is None
    assert "hint" not in str(line)


def test_scores_that_left_the_audited_range_are_told(api: Api) -> None:
    rng = np.random.default_rng(22)
    _audited_day(api, rng)
    api.store(*(make_report(9000 + n, Verdict.OK, score=1e4 if n < 5 else 1.0) for n in range(20)))
    (hint,) = _hints(api)
    assert hint["beyond_calibration"] == pytest.approx(0.25)


def test_what_cannot_be_learnt_is_not_known_and_says_why(api: Api) -> None:
    assert _hints(api) == []
    api.store(*(make_report(n) for n in range(1, 31)))
    for number in range(1, 21):
        api.draw_audit(number, state=AuditState.JUDGED, judgement=Judgement.GOOD, judged_at=api.clock.now())
    (hint,) = _hints(api)
    assert (hint["expected_share"], hint["audits"], hint["defective"], hint["is_hint"]) == (None, 20, 0, True)
    assert hint["why"] == "expected at least 10 good and 10 defective audits of this package"
    assert (hint["low"], hint["high"]) == (0, 1)


def test_another_package_learns_anew(api: Api) -> None:
    rng = np.random.default_rng(23)
    _audited_day(api, rng)
    _day(api, 5001, 50, rng, package_id="b" * 64)
    (hint,) = _hints(api)
    assert (hint["package_id"], hint["audits"], hint["expected_share"]) == ("b" * 64, 0, None)
