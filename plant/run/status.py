# SPDX-License-Identifier: Apache-2.0
"""`sightline status`: how the plant on a data folder stands, asked of its central. Changes nothing.

Called by `plant.cli`.
"""

from pathlib import Path
from typing import Final

from contracts.vocabulary import AlarmState, Role
from plant.errors import UsageError
from plant.processes.broker import LOOPBACK
from plant.processes.rundir import lock_owner
from plant.processes.site import SiteState
from plant.run.central_client import CentralClient

_NOT_RUNNING: Final = 3


def status_lines(folder: Path) -> tuple[list[str], int]:
    """Lines for a person and the exit code: 0 running, 3 not running.

    Raises:
        UsageError: no plant was ever set up on this folder.
        CentralError: the plant runs, but its central does not answer.
    """
    state = SiteState.read(folder)
    if state is None:
        msg = f"{folder}: no plant was set up here; start one with `sightline up --data {folder}`"
        raise UsageError(msg)
    owner = lock_owner(folder)
    if owner is None:
        return [f"plant in {folder}: not running; `sightline up --data {folder}` goes on with it"], _NOT_RUNNING
    url = f"http://{LOOPBACK}:{state.central_port}"
    lines = [f"plant in {folder}: running, process {owner}, central {url}"]
    client = CentralClient(url, state.tokens.get(Role.ADMIN.value, ""), patience_s=3.0)
    for view in client.stations():
        status = view.status
        how = status.state.value if status is not None and status.is_connected else "not connected"
        runs = ", ".join(f"{each.product} {each.package_id[:12]}" for each in status.active) if status else ""
        lines.append(f"  {view.station}: {how}, {view.sync}, {view.inspections} parts, packages: {runs or 'none'}")
    lines += [
        f"  alarm {alarm.kind} since {alarm.raised_at:%Y-%m-%d %H:%M:%S} UTC: {alarm.message}"
        for alarm in client.alarms()
        if alarm.state is not AlarmState.CLOSED
    ]
    audits = client.audit_summary()
    lines.append(f"  audits: {audits.open} waiting, {audits.judged} judged")
    client.close()
    return lines, 0
