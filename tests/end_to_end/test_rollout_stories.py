# SPDX-License-Identifier: Apache-2.0
"""The shipped stories about rollouts, played by the command: a worse package, a better one, a network cut in half.

Nobody starts, approves or aborts anything: people set a policy beforehand and judge the parts that they are shown.
Whole plants of three stations for minutes each: `make stories` plays them, `make test-slow` does not.
"""

from importlib import resources
from typing import Any

import pytest

from tests.end_to_end.conftest import RunDemo, Shown

# Under load the rollout itself waits for parts and labels; the story ends when they are there.
OPTIONS = ("--time-limit", "1100")


def _play(run_demo: RunDemo, name: str) -> tuple[Shown, dict[str, Any]]:
    shown = run_demo((resources.files("plant") / "scenarios" / f"{name}.toml").read_text("utf-8"), *OPTIONS)
    assert shown.code == 0, shown.said
    report = shown.report
    assert (report["reports_lost"], report["reports_duplicated"], report["reports_unknown"]) == (0, 0, 0)
    told: dict[str, Any] = report["rollout"]
    assert told["by_people"] == []
    return shown, told


@pytest.mark.story
@pytest.mark.timeout(1300)
def test_an_int8_form_gone_wrong_on_pits_is_aborted_by_a_gate_and_its_parts_are_known(run_demo: RunDemo) -> None:
    shown, told = _play(run_demo, "rollout-worse")
    assert told["state"] == "ERROR"
    assert told["gates"]["outcome"] == "FAILED"
    assert [wave["state"] for wave in told["waves"]] == ["FINISHED", "ERROR"]
    assert set(told["runs_at"].values()) == {told["previous"]}
    assert len(told["runs_at"]) == 3
    pit = told["passes"]["pit"]
    assert pit["package"] > 2 * pit["previous"]
    # The canary alone decided about parts with it; the others judged in shadow.
    assert list(told["exposure"]["by_station"]) == ["demo/line-1/st-1"]
    assert told["quarantine"]["parts"] == told["exposure"]["passed"] > 0
    assert told["quarantine"]["defective"]["pit"] > 0
    assert "3 of 3 touched stations say that they run the previous package" in shown.said


@pytest.mark.story
@pytest.mark.timeout(1300)
def test_a_better_package_goes_through_its_waves_and_reaches_all_stations(run_demo: RunDemo) -> None:
    _, told = _play(run_demo, "rollout-better")
    assert told["state"] == "FINISHED"
    assert [list(wave["stations"].values()) for wave in told["waves"]] == [["DONE"], ["DONE", "DONE"]]
    assert set(told["runs_at"].values()) == {told["package"]}
    # The two others judged in shadow first, where both packages were timed; the machine may be as busy as it likes.
    assert told["gates"]["outcome"] == "PASSED"
    assert told["gates"]["gates"]["latency"]["decision"] == "PROMOTE"
    defective = [each for kind, each in told["passes"].items() if kind != "sound"]
    assert sum(each["package"] for each in defective) < sum(each["previous"] for each in defective)


@pytest.mark.story
@pytest.mark.timeout(1300)
def test_a_rollout_cut_in_half_waits_says_for_whom_and_finishes_when_the_network_is_back(run_demo: RunDemo) -> None:
    _, told = _play(run_demo, "rollout-partition")
    assert told["state"] == "FINISHED"
    assert set(told["runs_at"].values()) == {told["package"]}
    cut = told["cut"]
    assert (cut["stations"], cut["others_done"]) == (["demo/line-1/st-3"], ["demo/line-1/st-2"])
    assert any("demo/line-1/st-3 AWAY since" in each for each in cut["said"])
    # As long as it was away, and what it says when it is back: parts, each once, are in the account of every run.
    assert cut["seconds"] > 30
    assert cut["finished_after_s"] > 0
    history = " ".join(told["history"])
    assert history.index("st-3 AWAY") < history.index("st-3 ASSIGNED: heard of again") < history.index("st-3 DONE")
