# SPDX-License-Identifier: Apache-2.0
"""The first lines of the process `sightline-models`: a request to stop that comes while modules are still imported.

Nothing has begun then, so the process ends at once, with the line and the exit code of every other stop, and no
traceback of an import. Imports next to nothing itself; what comes before it is Python's own start, which nobody can
catch. Called by the installed command and by `__main__`.
"""

import contextlib
import os
import signal
from types import FrameType

EXIT_STOPPED = 143
STOPPED = "stopped; nothing half-written is left"


def catch_early() -> None:
    """Until `main` takes over, a request to stop ends the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> None:
    # Once is enough; and no exception: amid an import it could come out as another one.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.write(2, f"sightline-models: {STOPPED}\n".encode())
    os._exit(EXIT_STOPPED)


def run() -> int:
    """The installed command."""
    catch_early()
    from models.__main__ import run as run_caught  # noqa: PLC0415 -- from here on a stop is caught

    return run_caught()
