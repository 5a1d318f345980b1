# SPDX-License-Identifier: Apache-2.0
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.manifest import PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import SystemClock
from edge_agent.errors import DeviceError
from edge_agent.inference.onnx import open_session
from edge_agent.inference.session import Inference, InferenceSession
from edge_agent.inference.variants import AUTO, Way, providers_to_try, threads_to_try, ways_to_try
from edge_agent.packages.activation import Ready, Runtime, prepare
from edge_agent.packages.speed import Measured, SpeedTable, fastest
from edge_agent.packages.store import StoredPackage
from edge_agent.packages.trust import PackageRefused
from tests.edge import tiny_package

CPU, CUDA, VINO = "CPUExecutionProvider", "CUDAExecutionProvider", "OpenVINOExecutionProvider"
INT8 = Way(Variant.INT8_U8S8, CPU, 1)
FP32 = Way(Variant.FP32, CPU, 1)


def test_preferred_way_is_left_for_one_that_is_clearly_faster_only() -> None:
    assert fastest([Measured(INT8, 10.0), Measured(FP32, 8.1)]) == INT8
    assert fastest([Measured(INT8, 10.0), Measured(FP32, 7.9)]) == FP32
    assert fastest([Measured(INT8, None, "fails"), Measured(FP32, 30.0)]) == FP32
    assert fastest([Measured(INT8, None, "fails")]) is None
    assert fastest([]) is None


def test_auto_tries_every_known_provider_of_the_runtime_and_devices_by_name() -> None:
    there = ["AzureExecutionProvider", CPU, VINO, CUDA, "QNNExecutionProvider"]
    devices = [f"{VINO}:NPU", f"{VINO}:GPU", f"{VINO}:CPU"]
    assert providers_to_try(AUTO, there) == [CUDA, "QNNExecutionProvider", *devices, CPU]
    assert providers_to_try(f"{VINO}:GPU", there) == [f"{VINO}:GPU"]
    ways = ways_to_try([Variant.FP32, Variant.FP16, Variant.INT8_U8S8], [CUDA, CPU], threads=0, cores=4)
    assert [str(way) for way in ways] == [
        f"fp16 on {CUDA}, 1 thread",
        f"fp32 on {CUDA}, 1 thread",
        f"int8-u8s8 on {CPU}, 1 thread",
        f"int8-u8s8 on {CPU}, 2 threads",
        f"int8-u8s8 on {CPU}, 4 threads",
        f"fp32 on {CPU}, 1 thread",
        f"fp32 on {CPU}, 2 threads",
        f"fp32 on {CPU}, 4 threads",
    ]


@pytest.mark.parametrize(("cores", "tried"), [(1, [1]), (2, [1, 2]), (6, [1, 2, 4]), (64, [1, 2, 4, 8, 16])])
def test_threads_are_measured_up_to_the_cores(cores: int, tried: list[int]) -> None:
    assert threads_to_try(CPU, 0, cores) == tried
    assert threads_to_try(CPU, 3, cores) == [3]
    assert threads_to_try(CUDA, 0, cores) == [1]


class Slow:
    """A real session that takes longer."""

    def __init__(self, session: InferenceSession, seconds: float) -> None:
        self._session = session
        self._seconds = seconds
        self.provider = session.provider

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        time.sleep(self._seconds)
        return self._session.run(image_bgr)


class Bench:
    """A package on disk, and sessions that take as long as a test says, by threads."""

    def __init__(self, folder: Path, seconds: Callable[[str, int], float]) -> None:
        package_id = tiny_package.write_package(folder / "package")
        manifest = PackageManifest.model_validate_json((folder / "package" / "manifest.json").read_bytes())
        self.stored = StoredPackage(package_id, manifest, folder / "package")
        self.seconds = seconds
        self.opened: list[tuple[str, int]] = []
        self.broken: set[str] = set()
        self.runtime = Runtime(
            AUTO, threads=0, cores=2, open_session=self.open, available=lambda: [CUDA, CPU],
            tables=SpeedTable(folder / "speed", "this machine"),
        )  # fmt: skip

    def open(self, path: Path, *, provider: str, threads: int) -> InferenceSession:
        self.opened.append((provider, threads))
        if provider in self.broken:
            raise DeviceError(f"asked ONNX Runtime for {provider}, got {CPU}", remedy="check nvidia-smi")
        # The other providers are played by the one that is there.
        return Slow(open_session(path, provider=CPU, threads=threads), self.seconds(provider, threads))

    def prepare(self, runtime: Runtime | None = None) -> Ready:
        ready = prepare(self.stored, runtime or self.runtime, SystemClock(), lambda: False)
        assert ready is not None
        return ready


def test_fastest_way_is_taken_and_the_whole_table_is_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda provider, threads: 0.03 if provider == CUDA else 0.02 / threads)
    ready = bench.prepare()
    assert ready.way == Way(Variant.FP32, CPU, 2)
    assert [(each.way.provider, each.way.threads) for each in ready.table] == [(CUDA, 1), (CPU, 1), (CPU, 2)]
    assert all(each.infer_p50_ms is not None for each in ready.table)
    assert [each.told().infer_p50_ms for each in ready.table] == [each.infer_p50_ms for each in ready.table]


def test_preferred_way_that_met_a_busy_moment_is_not_left_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda _provider, _threads: 0.0)
    asked: list[str] = []

    def seconds(provider: str, threads: int) -> float:
        del threads
        asked.append(provider)
        return 0.03 if provider == CUDA and asked.count(CUDA) == 1 else 0.001 if provider == CUDA else 0.008

    bench.seconds = seconds
    ready = bench.prepare()
    assert ready.way.provider == CUDA
    assert (ready.table[0].infer_p50_ms or 99.0) < (ready.table[1].infer_p50_ms or 0.0)


def test_way_that_does_not_work_here_is_in_the_table_with_its_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda _provider, _threads: 0.005)
    bench.broken = {CUDA}
    ready = bench.prepare()
    assert ready.way == Way(Variant.FP32, CPU, 1)
    assert (ready.table[0].infer_p50_ms, "check nvidia-smi" in ready.table[0].note) == (None, True)
    assert list(ready.broken) == [CUDA]


def test_device_that_is_not_there_is_no_fault_of_a_provider_that_works() -> None:
    way = Way(Variant.FP32, f"{VINO}:CPU", 1)
    absent = Measured(replace(way, provider=f"{VINO}:NPU"), None, "no such device")
    cuda = Measured(replace(way, provider=CUDA), None, "no driver")
    ready = Ready(None, None, way, [cuda, absent, Measured(way, 1.0)])  # type: ignore[arg-type]  # the table alone
    assert ready.broken == {CUDA: "no driver"}


def test_restart_opens_the_measured_way_alone(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda provider, threads: 0.03 if provider == CUDA else 0.02 / threads)
    table = bench.prepare().table
    bench.opened.clear()
    again = bench.prepare()
    assert bench.opened == [(CPU, 2)]
    assert (again.way, list(again.table)) == (Way(Variant.FP32, CPU, 2), list(table))


@pytest.mark.parametrize("change", ["machine", "settings", "torn", "broken"])
def test_table_that_does_not_hold_any_more_is_measured_anew(tmp_path: Path, change: str) -> None:
    bench = Bench(tmp_path, lambda provider, _threads: 0.02 if provider == CPU else 0.001)
    assert bench.prepare().way.provider == CUDA
    runtime = bench.runtime
    if change == "machine":
        runtime = replace(runtime, tables=SpeedTable(tmp_path / "speed", "another machine"))
    elif change == "settings":
        runtime = replace(runtime, cores=1)
    elif change == "torn":
        (path,) = (tmp_path / "speed").iterdir()
        path.write_bytes(path.read_bytes()[:40])
    else:
        bench.broken = {CUDA}
    bench.opened.clear()
    ready = bench.prepare(runtime)
    assert len({*bench.opened}) > 1
    assert ready.way.provider == (CPU if change == "broken" else CUDA)


def test_package_that_runs_in_no_way_is_refused_with_every_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda _provider, _threads: 0.0)
    bench.broken = {CUDA, CPU}
    with pytest.raises(PackageRefused) as caught:
        bench.prepare()
    assert caught.value.reason is RefusalReason.NO_VARIANT
    assert CUDA in caught.value.message
    assert not (tmp_path / "speed").exists()


def test_newer_assignment_calls_the_measuring_off(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda _provider, _threads: 0.0)
    assert prepare(bench.stored, bench.runtime, SystemClock(), lambda: True) is None
    assert bench.opened == []


def test_tables_of_packages_that_are_gone_are_removed(tmp_path: Path) -> None:
    table = SpeedTable(tmp_path, "here")
    table.save("a" * 64, [Measured(INT8, 1.0)])
    table.save("b" * 64, [Measured(INT8, 1.0)])
    table.prune({"a" * 64})
    assert [path.stem[0] for path in tmp_path.iterdir()] == ["a"]
    assert table.load("a" * 64, [INT8]) == [Measured(INT8, 1.0)]
    assert table.load("a" * 64, [FP32]) is None
