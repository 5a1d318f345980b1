# SPDX-License-Identifier: Apache-2.0
"""What a person reads of one thing is in the singular."""

import pytest

from contracts.vocabulary import DetectorKind, Judgement
from models.errors import InputError
from models.limits.promises import promise_overkill
from models.training.enough import check_enough
from models.training.job import choose_kind
from models.wording import counted
from tests.models.conftest import unread_part


@pytest.mark.parametrize(("count", "told"), [(0, "0 pictures"), (1, "1 picture"), (2, "2 pictures")])
def test_one_of_a_thing_is_in_the_singular(count: int, told: str) -> None:
    assert counted(count, "picture") == told


def test_a_single_part_that_is_missing_is_asked_for_as_one() -> None:
    promise = promise_overkill(parts=298, pictures=299, beyond=0, asked_rate=0.01, confidence=0.95)
    assert promise.statement.endswith("from 298 parts (299 pictures). 1 more part would promise 1 %.")
    parts = [unread_part(f"{place}.png", Judgement.GOOD) for place in range(9)]
    with pytest.raises(InputError, match="add 1 more picture of sound parts"):
        check_enough(DetectorKind.AUTO, [part.image for part in parts], [])


def test_a_single_defective_picture_is_told_as_one() -> None:
    notes: list[str] = []
    choose_kind(DetectorKind.AUTO, [unread_part("1.png", Judgement.DEFECTIVE)], notes)
    assert "1 defective training picture," in notes[0]
