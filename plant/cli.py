# SPDX-License-Identifier: Apache-2.0
"""`sightline`: a whole plant on one machine from one command. Reads arguments, prints errors, nothing else.

Exit codes: 0 done and shown, 1 a demo did not show what it had to, 2 wrong options, 3 a process of the plant
failed (`status`: the plant is not running), 130 stopped by Ctrl-C. Called as the console command.
"""

import argparse
import contextlib
import errno
import logging
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from plant.errors import PlantError, UsageError
from plant.processes.broker import choose_broker
from plant.replay.pictures import ReplayError, ReplaySet
from plant.run.progress import Progress
from plant.scenario import Scenario, ScenarioError, load_scenario, shipped_scenarios

_BROKERS: Final = ("auto", "mosquitto", "amqtt")
_DEFAULT_FOLDER: Final = Path("plant-data")
_STOPPED: Final = 130
# What starting, commissioning, draining and the report need, before the first part can be shown.
_SHORTEST_S: Final = 60.0
# What a path can have wrong that only another path, or its owner, can mend.
_UNUSABLE: Final = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG)
_BOUNDS: Final = {"greater_than_equal": ("ge", "more"), "less_than_equal": ("le", "less")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(
        level=logging.INFO if getattr(given, "verbose", False) else logging.ERROR,
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )
    # httpx names every request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    with _stop_on_signals():
        try:
            return int(given.run(given))
        except (ScenarioError, ReplayError) as error:
            sys.stderr.write(f"sightline: {error}\n")
            return UsageError.exit_code
        except PlantError as error:
            sys.stderr.write(f"sightline: {error}\n")
            return error.exit_code
        except OSError as error:
            if error.errno not in _UNUSABLE or error.filename is None:
                raise
            logging.getLogger(__name__).info("path cannot be used", exc_info=error)
            sys.stderr.write(
                f"sightline: {error.filename}: {error.strerror}; correct its rights or give another path\n"
            )
            return UsageError.exit_code
        except KeyboardInterrupt:
            sys.stderr.write("sightline: stopped\n")
            return _STOPPED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline", description="A whole inspection plant on one machine.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    demo = commands.add_parser("demo", help="play a scenario and say what it showed")
    demo.add_argument("--scenario", default="new-defect", metavar="NAME|FILE", help="shipped name or a .toml file")
    demo.add_argument("--headless", action="store_true", help="no dashboard")
    demo.add_argument("--report", type=Path, metavar="FILE", help="write the report as JSON")
    demo.add_argument(
        "--source", type=Path, metavar="DIR", help="replay a folder of real pictures instead of rendering"
    )
    demo.add_argument(
        "--layout", metavar="NAME", help="how that folder is laid out: mvtec, magnetic-tile, bsdata, folder"
    )
    demo.add_argument("--new-defect", metavar="KIND", help="the kind that is held back until it comes up")
    demo.add_argument("--seed", type=int, metavar="N", help="another run of the same story")
    demo.add_argument("--parts", type=int, metavar="N", help="parts that pass at least (default: the scenario's)")
    demo.add_argument(
        "--time-limit", type=float, default=460.0, metavar="S", help="end after S seconds, 60 at least (460)"
    )
    demo.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: a temporary one)")
    demo.add_argument("--keep", action="store_true", help="keep the temporary data folder")
    _add_common(demo)
    demo.set_defaults(run=_demo)

    up = commands.add_parser("up", help="run a plant for good; Ctrl-C stops it, the next start goes on")
    up.add_argument("--scenario", default="up", metavar="NAME|FILE", help="the line to run (default: up)")
    up.add_argument("--data", type=Path, default=_DEFAULT_FOLDER, metavar="DIR", help=f"default: ./{_DEFAULT_FOLDER}")
    up.add_argument("--stations", type=int, metavar="N", help="number of stations (default: the scenario's)")
    up.add_argument("--product", metavar="NAME", help="product of all stations (default: the scenario's)")
    up.add_argument("--no-dashboard", action="store_true", help="no dashboard")
    up.add_argument("--no-inspector", action="store_true", help="no simulated inspector: you answer the audits")
    _add_common(up)
    up.set_defaults(run=_up)

    scenarios = commands.add_parser("scenarios", help="list the scenarios that come with Sightline")
    scenarios.set_defaults(run=_scenarios)

    status = commands.add_parser("status", help="say how the plant on a data folder stands")
    status.add_argument(
        "--data", type=Path, default=_DEFAULT_FOLDER, metavar="DIR", help=f"default: ./{_DEFAULT_FOLDER}"
    )
    status.set_defaults(run=_status)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", choices=_BROKERS, default="auto", help="auto: mosquitto when installed, else amqtt")
    parser.add_argument("--port", type=int, default=0, metavar="N", help="port of central (default: a free one)")
    parser.add_argument("--dashboard-port", type=int, default=0, metavar="N", help="default: a free one")
    parser.add_argument("--broker-port", type=int, default=0, metavar="N", help="default: a free one")
    parser.add_argument("-v", "--verbose", action="store_true", help="show the logs of all processes")


def _demo(given: argparse.Namespace) -> int:
    # Heavy rooms are imported when they are needed: `sightline --help` answers at once.
    from plant.replay.feed import adapt_scenario, check_pictures, load_replay  # noqa: PLC0415 - see above
    from plant.run.demo import Demo, DemoOptions  # noqa: PLC0415 - see above

    scenario = _changed(load_scenario(given.scenario), seed=given.seed, parts=given.parts)
    if given.source is None and (given.layout or given.new_defect):
        raise UsageError("--layout and --new-defect go with --source DIR")
    # Not `<`: a NaN is refused too.
    if not given.time_limit >= _SHORTEST_S:
        msg = (
            f"--time-limit: expected {_SHORTEST_S:.0f} seconds or more, which start, commissioning and drain need, "
            f"got {given.time_limit:g}"
        )
        raise UsageError(msg)
    if given.report is not None:
        _require_writable(given.report)
    if scenario.parts == 0:
        msg = f"scenario {scenario.name} never ends; give --parts N, or run it with `sightline up --scenario`"
        raise UsageError(msg)
    replay = None
    if given.source is not None:
        if given.layout is None:
            raise UsageError("--source needs --layout: mvtec, magnetic-tile, bsdata or folder")
        replay = load_replay(given.source, given.layout, given.new_defect, scenario)
        check_pictures(given.source, replay)
        _tell_left_out(given.source, replay)
        scenario = adapt_scenario(scenario, replay)
    broker = choose_broker(given.broker)

    def play(folder: Path) -> int:
        progress = Progress()
        try:
            options = DemoOptions(
                scenario=scenario,
                folder=folder,
                broker=broker,
                has_dashboard=not given.headless,
                report_path=given.report,
                replay=replay,
                source=str(given.source) if given.source else None,
                time_limit_s=given.time_limit,
                central_port=given.port,
                dashboard_port=given.dashboard_port,
                broker_port=given.broker_port,
                is_verbose=given.verbose,
            )
            return Demo(options, progress).run()
        finally:
            progress.close()

    return _in_folder(given.data, play, keep=given.keep)


def _up(given: argparse.Namespace) -> int:
    from plant.run.up import UpOptions, run_plant  # noqa: PLC0415 - heavy, only when needed

    scenario = _with_line(load_scenario(given.scenario), given.stations, given.product)
    progress = Progress(interval_s=10.0)
    try:
        run_plant(
            UpOptions(
                scenario=scenario,
                folder=given.data,
                broker=choose_broker(given.broker),
                has_dashboard=not given.no_dashboard,
                has_inspector=not given.no_inspector,
                broker_port=given.broker_port,
                central_port=given.port,
                dashboard_port=given.dashboard_port,
                is_verbose=given.verbose,
            ),
            progress,
        )
    finally:
        progress.close()
    return 0


def _scenarios(_given: argparse.Namespace) -> int:
    for name in shipped_scenarios():
        scenario = load_scenario(name)
        sys.stdout.write(f"{name:15} {scenario.title}\n")
    return 0


def _status(given: argparse.Namespace) -> int:
    from plant.run.status import status_lines  # noqa: PLC0415 - heavy, only when needed

    lines, code = status_lines(given.data)
    sys.stdout.write("\n".join(lines) + "\n")
    return code


def _changed(scenario: Scenario, **changes: Any) -> Scenario:
    """The scenario with other values; validated anew."""
    wanted = {name: value for name, value in changes.items() if value is not None}
    if not wanted:
        return scenario
    content = scenario.model_dump(by_alias=True, exclude_none=True)
    # Steps were placed on parts when the file was read; that is where they stay.
    content["step"] = [{key: value for key, value in step.items() if key != "at_s"} for step in content["step"]]
    try:
        return Scenario.model_validate(content | wanted)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        bound, direction = _BOUNDS.get(fault["type"], ("", ""))
        expected = f"expected {fault['ctx'][bound]} or {direction}" if bound else fault["msg"]
        names = [name for name in wanted if fault["loc"] and name == fault["loc"][0]] or list(wanted)
        msg = f"{', '.join(f'--{name} {wanted[name]}' for name in names)}: {expected}"
        raise UsageError(msg) from error


def _with_line(scenario: Scenario, stations: int | None, product: str | None) -> Scenario:
    from plant.parts.catalogue import PRODUCTS  # noqa: PLC0415 - only for `up`

    if product is not None and product not in PRODUCTS:
        msg = f"--product: expected one of {', '.join(PRODUCTS)}, got {product!r}"
        raise UsageError(msg)
    if stations is None and product is None:
        return scenario
    plans = list(scenario.stations)
    count = len(plans) if stations is None else stations
    if not 1 <= count <= 16:
        msg = f"--stations: expected 1 to 16, got {count}"
        raise UsageError(msg)
    named = [plans[index].name if index < len(plans) else f"st-{index + 1}" for index in range(count)]
    made = [product or plans[min(index, len(plans) - 1)].product for index in range(count)]
    return _changed(scenario, station=[{"name": n, "product": p} for n, p in zip(named, made, strict=True)])


def _require_writable(path: Path) -> None:
    """Refuse a report that could not be written, before the run that it is about."""
    if not path.resolve().parent.is_dir():
        msg = f"--report: expected a file in an existing folder, got {path}"
        raise UsageError(msg)
    # Where it leads: a link to a file that is not there yet must stay a link.
    target = path.resolve()
    was_there = target.exists()
    try:
        with target.open("ab"):
            pass
    except OSError as error:
        got = "a folder" if target.is_dir() else error.strerror
        msg = f"--report: expected a file that can be written, got {path} ({got}); give another file"
        raise UsageError(msg) from error
    if not was_there:
        target.unlink()


def _tell_left_out(source: Path, replay: ReplaySet) -> None:
    if replay.left_out:
        reasons = "; ".join(f"{reason} ({count})" for reason, count in replay.left_out.items())
        sys.stderr.write(f"{source}: {sum(replay.left_out.values())} picture(s) left out: {reasons}\n")


def _in_folder(wanted: Path | None, play: Callable[[Path], int], *, keep: bool) -> int:
    """Play in the given data folder, or in a temporary one that is removed when nothing failed in it."""
    if wanted is not None:
        return play(wanted)
    folder = Path(tempfile.mkdtemp(prefix="sightline-demo-"))
    has_failed = True
    try:
        code = play(folder)
        has_failed = code != 0
    except (KeyboardInterrupt, UsageError):
        has_failed = False
        raise
    finally:
        if keep:
            sys.stdout.write(f"data kept in {folder}\n")
        elif has_failed:
            # The message names a log in it, which is all that is left to find out why.
            sys.stderr.write(f"sightline: the data and logs of this run are kept in {folder}; delete it when done\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return code


@contextlib.contextmanager
def _stop_on_signals() -> Iterator[None]:
    """SIGTERM ends the plant as Ctrl-C does, and so does SIGINT where it was inherited ignored (a background job)."""

    def stop(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
