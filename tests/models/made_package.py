# SPDX-License-Identifier: Apache-2.0
"""Packages made by hand in milliseconds: the heatmap is the brightness of the picture, the score its highest cell.

And pictures to go with them, in the mvtec layout: grey plates, defective ones with a bright square and its mask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from contracts.manifest import FileRole, GoldenSet, GraphSignature, Limits, Lineage, PackageManifest, PackageVariant
from contracts.vocabulary import DetectorKind, Variant
from models.graphs.writer import UINT8, GraphWriter
from models.packages.writing import GOLDEN_FILE, described, golden_bytes, write_package

CELLS = 16
SIDE_PX = 64


def brightness_graph(*, offset: float = 0.0, is_broken_above: float = np.inf) -> bytes:
    """Heatmap = brightness 0 … 255 + `offset` on 16 × 16 cells; score = its maximum, NaN above a limit."""
    writer = GraphWriter()
    image = writer.input("image", UINT8, ["n", "h", "w", 3])
    planes = writer.op("Transpose", [writer.op("Cast", [image], to=1)], perm=[0, 3, 1, 2])
    grey = writer.op("ReduceMean", [planes, writer.constant([1])], keepdims=1)
    cells = writer.resized(grey, CELLS, CELLS, is_antialiased=True)
    raised = writer.op("Add", [writer.op("Squeeze", [cells, writer.constant([1])]), writer.constant(float(offset))])
    score = writer.op("ReduceMax", [raised, writer.constant([1, 2])], keepdims=0)
    if np.isfinite(is_broken_above):
        is_broken = writer.op("Greater", [score, writer.constant(float(is_broken_above))])
        score = writer.op("Where", [is_broken, writer.constant(float("nan")), score])
    writer.output("score", score, ["n"])
    writer.output("heatmap", raised, ["n", CELLS, CELLS])
    writer.output("embedding", writer.op("ReduceMean", [planes, writer.constant([2, 3])], keepdims=0), ["n", 3])
    content: bytes = writer.model("brightness").SerializeToString()
    return content


def made_package(
    folder: Path,
    graphs: Mapping[Variant, bytes] | None = None,
    *,
    ok_limit: float = 140,
    ng_limit: float = 160,
    product: str = "plate",
    dataset_sha256: str = "0" * 64,
    seed: int = 0,
) -> Path:
    """Write a package with these graphs (default: fp32 brightness); returns its folder."""
    graphs = graphs or {Variant.FP32: brightness_graph()}
    scores = {variant: np.zeros(2, np.float32) for variant in graphs}
    files = {f"{variant}.onnx": (FileRole.MODEL, content) for variant, content in graphs.items()}
    files[GOLDEN_FILE] = (FileRole.GOLDEN, golden_bytes(np.zeros((2, 8, 8, 3), np.uint8), scores))
    manifest = PackageManifest(
        product=product,
        detector=DetectorKind.MEMORY_BANK,
        created_at=datetime(2026, 1, 2, tzinfo=UTC),
        is_simulated=True,
        graph=GraphSignature(
            model_height_px=SIDE_PX, model_width_px=SIDE_PX, heatmap_height_px=CELLS, heatmap_width_px=CELLS,
            embedding_length=3,
        ),
        variants=[PackageVariant(variant=variant, file=f"{variant}.onnx", image_auroc=0.9) for variant in graphs],
        files=described(files),
        limits=Limits(
            ok_limit=ok_limit, ng_limit=ng_limit, overkill_bound=0.01, confidence=0.95, sound_parts=299, rule="by hand"
        ),
        golden=GoldenSet(file=GOLDEN_FILE, images=2, tolerance=0.5),
        lineage=Lineage(
            training_id="by-hand", dataset_sha256=dataset_sha256, sound_parts=299, defective_parts=0, seed=seed,
            backbone="none", backbone_weights_sha256="0" * 64, backbone_weights_source="by hand", trainer_version="0",
            training_seconds=1.5,
        ),
    )  # fmt: skip
    write_package(folder, manifest, files)
    return folder


@dataclass(frozen=True)
class Plate:
    """One picture: its name says which plates are one part in layouts that have groups."""

    where: str
    name: str
    # Brightness of the square; None: sound.
    square: int | None = None
    has_mask: bool = True
    base: int = 100


def draw(plate: Plate) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Picture and mask. The square covers whole cells, so that the heatmap shows its full brightness."""
    grey = np.full((SIDE_PX, SIDE_PX), plate.base, np.uint8)
    mask = np.zeros_like(grey)
    # Of each picture its own content: the same bytes on both sides of a split count as one picture.
    stamp = np.frombuffer(f"{plate.where}/{plate.name}".encode(), np.uint8) % 10
    grey[-1, : len(stamp)] -= stamp
    if plate.square is not None:
        grey[16:32, 16:32] = plate.square
        mask[16:32, 16:32] = 255
    return np.repeat(grey[..., None], 3, axis=2), mask


def write_plates(folder: Path, plates: Sequence[Plate]) -> Path:
    """Pictures and masks in the mvtec layout; returns the folder."""
    for plate in plates:
        picture, mask = draw(plate)
        path = folder / plate.where / f"{plate.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture)
        if plate.square is not None and plate.has_mask:
            kind = plate.where.rsplit("/", maxsplit=1)[-1]
            truth = folder / "ground_truth" / kind / f"{plate.name}_mask.png"
            truth.parent.mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(truth), mask)
    return folder


def plain_plates(*, sound: int = 10, spots: int = 6, scratches: int = 4) -> list[Plate]:
    """A set with two defect classes: spots are bright (200), scratches faint (150, held for review)."""
    return [
        *(Plate("train/good", f"t{index}") for index in range(3)),
        *(Plate("test/good", f"g{index}", base=100 + index) for index in range(sound)),
        *(Plate("test/spot", f"s{index}", 200 + index) for index in range(spots)),
        *(Plate("test/scratch", f"c{index}", 150 + index) for index in range(scratches)),
    ]
