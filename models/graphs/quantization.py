# SPDX-License-Identifier: Apache-2.0
"""INT8 by ONNX Runtime's static QDQ: a graph's trunk alone, calibrated on training pictures only.

The detector is fitted on what the INT8 front says, so that bank and limits know its noise. Per-channel int8 weights
in 7 bits (`reduce_range`): on CPUs without VNNI the 8-bit product saturates and scores would differ between stations.
Activations are uint8 (`int8-u8s8`, x86) or symmetric int8 (`int8-s8s8`, TensorRT and NPUs, which know no zero point).
The front of `int8-u8s8` then resizes in bytes (`integer_resize`).
Distances, head, softmax and the last upsampling stay float. May refuse; the training then goes on without the variant.
Decides nothing about which nodes are harmful (`accuracy_control` does). Called by `training`.
"""

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from contracts.vocabulary import Variant
from models.errors import QuantizationError, was_asked_to_stop
from models.graphs.features import INPUT_NAME, TRUNK_SCOPE
from models.graphs.integer_resize import with_integer_resize

Picture = NDArray[np.uint8]
CALIBRATION_PICTURES: Final = 48
INT8: Final = (Variant.INT8_U8S8, Variant.INT8_S8S8)
_QUANTIZED: Final = ("Conv", "Relu", "Clip", "Add", "MaxPool", "Concat")
# Of a graph that was learnt elsewhere nobody knows where its trunk ends: additions may be distances there.
_QUANTIZED_ELSEWHERE: Final = ("Conv", "Relu", "Clip", "MaxPool")
# As a front has it, and as a package has the front.
_SCOPES: Final = (f"{TRUNK_SCOPE}/", f"front/{TRUNK_SCOPE}/")


class _Pictures(CalibrationDataReader):  # type: ignore[misc]  # the base class ships without types
    """Feeds pictures one by one, as the calibrator wants them."""

    def __init__(self, pictures: Sequence[Picture]) -> None:
        self._rest: Iterator[Picture] = iter(pictures)

    def get_next(self) -> dict[str, Picture] | None:
        picture = next(self._rest, None)
        return None if picture is None else {INPUT_NAME: picture[None]}


def evenly(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly picked: the same every time."""
    return list(range(0, count, max(1, count // most)))[:most]


def trunk_of(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes of the trunk; of a graph without one by our names, nodes that any detector can spare in float."""
    named = [node for node in model.graph.node if node.name.startswith(_SCOPES)]
    return named or [node for node in model.graph.node if node.op_type in _QUANTIZED_ELSEWHERE and node.name]


class Quantizer:
    """One graph, prepared and calibrated once, to be quantized as a whole or but for some nodes. A context manager.

    Args:
        model: a float graph, `image` in; a front or a whole package graph.
        pictures: training pictures, uint8 BGR, at least one.
        variant: one of `INT8`.

    Raises:
        QuantizationError: ONNX Runtime could not do it; the float graph is still good.
    """

    def __init__(
        self, model: onnx.ModelProto, pictures: Sequence[Picture], variant: Variant = Variant.INT8_U8S8
    ) -> None:
        self._model, self._pictures, self._is_symmetric = model, pictures, variant is Variant.INT8_S8S8
        self.nodes = [node for node in trunk_of(model) if node.op_type in _QUANTIZED]

    def __enter__(self) -> Self:
        if not self.nodes:
            msg = "the graph has no node that can be quantized"
            raise QuantizationError(msg)
        self._held = tempfile.TemporaryDirectory(prefix="sightline-quantize-")
        self._folder = Path(self._held.name)
        self._prepared = self._folder / "prepared.onnx"
        source = self._folder / "float.onnx"
        try:
            onnx.save(self._model, str(source))
            quant_pre_process(str(source), str(self._prepared), skip_symbolic_shape=True, skip_optimization=True)
        except BaseException as error:
            self._held.cleanup()
            if not isinstance(error, Exception) or was_asked_to_stop(error):
                raise
            raise QuantizationError(f"{type(error).__name__}: {error}") from error
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """Sweep away the files."""
        self._held.cleanup()

    def quantized(self, *, but: Collection[str] = ()) -> onnx.ModelProto:
        """The quantized form, with the nodes named in `but` left in float."""
        return self.with_only([node.name for node in self.nodes if node.name not in but])

    def with_only(self, names: Sequence[str]) -> onnx.ModelProto:
        """The form in which the named nodes alone are quantized."""
        if not names:
            return self._model
        target = self._folder / "int8.onnx"
        extra: dict[str, Any] = {"ActivationSymmetric": self._is_symmetric, "WeightSymmetric": True}
        # The quantizer advises pre-processing on the root logger at every call; the graph is already clean.
        root = logging.getLogger()
        level = root.level
        root.setLevel(logging.ERROR)
        try:
            quantize_static(
                str(self._prepared), str(target), _Pictures(self._pictures), quant_format=QuantFormat.QDQ,
                per_channel=True, reduce_range=True, weight_type=QuantType.QInt8,
                activation_type=QuantType.QInt8 if self._is_symmetric else QuantType.QUInt8,
                nodes_to_quantize=list(names), extra_options=extra,
                # Ranges are of the float graph, whichever nodes are asked for: the pictures are run once.
                calibration_cache_path=str(self._folder / "ranges.json"),
            )  # fmt: skip
            sizes = [(picture.shape[0], picture.shape[1]) for picture in self._pictures]
            return with_integer_resize(onnx.load(str(target)), sizes)
        except Exception as error:  # the quantizer raises whatever its parts raise; none of it may stop a training
            if was_asked_to_stop(error):
                raise
            raise QuantizationError(f"{type(error).__name__}: {error}") from error
        finally:
            root.setLevel(level)


def quantize(
    model: onnx.ModelProto, pictures: Sequence[Picture], variant: Variant = Variant.INT8_U8S8
) -> onnx.ModelProto:
    """An INT8 form of a float front.

    Raises:
        QuantizationError: ONNX Runtime could not do it; the float front is still good.
    """
    with Quantizer(model, pictures, variant) as quantizer:
        return quantizer.quantized()
