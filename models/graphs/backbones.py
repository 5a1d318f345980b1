# SPDX-License-Identifier: Apache-2.0
"""Trunks as torch modules with torchvision's key names: compact (ours), MobileNetV2, SqueezeNet 1.1, ResNet-18 and -50.

A trunk turns a normalised RGB picture into feature maps at strides 8 and 16. Modules exist to load checkpoints
and to be distilled; `lower` writes the same trunk as ONNX, batch norms folded, and that form is what runs
(`trunks`). Holds no weights and does no I/O. Called by `trunks` and `distil`.
"""

from collections.abc import Callable
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.graphs.writer import GraphWriter

IMAGENET_MEAN: Final = (0.485, 0.456, 0.406)
IMAGENET_STD: Final = (0.229, 0.224, 0.225)


def folded(conv: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a convolution with its batch norm folded in (in float64, then float32)."""
    weight = conv.weight.detach().double()
    bias = torch.zeros(weight.shape[0], dtype=torch.float64) if conv.bias is None else conv.bias.detach().double()
    if norm is not None:
        mean, variance = norm.running_mean, norm.running_var
        assert mean is not None and variance is not None  # noqa: S101, PT018 -- every norm here tracks its statistics
        scale = norm.weight.detach().double() / torch.sqrt(variance.double() + norm.eps)
        weight = weight * scale[:, None, None, None]
        bias = (bias - mean.double()) * scale + norm.bias.detach().double()
    return weight.float().numpy(), bias.float().numpy()


def _lower_conv(writer: GraphWriter, x: str, block: nn.Module, activation: str | None) -> str:
    assert isinstance(block, nn.Sequential)  # noqa: S101 -- blocks are built in this file only
    conv = block[0]
    assert isinstance(conv, nn.Conv2d)  # noqa: S101 -- blocks are built in this file only
    norm = block[1] if len(block) > 1 and isinstance(block[1], nn.BatchNorm2d) else None
    weight, bias = folded(conv, norm)
    y = writer.conv(x, weight, bias, stride=conv.stride[0], group=conv.groups, padding=int(conv.padding[0]))
    if activation == "Clip":
        return writer.op("Clip", [y, writer.constant(0.0), writer.constant(6.0)])
    return y if activation is None else writer.op(activation, [y])


def _conv_bn(inputs: int, outputs: int, stride: int = 1, *, has_relu: bool = True) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs)]
    if has_relu:
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    """Two plain 3×3 convolutions with a shortcut. Plain, because INT8 pays on those and hardly on depthwise."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _conv_bn(channels, channels)
        self.second = _conv_bn(channels, channels, has_relu=False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.second(self.first(x)))

    def lower(self, writer: GraphWriter, x: str) -> str:
        y = _lower_conv(writer, _lower_conv(writer, x, self.first, "Relu"), self.second, None)
        return writer.op("Relu", [writer.op("Add", [x, y])])


class CompactTrunk(nn.Module):
    """The project's own trunk: 1.2 M parameters, 0.6 GFLOP at 256 × 256, distilled from MobileNetV2.

    `head8` and `head16` speak the teacher's language: its stride-8 and stride-16 channels, each standardised.
    """

    channels: Final = (32, 96)

    def __init__(self, widths: tuple[int, int, int, int] = (24, 32, 64, 160)) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv_bn(3, widths[0], 2), _conv_bn(widths[0], widths[1], 2))
        self.stage8 = nn.Sequential(_conv_bn(widths[1], widths[2], 2), _Residual(widths[2]))
        self.stage16 = nn.Sequential(_conv_bn(widths[2], widths[3], 2), _Residual(widths[3]), _Residual(widths[3]))
        self.head8 = nn.Conv2d(widths[2], self.channels[0], 1)
        self.head16 = nn.Conv2d(widths[3], self.channels[1], 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB [n, 3, h, w] → features at stride 8 and at stride 16."""
        fine = self.stage8(self.stem(image))
        return self.head8(fine), self.head16(self.stage16(fine))

    def lower(self, writer: GraphWriter, image: str) -> tuple[str, str]:
        """Write the trunk as ONNX; returns the names of its two feature maps."""
        x = image
        for layer in [*self.stem, *self.stage8]:
            x = layer.lower(writer, x) if isinstance(layer, _Residual) else _lower_conv(writer, x, layer, "Relu")
        y = x
        for layer in self.stage16:
            y = layer.lower(writer, y) if isinstance(layer, _Residual) else _lower_conv(writer, y, layer, "Relu")
        heads = [_lower_conv(writer, at, nn.Sequential(head), None) for at, head in ((x, self.head8), (y, self.head16))]
        return heads[0], heads[1]


class _Inverted(nn.Module):
    """MobileNetV2's block, with torchvision's key names (`conv.0.0.weight` and so on)."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        layers: list[nn.Module] = [] if expansion == 1 else [_bounded(inputs, hidden, 1, 1, 1)]
        layers.append(_bounded(hidden, hidden, 3, stride, hidden))
        self.conv = nn.Sequential(*layers, nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs))
        self.has_shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y

    def lower(self, writer: GraphWriter, x: str) -> str:
        y = x
        for layer in list(self.conv)[:-2]:
            assert isinstance(layer, nn.Sequential)  # noqa: S101 -- built above
            y = _lower_conv(writer, y, layer, "Clip")
        y = _lower_conv(writer, y, self.conv[-2:], None)
        return writer.op("Add", [x, y]) if self.has_shortcut else y


def _bounded(inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class MobileNetV2(nn.Module):
    """Trunk of MobileNetV2 (`features.0` … `features.13`); the rest of a checkpoint is not needed."""

    channels: Final = (32, 96)
    # expansion, outputs, blocks, first stride
    _PLAN: Final = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_bounded(3, 32, 3, 2, 1)]
        inputs = 32
        for expansion, outputs, blocks, stride in self._PLAN:
            for index in range(blocks):
                layers.append(_Inverted(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB [n, 3, h, w] → features at stride 8 and at stride 16."""
        fine: Tensor = self.features[:7](image)
        coarse: Tensor = self.features[7:](fine)
        return fine, coarse

    def lower(self, writer: GraphWriter, image: str) -> tuple[str, str]:
        """Write the trunk as ONNX; returns the names of its two feature maps."""
        x, fine = image, ""
        for index, layer in enumerate(self.features):
            x = layer.lower(writer, x) if isinstance(layer, _Inverted) else _lower_conv(writer, x, layer, "Clip")
            fine = x if index == 6 else fine
        return fine, x


class _Fire(nn.Module):
    """SqueezeNet's block, with torchvision's key names."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(inputs, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.squeeze(x))
        return torch.cat([torch.relu(self.expand1x1(y)), torch.relu(self.expand3x3(y))], 1)

    def lower(self, writer: GraphWriter, x: str) -> str:
        y = _lower_conv(writer, x, nn.Sequential(self.squeeze), "Relu")
        wide = [_lower_conv(writer, y, nn.Sequential(conv), "Relu") for conv in (self.expand1x1, self.expand3x3)]
        return writer.op("Concat", wide, axis=1)


class SqueezeNet(nn.Module):
    """Trunk of SqueezeNet 1.1 (`features.0` … `features.12`): 256 channels at stride 8 and 512 at 16."""

    channels: Final = (256, 512)

    def __init__(self) -> None:
        super().__init__()
        fires = ((64, 16, 64), (128, 16, 64), (128, 32, 128), (256, 32, 128))
        late = ((256, 48, 192), (384, 48, 192), (384, 64, 256), (512, 64, 256))
        # No padding, as trained: the maps are a cell smaller than size ÷ stride; the grid resize evens that out.
        pool = nn.MaxPool2d(3, 2)
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 3, 2), nn.ReLU(), pool, _Fire(*fires[0]), _Fire(*fires[1]), pool,
            _Fire(*fires[2]), _Fire(*fires[3]), pool, *(_Fire(*plan) for plan in late),
        )  # fmt: skip

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB [n, 3, h, w] → features at stride 8 and at stride 16."""
        fine: Tensor = self.features[:8](image)
        coarse: Tensor = self.features[8:](fine)
        return fine, coarse

    def lower(self, writer: GraphWriter, image: str) -> tuple[str, str]:
        """Write the trunk as ONNX; returns the names of its two feature maps."""
        x, fine = image, ""
        for index, layer in enumerate(self.features):
            if isinstance(layer, _Fire):
                x = layer.lower(writer, x)
            elif isinstance(layer, nn.MaxPool2d):
                x = writer.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2])
            elif isinstance(layer, nn.Conv2d):
                x = _lower_conv(writer, x, nn.Sequential(layer), "Relu")
            fine = x if index == 7 else fine
        return fine, x


class _ResidualBlock(nn.Module):
    """ResNet's block: the convolutions `conv1`, `conv2` (and `conv3`), each with its norm, past a shortcut."""

    def __init__(self, convolutions: list[nn.Conv2d], shortcut: nn.Conv2d | None) -> None:
        super().__init__()
        self.depth = len(convolutions)
        for number, conv in enumerate(convolutions, 1):
            self.add_module(f"conv{number}", conv)
            self.add_module(f"bn{number}", nn.BatchNorm2d(conv.out_channels))
        if shortcut is not None:
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(shortcut.out_channels))
        self.has_downsample = shortcut is not None

    def _layers(self) -> list[nn.Sequential]:
        """Each convolution with its norm."""
        names = range(1, self.depth + 1)
        return [nn.Sequential(self.get_submodule(f"conv{at}"), self.get_submodule(f"bn{at}")) for at in names]

    def forward(self, x: Tensor) -> Tensor:
        y = x
        *inner, last = self._layers()
        for layer in inner:
            y = torch.relu(layer(y))
        return torch.relu(last(y) + (self.downsample(x) if self.has_downsample else x))

    def lower(self, writer: GraphWriter, x: str) -> str:
        y = x
        *inner, last = self._layers()
        for layer in inner:
            y = _lower_conv(writer, y, layer, "Relu")
        past = _lower_conv(writer, x, self.downsample, None) if self.has_downsample else x
        return writer.op("Relu", [writer.op("Add", [_lower_conv(writer, y, last, None), past])])


def _plain(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


def _basic(inputs: int, width: int, stride: int) -> _ResidualBlock:
    """Two 3 × 3."""
    shortcut = _plain(inputs, width, 1, stride) if stride != 1 or inputs != width else None
    return _ResidualBlock([_plain(inputs, width, 3, stride), _plain(width, width, 3)], shortcut)


def _bottleneck(inputs: int, width: int, stride: int) -> _ResidualBlock:
    """1 × 1, 3 × 3, 1 × 1 to four times the width. The 3 × 3 strides, as in torchvision (elsewhere the first does)."""
    outputs = 4 * width
    shortcut = _plain(inputs, outputs, 1, stride) if stride != 1 or inputs != outputs else None
    layers = [_plain(inputs, width, 1), _plain(width, width, 3, stride), _plain(width, outputs, 1)]
    return _ResidualBlock(layers, shortcut)


class ResNet(nn.Module):
    """Trunk of a ResNet (`conv1`, `bn1`, `layer1` … `layer3`; He et al., 2016); the rest is not needed."""

    def __init__(
        self, block: Callable[[int, int, int], _ResidualBlock], depths: tuple[int, int, int], expansion: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        inputs = 64
        for number, depth in enumerate(depths):
            width = 64 << number
            blocks = []
            for index in range(depth):
                blocks.append(block(inputs, width, 2 if number and index == 0 else 1))
                inputs = width * expansion
            self.add_module(f"layer{number + 1}", nn.Sequential(*blocks))

    def _stage(self, number: int) -> nn.Sequential:
        stage = self.get_submodule(f"layer{number}")
        assert isinstance(stage, nn.Sequential)  # noqa: S101 -- built above
        return stage

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised RGB [n, 3, h, w] → features at stride 8 and at stride 16."""
        x = self.pool(torch.relu(self.bn1(self.conv1(image))))
        fine: Tensor = self._stage(2)(self._stage(1)(x))
        coarse: Tensor = self._stage(3)(fine)
        return fine, coarse

    def lower(self, writer: GraphWriter, image: str) -> tuple[str, str]:
        """Write the trunk as ONNX; returns the names of its two feature maps."""
        x = _lower_conv(writer, image, nn.Sequential(self.conv1, self.bn1), "Relu")
        x = writer.op("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
        fine = ""
        for number in (1, 2, 3):
            for layer in self._stage(number):
                assert isinstance(layer, _ResidualBlock)  # noqa: S101 -- built above
                x = layer.lower(writer, x)
            fine = x if number == 2 else fine
        return fine, x


class ResNet18(ResNet):
    """128 channels at stride 8 and 256 at 16."""

    channels: Final = (128, 256)

    def __init__(self) -> None:
        super().__init__(_basic, (2, 2, 2), 1)


class ResNet50(ResNet):
    """512 channels at stride 8 and 1,024 at 16."""

    channels: Final = (512, 1024)

    def __init__(self) -> None:
        super().__init__(_bottleneck, (3, 4, 6), 4)


TrunkModule = CompactTrunk | MobileNetV2 | SqueezeNet | ResNet18 | ResNet50
MODULES: Final[dict[str, type[TrunkModule]]] = {
    "compact": CompactTrunk,
    "mobilenet_v2": MobileNetV2,
    "squeezenet1_1": SqueezeNet,
    "resnet18": ResNet18,
    "resnet50": ResNet50,
}
# A ResNet of another depth has the same keys and more of them: within these no further key is passed over.
WHOLE: Final = dict.fromkeys(("resnet18", "resnet50"), ("conv1.", "bn1.", "layer1.", "layer2.", "layer3."))
