# SPDX-License-Identifier: Apache-2.0
"""What this process and its ended children have used of the machine, as the operating system counts it.

Measures no GPU: trainings compute on the CPU. Called by `progress`, so that a training that is killed has said it.
"""

import re
import resource
import sys
from pathlib import Path
from typing import Final

from contracts.jobs import ResourceUsage

# Linux tells kibibytes, macOS bytes.
_UNIT_BYTES: Final = 1 if sys.platform == "darwin" else 1024
_STATUS: Final = Path("/proc/self/status")


def used() -> ResourceUsage:
    """CPU time of all threads, user and system, s; the largest resident memory of any one process."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ResourceUsage(
        cpu_s=own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime,
        peak_memory_bytes=max(_own_peak_bytes(own.ru_maxrss), ended.ru_maxrss * _UNIT_BYTES),
    )


def _own_peak_bytes(counted: int) -> int:
    """Linux counts into `ru_maxrss` what the process held that started this one, from before its own program began."""
    try:
        found = re.search(r"^VmHWM:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else counted * _UNIT_BYTES
