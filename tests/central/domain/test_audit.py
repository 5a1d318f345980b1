# SPDX-License-Identifier: Apache-2.0
from datetime import UTC, datetime, timedelta

import pytest

from central.domain.audit import is_escape, is_firm, next_request_at
from contracts.vocabulary import Judgement, Verdict

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("verdict", Verdict)
@pytest.mark.parametrize("judgement", Judgement)
def test_only_a_defective_part_judged_ok_is_an_escape(verdict: Verdict, judgement: Judgement) -> None:
    assert is_escape(verdict, judgement) == (verdict is Verdict.OK and judgement is Judgement.DEFECTIVE)


def test_unsure_is_no_firm_judgement() -> None:
    assert [is_firm(item) for item in (Judgement.GOOD, Judgement.DEFECTIVE, Judgement.UNSURE, None)] == [
        True,
        True,
        False,
        False,
    ]


def test_a_picture_is_asked_for_at_once_and_then_four_times_until_it_counts_as_lost() -> None:
    assert next_request_at(NOW, None, 120) == NOW
    assert next_request_at(NOW, NOW, 120) == NOW + timedelta(seconds=30)
