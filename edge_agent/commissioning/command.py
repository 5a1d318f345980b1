# SPDX-License-Identifier: Apache-2.0
"""The sub-commands of commissioning: `init`, `doctor` and `unit`.

Reads the command line and prints; the work is done elsewhere, and imported only when it is asked for, so that a station
that runs does not carry it. Called by `edge_agent.__main__`.
"""

import argparse
import sys
from pathlib import Path
from typing import Any, Final

from edge_agent.clock import SystemClock
from edge_agent.commissioning.questions import add_flags
from edge_agent.errors import SettingsError
from edge_agent.settings import load_settings

SETTINGS_NAME: Final = "station.toml"
_DOCTOR: Final = (
    "Check the whole station: settings, disk, trust, provider, package, camera, light, focus, broker, central, clock. "
    "Changes nothing; may run beside the station. Exit codes: 0 all fine, 1 only warnings, 2 at least one failure."
)
_INIT: Final = (
    "Ask for the settings of a new station, take a test picture through its camera, and write commented settings "
    "(mode 0600) and test-picture.png beside it. What a flag says is not asked. Never replaces a file without --force. "
    "Exit codes: 0 written, 1 no picture or no room, 2 wrong answers or a file is there, 130 given up."
)
_UNIT: Final = (
    "Print a systemd unit with the paths of this machine: restarts the station when it ends or no longer judges, and "
    "takes every right from it that it does not need. Installs nothing."
)


def add_commands(commands: Any) -> None:
    """Add the sub-commands to the parser of `sightline-edge`; each answers by its `answer`."""
    init = commands.add_parser("init", help="ask for the settings of a new station and write them", description=_INIT)
    init.add_argument(
        "--settings",
        type=Path,
        default=Path(SETTINGS_NAME),
        metavar="FILE",
        help=f"the file to write (default: {SETTINGS_NAME} in this folder)",
    )
    add_flags(init)
    init.add_argument(
        "--set", action="append", metavar="KEY=VALUE", help="another key, such as page.port=0; repeatable"
    )
    init.add_argument("--non-interactive", action="store_true", help="ask nothing; defaults for what no flag says")
    init.add_argument("--no-picture", action="store_true", help="take no test picture")
    init.add_argument("--force", action="store_true", help="replace the settings file that is there")
    init.set_defaults(answer=_init)
    doctor = commands.add_parser("doctor", help="find out what keeps the station from working", description=_DOCTOR)
    doctor.add_argument(
        "--settings",
        type=Path,
        default=Path(SETTINGS_NAME),
        metavar="FILE",
        help=f"the station's settings (default: {SETTINGS_NAME} in this folder)",
    )
    doctor.add_argument("--json", action="store_true", help="findings as JSON, for programs")
    doctor.set_defaults(answer=_doctor)
    unit = commands.add_parser("unit", help="print the systemd unit for this station", description=_UNIT)
    unit.add_argument(
        "--settings", type=Path, default=Path(SETTINGS_NAME), metavar="FILE", help="the station's settings"
    )
    unit.add_argument("--user", default="sightline", help="user that runs the station (default: sightline)")
    unit.set_defaults(answer=_unit)


def _init(options: argparse.Namespace) -> int:
    from edge_agent.commissioning import init  # noqa: PLC0415 - see the module

    code, lines = init.answer(options, init.RealTerminal(), SystemClock())
    for line in lines:
        print(line, file=sys.stderr)  # noqa: T201 - the answer to a command
    return code


def _doctor(options: argparse.Namespace) -> int:
    from edge_agent.commissioning import doctor, findings  # noqa: PLC0415 - see the module

    found = doctor.examine(options.settings, SystemClock())
    print(findings.as_json(found) if options.json else findings.as_text(found))  # noqa: T201 - the answer to a command
    return findings.exit_code(found)


def _unit(options: argparse.Namespace) -> int:
    from edge_agent.supervision.unit import render_unit  # noqa: PLC0415 - see the module

    try:
        settings = load_settings(options.settings)
    except SettingsError as error:
        for fault in error.faults:
            print(f"settings: {fault}", file=sys.stderr)  # noqa: T201 - the answer to a command
        return 2
    program = Path(sys.executable).with_name("sightline-edge")
    command = [str(program)] if program.exists() else [sys.executable, "-m", "edge_agent"]
    data_dir = settings.data_dir.absolute()
    print(render_unit(command, options.settings.absolute(), data_dir, options.user), end="")  # noqa: T201 - see above
    return 0
