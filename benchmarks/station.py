# SPDX-License-Identifier: Apache-2.0
"""What the station's whole path costs beside the bare session of the same model: frame handed over → reject signal.

A package is trained on rendered rings by the command that an engineer types (the shipped backbone, INT8), put into a
real station, and judges 256 × 256 frames at a steady takt of 20 ms, with the outbox on disk, MQTT connected, receipts
coming back, the heartbeat on, every crop kept and one part in twenty defective, so offered as evidence. Between blocks
of parts, at the same takt, the same pictures go through `InferenceSession.run` alone in the same process. Times of the
whole path are those of the reports, as a central would see them.

`SIGHTLINE_BENCH_PARTS` sets the number of parts (default 30,000).
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from securesystemslib.signer import CryptoSigner

from benchmarks._turns import percentile
from contracts.reports import PackageProgress
from edge_agent.app import Station
from edge_agent.camera.grabber import Grabber
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock, SystemClock
from edge_agent.group import StationGroup
from edge_agent.packages.store import PackageStore
from edge_agent.settings import load_settings
from plant.parts.catalogue import DefectSpec
from plant.parts.renderer import PartRenderer
from plant.processes.broker import BrokerPlan, choose_broker, free_port, plan_broker, wait_for_broker

Picture = NDArray[np.uint8]
T = TypeVar("T")
_SIZE_PX: Final = 256
_PARTS: Final = 30_000
_BLOCKS: Final = 30
_TRAIN: Final = 120
_PICTURES: Final = 200
_DEFECTIVE_EVERY: Final = 20
_WARM_UP: Final = 50
# How far apart parts come: 50 a second, faster than most lines.
_TAKT_S: Final = 0.02
_WAIT_S: Final = 60.0
_SATURATED: Final = 1000


class HandOver:
    """A frame source whose frames come from this program. `hand` is the moment at which a camera would deliver."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._frames: SimpleQueue[Picture] = SimpleQueue()
        self._number = 0

    @property
    def waiting(self) -> int:
        """Frames that nobody has read yet."""
        return self._frames.qsize()

    def hand(self, pixels: Picture) -> None:
        """Deliver a frame."""
        self._frames.put(pixels)

    def open(self) -> None:
        """Nothing to open."""

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame; its time is that at which this program gave it."""
        try:
            pixels = self._frames.get(timeout=timeout_s)
        except Empty:
            return None
        self._number += 1
        return Frame(
            pixels=pixels,
            captured_at=self._clock.now(),
            captured_monotonic=self._clock.monotonic(),
            trigger_number=self._number,
            product="ring",
            is_simulated=True,
        )

    def close(self) -> None:
        """Nothing to close."""


def run() -> dict[str, Any]:
    """Percentiles of both, their ratios, and the throughput of two cameras whose next frame always waits."""
    parts = int(os.environ.get("SIGHTLINE_BENCH_PARTS", _PARTS))
    with tempfile.TemporaryDirectory(prefix="sightline-station-") as name:
        folder = Path(name)
        package = _train(folder)
        pictures = _pictures()
        with running_broker(folder) as plan:
            with running_stations(folder, package, plan, ["ring"]) as (seats, way):
                (seat,) = seats
                run_bare = _bare(package / f"{way.variant}.onnx", threads=way.threads or 1)
                for picture in pictures[:_WARM_UP]:
                    run_bare(picture)
                bare_ms: list[float] = []
                _paced(_WARM_UP, _TAKT_S, seat.source.hand, pictures)
                for block in range(_BLOCKS):
                    count = parts // _BLOCKS
                    bare_ms += _paced(count, _TAKT_S, lambda each: _timed_ms(run_bare, each), pictures)
                    _paced(count, _TAKT_S, seat.source.hand, pictures)
                    _drain(seat.station)
                    print(f"block {block + 1} of {_BLOCKS}", file=sys.stderr, flush=True)
                status = seat.station.health.status()
                told = seat.told()
            throughput = _throughput(folder, package, plan, pictures)
    return _figures(parts, told, sorted(bare_ms)) | {
        **throughput,
        "takt_ms": _TAKT_S * 1e3,
        "variant": way.variant,
        "provider": way.provider,
        "threads": way.threads,
        "measured_ms": {f"{each.variant}, {each.threads}": each.infer_p50_ms for each in way.measured},
        "size_px": _SIZE_PX,
        "load": round(os.getloadavg()[0], 1),
        "evidence_dropped": status.evidence_dropped,
        "verdicts": {str(verdict): count for verdict, count in status.verdict_counts.items()},
        "faults": sorted({fault.code for fault in status.faults}),
    }


def _figures(parts: int, told: dict[str, list[float | None]], bare: list[float]) -> dict[str, Any]:
    stages = {int(sequence): times for sequence, times in told.items()}
    rows = [stages[sequence] for sequence in range(_WARM_UP + 1, _WARM_UP + parts + 1) if sequence in stages]
    columns = [sorted(each[column] or 0.0 for each in rows) for column in range(3)]
    whole = columns[2]
    figures: dict[str, Any] = {}
    for percent in (50, 99):
        mine, theirs = percentile(whole, percent), percentile(bare, percent)
        figures |= {
            f"overhead_p{percent}": round(mine / theirs - 1, 3),
            f"whole_p{percent}_ms": round(mine, 3),
            f"bare_p{percent}_ms": round(theirs, 3),
            f"prepare_p{percent}_ms": round(percentile(columns[0], percent), 3),
            f"infer_p{percent}_ms": round(percentile(columns[1], percent), 3),
        }
    return figures | {
        "whole_max_ms": round(whole[-1], 3),
        "bare_max_ms": round(bare[-1], 3),
        "parts": parts,
        "signalled": len(whole),
    }


def _train(folder: Path) -> Path:
    """A package for rings."""
    renderer = PartRenderer("ring", _SIZE_PX, seed=5)
    (folder / "rings" / "good").mkdir(parents=True)
    for number in range(_TRAIN):
        cv2.imwrite(str(folder / "rings" / "good" / f"{number:03}.png"), renderer.render(number).pixels)
    command = [sys.executable, "-m", "models", "--quiet", "train", "--images", str(folder / "rings")]
    command += ["--product", "ring", "--backbone", "compact", "--out", str(folder / "out")]
    subprocess.run(command, check=True)
    return folder / "out" / "package"


def _pictures() -> list[Picture]:
    renderer = PartRenderer("ring", _SIZE_PX, seed=6)
    return [
        renderer.render(number, DefectSpec("scratch", 0.9) if number % _DEFECTIVE_EVERY == 0 else None).pixels
        for number in range(_PICTURES)
    ]


def _bare(path: Path, *, threads: int) -> Callable[[Picture], object]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # As the station's: on a machine with other work, threads that spin would slow the bare runs down.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda picture: session.run(None, {name: picture[None]})


def _timed_ms(action: Callable[[Picture], object], picture: Picture) -> float:
    began_s = time.perf_counter()
    action(picture)
    return 1e3 * (time.perf_counter() - began_s)


def _paced(count: int, takt_s: float, action: Callable[[Picture], T], pictures: list[Picture]) -> list[T]:
    """Do it so often, at a steady takt."""
    next_s = time.perf_counter()
    results: list[T] = []
    for number in range(count):
        results.append(action(pictures[number % len(pictures)]))
        next_s += takt_s
        time.sleep(max(0.0, next_s - time.perf_counter()))
    return results


def _drain(station: Station) -> None:
    """Until everything is judged and durable, so that bare runs have the machine to themselves."""
    give_up_s = time.monotonic() + _WAIT_S
    while (len(station.queue) or station.outbox.row_count) and time.monotonic() < give_up_s:
        time.sleep(0.05)
    station.outbox.flush(_WAIT_S)
    time.sleep(0.5)


def _throughput(folder: Path, package: Path, plan: BrokerPlan, pictures: list[Picture]) -> dict[str, Any]:
    """Parts a second of two cameras in one process, over runs a second of one bare session, and of two at once.

    The bare sessions run as the stations' do, on as many threads.
    """
    with running_stations(folder, package, plan, ["left", "right"]) as (seats, way):
        run_bare = _bare(package / f"{way.variant}.onnx", threads=way.threads or 1)

        def bare() -> None:
            for number in range(_SATURATED):
                run_bare(pictures[number % len(pictures)])

        bare()
        alone = _SATURATED / _seconds([bare])
        beside = 2 * _SATURATED / _seconds([bare, bare])
        rates = 2 * _SATURATED / _seconds([partial(_saturate, seat, pictures) for seat in seats])
    return {
        "throughput_ratio": round(rates / alone, 3),
        "throughput_ratio_of_two_sessions": round(rates / beside, 3),
        "parts_per_s_two_cameras": round(rates, 1),
        "threads_two_cameras": way.threads or 1,
        # 1: each frame is judged alone, since together they were not seen to be faster.
        "batch_two_cameras": way.batch,
        "batches_ms": {str(each.batch): [each.batched_ms, each.singly_ms] for each in way.batches},
    }


def _saturate(seat: "Seat", pictures: list[Picture]) -> None:
    before = seat.station.health.status().parts_total
    for number in range(_SATURATED):
        seat.source.hand(pictures[number % len(pictures)])
        while seat.source.waiting + len(seat.station.queue) > 3:
            time.sleep(0.0005)
    give_up_s = time.monotonic() + _WAIT_S
    while seat.station.health.status().parts_total < before + _SATURATED and time.monotonic() < give_up_s:
        time.sleep(0.005)


def _seconds(actions: list[Callable[[], object]]) -> float:
    threads = [threading.Thread(target=action) for action in actions]
    began_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began_s


@dataclass
class Seat:
    """A running station, its frame source, and who answers its reports."""

    station: Station
    source: HandOver
    receipts: "subprocess.Popen[str]"

    def told(self) -> dict[str, list[float | None]]:
        """Stage times of its reports, by sequence; ends who answered them."""
        found: dict[str, list[float | None]] = json.loads(self.receipts.communicate(timeout=_WAIT_S)[0])
        return found


@contextmanager
def running_broker(folder: Path) -> Iterator[BrokerPlan]:
    """A broker that ends with the block."""
    plan = plan_broker(choose_broker("auto"), free_port(), folder / "broker")
    with running(list(plan.spec.command), env={**os.environ, **plan.spec.environment}):
        wait_for_broker(plan)
        yield plan


@contextmanager
def running_stations(
    folder: Path, package: Path, plan: BrokerPlan, names: list[str]
) -> Iterator[tuple[list[Seat], PackageProgress]]:
    """Running stations of one process with the package in each, and how it is run."""
    clock = SystemClock()
    group = StationGroup([load_settings(_settings(folder / name, package, plan, name)) for name in names])
    seats = []
    for name, station in zip(names, group.stations, strict=True):
        source = HandOver(clock)
        station.grabber = Grabber(source, station.queue, station.health)
        receipts = subprocess.Popen(
            [sys.executable, "-m", "benchmarks._receipts", str(plan.port), plan.username, f"bench/one/{name}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert receipts.stdin is not None
        receipts.stdin.write(plan.password + "\n")
        receipts.stdin.flush()
        seats.append(Seat(station, source, receipts))
    group.start()
    try:
        give_up_s = time.monotonic() + _WAIT_S
        while not all(seat.station.slots.products() and seat.station.bus.is_connected for seat in seats):
            if time.monotonic() > give_up_s:
                raise TimeoutError(f"a station did not take its package within {_WAIT_S:.0f} s")
            time.sleep(0.05)
        time.sleep(1.0)
        yield seats, seats[0].station.installer.status().packages[0]
    finally:
        group.stop()
        for seat in seats:
            seat.receipts.kill()
            seat.receipts.wait()


def _settings(folder: Path, package: Path, plan: BrokerPlan, name: str) -> Path:
    """A station's folder with the package installed in it; its settings file."""
    store = PackageStore(folder / "data" / "packages", max_package_bytes=2**30)
    staged = store.stage()
    shutil.copytree(package, staged, dirs_exist_ok=True)
    package_id = hashlib.sha256((package / "manifest.json").read_bytes()).hexdigest()
    store.keep(staged, "ring", package_id)
    store.set_current("ring", package_id)
    key = CryptoSigner.generate_ed25519().public_key
    (folder / "assignment.pub").write_text(json.dumps({"keyid": key.keyid, **key.to_dict()}))
    (folder / "root.json").write_text("{}")
    path = folder / "station.toml"
    path.write_text(
        f"""
site = "bench"
line = "one"
station = "{name}"
data_dir = "data"
is_simulated = true
broker = {{ url = "mqtt://127.0.0.1:{plan.port}", username = "{plan.username}", password = "{plan.password}" }}
central = {{ url = "http://127.0.0.1:{free_port()}", token = "none" }}
trust = {{ root = "root.json", assignment_key = "assignment.pub" }}
source = {{ kind = "replay", url = "nowhere", product = "ring" }}
"""
    )
    return path


@contextmanager
def running(command: list[str], env: dict[str, str]) -> Iterator[None]:
    """A process that ends with the block."""
    process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=_WAIT_S)
