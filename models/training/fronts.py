# SPDX-License-Identifier: Apache-2.0
"""The front of a training in each numeric form that its job asks for. Learns nothing. Called by `job`."""

import logging
from dataclasses import dataclass

import onnx

from contracts.vocabulary import Variant
from models.errors import QuantizationError
from models.graphs.half import halved
from models.graphs.quantization import quantize
from models.training.gathering import Work

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Front:
    """One numeric form of the front."""

    variant: Variant
    model: onnx.ModelProto


def fronts_of(work: Work, front: onnx.ModelProto, notes: list[str], *, until: float) -> list[Front]:
    """INT8 for CPUs first where it comes about: it is what stations run, so the detector is fitted on it. Then fp32.

    `until`: the fraction of the training at which they are there. A form that does not come about is noted.
    """
    work.progress.enter("quantizing", until)
    fronts = [Front(Variant.FP32, front)]
    for variant in dict.fromkeys(work.job.variants):
        if variant is Variant.FP32:
            continue
        try:
            made = halved(front) if variant is Variant.FP16 else _quantized(work, front, variant)
        except QuantizationError as error:
            notes.append(f"{variant}: left out, {error}")
            _log.warning("training_id=%s variant=%s left_out=%s", work.job.training_id, variant, error)
            continue
        fronts.insert(0 if variant is Variant.INT8_U8S8 else len(fronts), Front(variant, made))
    return fronts


def _quantized(work: Work, front: onnx.ModelProto, variant: Variant) -> onnx.ModelProto:
    def make() -> bytes:
        content: bytes = quantize(front, work.calibration, variant).SerializeToString()
        return content

    return onnx.load_from_string(work.steps.content(f"{variant}.front.onnx", make))
