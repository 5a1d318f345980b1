# SPDX-License-Identifier: Apache-2.0
"""`sightline-dashboard`: turn options into settings and hand over to Streamlit's server.

Replaces itself with Streamlit (one process, so a supervisor's signals arrive where they must). The token
travels as the name of its file, never on a command line. Called by the console command.
"""

import argparse
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

from dashboard.palette import THEME_OPTIONS
from dashboard.settings import PREFIX, SettingsError, read_settings

_HIGHEST_PORT: Final = 65_535


def streamlit_command(port: int, address: str) -> list[str]:
    """The command that serves the app: no usage statistics, no browser, no tracebacks on the page."""
    options = {
        "server.port": str(port),
        "server.address": address,
        "server.headless": "true",
        "server.fileWatcherType": "none",
        "server.showEmailPrompt": "false",
        "browser.gatherUsageStats": "false",
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "client.showErrorLinks": "false",
        "global.developmentMode": "false",
        **THEME_OPTIONS,
    }
    app = Path(__file__).parent / "entry" / "script.py"
    return [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(app),
        *[f"--{name}={value}" for name, value in options.items()],
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point. Returns only when the options are wrong (exit code 2)."""
    parser = argparse.ArgumentParser(
        prog="sightline-dashboard", description="The pages of Sightline, served to browsers; needs a running central."
    )
    parser.add_argument("--central", metavar="URL", help="address of central, e.g. http://127.0.0.1:8000")
    parser.add_argument(
        "--token-file", metavar="F", type=Path, help="file with the token that all viewers use; without it they sign in"
    )
    parser.add_argument("--port", type=int, default=8501, help="port of the pages (default 8501)")
    parser.add_argument("--address", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--time-zone", metavar="NAME", help="show all times in this zone, e.g. Europe/Berlin")
    given = parser.parse_args(arguments)
    environment = dict(os.environ)
    for name, value in (
        ("CENTRAL", given.central),
        ("TOKEN_FILE", given.token_file and given.token_file.resolve()),
        ("TIME_ZONE", given.time_zone),
    ):
        if value is not None:
            environment[PREFIX + name] = str(value)
    try:
        settings = read_settings(environment)
        has_token = settings.token() is not None
        _check_address(given.address, given.port)
    except SettingsError as error:
        sys.stderr.write(f"sightline-dashboard: {error}\n")
        return 2
    sys.stderr.write(
        f"dashboard: http://{given.address}:{given.port} central={settings.central_url} "
        f"token={'from file' if has_token else 'asked of each viewer'}\n"
    )
    sys.stderr.flush()
    return _become(streamlit_command(given.port, given.address), environment)


def _check_address(address: str, port: int) -> None:
    """Refuse where the pages cannot be served, before Streamlit does so in its own words.

    Raises:
        SettingsError: says what to give instead.
    """
    if not 1 <= port <= _HIGHEST_PORT:
        raise SettingsError(f"--port: expected 1 … {_HIGHEST_PORT}, got {port}")
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)
        with socket.socket(found[0][0], socket.SOCK_STREAM) as probe:
            # As Streamlit's server does, so that a port of a program that has just ended is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(found[0][4])
    except OSError as error:
        raise SettingsError(
            f"--address, --port: expected a free address of this machine, got {address}:{port} ({error.strerror}); "
            "end what answers there, or give another one"
        ) from error


def _become(command: list[str], environment: Mapping[str, str]) -> NoReturn:
    os.execve(command[0], command, environment)  # noqa: S606 - no shell is wanted: the same interpreter takes over


if __name__ == "__main__":
    sys.exit(main())
