# SPDX-License-Identifier: Apache-2.0
"""`sightline up`: runs a plant for good, and goes on where it stopped at the next start.

The first start commissions every product; later starts find packages, labels and trigger numbers in the data
folder. There is no time limit and no report: the dashboard shows how it goes. Called by `plant.cli`.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from contracts.vocabulary import AlarmState, Judgement, Role
from plant.errors import UsageError
from plant.line.cameras import LineSimulator
from plant.line.inspector import SimulatedInspector
from plant.line.truth import TruthBook
from plant.processes.broker import BrokerKind
from plant.processes.site import Site, SiteOptions
from plant.run.commissioning import Commissioner
from plant.run.faults import FaultPlayer
from plant.run.follower import Follower
from plant.run.linerun import wait_for_cameras
from plant.run.progress import Progress
from plant.run.tempo import lasting_tempo
from plant.scenario import Scenario

_COMMISSIONING_LIMIT_S: Final = 1800.0
_POLL_S: Final = 2.0


@dataclass(frozen=True)
class UpOptions:
    """What the person chose."""

    scenario: Scenario
    folder: Path
    broker: BrokerKind
    has_dashboard: bool = True
    has_inspector: bool = True
    broker_port: int = 0
    central_port: int = 0
    dashboard_port: int = 0
    is_verbose: bool = False


def run_plant(options: UpOptions, progress: Progress) -> None:
    """Run until a KeyboardInterrupt; everything is ended before it leaves here.

    Raises:
        PlantError: the plant could not be set up, or a process kept dying.
    """
    progress.phase("processes start")
    site = Site(
        SiteOptions(
            folder=options.folder,
            broker=options.broker,
            broker_port=options.broker_port,
            central_port=options.central_port,
            dashboard_port=options.dashboard_port,
            has_dashboard=options.has_dashboard,
            central=lasting_tempo(),
        ),
        printer=progress.raw if options.is_verbose else None,
    )
    truth = TruthBook(site.folder / "truth.db")
    line: LineSimulator | None = None
    inspector: SimulatedInspector | None = None
    try:
        _remember_scenario(site, options.scenario)
        line = LineSimulator.build(options.scenario, truth)
        line.start()
        started_at = datetime.now(UTC)
        _start_processes(site, line, options, progress)
        _commission(site, line, options.scenario, progress, started_at)
        if options.has_inspector:
            token = site.state.tokens[Role.ADMIN.value]
            inspector = SimulatedInspector(
                site.central_url, token, truth, options.scenario.inspector, seed=options.scenario.seed
            )
            inspector.start()
        _watch(site, line, progress)
    finally:
        if line is not None:
            # First of all: parts that pass while the stations end could only be reported as missed.
            line.stop_line()
        site.supervisor.stop()
        if line is not None:
            line.stop()
        if inspector is not None:
            inspector.stop()
        truth.close()
        site.close()


def _remember_scenario(site: Site, scenario: Scenario) -> None:
    """A folder belongs to one line: truth, trigger numbers and packages of another would not fit.

    Raises:
        UsageError: the folder holds the plant of another scenario.
    """
    stations = [plan.name for plan in scenario.stations]
    now = {"scenario": scenario.name, "stations": stations, "products": list(scenario.products)}
    before = site.state.extra.get("line")
    if before is not None and before != now:
        msg = (
            f"data folder {site.folder}: it holds the plant {before}, not {now}; use the same options or another --data"
        )
        raise UsageError(msg)
    site.state.extra["line"] = now
    site.state.write(site.folder)


def _start_processes(site: Site, line: LineSimulator, options: UpOptions, progress: Progress) -> None:
    site.start_broker()
    progress.note(f"broker {options.broker} on port {site.state.broker_port}")
    site.start_central()
    progress.note(f"central on {site.central_url}, data in {site.folder} (central's own in {site.folder / 'central'})")
    progress.note("all signing keys lie on this machine, the root key too; a plant: `sightline-central keys ceremony`")
    for name, camera in line.cameras.items():
        site.start_station(options.scenario.address(name), camera.url, product=None, recipes={})
    progress.note(f"stations {', '.join(line.cameras)} started")
    if options.has_dashboard:
        site.start_dashboard()
        progress.note(f"dashboard on {site.dashboard_url} (token {site.state.tokens[Role.ENGINEER.value]})")


def _commission(site: Site, line: LineSimulator, scenario: Scenario, progress: Progress, started_at: datetime) -> None:
    client = site.client()
    stations = [scenario.address(name) for name in line.cameras]
    deadline = time.monotonic() + _COMMISSIONING_LIMIT_S
    work = Commissioner(client, say=progress.note, check=site.check, deadline=deadline)
    for product in scenario.products:
        if work.is_in_service(product, stations):
            progress.note(f"{product}: in service already")
            continue
        progress.phase(f"commissioning of {product}")
        added = work.upload(product, line.commissioning(product, scenario.commissioning_parts), Judgement.GOOD)
        progress.note(f"{product}: {added} sound reference parts uploaded")
        work.train(product)
        work.roll_out(product, stations)
        progress.note(f"{product}: active at all stations")
    work.wait_for_stations(stations, started_at)
    wait_for_cameras(line, site.check)
    client.close()


def _watch(site: Site, line: LineSimulator, progress: Progress) -> None:
    progress.phase("line")
    progress.note("parts pass; Ctrl-C stops the plant, the same command goes on with it")
    faults = FaultPlayer(site, progress.note)
    follower = Follower(site.client(patience_s=2.0), keeps_reports=False)
    follower.skip_to_now()
    line.start_line()
    began, next_poll, told = time.monotonic(), 0.0, set[int]()
    while True:
        site.check()
        faults.play(line.take_due_steps())
        if time.monotonic() >= next_poll:
            next_poll = time.monotonic() + _POLL_S
            follower.poll()
            for alarm in reversed(follower.alarms):
                if alarm.id not in told and alarm.state is not AlarmState.CLOSED:
                    told.add(alarm.id)
                    progress.note(f"ALARM {alarm.kind} ({alarm.state.lower()}): {alarm.message}")
            passed = line.parts_passed
            progress.standing(follower.standing(passed, None, passed / (time.monotonic() - began)))
        time.sleep(0.1)
