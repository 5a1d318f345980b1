# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime behind the session seam: open on a stated provider, check what was really got, run.

Does not choose the variant, does not verify digests, does not warm up: the package installer does. The graph
resizes and normalises by itself, so pixels go in as they left the camera's ROI.
"""

import logging
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edge_agent.errors import DeviceError, InferenceError, TrustError
from edge_agent.inference.session import Inference
from edge_agent.inference.variants import split_provider

_log = logging.getLogger(__name__)

MIN_SIDE_PX: Final = 32
_REQUIRED_OUTPUTS: Final = ("score", "heatmap", "embedding")
_CLASS_OUTPUT: Final = "class_scores"
# Errors only: ONNX Runtime's warnings go straight to stderr, past our log.
_ORT_LOG_ERRORS: Final = 3
# What a provider says while it cannot be made is read back and told as ours.
_ORT_LOG_FATAL: Final = 4


class OnnxSession:
    """A graph opened by ONNX Runtime. Made by `open_session`."""

    def __init__(self, session: "ort.InferenceSession", provider: str) -> None:
        self._session = session
        self._provider = provider
        self._input_name: str = session.get_inputs()[0].name
        # A number there is a graph made for exactly so many images.
        self._takes_batches = not isinstance(session.get_inputs()[0].shape[0], int)
        present = {output.name for output in session.get_outputs()}
        self._outputs = [*_REQUIRED_OUTPUTS, *([_CLASS_OUTPUT] if _CLASS_OUTPUT in present else [])]

    @property
    def provider(self) -> str:
        """The execution provider that really runs the graph."""
        return self._provider

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        """Judge one image, uint8 H × W × 3 BGR.

        Raises:
            InferenceError: wrong shape, a runtime failure, or a score that is NaN or infinite.
        """
        _check_image(image_bgr)
        answer = self._answers(np.ascontiguousarray(image_bgr)[np.newaxis])[0]
        if isinstance(answer, InferenceError):
            raise answer
        return answer

    @property
    def takes_batches(self) -> bool:
        """Whether the graph takes more than one image a run; whether it judges them right is another question."""
        return self._takes_batches

    def run_batch(self, images_bgr: Sequence[NDArray[np.uint8]]) -> list[Inference | InferenceError]:
        """Judge images of one shape in one run; for each what is found, or why there is nothing.

        Raises:
            InferenceError: an image that is none, or the run failed, or it did not answer for every image.
        """
        for image in images_bgr:
            _check_image(image)
        if len({image.shape for image in images_bgr}) != 1:
            msg = f"batch: expected images of one shape, got {sorted({image.shape for image in images_bgr})}"
            raise InferenceError(msg)
        return self._answers(np.stack(images_bgr))

    def _answers(self, batch: NDArray[np.uint8]) -> list[Inference | InferenceError]:
        try:
            values = self._session.run(self._outputs, {self._input_name: batch})
        except Exception as error:  # ONNX Runtime raises a family of unrelated classes
            msg = f"the graph failed on {_shown(batch)}: {error}"
            raise InferenceError(
                msg, remedy="if this repeats, assign another package or restart the station"
            ) from error
        if len(batch) == 1:
            return [_read_outputs(values, 0)]
        lengths = {np.shape(value)[:1] for value in values}
        if lengths != {(len(batch),)}:
            msg = f"the graph answered {_shown(batch)} with outputs of length {sorted(lengths)}"
            raise InferenceError(msg, remedy="export the package with a free number of images")
        return [_read_outputs(values, index) for index in range(len(batch))]


def _check_image(image_bgr: NDArray[np.uint8]) -> None:
    if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
        msg = f"image: expected uint8 H × W × 3, got {image_bgr.dtype} {image_bgr.shape}"
        raise InferenceError(msg)
    if min(image_bgr.shape[:2]) < MIN_SIDE_PX:
        msg = f"image: expected both sides ≥ {MIN_SIDE_PX} px, got {image_bgr.shape[:2]}"
        raise InferenceError(msg)


def _shown(batch: NDArray[np.uint8]) -> str:
    return f"an image of {batch.shape[1:]}" if len(batch) == 1 else f"{len(batch)} images of {batch.shape[1:]}"


def _read_outputs(values: Sequence[Any], index: int) -> Inference | InferenceError:
    score = float(np.asarray(values[0]).reshape(-1)[index])
    if not np.isfinite(score):
        # A NaN compares false with every limit: left alone it would slip through as "not NG".
        msg = f"the graph gave a score that is not finite ({score})"
        return InferenceError(msg, remedy="assign another package; this one is broken on this station")
    return Inference(
        score=score,
        heatmap=np.asarray(values[1], dtype=np.float32)[index],
        embedding=np.asarray(values[2], dtype=np.float32)[index],
        class_scores=np.asarray(values[3], dtype=np.float32)[index] if len(values) > 3 else None,
    )


def open_session(path: Path, *, provider: str, threads: int) -> OnnxSession:
    """Open a graph on exactly the provider that was asked for.

    Args:
        path: the .onnx file, already verified.
        provider: an ONNX Runtime execution provider, e.g. `CPUExecutionProvider`, or one of its devices, e.g.
            `OpenVINOExecutionProvider:NPU`.
        threads: threads for one graph run.

    Raises:
        TrustError: the file is no graph, or its ends are not ours. Refuse the package.
        DeviceError: the provider is not there, or ONNX Runtime silently took another one. Park with a fault.
    """
    remedy = _provider_remedy(provider)
    name, device = split_provider(provider)
    if name not in ort.get_available_providers():
        msg = f"provider {name!r} is not in this ONNX Runtime (it has {', '.join(ort.get_available_providers())})"
        raise DeviceError(msg, remedy=remedy, code="provider-missing")
    try:
        with warnings.catch_warnings():
            # The fallback is read back below and raised as a fault; a warning on stderr helps nobody.
            warnings.simplefilter("ignore")
            ort.set_default_logger_severity(_ORT_LOG_FATAL)
            session = ort.InferenceSession(
                str(path),
                sess_options=_options(threads),
                providers=[name],
                provider_options=[_provider_options(device, threads)],
            )
    except Exception as error:  # ONNX Runtime raises a family of unrelated classes
        msg = f"{path.name}: ONNX Runtime cannot open this graph on {provider}: {error}"
        raise TrustError(
            msg, remedy="assign a package made for this ONNX Runtime", code="package-unreadable"
        ) from error
    got = session.get_providers()[0]
    if got != name:
        # Without a usable GPU onnxruntime-gpu runs on the CPU, ten times slower, without an exception.
        msg = f"asked ONNX Runtime for {provider}, got {got}"
        raise DeviceError(msg, remedy=remedy, code="provider-fallback")
    _check_ends(path, session)
    _log.info("session opened file=%s provider=%s threads=%d", path.name, got, threads)
    return OnnxSession(session, f"{got}:{device}" if device else got)


def available_providers() -> list[str]:
    """Execution providers that the installed ONNX Runtime was built with. It proves nothing about the hardware."""
    return list(ort.get_available_providers())


def runtime_version() -> str:
    """Name and version of what runs the graphs."""
    return f"onnxruntime {ort.__version__}"


def _provider_options(device: str, threads: int) -> dict[str, str]:
    if not device:
        return {}
    # OpenVINO takes threads of its own, not those of the session.
    on_cpu = {"num_of_threads": str(threads)} if device == "CPU" else {}
    return {"device_type": device, **on_cpu}


def _options(threads: int) -> "ort.SessionOptions":
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ORT_LOG_ERRORS
    # Spinning threads burn the core that the next station on this machine needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _check_ends(path: Path, session: "ort.InferenceSession") -> None:
    inputs: Mapping[str, str] = {value.name: value.type for value in session.get_inputs()}
    if list(inputs.values()) != ["tensor(uint8)"]:
        msg = f"{path.name}: expected one uint8 input, got {dict(inputs)}"
        raise TrustError(msg, code="package-unreadable")
    missing = [name for name in _REQUIRED_OUTPUTS if name not in {value.name for value in session.get_outputs()}]
    if missing:
        msg = f"{path.name}: the graph lacks the output(s) {', '.join(missing)}"
        raise TrustError(msg, code="package-unreadable")


def _provider_remedy(provider: str) -> str:
    if provider.startswith(("CUDA", "Tensorrt")):
        return "install sightline[edge-gpu], check the driver with nvidia-smi, or use CPUExecutionProvider"
    if provider.startswith("OpenVINO"):
        return "install sightline[edge-openvino], or use CPUExecutionProvider"
    return "set inference.provider to one that this ONNX Runtime has"
