# SPDX-License-Identifier: Apache-2.0
"""What a story about a rollout must have shown: each thing that is missing is named with its figures."""

from typing import Any

import pytest

from plant.rollouts.demands import rollout_failings, rollout_lines
from plant.scenario import ScenarioError, load_scenario, read_scenario
from plant.scenario_rollout import Shows
from tests.plant.test_scenario import GOOD

OLD, NEW = "a" * 64, "b" * 64
ONE, TWO = "demo/line-1/st-1", "demo/line-1/st-2"


def _passes(new: int, old: int) -> dict[str, int]:
    return {"of": 30, "package": new, "previous": old}


def _worse(**change: Any) -> dict[str, Any]:
    return {
        "shows": Shows.WORSE_ABORTED.value,
        "blind_to": "pit",
        "is_over": True,
        "has_shadow": True,
        "id": 2,
        "state": "ERROR",
        "package": NEW,
        "previous": OLD,
        "seconds": 80.0,
        "by_people": [],
        "waves": [{"state": "FINISHED", "stations": {ONE: "ROLLED_BACK"}}],
        "history": ["2026-01-01T00:00:00Z ERROR: gates of wave 2"],
        "gates": {"wave": 2, "outcome": "FAILED", "reasons": ["who is right: right in 1 of 12"], "gates": {}},
        "runs_at": {ONE: OLD, TWO: OLD},
        "exposure": {"parts": 297, "passed": 279, "by_station": {ONE: 297}},
        "quarantine": {"parts": 279, "defective": {"pit": 15}},
        "passes": {"sound": _passes(29, 30), "pit": _passes(28, 4), "burr": _passes(3, 0)},
        "cut": None,
    } | change


def _better(**change: Any) -> dict[str, Any]:
    return (
        _worse(
            shows=Shows.BETTER_COMPLETED.value,
            blind_to=None,
            state="FINISHED",
            waves=[{"state": "FINISHED", "stations": {ONE: "DONE"}}, {"state": "FINISHED", "stations": {TWO: "DONE"}}],
            history=["2026-01-01T00:00:00Z canary passed its gates in shadow"],
            gates={"wave": 1, "outcome": "PASSED", "reasons": [], "gates": {"latency": {"decision": "PROMOTE"}}},
            runs_at={ONE: NEW, TWO: NEW},
            passes={"sound": _passes(30, 30), "stain": _passes(4, 10)},
        )
        | change
    )


def _cut(**change: Any) -> dict[str, Any]:
    told = {
        "stations": [TWO],
        "wave": 2,
        "progress_at_cut": {ONE: "ASSIGNED", TWO: "ASSIGNED"},
        "seconds": 39.0,
        "others_done": [ONE],
        "said": [f"{TWO} AWAY since now: nothing heard"],
        "finished_after_s": 35.0,
    }
    return _better(shows=Shows.CUT_AND_FINISHED.value, cut=told | change)


def test_stories_that_show_everything_pass() -> None:
    for told in (_worse(), _better(), _cut()):
        assert rollout_failings(told) == []


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ({"id": None, "shows": "worse-aborted"}, "no rollout began"),
        (_worse(by_people=["aborted by anna"]), "people had a hand in the rollout"),
        (_worse(is_over=False), "was still ERROR when the run ended"),
        (_worse(gates={"outcome": "PASSED"}), "was not aborted by a gate: it is ERROR, its gates said PASSED"),
        (_worse(gates=None), "its gates said nothing"),
        (_worse(runs_at={ONE: OLD, TWO: NEW}), f"do not run the previous package again: {TWO}"),
        (_worse(runs_at={}), "(none touched)"),
        (_worse(passes={"pit": _passes(8, 4)}), "is not blind to pit: it lets pass 8 of 30"),
        (_worse(passes={"pit": _passes(28, 4), "burr": _passes(13, 0)}), "is worse on burr too"),
        (_worse(quarantine={"parts": 278, "defective": {"pit": 15}}), "names 278 parts, the package let 279 pass"),
        (_worse(quarantine={"parts": 279, "defective": {"burr": 1}}), "no escaped pit stands on the quarantine list"),
        (_better(state="ERROR"), "was not finished: ERROR"),
        (_better(waves=[{"state": "FINISHED", "stations": {}}]), "not two waves or more were finished"),
        (_better(runs_at={ONE: NEW, TWO: OLD}), f"stations that do not run the package: {TWO}"),
        (_better(history=["finished"]), "no wave passed its gates in shadow"),
        (_better(passes={"stain": _passes(10, 10)}), "the package is not better"),
        (_better(shows=Shows.CUT_AND_FINISHED.value), "the network was not cut"),
        (_cut(said=[]), "central did not say that it waits"),
        (_cut(others_done=[]), "never away beside others"),
        (_cut(progress_at_cut={TWO: "DONE"}), "a station was done already when it was cut off"),
        (_cut(finished_after_s=None), "not finished after the network came back"),
    ],
)
def test_each_thing_that_was_not_shown_is_named(told: dict[str, Any], words: str) -> None:
    found = rollout_failings(told)
    assert len(found) == 1, found
    assert words in found[0]


def test_a_plan_without_shadow_is_not_asked_for_its_gates() -> None:
    assert rollout_failings(_better(history=["finished"], has_shadow=False, gates=None)) == []


def test_nothing_exposed_is_no_show_of_exposure() -> None:
    told = _worse(exposure={"parts": 0, "passed": 0, "by_station": {}}, quarantine={"parts": 0, "defective": {}})
    assert len(rollout_failings(told)) == 2


def test_the_summary_says_what_went_back_and_who_was_cut_off() -> None:
    said = "\n".join(rollout_lines(_worse()))
    for words in ("ERROR after 80 s, nobody had a hand in it", "297 parts judged by the package (st-1 297)", "15 pit"):
        assert words in said
    assert "2 of 2 touched stations say that they run the previous package" in said
    assert "st-2 cut off in wave 2 for 39 s; central said: " in "\n".join(rollout_lines(_cut()))


def test_each_story_is_shipped_once_and_its_first_wave_leaves_stations_for_a_second() -> None:
    told = {load_scenario(f"rollout-{name}").rollout for name in ("worse", "better", "partition")}
    assert {story.shows for story in told if story is not None} == set(Shows)
    assert all(len(story.waves) == 2 for story in told if story is not None)


STORY = """
[defects]
pit = 0.1
[rollout]
shows = "{shows}"
at_part = 5
{more}
[[rollout.wave]]
scope = "ALL"
"""


@pytest.mark.parametrize(
    ("shows", "more", "words"),
    [
        ("worse-aborted", "", "blind_to: expected the kind"),
        ("worse-aborted", 'blind_to = "burr"', "blind_to: expected one of pit, got burr"),
        ("better-completed", 'blind_to = "pit"', "blind_to: expected the kind"),
        ("better-completed", 'cut = ["st-1"]', "cut: expected the stations"),
        ("cut-and-finished", "", "cut: expected the stations"),
        ("cut-and-finished", 'cut = ["st-9"]', "no station st-9; the line has st-1, st-2"),
        ("sideways", "", "worse-aborted"),
    ],
)
def test_a_story_that_cannot_be_is_refused_with_its_reason(shows: str, more: str, words: str) -> None:
    with pytest.raises(ScenarioError, match="1 fault") as refused:
        read_scenario(GOOD + STORY.format(shows=shows, more=more), "story")
    assert words in str(refused.value)
