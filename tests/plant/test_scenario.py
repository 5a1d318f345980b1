# SPDX-License-Identifier: Apache-2.0
"""Scenario files: strict, all faults at once, and the shipped ones tell the stories they promise."""

from pathlib import Path

import pytest

from plant.scenario import ScenarioError, load_scenario, read_scenario, shipped_scenarios

GOOD = """
title = "A line"
takt_s = 0.5
[[station]]
name = "st-1"
product = "ring"
[[station]]
name = "st-2"
product = "ring"
"""


def test_the_promised_scenarios_are_shipped_and_readable() -> None:
    assert {"new-defect", "lamp-fades", "changeover", "rough-network", "up"} <= set(shipped_scenarios())
    for name in shipped_scenarios():
        assert load_scenario(name).name == name


def test_the_new_defect_story_is_long_enough_and_begins_at_part_600() -> None:
    scenario = load_scenario("new-defect")
    assert scenario.parts >= 3000
    assert len(scenario.stations) >= 2
    assert scenario.new_defect_at_part == 600
    assert scenario.new_defect is not None
    assert scenario.new_defect.kind not in scenario.defects


def test_the_rough_network_kills_each_process_once_and_takes_the_broker_away() -> None:
    steps = load_scenario("rough-network").steps
    assert sorted(step.kill for step in steps if step.kill) == ["broker", "central", "edge:st-1"]
    assert [step.broker_down_s for step in steps if step.broker_down_s] == [60]
    assert all(step.is_for_processes for step in steps)


def test_the_endless_scenario_has_no_last_part() -> None:
    assert load_scenario("up").parts == 0


def test_all_faults_are_reported_at_once_with_their_places() -> None:
    text = """
    title = "bad"
    takt_s = 0
    colour = "blue"
    [[station]]
    name = "st-1"
    product = "wheel"
    [[station]]
    name = "st-1"
    product = "ring"
    [defects]
    melting = 0.7
    scratch = 0.6
    [[step]]
    light = -0.05
    [[step]]
    at_part = 10
    [[step]]
    at_part = 20
    kill = "edge:st-9"
    brokerdown_s = 3
    """
    with pytest.raises(ScenarioError) as caught:
        read_scenario(text, "bad")
    faults = "\n".join(caught.value.faults)
    for expected in (
        "takt_s",
        "colour: unknown key",
        "station.0.product: expected one of ring, board, got 'wheel'",
        "name 'st-1' stands twice",
        "got 'melting'",
        "step.0: Value error, expected either at_part or at_s",
        "step.1: Value error, nothing happens",
        "no station 'st-9'",
        "step.2.brokerdown_s: unknown key",
        "sum to 1.300",
    ):
        assert expected in faults
    assert all(fault in str(caught.value) for fault in caught.value.faults)


@pytest.mark.parametrize(
    ("addition", "expected"),
    [
        ('[[step]]\nat_part = 1\nnew_defect = { kind = "chatter", rate = 2 }', "step.0.new_defect.rate"),
        ('[[step]]\nat_part = 1\nnew_defect = { kind = "mousebite", rate = 0.1 }', "got 'mousebite'"),
        ("[severity]\nlow = 0.9\nhigh = 0.2", "low 0.9 lies above high 0.2"),
        ('[[step]]\nat_part = 1\nkill = "dashboard"', "step.0.kill"),
        ('[[step]]\nat_part = 1\nchangeover = "cup"', "step.0.changeover: expected one of ring, board, got 'cup'"),
    ],
)
def test_a_single_fault_names_its_place(addition: str, expected: str) -> None:
    with pytest.raises(ScenarioError, match=expected):
        read_scenario(GOOD + addition, "one-fault")


def test_text_that_is_no_toml_is_refused() -> None:
    with pytest.raises(ScenarioError, match="not TOML"):
        read_scenario("title = ", "broken")


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b'title = "\xff"')
    with pytest.raises(ScenarioError, match="expected text in UTF-8, got another byte at position 9"):
        load_scenario(tmp_path / "mine.toml")


def test_an_unknown_name_lists_the_shipped_ones(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="new-defect"):
        load_scenario("no-such-thing")
    with pytest.raises(ScenarioError, match=r"expected a \.toml file"):
        load_scenario(tmp_path / "absent.toml")


def test_a_file_is_read_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    assert load_scenario(path).name == "mine"


def test_a_time_of_the_line_becomes_a_part_by_the_takt() -> None:
    scenario = read_scenario(GOOD + '[[step]]\nat_s = 30\nchangeover = "board"', "timed")
    assert scenario.steps[0].part == 120
    assert scenario.products == ("ring", "board")
