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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_BATCH = 16
# Strides 8 and 16, the stages that the field's defaults correspond to.
_LAYERS = ["blocks.2", "blocks.4"]
# Of 128, the number that the peer draws for its smallest backbone.
_PADIM_CHANNELS = 100
_OPERATORS = (
    "_deform_conv2d_backward _ps_roi_align_backward _ps_roi_pool_backward _roi_align_backward _roi_pool_backward "
    "deform_conv2d nms ps_roi_align ps_roi_pool qnms qroi_align roi_align roi_pool"
)


def main(path: Path) -> None:
    """Fit, score, print one JSON line."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    # A torchvision built for another torch cannot load its operators, none of which is used; it must only import.
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS.split():
            library.define(f"{name}(Tensor a) -> Tensor")
    job = json.loads(path.read_text(encoding="utf-8"))
    began = time.monotonic()
    model = _model(job)
    model.train()
    model.feature_extractor.eval()
    with torch.no_grad():
        for batch in _batches(torch, job["train"], job["size_px"]):
            model(batch)
        fitted_from = time.monotonic()
        if job["method"] == "patchcore":
            model.subsample_embedding(job["ratio"])
        else:
            model.fit()
        fitted = time.monotonic()
        model.eval()
        scores: list[float] = []
        for batch in _batches(torch, job["test"], job["size_px"]):
            scores += model(batch).pred_score.flatten().tolist()
    told = {"extract_s": fitted_from - began, "fit_s": fitted - fitted_from, "scores": scores}
    print(json.dumps(told))


def _model(job: dict[str, Any]) -> Any:
    module = importlib.import_module(f"anomalib.models.image.{job['method']}.torch_model")
    if job["method"] == "patchcore":
        model = module.PatchcoreModel(layers=_LAYERS, backbone="mobilenetv2_100", pre_trained=False, num_neighbors=9)
    else:
        model = module.PadimModel(
            layers=_LAYERS, backbone="mobilenetv2_100", pre_trained=False, n_features=_PADIM_CHANNELS
        )
    _put_weights(model.feature_extractor, Path(job["weights"]))
    return model


def _put_weights(extractor: Any, path: Path) -> None:
    """Convolutions in the order of the graph; batch norm is folded into them in the file."""
    torch, onnx = importlib.import_module("torch"), importlib.import_module("onnx")
    graph = onnx.load(str(path)).graph
    values = {each.name: onnx.numpy_helper.to_array(each) for each in graph.initializer}
    convolutions = [each for each in extractor.modules() if isinstance(each, torch.nn.Conv2d)]
    norms = [each for each in extractor.modules() if isinstance(each, torch.nn.BatchNorm2d)]
    nodes = [node for node in graph.node if node.op_type == "Conv"][: len(convolutions)]
    for convolution, norm, node in zip(convolutions, norms, nodes, strict=True):
        weight, bias = (torch.tensor(values[name]) for name in node.input[1:3])
        if convolution.weight.shape != weight.shape:
            raise SystemExit(f"{path}: {node.name} has {tuple(weight.shape)}, expected {convolution.weight.shape}")
        convolution.weight.data, norm.bias.data = weight, bias
        norm.weight.data.fill_(1)
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)


def _batches(torch: Any, paths: list[str], size_px: int) -> Iterator[Any]:
    cv2 = importlib.import_module("cv2")
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    spread = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for start in range(0, len(paths), _BATCH):
        planes = []
        for path in paths[start : start + _BATCH]:
            rgb = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            plane = torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
            sized = torch.nn.functional.interpolate(
                plane, (size_px, size_px), mode="bilinear", align_corners=False, antialias=True
            )
            planes.append((sized[0] - mean) / spread)
        yield torch.stack(planes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
