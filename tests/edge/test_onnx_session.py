# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from contracts.vocabulary import Variant
from edge_agent.errors import DeviceError, InferenceError, TrustError
from edge_agent.inference.onnx import open_session
from edge_agent.inference.variants import variant_order, ways_to_try
from tests.edge.tiny_package import brightness_graph, part

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"


def test_session_answers_in_the_shapes_of_the_contract_for_any_picture_size(tmp_path: Path) -> None:
    session = open_session(brightness_graph(tmp_path / "g.onnx"), provider=CPU, threads=1)
    assert session.provider == CPU
    for side_px in (32, 100):
        answer = session.run(part(51, side_px))
        assert answer.score == pytest.approx(0.2, abs=1e-4)
        assert (answer.heatmap.shape, answer.heatmap.dtype) == ((4, 4), np.dtype(np.float32))
        assert answer.embedding.shape == (2,)
        assert answer.class_scores is None


def test_session_takes_a_view_into_a_larger_frame(tmp_path: Path) -> None:
    session = open_session(brightness_graph(tmp_path / "g.onnx"), provider=CPU, threads=1)
    frame = np.zeros((80, 80, 3), dtype=np.uint8)
    frame[20:60, 20:60] = 255
    assert session.run(frame[20:60, 20:60]).score == pytest.approx(1.0, abs=1e-5)


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this ONNX Runtime has the CUDA provider")
def test_provider_that_is_missing_is_a_fault_with_a_remedy_and_no_fallback(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=CUDA) as caught:
        open_session(brightness_graph(tmp_path / "g.onnx"), provider=CUDA, threads=1)
    assert "edge-gpu" in caught.value.remedy


@pytest.mark.skipif(CUDA in ort.get_available_providers(), reason="this ONNX Runtime has the CUDA provider")
def test_silent_fallback_is_a_fault_even_when_the_provider_claims_to_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What onnxruntime-gpu does on a machine without a usable GPU.
    monkeypatch.setattr(ort, "get_available_providers", lambda: [CUDA, CPU])
    with pytest.raises(DeviceError, match=f"asked ONNX Runtime for {CUDA}, got {CPU}") as caught:
        open_session(brightness_graph(tmp_path / "g.onnx"), provider=CUDA, threads=1)
    assert caught.value.code == "provider-fallback"


@pytest.mark.parametrize("offset", [float("nan"), float("inf")])
def test_score_that_is_no_number_is_an_error(tmp_path: Path, offset: float) -> None:
    session = open_session(brightness_graph(tmp_path / "g.onnx", offset=offset), provider=CPU, threads=1)
    with pytest.raises(InferenceError, match="not finite"):
        session.run(part(51))


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((64, 64), dtype=np.uint8),
        np.zeros((64, 64, 4), dtype=np.uint8),
        np.zeros((31, 64, 3), dtype=np.uint8),
        np.zeros((64, 64, 3), dtype=np.float32),
    ],
    ids=["grey", "four channels", "too small", "float"],
)
def test_picture_of_another_shape_is_refused_with_what_was_expected(tmp_path: Path, image: np.ndarray) -> None:
    session = open_session(brightness_graph(tmp_path / "g.onnx"), provider=CPU, threads=1)
    with pytest.raises(InferenceError, match="expected"):
        session.run(image)


def test_file_that_is_no_graph_is_never_retried(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a graph")
    with pytest.raises(TrustError):
        open_session(broken, provider=CPU, threads=1)
    with pytest.raises(TrustError):
        open_session(tmp_path / "missing.onnx", provider=CPU, threads=1)


def test_graph_without_a_score_is_never_retried(tmp_path: Path) -> None:
    with pytest.raises(TrustError, match="score"):
        open_session(brightness_graph(tmp_path / "g.onnx", output="grade"), provider=CPU, threads=1)


def test_variants_are_tried_in_the_order_of_the_provider() -> None:
    assert variant_order(CPU) == (Variant.INT8_U8S8, Variant.FP32)
    offered = [Variant.FP32, Variant.INT8_U8S8]
    assert [way.variant for way in ways_to_try(offered, [CPU])] == [Variant.INT8_U8S8, Variant.FP32]
    assert ways_to_try([Variant.FP16], [CPU]) == []
    assert [way.variant for way in ways_to_try(offered, [CPU], variant="fp32")] == [Variant.FP32]
    assert variant_order("UnheardOfProvider") == (Variant.FP32,)
    with pytest.raises(ValueError, match="fp64"):
        variant_order(CPU, "fp64")
