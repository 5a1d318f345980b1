# SPDX-License-Identifier: Apache-2.0
"""A whole package made by hand in milliseconds: its score is the picture's mean brightness, 0 … 1."""

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from contracts.manifest import MANIFEST_NAME, FileRole
from contracts.vocabulary import Variant
from edge_agent.packages.store import PackageStore
from tests.edge.station_fakes import manifest_of

HEATMAP_PX = 4
EMBEDDING = 2


def brightness_graph(path: Path, *, offset: float = 0.0, output: str = "score", factor: float = 1 / 255) -> Path:
    """Write the graph: score = mean × `factor` + `offset`, heatmap and embedding filled with it.

    Args:
        path: the .onnx file to write.
        offset: added to the score; NaN makes a graph that always answers NaN.
        output: another name makes a graph that lacks the score.
        factor: of the mean of all bytes.
    """
    nodes = [
        helper.make_node("Cast", ["image"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["bytes", "axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "factor"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], [output]),
        helper.make_node("Reshape", [output, "one_map"], ["small_map"]),
        helper.make_node("Tile", ["small_map", "map_repeats"], ["heatmap"]),
        helper.make_node("Reshape", [output, "one_row"], ["row"]),
        helper.make_node("Tile", ["row", "row_repeats"], ["embedding"]),
    ]
    constants: dict[str, NDArray[Any]] = {
        "axes": np.array([1, 2, 3], dtype=np.int64),
        "factor": np.array(factor, dtype=np.float32),
        "offset": np.array(offset, dtype=np.float32),
        "one_map": np.array([-1, 1, 1], dtype=np.int64),
        "map_repeats": np.array([1, HEATMAP_PX, HEATMAP_PX], dtype=np.int64),
        "one_row": np.array([-1, 1], dtype=np.int64),
        "row_repeats": np.array([1, EMBEDDING], dtype=np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["n", HEATMAP_PX, HEATMAP_PX]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", EMBEDDING]),
        ],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def part(brightness: int, side_px: int = 64) -> NDArray[np.uint8]:
    """A picture of that mean brightness, with a texture that does not change it."""
    checks = (np.indices((side_px, side_px)).sum(axis=0) % 2).astype(np.int16) * 20 - 10
    grey = (brightness + checks).astype(np.uint8)
    return np.dstack([grey, grey, grey])


def write_package(folder: Path, product: str = "ring") -> str:
    """Write a package whose limits are OK < 0.3, NG ≥ 0.6. Returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = brightness_graph(folder / "fp32.onnx")
    golden = folder / "golden.npz"
    images = np.stack([part(level) for level in (40, 128, 220)])
    scores = np.array([40, 128, 220], dtype=np.float32) / 255
    np.savez(golden, images=images, score_fp32=scores)
    manifest = json.loads(manifest_of(product).model_dump_json(exclude_none=True))
    manifest["created_at"] = datetime.now(UTC).isoformat()
    manifest["golden"] = {"file": golden.name, "images": len(images), "tolerance": 0.01}
    manifest["variants"] = [{"variant": Variant.FP32.value, "file": graph.name}]
    manifest["files"] = [
        {"name": path.name, "role": role.value, "sha256": _sha256(path), "size_bytes": path.stat().st_size}
        for path, role in ((graph, FileRole.MODEL), (golden, FileRole.GOLDEN))
    ]
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest))
    return _sha256(folder / MANIFEST_NAME)


def install(data_dir: Path, product: str = "ring") -> str:
    """Put a package into a station's folder as its current one. Returns its id."""
    store = PackageStore(data_dir / "packages", max_package_bytes=2**20)
    staged = store.stage()
    package_id = write_package(staged, product)
    store.keep(staged, product, package_id)
    store.set_current(product, package_id)
    return package_id


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
