# SPDX-License-Identifier: Apache-2.0
"""A whole station is killed in the middle of a download, and goes on with it at its next start."""

import json
import signal
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from contracts.vocabulary import Variant
from edge_agent.packages.trust import open_envelope
from plant.processes.broker import free_port
from tests.edge.packages.conftest import STATION
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import build_package, weighted_graph
from tests.fakes.waiting import wait_until
from tests.faults.station_process import Around, start_process

_RATE = 400_000


def settings_of(folder: Path, server: PackageServer) -> Path:
    (folder / "root.json").write_bytes(server.root)
    (folder / "assignment.pub").write_bytes(server.assignment_key)
    path = folder / "station.toml"
    path.write_text(
        f"""
site = "{STATION.site}"
line = "{STATION.line}"
station = "{STATION.station}"
data_dir = "data"
broker.url = "mqtt://127.0.0.1:{free_port()}"
central = {{ url = "{server.url}", token = "{TOKEN}" }}
trust = {{ root = "root.json", assignment_key = "assignment.pub" }}
source = {{ kind = "simulated", url = "tcp://127.0.0.1:{free_port()}" }}
inference = {{ provider = "CPUExecutionProvider", threads = 1, variant = "fp32" }}
bounds.keep_free_bytes = 1048576
downloads.max_bytes_per_s = {_RATE}
"""
    )
    return path


def test_killed_station_goes_on_with_its_download(tmp_path: Path, server: PackageServer) -> None:
    weights = np.random.default_rng(1).normal(size=(500, 600)).astype(np.float32)
    package = build_package(
        tmp_path / "built", graphs={Variant.FP32: weighted_graph({"weights": weights})}, has_chunks=False
    )
    server.publish(package)
    settings = settings_of(tmp_path, server)
    sealed = server.seal(STATION, 1, {"ring": package.package_id}, now=datetime.now(UTC))
    assert open_envelope(sealed, server.assignment_signer.public_key).assignment.number == 1
    accepted = tmp_path / "data" / "trust" / "assignment.json"
    accepted.parent.mkdir(parents=True)
    accepted.write_text(json.dumps({"number": 1, "envelope": sealed.decode()}))

    part = tmp_path / "data" / "packages" / ".partial" / package.package_id / "fp32.onnx.part"
    process = start_process(settings, tmp_path / "log-1.txt", Around())
    wait_until(
        lambda: part.exists() and part.stat().st_size > 200_000, lambda: (tmp_path / "log-1.txt").read_text()[-2000:]
    )
    process.kill()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    here = part.stat().st_size
    size = (package.folder / "fp32.onnx").stat().st_size
    assert 200_000 < here < size

    log = tmp_path / "log-2.txt"
    process = start_process(settings, log, Around())
    try:
        wait_until(lambda: log.exists() and "package ACTIVE" in log.read_text(), lambda: log.read_text()[-2000:])
    finally:
        process.kill()
        process.join(60)
    graph = f"targets/{package.package_id}/fp32.onnx"
    assert [told for path, told in server.ranges.asked if path == graph] == ["", f"bytes={here}-{size - 1}"]
    kept = tmp_path / "data" / "packages" / "ring" / package.package_id / "fp32.onnx"
    assert kept.read_bytes() == (package.folder / "fp32.onnx").read_bytes()
    assert not part.parent.exists()
