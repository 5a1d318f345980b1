# SPDX-License-Identifier: Apache-2.0
"""What this process and its ended children have used of the machine, as the operating system counts it.

Measures no GPU: trainings compute on the CPU. Called by `training.progress`, so that a
training that is killed has said it.
"""

import os
import re
import resource
import sys
from pathlib import Path
from typing import Final

from contracts.jobs import ResourceUsage

# Linux tells kibibytes, macOS bytes.
_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024
_PROC: Final = Path("/proc")


def used() -> ResourceUsage:
    """CPU time of all threads, user and system, s; the largest resident memory of any one process."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ResourceUsage(
        cpu_s=own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime,
        peak_memory_bytes=max(_peak_bytes(os.getpid()) or own.ru_maxrss * _UNIT_BYTES, ended.ru_maxrss * _UNIT_BYTES),
    )


def used_by(pid: int) -> ResourceUsage | None:
    """The same of another process that runs, a worker of this training; None where the system does not tell."""
    try:
        # The name of the program stands in brackets and may hold anything; user and system time are the 12th and 13th
        # word behind it (proc_pid_stat(5)).
        words = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        cpu_s = (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
    return ResourceUsage(cpu_s=cpu_s, peak_memory_bytes=_peak_bytes(pid))


def _peak_bytes(pid: int) -> int:
    """0: the system does not tell. Linux counts into `ru_maxrss` what the process held that started this one, too."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", (_PROC / str(pid) / "status").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else 0
