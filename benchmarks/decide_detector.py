# SPDX-License-Identifier: Apache-2.0
"""How well the detectors do on real pictures, by the very commands that a vision engineer types.

Magnetic tiles from sound parts alone; with half of the defective tiles labelled (three halves, their mean); printed
boards with half of the boards labelled, split by ranges of numbers; ball screws in order of time, with and without
labels. Each is one `sightline-models train` and one `sightline-models evaluate`, in processes of their own, so that
memory is that of the training. MobileNetV2 with ImageNet weights from `../shared/data`, 256 × 256, one thread.
Needs the real pictures; without them it says so.
"""

import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS: Final = DATA / "weights" / "mobilenetv2_tv.onnx"
_BOARD_PX: Final = 640
_FIGURES: Final = (
    "image_auroc", "average_precision", "recall_at_1pct_overkill", "recall_at_5pct_overkill", "pixel_auroc", "au_pro",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One training and its measure. `half`: which half of the defective tiles is labelled."""

    name: str
    layout: str
    detector: str
    half: int | None = None


CASES: Final = (
    Case("tiles-sound-only", "magnetic-tile", "memory-bank"),
    *(Case(f"tiles-half-{half}", "magnetic-tile", "mixed", half) for half in range(3)),
    Case("boards-half", "mvtec", "mixed"),
    Case("screws-sound-only", "bsdata", "memory-bank"),
    Case("screws-labelled", "bsdata", "mixed"),
)


def run(cases: Iterable[Case] = CASES) -> dict[str, Any]:
    """Figures of each case and variant, and the mean of the three halves."""
    if not WEIGHTS.is_file():
        return {"skipped": "no real pictures; see benchmarks/decide_detector.py"}
    cases = tuple(cases)
    told: dict[str, Any] = {"backbone": WEIGHTS.stem, "size_px": 256, "threads": 1}
    with tempfile.TemporaryDirectory(prefix="sightline-decide-") as folder:
        for case in cases:
            told[case.name] = _measured(case, Path(folder) / case.name)
            print(f"{case.name}: {json.dumps(told[case.name])}", file=sys.stderr, flush=True)
    halves = [told[case.name]["variants"] for case in cases if case.half is not None and "variants" in told[case.name]]
    if halves:
        told["tiles-halves-mean"] = {
            variant: {name: _mean(half[variant][name] for half in halves) for name in _FIGURES}
            for variant in halves[0]
            if all(variant in half for half in halves)
        }
    return told


def _measured(case: Case, work: Path) -> dict[str, Any]:
    work.mkdir()
    images = printed_boards(work / "boards") if case.layout == "mvtec" else DATA / _FOLDERS[case.layout]
    half = [] if case.half is None else ["--half", str(case.half)]
    common = ["--images", str(images), "--layout", case.layout, *half]
    began = time.monotonic()
    learning = ["--product", case.name, "--detector", case.detector, "--out", str(work / "out")]
    trunk = ["--weights", str(WEIGHTS), "--backbone", "mobilenet_v2"]
    failed = _command(["train", *common, *learning, *trunk])
    seconds = time.monotonic() - began
    # The largest child so far: the trainings grow, and an evaluation needs less than the training before it.
    memory_mb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    figures = work / "figures.json"
    failed = failed or _command(["evaluate", *common, "--package", str(work / "out/package"), "--json", str(figures)])
    if failed:
        return {"failed": failed}
    told = json.loads(figures.read_text(encoding="utf-8"))
    shutil.rmtree(work)
    return {
        "train_s": round(seconds, 1),
        "largest_memory_mb": memory_mb,
        "sound": told["pictures"]["sound"],
        "defective": told["pictures"]["defective"],
        "variants": {name: _figures(each) for name, each in told["variants"].items()},
    }


def _figures(variant: Mapping[str, Any]) -> dict[str, Any]:
    return {name: variant.get(name) for name in _FIGURES} | {
        "classes": {name: each.get("image_auroc") for name, each in variant.get("classes", {}).items()},
        "latency": variant.get("latency"),
    }


def _command(arguments: list[str]) -> str | None:
    """Run one; what it said last when it failed."""
    done = subprocess.run([sys.executable, "-m", "models", *arguments], capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr.strip().rsplit("\n", 1)[-1]


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


_FOLDERS: Final = {"magnetic-tile": "magnetic_tile", "bsdata": "bsdata"}


def printed_boards(root: Path) -> Path:
    """The boards as an mvtec folder: templates are sound, tested boards defective; the lower numbers train."""
    source = DATA / "deeppcb" / "group00041"
    tested = sorted(source.glob("00041/*_test.jpg"))
    for place, picture in enumerate(tested):
        side = "train" if place < len(tested) // 2 else "test"
        name = picture.name.removesuffix("_test.jpg")
        mask = np.zeros((_BOARD_PX, _BOARD_PX), np.uint8)
        boxes = np.loadtxt(source / "00041_not" / f"{name}.txt", ndmin=2, dtype=np.int64)
        for left, top, right, bottom, _kind in boxes:
            mask[top:bottom, left:right] = 255
        for path, content in (
            (root / side / "good" / f"{name}.jpg", picture.with_name(f"{name}_temp.jpg").read_bytes()),
            (root / side / "fault" / f"{name}.jpg", picture.read_bytes()),
            (root / "ground_truth" / "fault" / f"{name}_mask.png", cv2.imencode(".png", mask)[1].tobytes()),
        ):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root
