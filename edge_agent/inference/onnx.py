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
from edge_agent.inference.session import Inference, InferenceSession

_log = logging.getLogger(__name__)

MIN_SIDE_PX: Final = 32
_REQUIRED_OUTPUTS: Final = ("score", "heatmap", "embedding")
_CLASS_OUTPUT: Final = "class_scores"
# Errors only: ONNX Runtime's warnings go straight to stderr, past our log.
_ORT_LOG_ERRORS: Final = 3


class OnnxSession:
    """A graph opened by ONNX Runtime. Made by `open_session`."""

    def __init__(self, session: "ort.InferenceSession", provider: str) -> None:
        self._session = session
        self._provider = provider
        self._input_name: str = session.get_inputs()[0].name
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
        if image_bgr.dtype != np.uint8 or image_bgr.ndim != 3 or image_bgr.shape[2] != 3:
            msg = f"image: expected uint8 H × W × 3, got {image_bgr.dtype} {image_bgr.shape}"
            raise InferenceError(msg)
        if min(image_bgr.shape[:2]) < MIN_SIDE_PX:
            msg = f"image: expected both sides ≥ {MIN_SIDE_PX} px, got {image_bgr.shape[:2]}"
            raise InferenceError(msg)
        batch = np.ascontiguousarray(image_bgr)[np.newaxis]
        try:
            values = self._session.run(self._outputs, {self._input_name: batch})
        except Exception as error:  # ONNX Runtime raises a family of unrelated classes
            msg = f"the graph failed on an image of {image_bgr.shape}: {error}"
            raise InferenceError(
                msg, remedy="if this repeats, assign another package or restart the station"
            ) from error
        return _read_outputs(values)


def _read_outputs(values: Sequence[Any]) -> Inference:
    score = float(np.asarray(values[0]).reshape(-1)[0])
    if not np.isfinite(score):
        # A NaN compares false with every limit: left alone it would slip through as "not NG".
        msg = f"the graph gave a score that is not finite ({score})"
        raise InferenceError(msg, remedy="assign another package; this one is broken on this station")
    return Inference(
        score=score,
        heatmap=np.asarray(values[1], dtype=np.float32)[0],
        embedding=np.asarray(values[2], dtype=np.float32)[0],
        class_scores=np.asarray(values[3], dtype=np.float32)[0] if len(values) > 3 else None,
    )


def open_session(path: Path, *, provider: str, threads: int) -> InferenceSession:
    """Open a graph on exactly the provider that was asked for.

    Args:
        path: the .onnx file, already verified.
        provider: an ONNX Runtime execution provider, e.g. `CPUExecutionProvider`.
        threads: threads for one graph run.

    Raises:
        TrustError: the file is no graph, or its ends are not ours. Refuse the package.
        DeviceError: the provider is not there, or ONNX Runtime silently took another one. Park with a fault.
    """
    remedy = _provider_remedy(provider)
    if provider not in ort.get_available_providers():
        msg = f"provider {provider!r} is not in this ONNX Runtime (it has {', '.join(ort.get_available_providers())})"
        raise DeviceError(msg, remedy=remedy, code="provider-missing")
    try:
        with warnings.catch_warnings():
            # The fallback is read back below and raised as a fault; a warning on stderr helps nobody.
            warnings.simplefilter("ignore")
            session = ort.InferenceSession(str(path), sess_options=_options(threads), providers=[provider])
    except Exception as error:  # ONNX Runtime raises a family of unrelated classes
        msg = f"{path.name}: ONNX Runtime cannot open this graph on {provider}: {error}"
        raise TrustError(
            msg, remedy="assign a package made for this ONNX Runtime", code="package-unreadable"
        ) from error
    got = session.get_providers()[0]
    if got != provider:
        # Without a usable GPU onnxruntime-gpu runs on the CPU, ten times slower, without an exception.
        msg = f"asked ONNX Runtime for {provider}, got {got}"
        raise DeviceError(msg, remedy=remedy, code="provider-fallback")
    _check_ends(path, session)
    _log.info("session opened file=%s provider=%s threads=%d", path.name, got, threads)
    return OnnxSession(session, got)


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
