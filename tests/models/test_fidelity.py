# SPDX-License-Identifier: Apache-2.0
"""What a front keeps of the float one's features is a number that a ruined front cannot look good in."""

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.graphs.features import FEATURES_NAME, INPUT_NAME
from models.graphs.fidelity import kept_variance
from models.graphs.writer import FLOAT, UINT8, GraphWriter
from models.training.judging_variants import LEAST_KEPT_VARIANCE, front_fault


def _front(factor: float, shift: float = 0.0) -> onnx.ModelProto:
    """A front whose features are the pixels themselves, times a factor, plus a shift."""
    writer = GraphWriter()
    image = writer.input(INPUT_NAME, UINT8, ["n", "h", "w", 3])
    planes = writer.op("Transpose", [writer.op("Cast", [image], to=FLOAT)], perm=[0, 3, 1, 2])
    scaled = writer.op("Mul", [planes, writer.constant(factor)])
    writer.output(FEATURES_NAME, writer.op("Add", [scaled, writer.constant(shift)]), ["n", "d", "g", "g"])
    return writer.model("front")


@pytest.fixture
def pictures() -> list[NDArray[np.uint8]]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 100, (8, 8, 3), np.uint8) for _ in range(4)]


def test_same_front_keeps_everything(pictures: list[NDArray[np.uint8]]) -> None:
    assert kept_variance(_front(1.0), _front(1.0), pictures, threads=1) == 1


def test_front_that_says_nothing_of_the_picture_keeps_nothing(pictures: list[NDArray[np.uint8]]) -> None:
    mean = float(np.mean(pictures))
    assert kept_variance(_front(1.0), _front(0.0, mean), pictures, threads=1) == pytest.approx(0, abs=0.05)
    # Half of each difference is lost, so a quarter of the variance is.
    assert kept_variance(_front(1.0), _front(0.5, mean / 2), pictures, threads=1) == pytest.approx(0.75, abs=0.02)


def test_front_that_says_the_opposite_is_worse_than_nothing(pictures: list[NDArray[np.uint8]]) -> None:
    assert kept_variance(_front(1.0), _front(-1.0), pictures, threads=1) < -1


def test_front_without_numbers_is_at_fault(pictures: list[NDArray[np.uint8]]) -> None:
    kept = kept_variance(_front(1.0), _front(float("nan")), pictures, threads=1)
    assert kept == float("-inf")
    assert "keeps 0%" in front_fault(kept)


@pytest.mark.parametrize("kept", [float("nan"), -3.0, LEAST_KEPT_VARIANCE - 0.01])
def test_too_little_is_a_fault_that_says_what_was_expected(kept: float) -> None:
    assert "at least 50% expected" in front_fault(kept)


def test_enough_is_no_fault() -> None:
    assert front_fault(LEAST_KEPT_VARIANCE) == ""
