# SPDX-License-Identifier: Apache-2.0
"""What this machine is and what is installed on it, so that a figure can be compared with that of another day.

Imports nothing that it names: versions come from what is installed. Called by `progress`, so that a training that is
killed has said it.
"""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from contracts.jobs import MadeBy

# What can change a package's bytes or a training's time.
_LIBRARIES: Final = (
    "sightline",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxscript",
    "opencv-python-headless",
    "ray",
    "safetensors",
    "torch",
)
_CPU_INFO: Final = Path("/proc/cpuinfo")
_LONGEST: Final = 200


def made_by() -> MadeBy:
    """This machine and the versions on it."""
    return MadeBy(
        machine=platform.node()[:_LONGEST],
        system=platform.platform()[:_LONGEST],
        processor=_processor(),
        cores=os.cpu_count() or 1,
        memory_bytes=_memory_bytes(),
        python=platform.python_version(),
        libraries={name: found for name in _LIBRARIES if (found := _version(name)) is not None},
    )


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _processor() -> str | None:
    """Linux says it in a file; elsewhere the interpreter may."""
    try:
        lines = _CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    named = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return (named or platform.processor())[:_LONGEST] or None


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return None
