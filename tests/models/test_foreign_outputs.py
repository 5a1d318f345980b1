# SPDX-License-Identifier: Apache-2.0
"""Outputs of foreign graphs are told apart by what they were, or not at all."""

import numpy as np
import pytest
from numpy.typing import NDArray

from models.errors import InputError
from models.graphs.foreign_outputs import Asked, choose

SIZE = (64, 64)
# Places that a detector of boxes has in a picture of 64 × 64: 8 × 8 + 4 × 4 + 2 × 2.
PLACES = 84


def zeros(*shape: int) -> NDArray[np.float32]:
    return np.zeros(shape, np.float32)


def boxes(fields: int, *, reach: float = 60.0) -> NDArray[np.float32]:
    """[1, fields, 84], centres up to `reach`."""
    values = zeros(1, fields, PLACES)
    values[0, :2] = np.linspace(0, reach, PLACES)
    return values


def test_a_known_name_goes_before_others_of_its_shape() -> None:
    seen = {"other": zeros(1), "pred_score": zeros(1, 1), "anomaly_map": zeros(1, 1, 8, 8), "second": zeros(1, 1, 4, 4)}
    choice = choose(seen, Asked(), SIZE)
    assert (choice.score, choice.heatmap, choice.map_shape) == ("pred_score", "anomaly_map", (8, 8))


def test_labels_and_masks_are_no_scores_and_no_maps() -> None:
    seen = {
        "label": np.zeros(1, np.int64),
        "mask": np.zeros((1, 1, 8, 8), np.bool_),
        "x": zeros(1),
        "y": zeros(1, 8, 8),
    }
    choice = choose(seen, Asked(), SIZE)
    assert (choice.score, choice.heatmap) == ("x", "y")


@pytest.mark.parametrize("seen", [{"a": zeros(1, 8, 16)}, {"a": zeros(1, 3, 8, 8)}, {"a": zeros(1, 2)}, {}])
def test_what_fits_nothing_is_not_guessed(seen: dict[str, NDArray[np.float32]]) -> None:
    with pytest.raises(InputError, match="cannot tell"):
        choose(seen, Asked(), SIZE)


def test_two_maps_without_a_known_name_are_not_guessed() -> None:
    with pytest.raises(InputError, match="cannot tell which of a, b is the heatmap"):
        choose({"a": zeros(1, 1, 8, 8), "b": zeros(1, 1, 4, 4)}, Asked(), SIZE)


def test_fields_of_an_outline_are_no_classes() -> None:
    values = boxes(4 + 2 + 32)
    values[0, 6:] = -3.0
    told = choose({"output0": values, "output1": zeros(1, 32, 16, 16)}, Asked(), SIZE).boxes
    assert told is not None
    assert (told.classes, told.count, told.has_objectness) == (2, PLACES, False)


def test_boxes_first_have_objectness_even_when_they_are_few() -> None:
    told = choose({"output0": boxes(5 + 90).transpose(0, 2, 1)}, Asked(), SIZE).boxes
    assert told is not None
    assert (told.is_fields_first, told.classes, told.count) == (False, 90, PLACES)


@pytest.mark.parametrize(("reach", "unit_px"), [(60.0, (1.0, 1.0)), (1.0, (64.0, 64.0))])
def test_coordinates_may_be_shares_of_the_picture(reach: float, unit_px: tuple[float, float]) -> None:
    told = choose({"output0": boxes(5, reach=reach)}, Asked(), SIZE).boxes
    assert told is not None
    assert told.unit_px == unit_px


def test_boxes_that_were_sorted_out_already_are_refused() -> None:
    with pytest.raises(InputError, match="nms=False"):
        choose({"output0": zeros(1, 300, 6)}, Asked(kind="boxes"), SIZE)


def test_an_embedding_of_its_own_is_taken() -> None:
    seen = {"score": zeros(1), "embedding": zeros(1, 16)}
    assert choose(seen, Asked(), SIZE).embedding == "embedding"
    assert choose({"score": zeros(1)}, Asked(), SIZE).embedding is None
