# SPDX-License-Identifier: Apache-2.0
"""What one picture costs at a station, and what INT8 saves: the bare session of trained packages.

A package is trained on rendered rings for each backbone at hand (MobileNetV2, SqueezeNet and ResNet-50 v2 with ImageNet
weights where the real weights are, the shipped trunk always); its variants then judge the same 640 × 640 BGR picture,
on one thread and on two, in turns, so that other work on the machine meets all alike. The ratio is FP32's median over
INT8's.
"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.decide_detector import DATA
from contracts.vocabulary import Variant
from models.graphs.features import INPUT_NAME, open_session
from models.packages.reading import open_package
from plant.parts.renderer import PartRenderer

_PARTS: Final = 200
_PICTURE_PX: Final = 640
_ROUNDS: Final = 150
_WARM_UP: Final = 10
_WEIGHTS: Final = {
    "mobilenet_v2": "mobilenetv2_tv.onnx",
    "squeezenet1_1": "squeezenet1_1.onnx",
    "resnet50v2": "resnet50v2_trunk.onnx",
    "compact": None,
}


def run() -> dict[str, Any]:
    """Median and p99 in ms of each backbone, variant and number of threads."""
    told: dict[str, Any] = {"picture_px": _PICTURE_PX, "model_px": 256, "rounds": _ROUNDS}
    with tempfile.TemporaryDirectory(prefix="sightline-latency-") as name:
        folder = Path(name)
        picture = _render(folder / "rings")
        for backbone, file in _WEIGHTS.items():
            weights = None if file is None else DATA / "weights" / file
            if weights is None or weights.is_file():
                told[backbone] = _measured(folder, backbone, weights, picture)
                print(f"{backbone}: {told[backbone]}", file=sys.stderr, flush=True)
    return told


def _render(folder: Path) -> NDArray[np.uint8]:
    """Sound rings in layout `folder`; returns a further one as a camera would deliver it."""
    renderer = PartRenderer("ring", 256, seed=5)
    (folder / "good").mkdir(parents=True)
    for number in range(_PARTS):
        cv2.imwrite(str(folder / "good" / f"{number:03}.png"), renderer.render(number).pixels)
    return np.asarray(cv2.resize(renderer.render(_PARTS).pixels, (_PICTURE_PX, _PICTURE_PX)), np.uint8)


def _measured(folder: Path, backbone: str, weights: Path | None, picture: NDArray[np.uint8]) -> dict[str, Any]:
    out = folder / backbone
    command = [sys.executable, "-m", "models", "--quiet", "train", "--images", str(folder / "rings")]
    command += ["--product", "ring", "--backbone", backbone, "--out", str(out)]
    done = subprocess.run(
        [*command, *([] if weights is None else ["--weights", str(weights)])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return {"failed": done.stderr.strip().rsplit("\n", 1)[-1]}
    package = open_package(out / "package")
    variants = [entry.variant for entry in package.manifest.variants]
    sessions = {
        (variant, threads): open_session(package.model(variant), threads) for variant in variants for threads in (1, 2)
    }
    times: dict[tuple[Variant, int], list[float]] = {key: [] for key in sessions}
    for turn in range(_WARM_UP + _ROUNDS):
        for key, session in sessions.items():
            began = perf_counter()
            session.run(None, {INPUT_NAME: picture[None]})
            if turn >= _WARM_UP:
                times[key].append(1000 * (perf_counter() - began))
    figures: dict[str, Any] = {
        f"{variant.value}, {threads} thread(s)": {
            "p50_ms": round(statistics.median(each), 2),
            "p99_ms": round(sorted(each)[int(0.99 * len(each))], 2),
        }
        for (variant, threads), each in times.items()
    }
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    figures["left_out"] = {each["variant"]: each["note"] for each in report["variants"] if not each["is_included"]}
    if Variant.INT8_U8S8 in variants and Variant.FP32 in variants:
        for threads in (1, 2):
            exact, small = (statistics.median(times[each, threads]) for each in (Variant.FP32, Variant.INT8_U8S8))
            figures[f"fp32 / int8, {threads} thread(s)"] = round(exact / small, 2)
    return figures
