# SPDX-License-Identifier: Apache-2.0
"""This machine's disk, and whether another process has the station's folder.

Writes a small file into data_dir (or, before the first start, into the folder that will hold it) and removes it again;
makes no folder. Used by `doctor`.
"""

import fcntl
import os
import shutil
import statistics
import tempfile
from pathlib import Path
from typing import Final

from edge_agent.clock import Clock
from edge_agent.commissioning.findings import Finding, fail, ok, warn
from edge_agent.settings import Settings

_DISK: Final = "disk"
_MIB: Final = 1024**2
# Reports, log and the outbox's reserve; below it a station stops recording within hours.
_FLOOR_BYTES: Final = 256 * _MIB
_SYNCS: Final = 10
_SLOW_SYNC_MS: Final = 100.0


def check_disk(settings: Settings, clock: Clock) -> list[Finding]:
    """Room, rights and speed of the disk that holds data_dir."""
    folder = _existing(settings.data_dir)
    try:
        free = shutil.disk_usage(folder).free
        kept = _size(settings.data_dir / "evidence")
        times_ms = _sync_times_ms(folder, clock)
    except OSError as error:
        found = f"{folder} cannot be written: {error.strerror}"
        return [fail(_DISK, found, "give the station's user the right to write there, free the disk, or move data_dir")]
    bounds = settings.bounds
    # Two packages of each kind stay on the disk, a third arrives.
    wanted = _FLOOR_BYTES + max(0, bounds.evidence_max_bytes - kept) + 3 * bounds.max_package_bytes
    room = f"{free / _MIB:,.0f} MiB free for {settings.data_dir}"
    if free < _FLOOR_BYTES:
        remedy = f"free the disk or move data_dir: at least {_FLOOR_BYTES // _MIB} MiB are needed for reports alone"
        return [fail(_DISK, room, remedy)]
    findings = []
    if free < wanted:
        remedy = "lower bounds.evidence_max_bytes and bounds.max_package_bytes, free the disk, or move data_dir"
        findings.append(warn(_DISK, f"{room}; the bounds in the settings allow {wanted / _MIB:,.0f} MiB", remedy))
    else:
        findings.append(ok(_DISK, room))
    sync_ms = statistics.median(times_ms)
    figures = f"a record is on the disk after {sync_ms:.1f} ms (median of {_SYNCS})"
    if sync_ms > _SLOW_SYNC_MS:
        findings.append(warn("disk speed", figures, "use an SSD for data_dir, or a better memory card"))
    else:
        findings.append(ok("disk speed", figures))
    return findings


def check_alone(settings: Settings) -> Finding:
    """Whether another process has the station's folder."""
    name = "data_dir"
    if is_in_use(settings.data_dir):
        found = f"a station process has {settings.data_dir} now; a second one on it is refused"
        return warn(
            name, found, "none if that is this station at work; else stop it, or give this one its own data_dir"
        )
    return ok(name, "no other process has it")


def is_in_use(data_dir: Path) -> bool:
    """Whether the outbox's lock is held."""
    try:
        with (data_dir / "outbox.db.lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _sync_times_ms(folder: Path, clock: Clock) -> list[float]:
    handle, name = tempfile.mkstemp(dir=folder, prefix=".sightline-doctor.")
    times_ms = []
    try:
        for _ in range(_SYNCS):
            began = clock.monotonic()
            os.write(handle, bytes(4096))
            os.fsync(handle)
            times_ms.append((clock.monotonic() - began) * 1000)
    finally:
        os.close(handle)
        Path(name).unlink(missing_ok=True)
    return times_ms
