# SPDX-License-Identifier: Apache-2.0
"""Runs in the peer's own environment: what its scripts share, its torch, its pictures, the weights of its backbone.

Fits nothing and measures nothing. Imported by `_peer_scores` and `_peer_latency`, which are started as scripts of this
folder; imports nothing of ours.
"""

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

_BATCH = 16
BACKBONE = "mobilenetv2_100"
# Strides 8 and 16, the stages that the field's defaults correspond to.
LAYERS = ["blocks.2", "blocks.4"]
_OPERATORS = (
    "_deform_conv2d_backward _ps_roi_align_backward _ps_roi_pool_backward _roi_align_backward _roi_pool_backward "
    "deform_conv2d nms ps_roi_align ps_roi_pool qnms qroi_align roi_align roi_pool"
)
# Held for as long as the process lives: the operators go with it.
_held: list[Any] = []


def import_torch(threads: int) -> Any:
    """Torch on so many threads, with a torchvision that can be imported."""
    torch = importlib.import_module("torch")
    torch.set_num_threads(threads)
    # A torchvision built for another torch cannot load its operators, none of which is used; it must only import.
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")
        for name in _OPERATORS.split():
            library.define(f"{name}(Tensor a) -> Tensor")
        _held.append(library)
    return torch


def put_weights(extractor: Any, path: Path) -> None:
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


def batches(torch: Any, paths: Sequence[str], size_px: int) -> Iterator[Any]:
    """Pictures as the backbone wants them: RGB, resized, normalised."""
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    spread = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    for start in range(0, len(paths), _BATCH):
        planes = []
        for path in paths[start : start + _BATCH]:
            sized = torch.nn.functional.interpolate(
                plane_of(torch, path), (size_px, size_px), mode="bilinear", align_corners=False, antialias=True
            )
            planes.append((sized[0] - mean) / spread)
        yield torch.stack(planes)


def plane_of(torch: Any, path: str) -> Any:
    """A picture as RGB, [1, 3, h, w] from 0 to 1."""
    cv2 = importlib.import_module("cv2")
    rgb = cv2.cvtColor(cv2.imread(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return torch.from_numpy(rgb).permute(2, 0, 1)[None].float() / 255
