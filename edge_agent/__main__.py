# SPDX-License-Identifier: Apache-2.0
"""The `sightline-edge` command: run a station, check its settings, list cameras, or bring it into service.

Reads the command line, sets up logging and signals, and leaves everything else to `app`. SIGTERM and SIGINT stop
the station cleanly within three seconds; exit codes: 0 stopped, 1 could not start or stop, 2 wrong settings.
"""

import argparse
import faulthandler
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Final

from edge_agent.camera.listing import describe_cameras
from edge_agent.commissioning import command as commissioning
from edge_agent.errors import EdgeError, SettingsError
from edge_agent.group import StationGroup, check_apart
from edge_agent.logins import without_login
from edge_agent.settings import Settings, load_settings

_log = logging.getLogger("edge_agent")

EXIT_FAILED: Final = 1
EXIT_SETTINGS: Final = 2
# Supervisors kill after a few seconds; by then everything worth keeping must be on the disk.
_STOP_WITHIN_S: Final = 2.8
_LOOK_UP_S: Final = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code."""
    options = _parser().parse_args(arguments)
    if options.command == "cameras":
        print(describe_cameras())  # noqa: T201 - the answer to a person's command
        return 0
    if hasattr(options, "answer"):
        return int(options.answer(options))
    settings: list[Settings] = []
    faults: list[str] = []
    for path in options.settings:
        try:
            settings.append(load_settings(path))
        except SettingsError as error:
            faults += [f"{path}: {fault}" if len(options.settings) > 1 else fault for fault in error.faults]
    try:
        check_apart(settings)
    except SettingsError as error:
        faults += error.faults
    if faults:
        for fault in faults:
            print(f"settings: {fault}", file=sys.stderr)  # noqa: T201 - the answer to a person's command
        return EXIT_SETTINGS
    if options.command == "check-settings":
        print("\n\n".join(each.describe() for each in settings))  # noqa: T201 - the answer to a person's command
        return 0
    _set_up_logging(settings[0].log_level)
    return _run(settings)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sightline-edge", description="Inspect the parts that pass one camera: judge, signal, record, report."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    text = "list the GenICam cameras that answer and the USB cameras that open, and end"
    commands.add_parser("cameras", help=text, description=text)
    for name, text in (
        ("run", "run the station until SIGTERM or SIGINT"),
        ("check-settings", "check the settings, print what would take effect (secrets masked), and end"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument(
            "--settings",
            type=Path,
            required=True,
            action="append",
            metavar="FILE",
            help="TOML file; any key can be overridden by SIGHTLINE_EDGE_<SECTION>_<KEY>. Several times: a station for"
            " each file, all in this process, sharing the sessions of their packages",
        )
    commissioning.add_commands(commands)
    return parser


class LineFormatter(logging.Formatter):
    """Lines without the logins that addresses may hold, in tracebacks too: logs are sent around."""

    def format(self, record: logging.LogRecord) -> str:
        """One record as text."""
        return without_login(super().format(record))


def _set_up_logging(level: str) -> None:
    formatter = LineFormatter("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=level, handlers=[handler])
    # One line per HTTP request is noise at INFO; failures are logged by whoever asked.
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("httpcore").setLevel(logging.WARNING)
    # Says itself what its caller says with the remedy, and asyncua at length what it sends.
    logging.getLogger("pymodbus").setLevel(logging.CRITICAL)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)


def _run(settings: Sequence[Settings]) -> int:
    # No Event: a signal that comes while `wait` holds its lock would wait for it for ever. This put may interrupt.
    wanted: queue.SimpleQueue[int] = queue.SimpleQueue()

    def on_signal(number: int, _frame: FrameType | None) -> None:
        wanted.put(number)

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    # A supervisor that finds the station silent ends it by SIGABRT: the log then says where each thread stood.
    faulthandler.enable()
    for each in settings:
        _log.info("settings in effect:\n%s", each.describe())
    try:
        group = StationGroup(settings)
    except EdgeError as error:
        _log.error("station cannot start: %s", error)
        return EXIT_FAILED
    try:
        group.start()
        _wait_for(wanted)
    finally:
        # From here on nothing may hold the process: a stuck driver must not cost what is already recorded.
        _end_anyway(_STOP_WITHIN_S)
        is_clean = group.stop()
    logging.shutdown()
    return 0 if is_clean else EXIT_FAILED


def _wait_for(wanted: "queue.SimpleQueue[int]") -> None:
    while True:
        try:
            wanted.get(timeout=_LOOK_UP_S)
        except queue.Empty:
            # A signal that comes just before the wait begins does not end it: its handler runs only out here.
            continue
        return


def _end_anyway(after_s: float) -> None:
    def end() -> None:
        _log.error("stop took longer than %.1f s: ending without waiting", after_s)
        logging.shutdown()
        os._exit(EXIT_FAILED)

    timer = threading.Timer(after_s, end)
    timer.daemon = True
    timer.start()


if __name__ == "__main__":
    sys.exit(main())
