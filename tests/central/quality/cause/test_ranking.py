# SPDX-License-Identifier: Apache-2.0
"""Each pattern leads to its cause and its remedy, in whatever order things were seen."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from central.quality.cause import (
    Cause,
    Change,
    ChangeKind,
    Counts,
    Observation,
    RankedCause,
    Remedy,
    Shift,
    StreamSeen,
    rank_causes,
)
from tests.central.quality.cause import scenes
from tests.central.quality.cause.scenes import shifts

RECIPE = Change(0.0, ChangeKind.RECIPE, "version-2", station="st-2")
PACKAGE = Change(0.0, ChangeKind.PACKAGE, "p-2", product="board")
DARKER = shifts(brightness=-5.0, contrast=-2.0, blur=-29.0)
STORIES = {
    "a lamp fades": (
        scenes.line(scenes.at_station("st-2", DARKER)),
        (Cause.CAMERA_OR_LAMP, Remedy.RE_LIGHT, "st-2", None),
    ),
    "a lamp turns warm": (
        scenes.line(scenes.at_station("st-1", shifts(colour=3.0))),
        (Cause.CAMERA_OR_LAMP, Remedy.RE_LIGHT, "st-1", None),
    ),
    "the sun shines in": (
        scenes.line({(s, p): shifts(brightness=5.0, contrast=2.0) for s in scenes.STATIONS for p in scenes.PRODUCTS}),
        (Cause.CAMERA_OR_LAMP, Remedy.RE_LIGHT, None, None),
    ),
    "a lens gets dirty": (
        scenes.line(scenes.at_station("st-3", shifts(0.6, contrast=-4.0, blur=-80.0, brightness=-1.0))),
        (Cause.LENS_FOULING, Remedy.CLEAN, "st-3", None),
    ),
    "a camera is bumped": (
        scenes.line(scenes.at_station("st-1", shifts(score=0.4, brightness=0.3))),
        (Cause.CAMERA_MOVED, Remedy.RE_AIM, "st-1", None),
    ),
    "a lens gets loose": (
        scenes.line(scenes.at_station("st-1", shifts(0.0, contrast=-3.0, blur=-90.0))),
        (Cause.CAMERA_MOVED, Remedy.RE_AIM, "st-1", None),
    ),
    "another batch": (
        scenes.line(scenes.of_product("ring", shifts(score=0.2, brightness=-4.0))),
        (Cause.MATERIAL_BATCH, Remedy.HOLD_BATCH, None, "ring"),
    ),
    "a new kind, few labels": (
        scenes.line(products=scenes.labels("ring", scenes.escapes(12, 400), 5, chatter=5)),
        (Cause.NEW_DEFECT_KIND, Remedy.AUDIT_MORE, None, "ring"),
    ),
    "a new kind, enough labels": (
        scenes.line(products=scenes.labels("ring", scenes.escapes(30, 400), 25, chatter=25)),
        (Cause.NEW_DEFECT_KIND, Remedy.RETRAIN, None, "ring"),
    ),
    "a new kind that only novelty sees": (
        scenes.line(unusual={"board": Counts(40, 1000)}),
        (Cause.NEW_DEFECT_KIND, Remedy.AUDIT_MORE, None, "board"),
    ),
    "a worse process": (
        scenes.line(rejects={"board": Counts(60, 1000)}),
        (Cause.PROCESS_WORSE, Remedy.MEND_PROCESS, None, "board"),
    ),
    "a worse process, escapes in proportion": (
        scenes.line(rejects={"board": Counts(72, 1000)}, products=scenes.labels("board", scenes.escapes(11, 400))),
        (Cause.PROCESS_WORSE, Remedy.MEND_PROCESS, None, "board"),
    ),
    "the model misses known kinds": (
        scenes.line(products=scenes.labels("board", scenes.escapes(20, 400))),
        (Cause.MODEL_WRONG, Remedy.RETRAIN, None, "board"),
    ),
    "the model rejects good parts": (
        scenes.line(rejects={"board": Counts(60, 1000)}, products=scenes.labels("board", scenes.overkill(60, 100))),
        (Cause.MODEL_WRONG, Remedy.RETRAIN, None, "board"),
    ),
    "a package rejects good parts": (
        scenes.line(
            scenes.of_product("board", shifts(score=0.2)),
            rejects={"board": Counts(60, 1000)},
            products=scenes.labels("board", scenes.overkill(60, 100)),
            changes=(PACKAGE,),
        ),
        (Cause.MODEL_WRONG, Remedy.ROLL_BACK, None, "board"),
    ),
    "a package goes blind": (
        scenes.line(rejects={"board": Counts(0, 1000)}, changes=(PACKAGE,)),
        (Cause.MODEL_WRONG, Remedy.ROLL_BACK, None, "board"),
    ),
    "a recipe changes the exposure": (
        scenes.line(scenes.at_station("st-2", DARKER), changes=(RECIPE,)),
        (Cause.WANTED_CHANGE, Remedy.NEW_REFERENCE, "st-2", None),
    ),
}


def told(ranked: RankedCause) -> tuple[Cause, Remedy, str | None, str | None]:
    return ranked.cause, ranked.remedy, ranked.station, ranked.product


@pytest.mark.parametrize("story", STORIES)
def test_a_pattern_leads_to_its_cause_its_place_and_its_remedy(story: str) -> None:
    observation, expected = STORIES[story]
    ranked = rank_causes(observation)
    assert told(ranked[0]) == expected
    assert ranked[0].score >= 0.3
    assert ranked[0].evidence


def test_nothing_seen_is_no_cause() -> None:
    assert rank_causes(scenes.line()) == []
    assert rank_causes(Observation(0.0, 1.0, ())) == []


def test_fewer_rejects_without_a_new_package_are_no_fault() -> None:
    assert rank_causes(scenes.line(rejects={"board": Counts(0, 1000)})) == []


def test_small_and_uncertain_shifts_are_no_cause() -> None:
    hardly = shifts(brightness=0.5, score=0.02, blur=-5.0)
    assert rank_causes(scenes.line(scenes.at_station("st-1", hardly))) == []


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("seed", range(3))
def test_the_order_in_which_things_are_listed_changes_nothing(story: str, seed: int) -> None:
    observation, _ = STORIES[story]
    shuffled = list(observation.streams)
    random.Random(seed).shuffle(shuffled)
    again = replace(observation, streams=tuple(shuffled), products=observation.products[::-1])
    assert rank_causes(again) == rank_causes(observation)


@pytest.mark.parametrize("story", STORIES)
def test_retraining_stands_beside_a_wrong_model_and_a_labelled_new_kind_alone(story: str) -> None:
    for ranked in rank_causes(STORIES[story][0]):
        assert ranked.remedy is not Remedy.RETRAIN or ranked.cause in {Cause.MODEL_WRONG, Cause.NEW_DEFECT_KIND}


@given(
    station=st.sampled_from(scenes.STATIONS),
    sizes=st.fixed_dictionaries({name: st.floats(-0.5, 0.5) for name in scenes.USUAL}),
    rise_share=st.floats(0, 1),
)
def test_what_moves_at_one_station_never_asks_for_a_training(
    station: str, sizes: dict[str, float], rise_share: float
) -> None:
    moved = shifts(rise_share, **{name: size * scenes.USUAL[name] for name, size in sizes.items()})
    ranked = rank_causes(scenes.line(scenes.at_station(station, moved)))
    assert all(each.remedy is not Remedy.RETRAIN and 0 < each.score <= 1 for each in ranked)


def test_a_package_change_long_before_explains_nothing() -> None:
    observation, _ = STORIES["a package rejects good parts"]
    before = replace(observation, changes=(replace(PACKAGE, at=-3000.0),))
    assert all(each.remedy is not Remedy.ROLL_BACK for each in rank_causes(before))


def test_labels_that_are_missing_are_said_to_be_missing() -> None:
    products = scenes.labels("ring", scenes.unknown())
    ranked = rank_causes(scenes.line(products=products, rejects={"ring": Counts(60, 1000)}))
    assert ranked[0].cause is Cause.PROCESS_WORSE
    assert "Escapes among accepted: not known since." in ranked[0].evidence


def test_a_stream_of_which_nothing_is_known_is_no_witness_that_it_stayed() -> None:
    fades, _ = STORIES["a lamp fades"]
    unknown = tuple(
        s if (s.station, s.product) in {("st-2", "ring"), ("st-1", "board")} else replace(s, shifts={})
        for s in fades.streams
    )
    ranked = rank_causes(replace(fades, streams=unknown))
    assert (ranked[0].cause, ranked[0].station) == (Cause.CAMERA_OR_LAMP, "st-2")
    assert "st-2, board: not known, too few parts." in ranked[0].evidence
    assert "Of 1 streams of other stations none moved." in ranked[0].evidence


def test_rejects_of_a_station_that_is_off_accuse_neither_process_nor_model() -> None:
    bumped = scenes.at_station("st-1", shifts(score=0.4))
    bumped[("st-1", "board")] = {}
    observation = scenes.line(bumped, products=scenes.labels("board", scenes.overkill(60, 100)))
    rejecting = tuple(
        replace(s, rejects_since=Counts(900, 1000)) if s.station == "st-1" else s for s in observation.streams
    )
    ranked = rank_causes(replace(observation, streams=rejecting))
    assert {each.cause for each in ranked}.isdisjoint({Cause.PROCESS_WORSE, Cause.MODEL_WRONG})


def test_rejects_of_two_stations_that_are_off_accuse_no_process() -> None:
    bumped = {**scenes.at_station("st-1", shifts(score=0.4)), **scenes.at_station("st-2", shifts(score=0.4))}
    observation = scenes.line(bumped)
    rejecting = tuple(
        s if s.station == "st-3" else replace(s, rejects_since=Counts(300, 1000)) for s in observation.streams
    )
    ranked = rank_causes(replace(observation, streams=rejecting))
    assert ranked[0].cause is Cause.CAMERA_MOVED
    assert {each.cause for each in ranked}.isdisjoint({Cause.PROCESS_WORSE, Cause.MODEL_WRONG})


def test_sharpness_that_is_lost_slowly_is_hardly_a_bump() -> None:
    scores = {each.cause: each.score for each in rank_causes(STORIES["a lens gets dirty"][0])}
    assert scores.get(Cause.CAMERA_MOVED, 0.0) < 0.2 < scores[Cause.LENS_FOULING]


def test_evidence_names_figures_places_and_what_stayed() -> None:
    evidence = " ".join(rank_causes(STORIES["a lamp fades"][0])[0].evidence)
    assert "st-2, ring" in evidence
    assert "brightness -5 grey levels from 100 (25 standard errors)" in evidence
    assert "Of 4 streams of other stations none moved." in evidence


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Shift(float("nan"), 1.0, 1.0), "expected finite values"),
        (lambda: Shift(1.0, 1.0, 0.0), "an error above 0"),
        (lambda: Counts(3, 2), "expected 0 <= count <= of, got 3 of 2"),
        (lambda: StreamSeen("a", "b", {"warmth": Shift(1.0, 1.0, 1.0)}), "got warmth"),
        (lambda: Observation(2.0, 1.0, ()), "an end after the onset"),
        (lambda: Observation(0.0, 1.0, (StreamSeen("a", "b"), StreamSeen("a", "b"))), "each station × product"),
    ],
)
def test_what_cannot_be_is_refused_in_words(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(ValueError, match=message):
        make()
