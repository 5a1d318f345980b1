# SPDX-License-Identifier: Apache-2.0
"""What a supervisor tells its process by the environment: where it listens, and how soon silence is fatal.

Set by systemd, not by a person, so it has no place in the settings file. Called by `group`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

_US_PER_S: Final = 1_000_000


@dataclass(frozen=True)
class SupervisorSettings:
    """`socket`: address of the datagram socket, "" without a supervisor. `watchdog_s`: 0 when it does not watch."""

    socket: str = ""
    watchdog_s: float = 0.0


def read_supervisor(environ: Mapping[str, str] | None = None) -> SupervisorSettings:
    """Read NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID as sd_notify(3) and sd_watchdog_enabled(3) say.

    What is not as they say counts as not given: a station must not fail to start for want of a supervisor.
    """
    environ = os.environ if environ is None else environ
    address = environ.get("NOTIFY_SOCKET", "")
    if address[:1] not in ("/", "@"):
        return SupervisorSettings()
    wanted_pid, period = environ.get("WATCHDOG_PID", ""), environ.get("WATCHDOG_USEC", "")
    is_ours = not wanted_pid or wanted_pid == str(os.getpid())
    watchdog_s = int(period) / _US_PER_S if is_ours and period.isascii() and period.isdigit() else 0.0
    return SupervisorSettings(address, watchdog_s)
