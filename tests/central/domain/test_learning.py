# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.domain.learning import JudgedPicture, SeenField, bound_pictures, field_like, readiness, split_holdout
from contracts.manifest import GraphSignature
from contracts.tiles import Tiles
from contracts.vocabulary import Judgement, LabelSource, PartUse


def picture(
    number: int, judgement: Judgement, group: int, defect_class: str | None, source: LabelSource
) -> JudgedPicture:
    return JudgedPicture(f"{number:064x}", f"part-{group}", judgement, defect_class, source)


PICTURES = st.lists(
    st.builds(
        picture,
        st.integers(0, 10_000),
        st.sampled_from([Judgement.GOOD, Judgement.DEFECTIVE]),
        st.integers(0, 40),
        st.sampled_from([None, "scratch", "pit"]),
        st.sampled_from([LabelSource.AUDIT, LabelSource.REFERENCE]),
    ),
    max_size=80,
    unique_by=lambda item: item.sha256,
)


@given(PICTURES, st.floats(0.05, 0.5))
def test_every_part_stands_on_exactly_one_side_and_the_split_does_not_depend_on_order(
    pictures: list[JudgedPicture], share: float
) -> None:
    use = split_holdout(pictures, share, {})
    assert set(use) == {item.group for item in pictures}
    one_each = {item.group: item for item in pictures}
    shuffled = list(reversed(list(one_each.values())))
    assert split_holdout(shuffled, share, {}) == split_holdout(list(one_each.values()), share, {})


@given(PICTURES, st.floats(0.05, 0.5))
def test_both_sides_hold_both_judgements_when_there_are_parts_enough(
    pictures: list[JudgedPicture], share: float
) -> None:
    use = split_holdout(pictures, share, {})
    defective = {item.group for item in pictures if item.judgement is Judgement.DEFECTIVE}
    good = {item.group for item in pictures} - defective
    for groups in (good, defective):
        if len(groups) >= 2:
            assert {use[group] for group in groups} == {PartUse.TRAIN, PartUse.HOLDOUT}


@given(PICTURES, PICTURES, st.floats(0.05, 0.5))
def test_a_part_never_changes_sides_in_a_later_training(
    first: list[JudgedPicture], more: list[JudgedPicture], share: float
) -> None:
    """A part that trained the champion must not test the candidate that is compared with it."""
    settled = split_holdout(first, share, {})
    later = split_holdout([*first, *more], share, settled)
    assert all(later[group] is side for group, side in settled.items())


def test_holdout_takes_its_share_of_every_stratum() -> None:
    pictures = [
        picture(number, Judgement.DEFECTIVE, number, "scratch" if number < 20 else "pit", LabelSource.AUDIT)
        for number in range(40)
    ]
    use = split_holdout(pictures, 0.3, {})
    held = [number for number in range(40) if use[f"part-{number}"] is PartUse.HOLDOUT]
    assert sum(number < 20 for number in held) == 6
    assert sum(number >= 20 for number in held) == 6


def test_bound_keeps_defective_parts_and_the_newest_good_ones() -> None:
    pictures = [picture(number, Judgement.GOOD, number, None, LabelSource.REFERENCE) for number in range(10)]
    pictures.insert(0, picture(99, Judgement.DEFECTIVE, 99, None, LabelSource.AUDIT))
    kept = bound_pictures(pictures, 4)
    assert [item.group for item in kept] == ["part-99", "part-7", "part-8", "part-9"]


def test_readiness_says_what_is_missing() -> None:
    ready = readiness(good=40, defective=13, min_good=30, min_defective=20)
    assert not ready.is_enough
    assert "0 good and 7 defective ones are missing" in ready.in_words()
    assert readiness(30, 20, 30, 20).is_enough


def test_share_is_counted_in_pictures_where_parts_were_seen_unequally_often() -> None:
    # Twelve parts: three seen fifty times, nine seen five times.
    seen = [50, 50, 50, *[5] * 9]
    numbers = iter(range(10_000))
    pictures = [
        picture(next(numbers), Judgement.GOOD, group, None, LabelSource.REFERENCE)
        for group, times in enumerate(seen)
        for _ in range(times)
    ]
    use = split_holdout(pictures, 0.3, {})
    held = sum(use[each.group] is PartUse.HOLDOUT for each in pictures)
    # No group can be cut, so the share is met to within half of the largest one.
    assert abs(held - 0.3 * len(pictures)) <= 25


FIRST = SeenField(256, Tiles())


@pytest.mark.parametrize(
    ("height", "width", "tiles", "expected"),
    [
        (256, 256, Tiles(), SeenField(256, Tiles())),
        (320, 800, Tiles(rows=2, columns=5), SeenField(160, Tiles(rows=2, columns=5))),
        # Foreign graphs: neither square nor of a size that a job may ask for.
        (480, 640, Tiles(), FIRST),
        (32, 32, Tiles(), FIRST),
    ],
)
def test_a_retraining_takes_the_field_of_its_champion_where_a_job_can_ask_for_it(
    height: int, width: int, tiles: Tiles, expected: SeenField
) -> None:
    graph = GraphSignature(
        model_height_px=height, model_width_px=width, heatmap_height_px=8, heatmap_width_px=8, embedding_length=4,
        tiles=tiles,
    )  # fmt: skip
    assert field_like(graph, FIRST) == expected


def test_a_first_training_has_no_champion_to_look_like() -> None:
    assert field_like(None, FIRST) == FIRST
