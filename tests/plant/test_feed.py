# SPDX-License-Identifier: Apache-2.0
"""What stands in front of the camera follows the scenario, and asking twice gives the same part."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from contracts.ids import StationAddress
from plant.line.cameras import LineSimulator
from plant.line.feed import DefectPlan, LinePart, RenderedFeed, part_number_of
from plant.line.truth import TruthBook
from plant.parts.catalogue import KINDS
from plant.scenario import Scenario, read_scenario

STORY = """
title = "short"
takt_s = 0.01
size_px = 64
seed = 3
[[station]]
name = "st-1"
product = "ring"
[[station]]
name = "st-2"
product = "ring"
[defects]
scratch = 0.10
pit = 0.05
[[step]]
at_part = 100
new_defect = { kind = "chatter", rate = 0.2, severity = 0.5 }
[[step]]
at_part = 30
kill = "central"
[[step]]
at_part = 5000
changeover = "board"
[[step]]
at_part = 6000
drop_rate = 0.3
"""


@pytest.fixture(name="scenario", scope="module")
def _scenario() -> Scenario:
    return read_scenario(STORY, "short")


@pytest.fixture(name="feed", scope="module")
def _feed(scenario: Scenario) -> RenderedFeed:
    return RenderedFeed(scenario, "st-2")


def same(first: LinePart, second: LinePart) -> bool:
    empty = np.zeros((0, 0, 3), np.uint8)
    return replace(first, pixels=empty) == replace(second, pixels=empty) or bool(
        np.array_equal(first.pixels, second.pixels)
    )


def test_asking_twice_gives_the_same_part_in_any_order(scenario: Scenario, feed: RenderedFeed) -> None:
    parts = {trigger: feed.part(trigger, "A", 0) for trigger in (9, 2, 70)}
    other = RenderedFeed(scenario, "st-2")
    for trigger in (2, 70, 9):
        again = other.part(trigger, "A", 0)
        assert np.array_equal(again.pixels, parts[trigger].pixels)
        assert (again.part_id, again.defect_class) == (parts[trigger].part_id, parts[trigger].defect_class)


def test_the_stations_take_turns_and_share_no_part() -> None:
    numbers = [part_number_of(trigger, index, 3) for trigger in range(1, 50) for index in range(3)]
    assert numbers == list(range(1, 148))


def plan_of(scenario: Scenario) -> DefectPlan:
    return DefectPlan(scenario, "st-1", "ring")


def drawn(scenario: Scenario, first: int, last: int) -> Counter[str | None]:
    plan = plan_of(scenario)
    specs = [plan.defect(n, KINDS["ring"], np.random.default_rng([3, n])) for n in range(first, last)]
    return Counter(spec.kind if spec else None for spec in specs)


def test_a_new_kind_never_occurs_before_its_part(scenario: Scenario) -> None:
    assert drawn(scenario, 1, 100)["chatter"] == 0
    later = drawn(scenario, 100, 4100)
    assert later["chatter"] / 4000 == pytest.approx(0.2, abs=0.03)
    assert later["scratch"] / 4000 == pytest.approx(0.10, abs=0.025)
    assert later["pit"] / 4000 == pytest.approx(0.05, abs=0.02)


def test_severity_lies_between_the_stated_ends(scenario: Scenario) -> None:
    plan = plan_of(scenario)
    specs = [plan.defect(n, KINDS["ring"], np.random.default_rng([4, n])) for n in range(1, 2000)]
    known = [spec.severity for spec in specs if spec and spec.kind != "chatter"]
    assert min(known) >= scenario.severity.low
    assert max(known) <= scenario.severity.high
    assert {spec.severity for spec in specs if spec and spec.kind == "chatter"} == {0.5}


def test_the_changeover_changes_the_product_at_its_part(scenario: Scenario, feed: RenderedFeed) -> None:
    assert [plan_of(scenario).product(part) for part in (1, 4999, 5000, 9000)] == ["ring", "ring", "board", "board"]
    assert feed.part(2600, "A", 0).product == "board"


def test_a_kind_that_a_product_cannot_have_counts_as_sound(scenario: Scenario) -> None:
    plan = plan_of(scenario)
    assert all(plan.defect(n, (), np.random.default_rng(n)) is None for n in range(100, 300))


def test_truth_says_what_the_picture_shows(feed: RenderedFeed) -> None:
    parts = [feed.part(trigger, "A", 0) for trigger in range(1, 120)]
    assert any(part.is_defective for part in parts)
    for part in parts:
        assert part.is_defective == (part.defect_class is not None) == (part.severity is not None)
        assert bool(part.mask_px) == part.is_defective


def test_lost_frames_follow_the_scenario(feed: RenderedFeed) -> None:
    dropped = [feed.part(trigger, "A", 0).is_dropped for trigger in range(3001, 3201)]
    assert 0.15 < np.mean(dropped) < 0.45
    assert not any(feed.part(trigger, "A", 0).is_dropped for trigger in range(1, 50))


def test_commissioning_parts_are_sound_and_never_on_the_line(scenario: Scenario, tmp_path: Path) -> None:
    truth = TruthBook(tmp_path / "truth.db")
    line = LineSimulator.build(scenario, truth)
    pictures = list(line.commissioning("ring", 9))
    assert len({picture.part_id for picture in pictures}) == 9
    assert all(picture.png.startswith(b"\x89PNG") and picture.product == "ring" for picture in pictures)
    shown = {RenderedFeed(scenario, "st-1").part(trigger, "A", 0).part_id for trigger in range(1, 20)}
    assert not shown & {picture.part_id for picture in pictures}
    line.stop()
    truth.close()


def test_process_steps_are_handed_out_once_when_their_part_has_passed(
    scenario: Scenario, tmp_path: Path, eventually: object
) -> None:
    assert callable(eventually)
    truth = TruthBook(tmp_path / "truth.db")

    def hold_at_limit(station: StationAddress, _trigger: int) -> None:
        if line.cameras[station.station].parts_passed == 20:
            line.cameras[station.station].stop_line()

    line = LineSimulator.build(scenario, truth, on_trigger=hold_at_limit)
    line.start()
    try:
        assert line.take_due_steps() == []
        line.start_line()
        eventually(lambda: line.parts_passed == 40, "the line did not reach its limit")
        assert [step.kill for step in line.steps_left()] == ["central"]
        assert [step.kill for step in line.take_due_steps()] == ["central"]
        assert line.take_due_steps() == line.steps_left() == []
        assert line.parts_passed == 40
        assert sorted({row.part_number for row in truth.rows()}) == list(range(1, 41))
    finally:
        line.stop()
        truth.close()
