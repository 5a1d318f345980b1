# SPDX-License-Identifier: Apache-2.0
"""The last one out: ends every process of a plant whose supervisor is gone.

`python -m plant.processes.guardian MARK GRACE_S` reads its standard input until the end of it. The supervisor holds
the other end of that pipe, so the end comes even when the supervisor is killed with SIGKILL. Processes of a
plant, their children included, carry `SIGHTLINE_PLANT_RUN=MARK` in their environment and are found by it:
a training that central started in a session of its own is found too. Restarts nothing, logs nothing.
"""

import contextlib
import os
import signal
import sys
import time
from typing import Final

import psutil

MARK_VARIABLE: Final = "SIGHTLINE_PLANT_RUN"


def marked_processes(mark: str, but: frozenset[int] = frozenset()) -> list[psutil.Process]:
    """Living processes that carry this mark, without the given process ids."""
    found = []
    for process in psutil.process_iter():
        if process.pid in but:
            continue
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK_VARIABLE) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def end_marked(mark: str, grace_s: float, but: frozenset[int] = frozenset()) -> int:
    """SIGTERM to all marked processes, SIGKILL to those that are left after the grace. Returns how many there were."""
    first = marked_processes(mark, but)
    for process in first:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while marked_processes(mark, but) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in marked_processes(mark, but):
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(first)


def main() -> int:
    """Wait for the end of standard input, then end what is left."""
    mark, grace_s = sys.argv[1], float(sys.argv[2])
    # A terminal's Ctrl-C or hang-up is the supervisor's business.
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)
    while sys.stdin.buffer.read(64):
        pass
    end_marked(mark, grace_s, but=frozenset({os.getpid()}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
