# SPDX-License-Identifier: Apache-2.0
"""What the station's path costs beside the graph: frame bytes to durable report, against the bare session.

The same pictures go once through ONNX Runtime alone, and once through the station's own code: unpack the
frame, crop, check, judge, write the report into the outbox on disk. The difference is what our code adds to
the capture-to-verdict time; the graph is a small convolution made here, so that no training is needed. The
network and the camera are left out.
"""

import itertools
import statistics
import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contracts.frames import FrameHeader, PictureEncoding, pack_frame
from contracts.manifest import (
    FileRole,
    GoldenSet,
    GraphSignature,
    Limits,
    Lineage,
    PackageFile,
    PackageManifest,
    PackageVariant,
)
from contracts.vocabulary import DetectorKind, SignalState, Variant
from edge_agent.camera.decoding import frame_from_packed
from edge_agent.clock import SystemClock
from edge_agent.inference.onnx import open_session
from edge_agent.inference.session import LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.recipes.recipe import Recipes
from edge_agent.recording import inspection_report
from edge_agent.reporting.outbox import Outbox

_SIZE_PX: Final = 256
_FRAMES: Final = 300
_DIGEST: Final = "0" * 64


def _graph() -> bytes:
    """Three strided convolutions; the score is the mean of the last map."""
    rng = np.random.default_rng(1)
    widths = (3, 16, 32, 32)
    nodes = [
        helper.make_node("Cast", ["image"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["x0"], perm=[0, 3, 1, 2]),
    ]
    constants: dict[str, NDArray[Any]] = {"axes": np.array([1, 2, 3]), "one": np.array([1])}
    for index, (inner, outer) in enumerate(itertools.pairwise(widths)):
        constants[f"w{index}"] = rng.normal(0, 0.05, (outer, inner, 3, 3)).astype(np.float32)
        nodes += [
            helper.make_node("Conv", [f"x{index}", f"w{index}"], [f"c{index}"], strides=[2, 2], pads=[1, 1, 1, 1]),
            helper.make_node("Relu", [f"c{index}"], [f"x{index + 1}"]),
        ]
    nodes += [
        helper.make_node("ReduceMean", ["x3", "axes"], ["score"], keepdims=0),
        helper.make_node("ReduceMean", ["x3", "one"], ["heatmap"], keepdims=0),
        helper.make_node("GlobalAveragePool", ["x3"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["embedding"]),
    ]
    ends: dict[str, list[str | int | None]] = {"score": ["n"], "heatmap": ["n", "a", "b"], "embedding": ["n", 32]}
    graph = helper.make_graph(
        nodes,
        "bench",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()
    )


def _manifest() -> PackageManifest:
    return PackageManifest(
        product="ring",
        detector=DetectorKind.MEMORY_BANK,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        is_simulated=True,
        graph=GraphSignature(
            model_height_px=_SIZE_PX,
            model_width_px=_SIZE_PX,
            heatmap_height_px=32,
            heatmap_width_px=32,
            embedding_length=32,
        ),
        variants=[PackageVariant(variant=Variant.FP32, file="fp32.onnx")],
        files=[
            PackageFile(name="fp32.onnx", role=FileRole.MODEL, sha256=_DIGEST, size_bytes=1),
            PackageFile(name="golden.npz", role=FileRole.GOLDEN, sha256=_DIGEST, size_bytes=1),
        ],
        limits=Limits(ok_limit=1e9, ng_limit=2e9, sound_parts=1, rule="everything passes"),
        golden=GoldenSet(file="golden.npz", images=1, tolerance=1.0),
        lineage=Lineage(
            training_id="bench",
            dataset_sha256=_DIGEST,
            sound_parts=1,
            defective_parts=0,
            seed=1,
            backbone="none",
            backbone_weights_sha256=_DIGEST,
            backbone_weights_source="random",
            trainer_version="0",
            training_seconds=0,
        ),
    )


def _times_ms(work: Callable[[int], object]) -> list[float]:
    for index in range(20):
        work(index)
    taken = []
    for index in range(_FRAMES):
        began = perf_counter()
        work(index)
        taken.append((perf_counter() - began) * 1000)
    return taken


def run() -> dict[str, Any]:
    """Median and 99 % of both ways, and their difference."""
    clock = SystemClock()
    pictures = np.random.default_rng(2).integers(0, 256, (16, _SIZE_PX, _SIZE_PX, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fp32.onnx"
        path.write_bytes(_graph())
        onnx.checker.check_model(str(path))
        session = open_session(path, provider="CPUExecutionProvider", threads=1)
        slots = PackageSlots()
        slots.activate(LoadedPackage(package_id=_DIGEST, manifest=_manifest(), variant=Variant.FP32, session=session))
        judge = Judge(slots, Recipes(MappingProxyType({})), clock, default_product="ring")
        outbox = Outbox(Path(folder) / "outbox.db", clock)

        def whole(index: int) -> None:
            header = FrameHeader(
                trigger_number=index + 1,
                captured_at=clock.now(),
                encoding=PictureEncoding.RAW,
                height_px=_SIZE_PX,
                width_px=_SIZE_PX,
                is_simulated=True,
            )
            payload = pack_frame(header, pictures[index % len(pictures)].tobytes())
            began.append(perf_counter())
            frame = frame_from_packed(payload, clock, shares_clock=True)
            judgement = judge.judge(frame)
            outbox.put(
                inspection_report(
                    frame,
                    judgement,
                    sequence=outbox.next_sequence(),
                    signal=SignalState.SENT,
                    signalled_s=clock.monotonic(),
                    is_simulated=True,
                )
            )
            ended.append(perf_counter())

        began: list[float] = []
        ended: list[float] = []
        bare = _times_ms(lambda index: session.run(pictures[index % len(pictures)]))
        _times_ms(whole)
        path_ms = [(b - a) * 1000 for a, b in zip(began[20:], ended[20:], strict=True)]
        outbox.flush(10)
        outbox.close()
    return {
        "bare_session_p50_ms": round(statistics.median(bare), 3),
        "station_path_p50_ms": round(statistics.median(path_ms), 3),
        "added_p50_ms": round(statistics.median(path_ms) - statistics.median(bare), 3),
        "bare_session_p99_ms": round(float(np.quantile(bare, 0.99)), 3),
        "station_path_p99_ms": round(float(np.quantile(path_ms, 0.99)), 3),
        "frames": _FRAMES,
        "size_px": _SIZE_PX,
        "threads": 1,
    }
