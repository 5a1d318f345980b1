# SPDX-License-Identifier: Apache-2.0
"""The edge stations of a plant: their settings files and how to start them.

Writes what an installer would write by hand on a device: address, broker, central, token, enrolment files,
camera. Does not start anything itself and never reads a station's files back. Used by `plant.processes.site`.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from contracts.ids import StationAddress
from plant.processes.broker import BrokerPlan
from plant.processes.supervisor import ChildSpec
from plant.processes.toml_writer import toml_text


@dataclass(frozen=True)
class Enrolment:
    """What a new station is given of central: where it is, a token, and the two files of trust."""

    central_url: str
    token: str
    root_file: Path
    assignment_key_file: Path


def child_name(station: str) -> str:
    """Name of the station's process at the supervisor, and of its log file."""
    return f"edge-{station}"


def write_station(
    folder: Path,
    address: StationAddress,
    *,
    broker: BrokerPlan,
    enrolment: Enrolment,
    camera_url: str,
    product: str | None,
    is_simulated: bool,
    recipes: Mapping[str, Mapping[str, Any]],
) -> ChildSpec:
    """Write `folder/station.toml` (readable by its owner alone: it holds the token) and say how to start it."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "site": address.site,
        "line": address.line,
        "station": address.station,
        "data_dir": (folder / "data").resolve(),
        "is_simulated": is_simulated,
        "broker": {"url": broker.url, "username": broker.username, "password": broker.password},
        "central": {"url": enrolment.central_url, "token": enrolment.token},
        "trust": {"root": enrolment.root_file.resolve(), "assignment_key": enrolment.assignment_key_file.resolve()},
        "source": {"kind": "simulated", "url": camera_url, "product": product},
        "output": {"kind": "mqtt"},
        # Several stations share this machine, and the dashboard shows them all.
        "page": {"port": 0},
        "inference": {"provider": "CPUExecutionProvider", "threads": 1, "variant": "auto"},
        "recipe": recipes,
    }
    path = folder / "station.toml"
    path.touch(mode=0o600, exist_ok=True)
    path.write_text(toml_text(settings), encoding="utf-8")
    command = (sys.executable, "-m", "edge_agent", "run", "--settings", str(path))
    return ChildSpec(name=child_name(address.station), command=command, environment=single_threaded())


def single_threaded() -> dict[str, str]:
    """Environment that keeps the numeric libraries of one process on one core: a plant shares few cores."""
    return dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
