# SPDX-License-Identifier: Apache-2.0
"""How a graph should see a part that is larger than the model's field, what each tile costs, and what it gains.

Three questions, one JSON line in the end and one on stderr for each case:

- `cost`: bare session of the trunk's front, one thread, FP32 and INT8, for the ways of `_tile_fronts`: median and
  fastest ms of one picture of the field's size, ms a tile, and the memory that the session adds, each in a process of
  its own;
- `ways`: made-up plates of 2448 × 2048 px with dents of 12 px (`_large_parts`), memory bank on sound parts alone:
  image AUROC, recall at 5 % overkill, how many of the dents are the highest place of the map, and how far a seam
  stands out on sound parts (distance of the cells beside it from the middle of a tile ÷ that of cells 8 further);
- `products`: `train` and `evaluate` as people type them, with and without tiles, on ball screws of 1130 × 460 px,
  printed boards of 640 × 640 px and the made-up plates.

MobileNetV2 with ImageNet weights where they are at hand, else the shipped trunk, which `products` cannot be without.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks import _large_parts, _tile_fronts
from benchmarks.decide_detector import DATA, WEIGHTS, printed_boards
from contracts.tiles import Tiles
from contracts.vocabulary import Judgement
from models.data.layouts import read_layout
from models.detectors.base import TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.graphs.features import INPUT_NAME, FeatureExtractor, open_session, stage_channels
from models.graphs.quantization import quantize
from models.graphs.timing import noise_picture
from models.graphs.trunks import Trunk, resolve
from models.measuring.figures import image_auroc, recall_at_overkill
from models.settings import read_settings

_SIZE_PX: Final = 256
_GRID: Final = 32
_TURNS: Final = 9
_WAYS: Final = ("whole", "batch", "overlap")
_CASES: Final = (("whole", "1x1"), ("whole", "4x5"), ("batch", "4x5"), ("overlap", "4x5"))
_COSTS: Final = ("1x1", "1x2", "2x4", "4x5")
# Sound parts to learn from, sound and dented ones to judge.
_PARTS: Final = (40, 20, 20)
_FIGURES: Final = (
    "image_auroc", "recall_at_1pct_overkill", "recall_at_5pct_overkill", "pixel_auroc", "au_pro", "infer_p50_ms",
)  # fmt: skip


@dataclass(frozen=True)
class Product:
    """Pictures of one kind and the tiles to try."""

    name: str
    layout: str
    detector: str
    tiles: tuple[str, ...]


PRODUCTS: Final = (
    Product("ball-screws", "bsdata", "memory-bank", ("1x1", "1x2", "2x4")),
    Product("printed-boards", "mvtec", "memory-bank", ("1x1", "2x2")),
    Product("printed-boards-labelled", "mvtec", "mixed", ("1x1", "2x2")),
    Product("plates", "mvtec", "memory-bank", ("1x1", "4x5")),
)


def run() -> dict[str, Any]:
    """All three."""
    return {"trunk": _trunk().name, "size_px": _SIZE_PX, "cost": cost(), "ways": ways(), "products": products()}


def cost(tiles: Iterable[str] = _COSTS) -> list[dict[str, Any]]:
    """Time and memory of each way, numeric form and number of tiles."""
    told = []
    for each in tiles:
        for way in (*_WAYS, "scan"):
            # A quantizer does not look into the body of a `Scan`.
            for variant in ("fp32",) if way == "scan" else ("fp32", "int8-u8s8"):
                command = [sys.executable, "-m", "benchmarks.decide_tiles", way, each, variant]
                done = subprocess.run(command, capture_output=True, text=True, check=False)
                told.append(_said(json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-300:]}))
    return told


def cost_of(way: str, tiles: Tiles, variant: str) -> dict[str, Any]:
    """Of one way, in this process: its memory is that of the session alone only where nothing else was done before."""
    with tempfile.TemporaryDirectory(prefix="sightline-tiles-") as folder:
        path = Path(folder) / "front.onnx"
        # Made by a process of its own: to make a graph takes more memory than to run it.
        making = [sys.executable, "-m", "benchmarks.decide_tiles", way, tiles.told, variant, str(path)]
        subprocess.run(making, check=True)
        picture = noise_picture(_SIZE_PX, tiles)
        before_mb = _peak_mb()
        session = open_session(path.read_bytes(), 1)
        times_s = []
        for _ in range(_TURNS + 2):
            began = time.perf_counter()
            session.run(None, {INPUT_NAME: picture[None]})
            times_s.append(time.perf_counter() - began)
    p50_ms, fastest_ms = 1e3 * float(np.median(times_s[2:])), 1e3 * min(times_s[2:])
    return {
        "way": way, "tiles": tiles.told, "variant": variant, "p50_ms": round(p50_ms, 1),
        "fastest_ms": round(fastest_ms, 1), "fastest_ms_a_tile": round(fastest_ms / tiles.count, 2),
        "session_mb": round(_peak_mb() - before_mb),
    }  # fmt: skip


def _make(way: str, tiles: Tiles, variant: str, path: Path) -> None:
    front = getattr(_tile_fronts, way)(_trunk(), _SIZE_PX, _GRID, tiles)
    if variant != "fp32":
        front = quantize(front, [noise_picture(_SIZE_PX, tiles)])
    path.write_bytes(front.SerializeToString())


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def ways(cases: Iterable[tuple[str, str]] = _CASES) -> list[dict[str, Any]]:
    """Figures of each way on the made-up plates."""
    return [_said(_of_way(way, _tiles(tiles))) for way, tiles in cases]


def _of_way(way: str, tiles: Tiles) -> dict[str, Any]:
    trunk = _trunk()
    learnt, sound, _ = _PARTS
    extractor = FeatureExtractor(getattr(_tile_fronts, way)(trunk, _SIZE_PX, _GRID, tiles), threads=1)
    features = extractor.extract((picture for picture, _ in _plates()), sum(_PARTS))
    bank = MemoryBank()
    groups = [str(row) for row in range(learnt)]
    training = TrainingSet(features[:learnt], np.zeros(learnt, np.bool_), groups, stages=stage_channels(trunk))
    bank.fit(training, seed=0, check=lambda _share: None)
    scores, maps = bank.score(features[learnt:])
    is_defective = np.arange(len(scores)) >= sound
    found = 0
    for row, (_, mask) in enumerate(_plates()):
        if row >= learnt + sound:
            shown = maps[row - learnt]
            place = (np.array(np.unravel_index(int(shown.argmax()), shown.shape)) + 0.5) / shown.shape
            found += bool((np.abs(place * mask.shape - np.argwhere(mask).mean(0)) < 5 * _large_parts.DENT_PX).all())
    return {
        "way": way, "tiles": tiles.told, "image_auroc": image_auroc(scores, is_defective),
        "recall_at_5pct_overkill": recall_at_overkill(scores, is_defective, 0.05), "dents_found": found,
        "seam": round(_seam(features[:learnt], tiles), 3),
    }  # fmt: skip


def _seam(features: NDArray[np.float16], tiles: Tiles) -> float:
    """How far sound parts, on average, lie beside a seam from the middle of a tile; 1: as far as elsewhere."""
    if tiles.columns == 1:
        return 1.0
    # The place alone counts: mean over parts and rows.
    profile = features.mean((0, 2), dtype=np.float32)
    beside, elsewhere = [], []
    for seam in range(_GRID, tiles.columns * _GRID, _GRID):
        middle = profile[:, seam - _GRID // 2 - 4 : seam - _GRID // 2 + 4].mean(1)
        beside += [float(np.linalg.norm(profile[:, seam + offset] - middle)) for offset in (-1, 0)]
        elsewhere += [float(np.linalg.norm(profile[:, seam + offset] - middle)) for offset in (-9, 8)]
    return float(np.mean(beside) / np.mean(elsewhere))


def _plates() -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    ground = _large_parts.ground_metal(np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for kind, count in enumerate(_PARTS):
        for _ in range(count):
            yield _large_parts.draw_part(rng, ground, is_dented=kind == len(_PARTS) - 1)


def products(wanted: Iterable[Product] = PRODUCTS) -> list[dict[str, Any]]:
    """Figures of each product with each number of tiles."""
    if not WEIGHTS.is_file():
        return [{"skipped": "no real pictures; see benchmarks/decide_detector.py"}]
    told = []
    for product in wanted:
        with tempfile.TemporaryDirectory(prefix="sightline-tiles-") as folder:
            given = _given(product, Path(folder) / "set")
            told += [_said(_product(product, each, given, Path(folder) / each)) for each in product.tiles]
    return told


def _given(product: Product, root: Path) -> list[str]:
    """The options that name the pictures."""
    if product.layout == "bsdata":
        return ["--images", str(DATA / "bsdata"), "--layout", "bsdata", "--labels", str(pitting_masks(root))]
    images = _large_parts.write_parts(root) if product.name == "plates" else printed_boards(root)
    return ["--images", str(images), "--layout", "mvtec"]


def pitting_masks(root: Path) -> Path:
    """The polygons of pitting as masks, and labels that name them."""
    root.mkdir(parents=True)
    lines = ["path,judgement,defect_class,group,mask"]
    for image in read_layout(DATA / "bsdata", "bsdata"):
        name = Path(image.path).stem
        if image.judgement is not Judgement.DEFECTIVE:
            continue
        told = json.loads((DATA / "bsdata" / "labels" / f"{name}.json").read_text(encoding="utf-8"))
        mask = np.zeros((told["imageHeight"], told["imageWidth"]), np.uint8)
        for shape in told["shapes"]:
            cv2.fillPoly(mask, [np.round(shape["points"]).astype(np.int32)], 255)
        (root / f"{name}.png").write_bytes(cv2.imencode(".png", mask)[1].tobytes())
        lines.append(f"{image.path},defective,pitting,{image.group},{root / name}.png")
    (root / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return root / "labels.csv"


def _product(product: Product, tiles: str, given: list[str], work: Path) -> dict[str, Any]:
    began = time.monotonic()
    learning = ["--product", product.name, "--detector", product.detector, "--tiles", tiles, "--out", str(work)]
    # What INT8 loses is asked by `decide_detector`; its search for harmful nodes would take most of the time here.
    trunk = ["--weights", str(WEIGHTS), "--backbone", "mobilenet_v2", "--threads", "1", "--variants", "fp32"]
    told: dict[str, Any] = {"product": product.name, "detector": product.detector, "tiles": tiles}
    figures = work / "figures.json"
    failed = _command(["train", *given, *learning, *trunk])
    seconds = time.monotonic() - began
    failed = failed or _command(["evaluate", *given, "--package", str(work / "package"), "--json", str(figures)])
    if failed:
        return told | {"failed": failed}
    measured = json.loads(figures.read_text(encoding="utf-8"))
    report = json.loads((work / "report.json").read_text(encoding="utf-8"))
    shutil.rmtree(work)
    return told | {
        "train_s": round(seconds, 1), "learnt_from": report["train_good"] + report["train_defective"],
        "sound": measured["pictures"]["sound"], "defective": measured["pictures"]["defective"],
        "variants": {
            name: {figure: None if each.get(figure) is None else round(each[figure], 4) for figure in _FIGURES}
            for name, each in measured["variants"].items()
        },
        "notes": [note for note in report["notes"] if note.startswith(("tiles", "memory"))],
    }  # fmt: skip


def _command(arguments: list[str]) -> str | None:
    """Run one; what it said last when it failed."""
    done = subprocess.run([sys.executable, "-m", "models", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().rsplit("\n", 1)[-1]


def _trunk() -> Trunk:
    return resolve(read_settings(), "auto", str(WEIGHTS) if WEIGHTS.is_file() else None, [])


def _tiles(text: str) -> Tiles:
    rows, columns = text.split("x")
    return Tiles(rows=int(rows), columns=int(columns))


def _said(told: dict[str, Any]) -> dict[str, Any]:
    print(json.dumps(told), file=sys.stderr, flush=True)
    return told


if __name__ == "__main__":
    if len(sys.argv) > 4:
        _make(sys.argv[1], _tiles(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        print(json.dumps(cost_of(sys.argv[1], _tiles(sys.argv[2]), sys.argv[3])))
