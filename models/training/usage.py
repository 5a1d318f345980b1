# SPDX-License-Identifier: Apache-2.0
"""What this process and its ended children have used of the machine, as the operating system counts it.

Measures no GPU: trainings compute on the CPU. Called by `progress`, so that a training that is killed has said it.
"""

import resource
import sys

from contracts.jobs import ResourceUsage

# Linux tells kibibytes, macOS bytes.
_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def used() -> ResourceUsage:
    """CPU time of all threads, user and system, s; the largest resident memory of any one process."""
    own, ended = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return ResourceUsage(
        cpu_s=own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime,
        peak_memory_bytes=max(own.ru_maxrss, ended.ru_maxrss) * _UNIT_BYTES,
    )
