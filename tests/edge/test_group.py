# SPDX-License-Identifier: Apache-2.0
"""Several stations in one process: each its own, but for the sessions."""

import gc
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from edge_agent.__main__ import main
from edge_agent.app import Station
from edge_agent.errors import TrustError
from edge_agent.group import StationGroup
from edge_agent.inference.pool import SessionPool
from edge_agent.packages.activation import Runtime
from edge_agent.settings import Settings, load_settings
from plant.processes.broker import free_port
from tests.edge import tiny_package
from tests.edge.test_process import OK, Line, made_line, send, wait_until

CPU = "CPUExecutionProvider"


def _renamed(line: Line, name: str) -> None:
    text = line.settings.read_text()
    text = text.replace('station = "st-1"', f'station = "{name}"')
    # A fixed number of threads is one way of running the package: nothing is measured, and one session is opened.
    line.settings.write_text(text.replace("heartbeat_s", "inference = { threads = 1 }\nheartbeat_s"))


def test_two_cameras_of_one_process_are_two_stations(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with made_line(tmp_path / "a", free_port()) as one, made_line(tmp_path / "b", free_port()) as other:
        _renamed(one, "st-1")
        _renamed(other, "st-2")
        shutil.rmtree(other.folder / "data")
        shutil.copytree(one.folder / "data", other.folder / "data")
        log = (tmp_path / "log.txt").open("wb")
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SIGHTLINE_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "edge_agent", "run", "--settings", str(one.settings), "--settings",
             str(other.settings)],
            stdout=log, stderr=log, env=environ,
        )  # fmt: skip
        one.processes.append(process)
        for line in (one, other):
            line.camera.client(timeout_s=60)
        wait_until(lambda: (tmp_path / "log.txt").read_text().count("package active") == 2, "packages")
        threads = [
            threading.Thread(target=send, args=(line, *((number, OK) for number in range(first, first + 10))))
            for line, first in ((one, 1), (other, 101))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(lambda: _judged(one) and _judged(other), "parts")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "log.txt").read_text()
        assert [report.trigger_number for report in one.recorded()] == [*range(1, 11)]
        assert [report.trigger_number for report in other.recorded()] == [*range(101, 111)]
        log.close()
        text = (tmp_path / "log.txt").read_text()
        assert "group started stations=2" in text
        assert text.count("session opened") == 1, "one copy of the graph serves both"


def test_stations_of_a_process_measure_threads_up_to_their_share_of_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []
    rates: list[object] = []

    class Noted:
        def __init__(self, _settings: Settings, *, pool: object, shared_by: int, rate: object) -> None:
            del pool
            rates.append(rate)
            built.append(shared_by)

    monkeypatch.setattr("edge_agent.app.Station", Noted)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with made_line(tmp_path / "a", free_port()) as one, made_line(tmp_path / "b", free_port()) as other:
        _renamed(other, "st-2")
        StationGroup([load_settings(line.settings, {}) for line in (one, other)])
    assert built == [2, 2]
    assert rates[0] is rates[1]


def test_share_of_a_station_is_its_part_of_the_cores_and_one_at_least(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares: list[int] = []
    real = Runtime

    def noted(provider: str, *, cores: int, **others: Any) -> Runtime:
        shares.append(cores)
        return real(provider, cores=cores, **others)

    monkeypatch.setattr("edge_agent.rooms.Runtime", noted)
    monkeypatch.setattr("edge_agent.rooms.os.sched_getaffinity", lambda _process: set(range(8)))
    for number, shared_by in enumerate((1, 2, 3, 20)):
        folder = tmp_path / str(number)
        folder.mkdir()
        with made_line(folder, free_port()) as line:
            Station(load_settings(line.settings, {}), shared_by=shared_by).outbox.close()
    assert shares == [8, 4, 2, 1]


def _judged(line: Line) -> bool:
    # A file of SQLite grows its log by every part that it takes; a clean stop then finds all of them.
    path = line.folder / "data" / "outbox.db-wal"
    return path.exists() and path.stat().st_size > 0


def test_station_whose_page_has_no_port_says_so_to_central(tmp_path: Path) -> None:
    port = free_port()
    with made_line(tmp_path, free_port()) as line, socket.create_server(("127.0.0.1", port)):
        station = Station(load_settings(line.settings, {"SIGHTLINE_EDGE_PAGE_PORT": str(port)}))
        try:
            station.page.start()
            assert [fault.code for fault in station.health.status().faults] == ["page-missing"]
        finally:
            station.outbox.close()


@pytest.mark.parametrize(
    ("changes", "told"),
    [({}, "station: expected another address"), ({"data_dir": "elsewhere"}, "station: expected another address")],
)
def test_two_files_of_one_station_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, str], told: str
) -> None:
    with made_line(tmp_path, free_port()) as line:
        second = tmp_path / "second.toml"
        text = line.settings.read_text()
        second.write_text(text.replace('data_dir = "data"', f'data_dir = "{changes.get("data_dir", "data")}"'))
        assert main(["run", "--settings", str(line.settings), "--settings", str(second)]) == 2
    written = capsys.readouterr().err
    assert told in written
    assert ("data_dir: expected another folder" in written) is (not changes)


def test_faults_of_every_file_are_told_at_once_each_with_its_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.toml").write_text('site = "plant"\n')
    assert main(["check-settings", "--settings", str(tmp_path / "a.toml"), "--settings", str(tmp_path / "b.toml")]) == 2
    written = capsys.readouterr().err
    assert "a.toml: line: expected" in written
    assert "b.toml: line: expected" in written


def _stored(folder: Path, package_id: str) -> Path:
    (folder / package_id).mkdir(parents=True)
    return tiny_package.brightness_graph(folder / package_id / "fp32.onnx")


def test_pool_opens_a_graph_once_however_many_ask_and_lets_go_of_it(tmp_path: Path) -> None:
    pool, found = SessionPool(), []
    paths = [_stored(tmp_path / station, "ab" * 32) for station in ("one", "two")]
    threads = [
        threading.Thread(target=lambda path=path: found.append(pool.open(path, provider=CPU, threads=1)))
        for path in paths * 4
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len({id(each) for each in found}), len(pool)) == (1, 1)
    assert pool.open(paths[0], provider=CPU, threads=2) is not found[0]
    assert pool.open(_stored(tmp_path, "cd" * 32), provider=CPU, threads=1) is not found[0]
    found.clear()
    gc.collect()
    assert len(pool) == 0


def test_graph_that_cannot_be_opened_is_no_session_of_the_pool(tmp_path: Path) -> None:
    pool = SessionPool()
    for _ in range(2):
        with pytest.raises(TrustError):
            pool.open(tmp_path / ("ef" * 32) / "fp32.onnx", provider=CPU, threads=1)
    assert len(pool) == 0
