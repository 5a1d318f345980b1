# SPDX-License-Identifier: Apache-2.0
"""`sightline demo`: plays a scenario on a whole plant and says what it showed.

Phases: processes up, commissioning, line, drain, report. All learning is central's own: nothing here trains,
alarms or rolls out after the commissioning. A time limit ends the run whatever happens, with an honest
report. Called by `plant.cli`.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from contracts.ids import StationAddress
from contracts.vocabulary import Judgement, Role
from models.errors import InputError
from plant.errors import PlantError, UsageError
from plant.findings.demands import Demand, failings
from plant.findings.gate_account import gate_figures
from plant.findings.outcome import SIDE_AFTER, RunFacts, compile_report, facts_of
from plant.findings.summary import summary_lines
from plant.line.cameras import LineSimulator
from plant.line.inspector import SimulatedInspector
from plant.line.rejecter import RejectListener
from plant.line.truth import TruthBook
from plant.processes.broker import BrokerKind
from plant.processes.site import STATE_NAME, Site, SiteOptions
from plant.replay.feed import ReplaySet
from plant.rollouts.account import rollout_account
from plant.rollouts.player import RolloutPlayer
from plant.run.commissioning import Commissioner
from plant.run.faults import FaultPlayer
from plant.run.follower import Follower
from plant.run.linerun import LineRun
from plant.run.progress import Progress
from plant.run.tempo import demo_tempo, rollout_tempo
from plant.scenario import Scenario

DEFAULT_TIME_LIMIT_S: Final = 460.0
# Kept back at the end of the time limit for draining, the report and the end of all processes.
_RESERVE_S: Final = 35.0
_DRAIN_S: Final = 25.0
_NOTABLE_LIGHT: Final = 0.15
# Without a word the gate diverts, so a late start costs good parts, never a bad one.
_GATE_WAIT_S: Final = 10.0
# A line may make more parts than planned while it waits for something to end.
_GATE_MEMORY: Final = 4
# Few planned parts may become many on a busy machine, and a story about a rollout ends when its gates have seen enough.
_LEAST_GATE_MEMORY: Final = 60_000


@dataclass(frozen=True)
class DemoOptions:
    """What the person chose."""

    scenario: Scenario
    folder: Path
    broker: BrokerKind
    has_dashboard: bool = True
    report_path: Path | None = None
    replay: ReplaySet | None = None
    source: str | None = None
    time_limit_s: float = DEFAULT_TIME_LIMIT_S
    central_port: int = 0
    dashboard_port: int = 0
    broker_port: int = 0
    is_verbose: bool = False


@dataclass
class _Commissioned:
    """What the line starts with."""

    packages: frozenset[str] = frozenset()
    rollouts: frozenset[int] = frozenset()
    trainings: frozenset[str] = frozenset()
    reference_parts: int = 0
    seconds: float = 0.0
    trouble: list[str] = field(default_factory=list)


def demands_of(scenario: Scenario, *, is_replay: bool) -> frozenset[Demand]:
    """What a run of this scenario has to show, from what happens in it."""
    found = {Demand.NOTHING_LOST}
    if scenario.new_defect is not None:
        found.add(Demand.LOOP_CLOSED if is_replay else Demand.LOOP_CLOSED_AND_BETTER)
    if any(step.light is not None and abs(step.light) >= _NOTABLE_LIGHT for step in scenario.steps):
        found.add(Demand.SHIFT_SEEN)
    if any(step.changeover for step in scenario.steps):
        found.add(Demand.ALL_PRODUCTS_JUDGED)
    if scenario.rollout is not None:
        found.add(Demand.ROLLOUT_AS_TOLD)
    return frozenset(found)


class Demo:
    """One run of one scenario. `report` is there after `run`, also when it ended badly."""

    def __init__(self, options: DemoOptions, progress: Progress) -> None:
        self._options, self._progress, self._scenario = options, progress, options.scenario
        self._started = time.monotonic()
        self._deadline = self._started + options.time_limit_s - _RESERVE_S
        self.report: dict[str, Any] | None = None
        self._gate: RejectListener | None = None
        self._story: RolloutPlayer | None = None

    def run(self) -> int:
        """Play it. Returns 0 when everything demanded was shown, else 1.

        Raises:
            PlantError: the plant could not be set up at all.
        """
        options, scenario = self._options, self._scenario
        if (options.folder / STATE_NAME).exists():
            msg = (
                f"--data: {options.folder} holds a plant already, and a demo counts from nothing; give an empty "
                "folder, or go on with that plant by `sightline up --data`"
            )
            raise UsageError(msg)
        self._progress.phase("processes start")
        site = Site(self._site_options(), printer=self._progress.raw if options.is_verbose else None)
        truth = TruthBook(site.folder / "truth.db")
        line = LineSimulator.build(scenario, truth, options.replay, on_trigger=self._tell_gate)
        inspector: SimulatedInspector | None = None
        try:
            self._start_processes(site, line)
            inspector = self._inspector(site, truth)
            first = self._commission(site, line)
            self._tell_of_rollout(site, first)
            run = self._line_run(site, line, truth, first)
            if not first.trouble:
                inspector.start()
                first.trouble += self._play(run)
            run.follower.poll()
            return self._finish(run, first)
        finally:
            line.stop_line()
            # Children first: they are what must not stay behind when somebody is in a hurry.
            site.supervisor.stop()
            line.stop()
            if self._story is not None:
                self._story.close()
            if self._gate is not None:
                self._gate.stop()
            if inspector is not None:
                inspector.stop()
            truth.close()
            site.close()

    def _tell_gate(self, station: StationAddress, trigger_number: int) -> None:
        if self._gate is not None:
            self._gate.on_trigger(station, trigger_number)

    def _site_options(self) -> SiteOptions:
        options = self._options
        return SiteOptions(
            folder=options.folder,
            broker=options.broker,
            broker_port=options.broker_port,
            central_port=options.central_port,
            dashboard_port=options.dashboard_port,
            has_dashboard=options.has_dashboard,
            central=rollout_tempo() if self._scenario.rollout else demo_tempo(is_replay=options.replay is not None),
        )

    def _start_processes(self, site: Site, line: LineSimulator) -> None:
        progress = self._progress
        line.start()
        site.start_broker()
        progress.note(f"broker {self._options.broker} on port {site.state.broker_port}")
        if site.broker is not None:
            remembered = _GATE_MEMORY * (self._scenario.parts + self._scenario.commissioning_parts)
            self._gate = RejectListener(
                site.broker.url, username=site.broker.username, password=site.broker.password,
                remembered=max(remembered, _LEAST_GATE_MEMORY),
            )  # fmt: skip
            self._gate.start()
            self._gate.wait_until_listening(_GATE_WAIT_S)
        site.start_central()
        progress.note(f"central on {site.central_url}, data in {site.folder}")
        if site.options.has_dashboard:
            site.start_dashboard()
            progress.note(f"dashboard on {site.dashboard_url} (token {site.state.tokens[Role.ENGINEER.value]})")
        for name, camera in line.cameras.items():
            story = self._scenario.rollout
            can_be_cut = story is not None and name in story.cut
            site.start_station(
                self._scenario.address(name), camera.url, product=None, recipes={}, can_be_cut=can_be_cut
            )
        progress.note(f"stations {', '.join(line.cameras)} started")

    def _commission(self, site: Site, line: LineSimulator) -> _Commissioned:
        """Everything central needs before parts may pass. Trouble is kept, so that a report can be written."""
        self._progress.phase("commissioning")
        began, done, scenario = time.monotonic(), _Commissioned(), self._scenario
        client = site.client()
        stations = [self._scenario.address(name) for name in line.cameras]
        work = Commissioner(client, say=self._progress.note, check=site.check, deadline=self._deadline)
        try:
            for product in line_products(scenario, self._options.replay):
                count = scenario.commissioning_parts
                added = work.upload(product, line.commissioning(product, count), Judgement.GOOD)
                done.reference_parts += added
                self._progress.note(f"{product}: {added} sound reference parts uploaded")
                training = work.train(product)
                if training is not None:
                    self._progress.note(f"{product}: first package {(training.package_id or '')[:12]}")
                work.roll_out(product, stations)
                self._progress.note(f"{product}: active at all stations")
            done.packages = frozenset(each.package_id for each in client.packages())
            done.rollouts = frozenset(each.id for each in client.rollouts())
            done.trainings = frozenset(each.training_id for each in client.trainings())
        except PlantError as error:
            done.trouble.append(f"commissioning: {error}")
        finally:
            client.close()
        done.seconds = time.monotonic() - began
        return done

    def _inspector(self, site: Site, truth: TruthBook) -> SimulatedInspector:
        token = site.state.tokens[Role.ADMIN.value]
        return SimulatedInspector(site.central_url, token, truth, self._scenario.inspector, seed=self._scenario.seed)

    def _line_run(self, site: Site, line: LineSimulator, truth: TruthBook, first: _Commissioned) -> LineRun:
        return LineRun(
            site=site,
            line=line,
            follower=Follower(site.client(patience_s=2.0)),
            faults=FaultPlayer(site, self._progress.note),
            truth=truth,
            progress=self._progress,
            deadline=self._deadline,
            new_kinds=new_kinds_of(self._scenario, self._options.replay),
            first_packages=first.packages,
            first_rollouts=first.rollouts,
            first_trainings=first.trainings,
            is_replay=self._options.replay is not None,
            story=self._story,
        )

    def _tell_of_rollout(self, site: Site, first: _Commissioned) -> None:
        """The story about a rollout, if there is one: what people set for the product stands before the line begins."""
        story = self._scenario.rollout
        if story is None or first.trouble:
            return
        self._story = RolloutPlayer(
            story, self._scenario, site, say=self._progress.note, deadline=self._deadline, first_rollouts=first.rollouts
        )
        try:
            self._story.set_policy()
        except PlantError as error:
            first.trouble.append(f"policy of rollouts: {error}")

    def _play(self, run: LineRun) -> list[str]:
        try:
            self._progress.phase("line")
            for step in self._scenario.steps:
                if step.note and step.at_part is not None:
                    self._progress.note(f"planned at part {step.at_part}: {step.note}")
            run.run()
            self._progress.phase("drain")
            run.drain(_DRAIN_S)
        except PlantError as error:
            run.line.stop_line()
            return [str(error)]
        return []

    def _finish(self, run: LineRun, first: _Commissioned) -> int:
        self._progress.phase("report")
        scenario, options, site = self._scenario, self._options, run.site
        facts = RunFacts(
            scenario=scenario.name,
            seed=scenario.seed,
            broker=options.broker.value,
            new_kinds=run.new_kinds,
            first_packages=first.packages,
            first_rollouts=first.rollouts,
            first_trainings=first.trainings,
            reference_parts=first.reference_parts,
            commissioning_seconds=first.seconds,
            line_seconds=run.line_seconds,
            total_seconds=time.monotonic() - self._started,
            cameras=facts_of(run.line.counters()),
            restarts=site.supervisor.restarts,
            cpu_seconds={**site.supervisor.cpu_seconds(), "plant": round(time.process_time(), 1)},
            faults=[asdict(each) for each in run.faults.played],
            faults_missed=run.faults.missed
            + [f"the step at part {step.part} was not played" for step in run.faults_due()],
            time_ran_out=run.time_ran_out,
            gate=gate_figures(self._gate.gate, run.follower.reports) if self._gate else {},
            source=options.source,
        )
        report = compile_report(facts, list(run.truth.rows()), run.follower)
        try:
            report |= self._side_by_side(site, report)
        except (InputError, PlantError, OSError, ValueError, RuntimeError) as error:
            # The report of a whole run must not hang on its last figure.
            report["side_by_side"] = None
            report["notes"].append(f"old and new package were not compared side by side: {error}")
        if self._story is not None:
            try:
                report["rollout"] = rollout_account(self._story, scenario, run.truth, site.package_folder)
            except (InputError, PlantError, OSError) as error:
                first.trouble.append(f"what came of the rollout could not be read: {error}")
        report["seconds"]["total"] = round(time.monotonic() - self._started, 1)
        demands = demands_of(scenario, is_replay=options.replay is not None)
        if "rollout" not in report:
            demands -= {Demand.ROLLOUT_AS_TOLD}
        # Without a line there is nothing to hold against the demands.
        found = first.trouble + (failings(report, demands) if run.line_seconds else [])
        report["demands"], report["failings"], report["is_passed"] = sorted(demands), found, not found
        self.report = report
        if options.report_path is not None:
            options.report_path.write_text(json.dumps(report, indent=2, default=str) + "\n", encoding="utf-8")
        for line in summary_lines(report, found):
            self._progress.plain(line)
        return 1 if found else 0

    def _side_by_side(self, site: Site, report: Mapping[str, Any]) -> dict[str, Any]:
        """What the rolled-out package gained on replayed pictures that nobody learnt from, as keys of the report."""
        replay = self._options.replay
        chosen = {each["role"]: each["id"] for each in report["packages"]}
        if replay is None or replay.is_ordered or not {"before", "after"} <= chosen.keys():
            return {"side_by_side": None}
        # Heavy, and only needed here.
        from plant.findings.side_by_side import DEFINITION, compare, judge_twice, true_rates_of  # noqa: PLC0415

        self._progress.note("both packages judge the pictures of side B")
        old, new = (site.package_folder(chosen[role]) for role in ("before", "after"))
        found = compare(judge_twice(replay, SIDE_AFTER, old, new), new_kinds_of(self._scenario, replay))
        sides = {"before": chosen["before"], "after": chosen["after"], "definition": DEFINITION, **found}
        return {"side_by_side": sides, **true_rates_of(found)}


def line_products(scenario: Scenario, replay: ReplaySet | None) -> tuple[str, ...]:
    """Products that the line makes."""
    return scenario.products if replay is None else (replay.product,)


def new_kinds_of(scenario: Scenario, replay: ReplaySet | None) -> frozenset[str]:
    """Kinds of defect that are new on this line."""
    if replay is not None:
        return frozenset({replay.new_defect}) if replay.new_defect else frozenset()
    return frozenset(step.new_defect.kind for step in scenario.steps if step.new_defect is not None)
