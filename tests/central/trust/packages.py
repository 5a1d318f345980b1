# SPDX-License-Identifier: Apache-2.0
"""Makes small package folders that are whole by their manifest, without a model in them."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from contracts.manifest import (
    MANIFEST_NAME,
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

CREATED_AT = datetime(2026, 1, 1, tzinfo=UTC)


def make_package(
    folder: Path,
    product: str = "ring",
    training_id: str = "t-1",
    fill: bytes = b"graph",
    *,
    is_simulated: bool = True,
) -> str:
    """Write a package folder; returns its id."""
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"int8-u8s8.onnx": fill * 50, "fp32.onnx": fill * 200, "golden.npz": b"golden"}
    files = []
    for name, content in contents.items():
        (folder / name).write_bytes(content)
        role = FileRole.GOLDEN if name.endswith(".npz") else FileRole.MODEL
        sha256 = hashlib.sha256(content).hexdigest()
        files.append(PackageFile(name=name, role=role, sha256=sha256, size_bytes=len(content)))
    manifest = PackageManifest(
        product=product,
        detector=DetectorKind.MIXED,
        created_at=CREATED_AT,
        is_simulated=is_simulated,
        graph=GraphSignature(
            model_height_px=64, model_width_px=64, heatmap_height_px=8, heatmap_width_px=8, embedding_length=4
        ),
        variants=[
            PackageVariant(variant=Variant.INT8_U8S8, file="int8-u8s8.onnx", image_auroc=0.98),
            PackageVariant(variant=Variant.FP32, file="fp32.onnx", image_auroc=0.99),
        ],
        files=files,
        limits=Limits(ok_limit=1.0, ng_limit=1.2, sound_parts=40, rule="made up"),
        golden=GoldenSet(file="golden.npz", images=4, tolerance=0.01),
        lineage=Lineage(
            training_id=training_id,
            dataset_sha256="0" * 64,
            sound_parts=40,
            defective_parts=10,
            seed=0,
            backbone="compact",
            backbone_weights_sha256="1" * 64,
            backbone_weights_source="made up",
            trainer_version="0",
            training_seconds=1.0,
        ),
    )
    content = manifest.model_dump_json().encode()
    (folder / MANIFEST_NAME).write_bytes(content)
    return hashlib.sha256(content).hexdigest()
