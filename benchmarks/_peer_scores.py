# SPDX-License-Identifier: Apache-2.0
"""Runs in the peer's own environment: anomalib's PatchCore or PaDiM on the pictures of a job file, scores to stdout.

The job: `{"method", "train": [path], "test": [path], "weights": path of an ONNX MobileNetV2, "size_px", "ratio"}`. The
peer's own model, scoring and coreset are used; only the backbone's weights are put in from the file, so that both sides
stand on the same ones. Started by `compare_peer`, never by hand; imports nothing of ours.
"""

import importlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import _peer_model  # type: ignore[import-not-found]  # a script's own folder is on its path

# Of 128, the number that the peer draws for its smallest backbone.
_PADIM_CHANNELS = 100


def main(path: Path) -> None:
    """Fit, score, print one JSON line."""
    torch = _peer_model.import_torch(1)
    job = json.loads(path.read_text(encoding="utf-8"))
    began = time.monotonic()
    model = _model(job)
    model.train()
    model.feature_extractor.eval()
    with torch.no_grad():
        for batch in _peer_model.batches(torch, job["train"], job["size_px"]):
            model(batch)
        fitted_from = time.monotonic()
        if job["method"] == "patchcore":
            model.subsample_embedding(job["ratio"])
        else:
            model.fit()
        fitted = time.monotonic()
        model.eval()
        scores: list[float] = []
        for batch in _peer_model.batches(torch, job["test"], job["size_px"]):
            scores += model(batch).pred_score.flatten().tolist()
    told = {"extract_s": fitted_from - began, "fit_s": fitted - fitted_from, "scores": scores}
    print(json.dumps(told))


def _model(job: dict[str, Any]) -> Any:
    module = importlib.import_module(f"anomalib.models.image.{job['method']}.torch_model")
    layers, backbone = _peer_model.LAYERS, _peer_model.BACKBONE
    if job["method"] == "patchcore":
        model = module.PatchcoreModel(layers=layers, backbone=backbone, pre_trained=False, num_neighbors=9)
    else:
        model = module.PadimModel(layers=layers, backbone=backbone, pre_trained=False, n_features=_PADIM_CHANNELS)
    _peer_model.put_weights(model.feature_extractor, Path(job["weights"]))
    return model


if __name__ == "__main__":
    main(Path(sys.argv[1]))
