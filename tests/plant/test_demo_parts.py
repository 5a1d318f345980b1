# SPDX-License-Identifier: Apache-2.0
"""The pieces of a demo that need no processes: demands, faults, settings text, progress lines."""

import io
import tomllib
from pathlib import Path
from typing import Any

import pytest

from contracts.ids import StationAddress
from plant.findings.demands import Demand
from plant.findings.summary import summary_lines
from plant.processes.broker import BrokerKind, plan_broker
from plant.processes.stations import Enrolment, write_station
from plant.processes.toml_writer import toml_text
from plant.run.demo import demands_of, new_kinds_of
from plant.run.faults import FaultPlayer
from plant.run.progress import Progress, Standing
from plant.scenario import Step, load_scenario


def test_each_shipped_scenario_is_asked_for_what_it_is_about() -> None:
    asked = {name: demands_of(load_scenario(name), is_replay=False) for name in ("new-defect", "lamp-fades")}
    assert Demand.LOOP_CLOSED_AND_BETTER in asked["new-defect"]
    assert Demand.SHIFT_SEEN in asked["lamp-fades"]
    assert demands_of(load_scenario("rough-network"), is_replay=False) == {Demand.NOTHING_LOST}
    assert Demand.ALL_PRODUCTS_JUDGED in demands_of(load_scenario("changeover"), is_replay=False)


def test_real_pictures_must_close_the_loop_but_promise_no_gain() -> None:
    asked = demands_of(load_scenario("new-defect"), is_replay=True)
    assert Demand.LOOP_CLOSED in asked
    assert Demand.LOOP_CLOSED_AND_BETTER not in asked


def test_new_kinds_come_from_the_steps() -> None:
    assert new_kinds_of(load_scenario("new-defect"), None) == {"chatter"}
    assert new_kinds_of(load_scenario("lamp-fades"), None) == frozenset()


class _Supervisor:
    def __init__(self) -> None:
        self.done: list[str] = []

    def halt(self, name: str) -> None:
        self.done.append(f"halt {name}")

    def resume(self, name: str) -> None:
        self.done.append(f"resume {name}")


class _Site:
    def __init__(self, pid: int | None) -> None:
        self.supervisor = _Supervisor()
        self._pid = pid

    def kill(self, target: str) -> int | None:
        self.supervisor.done.append(f"kill {target}")
        return self._pid


def _player(pid: int | None = 7) -> tuple[FaultPlayer, Any]:
    site: Any = _Site(pid)
    return FaultPlayer(site, lambda _words: None), site.supervisor


def test_kill_is_played_and_noted() -> None:
    player, supervisor = _player()
    player.play([Step(at_part=10, kill="edge:st-1")])
    assert supervisor.done == ["kill edge:st-1"]
    assert [(fault.what, fault.at_part) for fault in player.played] == [("SIGKILL edge:st-1", 10)]
    assert player.missed == []


def test_kill_of_something_that_is_down_counts_as_missed() -> None:
    player, _ = _player(pid=None)
    player.play([Step(at_part=10, kill="central")])
    assert player.played == []
    assert player.missed == ["kill central at part 10: it was down already"]


def test_broker_stays_away_and_comes_back() -> None:
    player, supervisor = _player()
    quiet = []
    player.play([Step(at_part=5, broker_down_s=600)])
    quiet.append(player.is_quiet)
    player.play([])
    quiet.append(player.is_quiet)
    player.bring_back()
    quiet.append(player.is_quiet)
    assert quiet == [False, False, True]
    assert supervisor.done == ["halt broker", "resume broker"]


def test_toml_text_reads_back_as_it_was() -> None:
    table = {
        "name": 'quote " backslash \\ ümlaut',
        "port": 8000,
        "share": 0.25,
        "is_on": True,
        "words": ["a", "b"],
        "inner": {"deep": {"x": 1}, "with space": {"y": [1, 2]}},
    }
    assert tomllib.loads(toml_text(table)) == table
    assert tomllib.loads(toml_text({"a": None, "b": 1})) == {"b": 1}
    with pytest.raises(TypeError, match="when"):
        toml_text({"when": object()})


def test_station_file_holds_its_token_for_its_owner_alone(tmp_path: Path) -> None:
    broker = plan_broker(BrokerKind.AMQTT, 1883, tmp_path / "broker")
    spec = write_station(
        tmp_path / "st-1",
        StationAddress(site="demo", line="line-1", station="st-1"),
        broker=broker,
        enrolment=Enrolment("http://127.0.0.1:8000", "secret", tmp_path / "root.json", tmp_path / "assignment.pub"),
        camera_url="tcp://127.0.0.1:9",
        product=None,
        is_simulated=True,
        recipes={"ring": {"deadline_ms": 500.0}},
    )
    file = tmp_path / "st-1" / "station.toml"
    assert file.stat().st_mode & 0o077 == 0
    settings = tomllib.loads(file.read_text())
    assert settings["central"] == {"url": "http://127.0.0.1:8000", "token": "secret"}
    assert settings["recipe"]["ring"]["deadline_ms"] == 500.0
    assert "secret" not in " ".join(spec.command)


def test_plain_progress_names_phase_parts_and_verdicts() -> None:
    stream = io.StringIO()
    progress = Progress(stream, interval_s=0.0)
    progress.phase("line")
    progress.standing(
        Standing(parts=30, parts_planned=100, parts_per_s=14.2, verdicts={"OK": 28, "NG": 2}, training="40% (fit)")
    )
    progress.close()
    assert "line: parts 30/100 | 14.2/s | OK 28 NG 2 | alarms 0 | training 40% (fit)" in stream.getvalue()


def test_summary_says_not_known_instead_of_nothing() -> None:
    figure = {"rate": None, "count": 0, "of": 0, "low": 0.0, "high": 1.0}
    both = {"new_kind": figure, "all": figure}
    report: dict[str, Any] = {
        "scenario": "x",
        "broker": "amqtt",
        "seed": 1,
        "parts_captured": 0,
        "seconds": {"line": 0.0, "total": 1.0},
        "reports_committed": 0,
        "reports_lost": 0,
        "reports_duplicated": 0,
        "verdicts": {"OK": 0},
        "no_decision_causes": {},
        "alarms": [],
        "new_kinds": ["crack"],
        "true_escapes_before": both,
        "true_escapes_after": both,
        "true_overkill_before": both,
        "true_overkill_after": both,
        "true_review_before": both,
        "true_review_after": both,
        "gate": {},
        "alarm_after_parts": None,
        "training_seconds": None,
        "rollout_seconds": None,
        "audit_labels_used": 0,
        "packages": [],
        "latency_ms": {"capture_to_verdict": None, "capture_to_reject": None},
        "faults": [],
        "restarts": {},
        "notes": [],
        "is_simulated": None,
    }
    text = "\n".join(summary_lines(report, ["no part was captured at all"]))
    assert "not known (no part judged)" in text
    assert "NOT SHOWN:\n  - no part was captured at all" in text
    some = {"rate": 0.25, "count": 2, "of": 8, "low": 0.07, "high": 0.6}
    without_story = report | {"new_kinds": [], "true_escapes_before": {"new_kind": figure, "all": some}}
    text = "\n".join(summary_lines(without_story, []))
    assert "escapes     of all kinds 25.0% (2 of 8" in text
