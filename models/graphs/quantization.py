# SPDX-License-Identifier: Apache-2.0
"""INT8 by ONNX Runtime's static QDQ: the front's trunk alone, calibrated on training pictures only.

The detector is fitted on what the INT8 front says, so that bank and limits know its noise. Per-channel int8 weights
in 7 bits (`reduce_range`): on CPUs without VNNI the 8-bit product saturates and scores would differ between stations.
Distances, head and score stay float. May refuse; the training then goes on without the variant.
Called by `training`.
"""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from models.errors import QuantizationError
from models.graphs.features import INPUT_NAME, TRUNK_SCOPE

Picture = NDArray[np.uint8]
_QUANTIZED = ("Conv", "Relu", "Clip", "Add", "MaxPool", "Concat")
CALIBRATION_PICTURES = 48


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # the base class ships without types
    """Feeds pictures one by one, as the calibrator wants them."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._rest: Iterator[Picture] = iter(pictures)

    def get_next(self) -> dict[str, Picture] | None:
        picture = next(self._rest, None)
        return None if picture is None else {INPUT_NAME: picture[None]}


def quantize(model: onnx.ModelProto, pictures: Sequence[Picture]) -> onnx.ModelProto:
    """The int8-u8s8 form of a float front.

    Raises:
        QuantizationError: ONNX Runtime could not do it; the float front is still good.
    """
    # The quantizer advises pre-processing on the root logger at every call; the graph is already clean.
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with tempfile.TemporaryDirectory(prefix="sightline-quantize-") as folder:
            source, prepared, target = (Path(folder) / name for name in ("float.onnx", "prepared.onnx", "int8.onnx"))
            onnx.save(model, str(source))
            quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True, skip_optimization=True)
            names = [
                node.name
                for node in onnx.load(str(prepared)).graph.node
                if node.name.startswith(f"{TRUNK_SCOPE}/") and node.op_type in _QUANTIZED
            ]
            quantize_static(
                str(prepared), str(target), _Pictures(pictures), quant_format=QuantFormat.QDQ, per_channel=True,
                reduce_range=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8,
                nodes_to_quantize=names,
            )  # fmt: skip
            return onnx.load(str(target))
    except Exception as error:  # the quantizer raises whatever its parts raise; none of it may stop a training
        raise QuantizationError(f"{type(error).__name__}: {error}") from error
    finally:
        root.setLevel(level)
