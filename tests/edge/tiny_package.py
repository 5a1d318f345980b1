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
_MATRIX = 192


def brightness_graph(
    path: Path,
    *,
    offset: float = 0.0,
    output: str = "score",
    factor: float = 1 / 255,
    images: str | int = "n",
    steps: int = 0,
) -> Path:
    """Write the graph: score = mean × `factor` + `offset`, heatmap and embedding filled with it.

    Args:
        path: the .onnx file to write.
        offset: added to the score; NaN makes a graph that always answers NaN.
        output: another name makes a graph that lacks the score.
        factor: of the mean of all bytes.
        images: of one run; a number makes a graph for exactly so many.
        steps: multiplications of matrices that every run does, however many images it is given.
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
    for step in range(steps):
        nodes.insert(step, helper.make_node("MatMul", [f"matrix{step}", "ones"], [f"matrix{step + 1}"]))
    if steps:
        constants |= {
            "none": np.array(0.0, dtype=np.float32),
            "second": np.array(1, dtype=np.int64),
            "ones": np.full((_MATRIX, _MATRIX), 1 / _MATRIX, dtype=np.float32),
        }
        # From the height of the image: what rests on nothing is worked out once, when the graph is opened.
        before = [("Shape", ["image"], "sides"), ("Gather", ["sides", "second"], "height")]
        made = [helper.make_node(kind, inputs, [name]) for kind, inputs, name in before]
        made.append(helper.make_node("Cast", ["height"], ["height_px"], to=TensorProto.FLOAT))
        made.append(helper.make_node("Mul", ["ones", "height_px"], ["matrix0"]))
        nodes[:0] = made
        after = [
            helper.make_node("ReduceMean", [f"matrix{steps}"], ["worked"], keepdims=0),
            helper.make_node("Mul", ["worked", "none"], ["nothing"]),
            helper.make_node("Add", ["bare", "nothing"], [output]),
        ]
        place = next(index for index, node in enumerate(nodes) if node.output[0] == output)
        nodes[place].output[0] = "bare"
        nodes[place + 1 : place + 1] = after
    graph = helper.make_graph(
        nodes,
        "brightness",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [images, "h", "w", 3])],
        [
            helper.make_tensor_value_info(output, TensorProto.FLOAT, [images]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, [images, HEATMAP_PX, HEATMAP_PX]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [images, EMBEDDING]),
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


def write_package(folder: Path, product: str = "ring", offset: float = 0.0, **of_the_graph: Any) -> str:
    """Write a package whose limits are OK < 0.3, NG ≥ 0.6, with `offset` added to every score. Returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    graph = brightness_graph(folder / "fp32.onnx", offset=offset, **of_the_graph)
    golden = folder / "golden.npz"
    images = np.stack([part(level) for level in (40, 128, 220)])
    scores = np.array([40, 128, 220], dtype=np.float32) / 255 + np.float32(offset)
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


def install(data_dir: Path, product: str = "ring", *, offset: float = 0.0, is_current: bool = True) -> str:
    """Put a package into a station's folder, as its current one or as its challenger. Returns its id."""
    store = PackageStore(data_dir / "packages", max_package_bytes=2**20)
    staged = store.stage()
    package_id = write_package(staged, product, offset=offset)
    store.keep(staged, product, package_id)
    if is_current:
        store.set_current(product, package_id)
    else:
        store.set_challenger(product, package_id)
    return package_id


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
