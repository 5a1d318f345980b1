# SPDX-License-Identifier: Apache-2.0
"""What of a judgement rides on the report of its part: the embedding, where it is short enough to travel."""

import numpy as np
import pytest

from contracts.reports import MAX_EMBEDDING, InspectionReported
from contracts.vocabulary import VerdictCause
from edge_agent.errors import InferenceError
from tests.edge.station_fakes import Bench


def _report(embedding: list[float]) -> InspectionReported:
    bench = Bench()
    bench.activate(0.1).embedding = np.array(embedding, np.float32)
    return bench.show(1)


def test_embedding_travels_with_two_decimals() -> None:
    report = _report([1.23456, -0.004, 3.0])
    assert report.embedding == [1.23, -0.0, 3.0]
    assert InspectionReported.model_validate_json(report.model_dump_json()) == report


def test_longest_embedding_that_travels_and_the_first_that_does_not() -> None:
    assert _report([0.5] * MAX_EMBEDDING).embedding == [0.5] * MAX_EMBEDDING
    report = _report([0.5] * (MAX_EMBEDDING + 1))
    assert report.embedding is None
    assert report.score == 0.1


@pytest.mark.parametrize("odd", [float("nan"), float("inf")])
def test_embedding_with_a_number_that_is_none_costs_the_embedding_and_not_the_report(odd: float) -> None:
    report = _report([0.5, odd])
    assert report.embedding is None
    assert report.cause is VerdictCause.SCORE


def test_value_beyond_what_travels_is_cut_there() -> None:
    assert _report([1e30, -1e30]).embedding == [1e4, -1e4]


def test_part_that_was_not_judged_has_none() -> None:
    bench = Bench()
    bench.activate(0.1).failure = InferenceError("broken")
    assert bench.show(1).embedding is None
