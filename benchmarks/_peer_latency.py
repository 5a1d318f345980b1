# SPDX-License-Identifier: Apache-2.0
"""Runs in the peer's own environment: anomalib's inferencers of one PatchCore, a turn for each line of stdin.

The job: `{"picture": path, "sound": [path], "calibration": [path], "weights": path of an ONNX MobileNetV2, "size_px",
"cells", "threads": [count]}`. PatchCore is fitted with the peer's coreset to so many cells, exported by the peer's own
`to_openvino` (FP32, and INT8 by NNCF's post-training quantization) and `to_torch`, and asked through its inferencers.
First comes one JSON line about them; then for each line `variant threads` what one turn took, `[ms, ms of processor
time]`, from the decoded BGR picture to the result: the turn to RGB and the inferencer's own pre-processing are in it.
The model resizes and normalises by itself, as the peer exports it. Started by `_peer.Inferencers`, never by hand;
imports nothing of ours.
"""

import contextlib
import importlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import _peer_model  # type: ignore[import-not-found]  # a script's own folder is on its path

_FOLDER = Path("exported")
_VERSIONS = ("anomalib", "openvino", "nncf", "torch")
Turn = Callable[[], Any]


class _Pictures:
    """What the peer's export asks of a data module, for calibration: pictures one by one, of the input's size."""

    def __init__(self, torch: Any, paths: list[str], side_px: tuple[int, int]) -> None:
        self.dataset, self.train_batch_size = paths, 1
        self._torch, self._side_px = torch, side_px

    def setup(self, _stage: str) -> None:
        """Nothing to do."""

    def val_dataloader(self) -> "_Pictures":
        return self

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for path in self.dataset:
            plane = _peer_model.plane_of(self._torch, path)
            yield {"image": self._torch.nn.functional.interpolate(plane, self._side_px, mode="bilinear")}


def main(path: Path) -> None:
    """Fit, export, then one turn a line."""
    # Whatever the parts print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    # Read when torch is loaded: on a busy machine threads that spin for each other took 3.8 s a picture, not 0.15.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    job = json.loads(path.read_text(encoding="utf-8"))
    torch, cv2 = _peer_model.import_torch(2), importlib.import_module("cv2")
    picture = cv2.imread(job["picture"], cv2.IMREAD_COLOR)
    model = _fitted(torch, job)
    turns = _turns(torch, _exported(torch, model, job, picture.shape[:2]), job["threads"])
    about = {
        "cells": len(model.model.memory_bank),
        "grid": [job["size_px"] // 8] * 2,
        "versions": {name: importlib.metadata.version(name) for name in _VERSIONS},
        "scores": {
            f"{name}, {count}": float(turn(picture).pred_score.reshape(-1)[0]) for (name, count), turn in turns.items()
        },
    }
    print(json.dumps(about), file=answers, flush=True)
    for line in sys.stdin:
        name, threads = line.split()
        torch.set_num_threads(int(threads))
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        turns[name, int(threads)](picture)
        took_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
        print(json.dumps([1e3 * each for each in took_s]), file=answers, flush=True)


def _fitted(torch: Any, job: dict[str, Any]) -> Any:
    module = importlib.import_module("anomalib.models")
    model = module.Patchcore(
        backbone=_peer_model.BACKBONE, layers=_peer_model.LAYERS, pre_trained=False, num_neighbors=9
    )
    inner = model.model
    _peer_model.put_weights(inner.feature_extractor, Path(job["weights"]))
    inner.train()
    inner.feature_extractor.eval()
    with torch.no_grad():
        for batch in _peer_model.batches(torch, job["sound"], job["size_px"]):
            inner(batch)
    count = sum(len(each) for each in inner.embedding_store)
    # Half a cell more, so that the share is not rounded down to one cell less.
    inner.subsample_embedding((job["cells"] + 0.5) / count)
    return model.eval()


def _exported(torch: Any, model: Any, job: dict[str, Any], side_px: tuple[int, int]) -> dict[str, Path]:
    kinds = importlib.import_module("anomalib.deploy.export").CompressionType
    pictures = _Pictures(torch, job["calibration"], side_px)
    # Without open axes: the peer would else fix a batch of two.
    given = {"input_size": side_px, "onnx_kwargs": {"dynamic_axes": {}}}
    return {
        "openvino-int8": model.to_openvino(
            _FOLDER / "int8", compression_type=kinds.INT8_PTQ, datamodule=pictures, **given
        ),
        "openvino-fp32": model.to_openvino(_FOLDER / "fp32", **given),
        "torch": model.to_torch(_FOLDER / "torch"),
    }


def _turns(torch: Any, exported: dict[str, Path], threads: list[int]) -> dict[tuple[str, int], Callable[[Any], Any]]:
    deploy = importlib.import_module("anomalib.deploy")
    cv2 = importlib.import_module("cv2")
    # The peer asks for this before it unpickles a model; the file was written above.
    os.environ["TRUST_REMOTE_CODE"] = "1"

    def turn_of(inferencer: Any) -> Callable[[Any], Any]:
        def turn(picture: Any) -> Any:
            with torch.inference_mode():
                return inferencer.predict(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))

        return turn

    turns = {}
    for name, path in exported.items():
        for count in threads:
            if name == "torch":
                inferencer = deploy.TorchInferencer(path, device="cpu")
            else:
                # Not pinned to a core, as ours is not: on a busy machine a pinned thread waits.
                config = {"INFERENCE_NUM_THREADS": count, "ENABLE_CPU_PINNING": False}
                inferencer = deploy.OpenVINOInferencer(path, device="CPU", config=config)
            turns[name, count] = turn_of(inferencer)
    return turns


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        main(Path(sys.argv[1]))
