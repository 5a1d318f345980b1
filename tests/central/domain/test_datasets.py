# SPDX-License-Identifier: Apache-2.0
"""A version is named by what it says, leaks are found, and lots and time split as they say."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.datasets import LabelRecord, find_leaks, version_of
from central.domain.learning import JudgedPicture, SplitBy, split_by
from contracts.vocabulary import Judgement, LabelSource, PartUse

AT = datetime(2026, 3, 1, 6, tzinfo=UTC)


def record(number: int, use: PartUse = PartUse.TRAIN, **changes: object) -> LabelRecord:
    made = LabelRecord(
        sha256=f"{number:064x}",
        media_type="image/png",
        judgement=Judgement.GOOD,
        defect_class=None,
        part=f"part-{number}",
        lot="plant/line-1/st-1/2026-03-01",
        station="plant/line-1/st-1",
        captured_at=AT,
        source=LabelSource.AUDIT,
        labelled_by=("anna",),
        labelled_at=AT,
        is_confirmed=False,
        inclusion_probability=0.1,
        inspection_id=number,
        audit_id=number,
        use=use,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@given(st.permutations(range(6)))
def test_a_version_does_not_depend_on_the_order_of_its_pictures(order: list[int]) -> None:
    assert version_of([record(number) for number in order]) == version_of([record(number) for number in range(6)])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sha256", "f" * 64), ("media_type", "image/jpeg"), ("judgement", Judgement.DEFECTIVE), ("defect_class", "pit"),
        ("part", "other"), ("lot", None), ("station", None), ("captured_at", None), ("source", LabelSource.REVIEW),
        ("labelled_by", ("ben",)), ("labelled_at", AT + timedelta(seconds=1)), ("is_confirmed", True),
        ("inclusion_probability", 0.2), ("inspection_id", None), ("audit_id", None), ("use", PartUse.HOLDOUT),
    ],
)  # fmt: skip
def test_whatever_a_version_says_is_in_its_digest(field: str, value: object) -> None:
    assert version_of([record(1), record(2)]) != version_of([record(1), replace(record(2), **{field: value})])  # type: ignore[arg-type]


def test_a_split_by_part_with_an_empty_past_leaks_nothing() -> None:
    records = [record(1), record(2), record(3, PartUse.HOLDOUT)]
    assert find_leaks(records, {}) == []
    assert find_leaks(records, {record(3).sha256: "part-3", "e" * 64: "gone"}) == []


def test_a_picture_that_once_tested_does_not_train() -> None:
    (line,) = find_leaks([record(1), record(2)], {record(2).sha256: "part-2"})
    assert "1 of the training pictures were once in the test set" in line
    assert record(2).sha256[:12] in line


def test_another_picture_of_a_part_that_once_tested_does_not_train() -> None:
    (line,) = find_leaks([record(1), record(2)], {"e" * 64: "part-2"})
    assert "parts that were once in the test set (such as part-2)" in line


def test_a_part_or_a_picture_on_both_sides_is_a_leak() -> None:
    both = [record(1), record(2, PartUse.HOLDOUT, part="part-1")]
    assert "parts" in find_leaks(both, {})[0]
    twice = [record(1), record(1, PartUse.HOLDOUT, part="elsewhere")]
    assert "were once in the test set" in find_leaks(twice, {})[0]


def test_lots_leak_only_where_lots_are_what_is_split() -> None:
    records = [record(1), record(2, PartUse.HOLDOUT)]
    assert find_leaks(records, {}) == []
    assert "are of lots in the test set" in find_leaks(records, {}, is_by_lot=True)[0]
    assert find_leaks([record(1, lot=None), record(2, PartUse.HOLDOUT, lot=None)], {}, is_by_lot=True) == []


def judged(number: int, lot: str | None, day: int = 0) -> JudgedPicture:
    return JudgedPicture(
        f"{number:064x}", f"part-{number}", Judgement.DEFECTIVE if number % 3 == 0 else Judgement.GOOD, None,
        LabelSource.AUDIT, lot=lot, at=AT + timedelta(days=day),
    )  # fmt: skip


@given(st.lists(st.integers(0, 7), min_size=2, max_size=60), st.floats(0.1, 0.5))
def test_all_parts_of_a_lot_stand_on_one_side(lots: list[int], share: float) -> None:
    pictures = [judged(number, f"lot-{lot}") for number, lot in enumerate(lots)]
    use = split_by(SplitBy.LOT, pictures, share, {})
    assert set(use) == {picture.group for picture in pictures}
    for lot in set(lots):
        assert len({use[picture.group] for picture in pictures if picture.lot == f"lot-{lot}"}) == 1


def test_a_lot_follows_its_parts_that_tested_before_and_what_trained_stays_trained() -> None:
    pictures = [judged(number, f"lot-{number // 10}") for number in range(40)]
    settled = {"part-3": PartUse.HOLDOUT, "part-4": PartUse.TRAIN, "part-15": PartUse.TRAIN}
    use = split_by(SplitBy.LOT, pictures, 0.3, settled)
    assert {use[f"part-{number}"] for number in range(10) if number != 4} == {PartUse.HOLDOUT}
    assert use["part-4"] is PartUse.TRAIN
    assert {use[f"part-{number}"] for number in range(10, 20)} == {PartUse.TRAIN}


def test_by_time_the_newest_parts_test_and_old_ones_keep_their_side() -> None:
    pictures = [judged(number, None, day=number) for number in range(60)]
    use = split_by(SplitBy.TIME, pictures, 0.3, {})
    tested = [number for number in range(60) if use[f"part-{number}"] is PartUse.HOLDOUT]
    assert tested == list(range(min(tested), 60))
    assert 15 <= len(tested) <= 21
    later = split_by(
        SplitBy.TIME, [*pictures, *(judged(number, None, day=number) for number in range(60, 90))], 0.3, use
    )
    assert use.items() <= later.items()
    assert later["part-89"] is PartUse.HOLDOUT
    assert later["part-60"] is PartUse.TRAIN


def test_by_part_the_side_has_nothing_to_do_with_time() -> None:
    early = split_by(SplitBy.PART, [judged(number, None, day=number) for number in range(60)], 0.3, {})
    late = split_by(SplitBy.PART, [judged(number, None, day=-number) for number in range(60)], 0.3, {})
    assert early == late
