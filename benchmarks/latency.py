# SPDX-License-Identifier: Apache-2.0
"""What one picture costs at a station, what INT8 saves, and what the field's library costs beside it.

Packages are trained on rendered rings for each backbone at hand (MobileNetV2, SqueezeNet and ResNet-50 v2 with ImageNet
weights where the real weights are, the shipped trunk always); ResNet-18 has random weights, which cost the same time,
and its graphs are not judged. The variants judge the same 640 × 640 BGR picture, on one thread and on two, in turns, so
that other work on the machine meets all alike. Bare sessions; the ratio is FP32 over INT8.

Beside the peer, in turns again: anomalib's PatchCore on the same MobileNetV2 weights through its own inferencers
(OpenVINO in INT8 and FP32, torch), from the decoded picture to its result; ours as it is trained (cells of 2 × 2 on the
peer's grid) and at the peer's grid, both with a bank of as many cells. Without the peer's environment it says why, and
the figures are ours alone.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks._own_graphs import SIZE_PX, own_graphs
from benchmarks._peer import PEER, Inferencers, PeerError, environment
from benchmarks._turns import Key, Taken, Turn, figures, in_turns, ratio, timed
from benchmarks.decide_detector import DATA
from contracts.vocabulary import Variant
from models.detectors.nearest_cells import MemoryBankSettings
from models.graphs.features import INPUT_NAME, open_session
from models.graphs.trunks import Trunk, load_trunk
from models.packages.reading import open_package
from models.settings import Settings
from plant.parts.renderer import PartRenderer

Picture = NDArray[np.uint8]
_PARTS: Final = 200
_PICTURE_PX: Final = 640
_ROUNDS: Final = 100
_THREADS: Final = (1, 2)
_WEIGHTS: Final = {
    "mobilenet_v2": "mobilenetv2_tv.onnx",
    "squeezenet1_1": "squeezenet1_1.onnx",
    "resnet50v2": "resnet50v2_trunk.onnx",
    "compact": None,
}
_PEERS_BACKBONE: Final = "mobilenet_v2"
# The peer's bank is drawn from these, and so many pictures quantize it; neither changes what a picture costs.
_PEERS_SOUND: Final = 20
_PEERS_CALIBRATION: Final = 50
_OWN_SOUND: Final = 60


def run() -> dict[str, Any]:
    """Percentiles in ms of each backbone, variant and number of threads, and of the peer beside ours."""
    told: dict[str, Any] = {"picture_px": _PICTURE_PX, "model_px": SIZE_PX, "rounds": _ROUNDS, "load": [_load()]}
    with tempfile.TemporaryDirectory(prefix="sightline-latency-") as name:
        folder = Path(name)
        picture = _render(folder / "rings")
        models: dict[str, Mapping[Variant, bytes]] = {}
        for backbone, file in _WEIGHTS.items():
            weights = None if file is None else DATA / "weights" / file
            if weights is None or weights.is_file():
                models[backbone], told[backbone] = _package(folder, backbone, weights)
                told[backbone] |= _measured(models[backbone], picture)
                _tell(backbone, told)
        sound = [_read(path) for path in _sound(folder)[:_OWN_SOUND]]
        told["resnet18"] = _measured(own_graphs(_random_resnet18(folder), sound), picture)
        _tell("resnet18", told)
        told["beside_peer"] = _beside_peer(folder, models.get(_PEERS_BACKBONE, {}), picture, sound)
        _tell("beside_peer", told)
    told["load"].append(_load())
    return told


def _tell(name: str, told: Mapping[str, Any]) -> None:
    print(f"{name}: {json.dumps(told[name])}", file=sys.stderr, flush=True)


def _load() -> float:
    """Mean number of processes that wanted a core in the last minute."""
    return round(os.getloadavg()[0], 1)


def _render(folder: Path) -> Picture:
    """Sound rings in layout `folder`; returns a further one as a camera would deliver it."""
    renderer = PartRenderer("ring", 256, seed=5)
    (folder / "good").mkdir(parents=True)
    for number in range(_PARTS):
        cv2.imwrite(str(folder / "good" / f"{number:03}.png"), renderer.render(number).pixels)
    return np.asarray(cv2.resize(renderer.render(_PARTS).pixels, (_PICTURE_PX, _PICTURE_PX)), np.uint8)


def _sound(folder: Path) -> list[Path]:
    return sorted((folder / "rings" / "good").iterdir())


def _read(path: Path) -> Picture:
    return np.asarray(cv2.imread(str(path), cv2.IMREAD_COLOR), np.uint8)


def _random_resnet18(folder: Path) -> Trunk:
    """With torchvision's key names, as a checkpoint brings them; only its time means anything."""
    import torch  # noqa: PLC0415 -- needed here alone, and seconds to import

    from models.graphs.backbones import MODULES  # noqa: PLC0415 -- imports torch

    torch.manual_seed(0)
    path = folder / "resnet18.pth"
    torch.save(MODULES["resnet18"]().state_dict(), path)
    return load_trunk("resnet18", path, "random weights", Settings())


def _package(folder: Path, backbone: str, weights: Path | None) -> tuple[dict[Variant, bytes], dict[str, Any]]:
    """Graphs of a package that is trained on the rings, and what its report says was left out."""
    out = folder / backbone
    command = [sys.executable, "-m", "models", "--quiet", "train", "--images", str(folder / "rings")]
    command += ["--product", "ring", "--backbone", backbone, "--out", str(out)]
    done = subprocess.run(
        [*command, *([] if weights is None else ["--weights", str(weights)])],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        return {}, {"failed": done.stderr.strip().rsplit("\n", 1)[-1]}
    package = open_package(out / "package")
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    left_out = {each["variant"]: each["note"] for each in report["variants"] if not each["is_included"]}
    in_float = {
        each["variant"]: f"{each['float_nodes']} of {each['of_nodes']} nodes"
        for each in report["variants"]
        if each["is_included"] and each["float_nodes"]
    }
    models = {entry.variant: package.model(entry.variant) for entry in package.manifest.variants}
    return models, {"left_out": left_out, "in_float": in_float}


def _own_turns(models: Mapping[Variant, bytes], picture: Picture, prefix: str = "") -> dict[Key, Turn]:
    """A turn of each graph on so many threads, by name and threads."""

    def turn_of(model: bytes, threads: int) -> Turn:
        session = open_session(model, threads)
        return lambda: timed(lambda: session.run(None, {INPUT_NAME: picture[None]}))

    return {(prefix + each, threads): turn_of(model, threads) for each, model in models.items() for threads in _THREADS}


def _measured(models: Mapping[Variant, bytes], picture: Picture) -> dict[str, Any]:
    """Bare sessions of one fit, and FP32 over INT8."""
    times = in_turns(_own_turns(models, picture), _ROUNDS)
    told: dict[str, Any] = {**figures(times)}
    if {Variant.FP32, Variant.INT8_U8S8} <= models.keys():
        for threads in _THREADS:
            exact, small = (times[str(each), threads] for each in (Variant.FP32, Variant.INT8_U8S8))
            told[f"fp32 / int8, {threads} thread(s)"] = ratio(exact, small)
    return told


def _beside_peer(
    folder: Path, package: Mapping[Variant, bytes], picture: Picture, sound: list[Picture]
) -> dict[str, Any]:
    """Ours and the peer's in turns, and how many times ours the peer takes."""
    weights = DATA / "weights" / (_WEIGHTS[_PEERS_BACKBONE] or "")
    if not weights.is_file():
        return {"skipped": f"no weights of {_PEERS_BACKBONE}; see benchmarks/decide_detector.py"}
    at_peers_grid = own_graphs(load_trunk(_PEERS_BACKBONE, weights, "", Settings()), sound, is_pooled=False)
    ours = _own_turns(package, picture, "ours ") | _own_turns(at_peers_grid, picture, "ours at the peer's grid ")
    cv2.imwrite(str(folder / "picture.png"), picture)
    paths = [str(path) for path in _sound(folder)]
    cells = MemoryBankSettings().cells
    job = {
        "picture": str(folder / "picture.png"), "sound": paths[:_PEERS_SOUND],
        "calibration": paths[:_PEERS_CALIBRATION], "weights": str(weights), "size_px": SIZE_PX, "cells": cells,
        "threads": list(_THREADS),
    }  # fmt: skip
    told: dict[str, Any] = {"peer": PEER, "cells": cells, "load": [_load()]}
    names = ("openvino-int8", "openvino-fp32", "torch")
    try:
        with Inferencers(environment(), job) as peer:
            told["about_peer"] = peer.about
            theirs = {(name, threads): _turn_of(peer, name, threads) for name in names for threads in _THREADS}
            times = in_turns(ours | theirs, _ROUNDS)
    except PeerError as error:
        return {"skipped": f"{error}; ours alone", **told, **figures(in_turns(ours, _ROUNDS))}
    told["load"].append(_load())
    ratios = {
        f"{theirs} / {own}, {threads} thread(s)": ratio(times[theirs, threads], times[own, threads])
        for theirs in names
        for own, threads in ours
    }
    return told | figures(times) | {"ratios": ratios}


def _turn_of(peer: Inferencers, name: str, threads: int) -> Turn:
    return lambda: Taken(*peer.turn_ms(name, threads))
