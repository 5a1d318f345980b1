# SPDX-License-Identifier: Apache-2.0
"""Tiny real packages: a hand-made ONNX graph whose score is the mean brightness, with manifest and golden set.

A thousandth of a second per inference, so that tests of the whole road to activation stay quick.
"""

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from contracts import codec
from contracts.chunks import cut, digests
from contracts.manifest import (
    MANIFEST_NAME,
    FileChunk,
    FileRole,
    GoldenSet,
    GraphSignature,
    Limits,
    Lineage,
    PackageFile,
    PackageManifest,
    PackageVariant,
)
from contracts.vocabulary import DetectorKind, Variant

HEATMAP_PX = 4
TOLERANCE = 0.001


@dataclass(frozen=True)
class BuiltPackage:
    """A package folder and its id."""

    package_id: str
    folder: Path
    manifest: PackageManifest


def brightness_graph(scale: float = 1.0, name: str = "brightness") -> bytes:
    """ONNX bytes: score = scale · mean ÷ 255; heatmap all equal to the score; embedding: mean of each channel."""
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [1], [scale / 255.0]),
        helper.make_tensor("all_axes", TensorProto.INT64, [3], [1, 2, 3]),
        helper.make_tensor("pixel_axes", TensorProto.INT64, [2], [1, 2]),
        helper.make_tensor("one", TensorProto.INT64, [3], [-1, 1, 1]),
        helper.make_tensor("map", TensorProto.INT64, [3], [1, HEATMAP_PX, HEATMAP_PX]),
    ]
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels", "all_axes"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "scale"], ["score"]),
        helper.make_node("Reshape", ["score", "one"], ["point"]),
        helper.make_node("Expand", ["point", "map"], ["heatmap"]),
        helper.make_node("ReduceMean", ["pixels", "pixel_axes"], ["embedding"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", "h", "w", 3])],
        [
            helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n"]),
            helper.make_tensor_value_info("heatmap", TensorProto.FLOAT, ["n", HEATMAP_PX, HEATMAP_PX]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]),
        ],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def weighted_graph(tensors: dict[str, NDArray[Any]], scale: float = 1.0, name: str = "weighted") -> bytes:
    """The same graph with weights that nothing reads, to have something to download."""
    model = onnx.load_model_from_string(brightness_graph(scale, name))
    model.graph.initializer.extend(numpy_helper.from_array(values, key) for key, values in tensors.items())
    return bytes(model.SerializeToString())


def _chunks(content: bytes) -> list[FileChunk]:
    sizes = cut(content)
    return [FileChunk(size_bytes=size, sha256=sha) for size, sha in zip(sizes, digests(content, sizes), strict=True)]


def golden_images(count: int = 3) -> NDArray[np.uint8]:
    """Reproducible noise, uint8 [count, 40, 48, 3]."""
    return np.random.default_rng(7).integers(0, 256, (count, 40, 48, 3), dtype=np.uint8)


def build_package(
    folder: Path,
    product: str = "ring",
    *,
    scale: float = 1.0,
    graphs: dict[Variant, bytes] | None = None,
    golden: dict[str, Any] | None = None,
    changes: dict[str, Any] | None = None,
    has_chunks: bool = True,
) -> BuiltPackage:
    """Write a whole package.

    Args:
        folder: made here; holds manifest and files.
        product: the product it judges.
        scale: makes two packages differ.
        graphs: ONNX bytes by variant; default: the same graph as int8-u8s8 and as fp32, each under a name of its own.
        golden: arrays that replace those of the golden set.
        changes: fields that replace those of the manifest's JSON.
        has_chunks: list the chunks of the graphs, as packages do since they know them.
    """
    folder.mkdir(parents=True)
    graphs = graphs or {each: brightness_graph(scale, each.value) for each in (Variant.INT8_U8S8, Variant.FP32)}
    images = golden_images()
    scores = (images.astype(np.float64).mean(axis=(1, 2, 3)) / 255.0 * scale).astype(np.float32)
    arrays: dict[str, Any] = {"images": images}
    arrays |= {f"score_{variant.value.replace('-', '_')}": scores for variant in graphs}
    arrays |= golden or {}
    np.savez(folder / "golden.npz", **arrays)
    for variant, content in graphs.items():
        (folder / f"{variant.value}.onnx").write_bytes(content)
    files = [
        PackageFile(
            name=path.name,
            role=FileRole.GOLDEN if path.suffix == ".npz" else FileRole.MODEL,
            sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            size_bytes=path.stat().st_size,
            chunks=_chunks(path.read_bytes()) if has_chunks and path.suffix == ".onnx" else [],
        )
        for path in sorted(folder.iterdir())
    ]
    manifest = PackageManifest(
        product=product,
        detector=DetectorKind.MEMORY_BANK,
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        is_simulated=True,
        graph=GraphSignature(
            model_height_px=64,
            model_width_px=64,
            heatmap_height_px=HEATMAP_PX,
            heatmap_width_px=HEATMAP_PX,
            embedding_length=3,
        ),
        variants=[PackageVariant(variant=variant, file=f"{variant.value}.onnx") for variant in graphs],
        files=files,
        limits=Limits(ok_limit=0.6 * scale, ng_limit=0.8 * scale, sound_parts=10, rule="for tests"),
        golden=GoldenSet(file="golden.npz", images=len(images), tolerance=TOLERANCE),
        lineage=Lineage(
            training_id="test",
            dataset_sha256="0" * 64,
            sound_parts=10,
            defective_parts=0,
            seed=0,
            backbone="none",
            backbone_weights_sha256="0" * 64,
            backbone_weights_source="made by hand",
            trainer_version="0",
            training_seconds=0.0,
        ),
    )
    content = codec.encode(manifest)
    if changes:
        content = json.dumps(json.loads(content) | changes).encode()
    (folder / MANIFEST_NAME).write_bytes(content)
    return BuiltPackage(hashlib.sha256(content).hexdigest(), folder, manifest)
