# SPDX-License-Identifier: Apache-2.0
"""When the active package counts as erring, and when it must not."""

import pytest

from contracts.vocabulary import VerdictCause
from edge_agent.packages.guard import GuardPolicy, PackageGuard, PartJudged

POLICY = GuardPolicy(errors_in_a_row=5, late_in_a_row=10, share=0.3, window=50, stuck_parts=100, sound_parts=20)


def part(cause: VerdictCause = VerdictCause.SCORE, **changes: object) -> PartJudged:
    values: dict[str, object] = {"cause": cause, "deadline_ms": 100.0, "score": 0.1, "infer_ms": 10.0}
    return PartJudged(**{**values, **changes})  # type: ignore[arg-type]  # a test names what it changes


def told(guard: PackageGuard, parts: list[PartJudged]) -> list[str]:
    return [why for each in parts if (why := guard.seen(each))]


def varied(count: int, score: float | None = None, measures: tuple[float, ...] | None = None) -> list[PartJudged]:
    """Parts with different scores and different pictures, but for what is given."""
    return [
        part(score=index / 1000 if score is None else score, measures=measures or (float(index),))
        for index in range(count)
    ]


ERROR = part(VerdictCause.INFERENCE_ERROR, score=None)


def test_errors_in_a_row_are_told_with_their_number() -> None:
    guard = PackageGuard(POLICY)
    assert told(guard, [ERROR] * 4) == []
    assert told(guard, [ERROR]) == ["5 parts in a row could not be judged by it"]


def test_errors_in_between_are_told_once_their_share_is_large() -> None:
    guard = PackageGuard(POLICY)
    found = told(guard, [ERROR if index % 3 == 0 else part(score=index / 1000) for index in range(60)])
    assert found[0] == "17 of the last 50 parts could not be judged by it"


def test_a_single_error_now_and_then_is_no_reason() -> None:
    guard = PackageGuard(POLICY)
    assert told(guard, [ERROR if index % 10 == 0 else part(score=index / 1000) for index in range(500)]) == []


@pytest.mark.parametrize(("infer_ms", "is_blamed"), [(60.0, True), (40.0, False), (None, False)])
def test_a_late_part_counts_only_when_the_graph_alone_took_half_the_deadline(
    infer_ms: float | None, is_blamed: bool
) -> None:
    guard = PackageGuard(POLICY)
    assert bool(told(guard, [part(VerdictCause.LATE, infer_ms=infer_ms, score=None)] * 50)) is is_blamed


def test_one_score_for_many_different_pictures_is_stuck() -> None:
    guard = PackageGuard(POLICY)
    (why,) = told(guard, varied(100, score=0.42))
    assert why == "100 parts in a row got the score 0.42, with 100 different pictures"


def test_equal_pictures_may_have_equal_scores_for_ever() -> None:
    guard = PackageGuard(POLICY)
    assert told(guard, varied(2000, score=0.42, measures=(120.0, 30.0, 5.0, 1.0))) == []


def test_few_odd_pictures_over_a_long_time_do_not_make_a_constant_scene_different() -> None:
    guard = PackageGuard(POLICY)
    scene = [part(score=0.42, measures=(120.0 if index % 5 else float(index),)) for index in range(2000)]
    assert told(guard, scene) == []


def test_a_level_at_which_golden_images_saturate_is_not_stuck() -> None:
    parts = varied(1000, score=0.0)
    assert told(PackageGuard(POLICY, levels={0.0}), parts) == []
    assert told(PackageGuard(POLICY, levels={1.0}), parts) != []


def test_one_other_score_begins_the_count_anew() -> None:
    guard = PackageGuard(POLICY)
    assert told(guard, [*varied(99, score=0.42), part(score=0.43), *varied(99, score=0.42)]) == []


def test_a_rule_with_0_is_off() -> None:
    guard = PackageGuard(GuardPolicy(errors_in_a_row=0, late_in_a_row=0, share=0, stuck_parts=0))
    late = part(VerdictCause.LATE, infer_ms=90.0)
    assert told(guard, [ERROR, late] * 200 + varied(1000, score=0.42)) == []


def test_judged_well_needs_parts_with_a_verdict() -> None:
    guard = PackageGuard(POLICY)
    told(guard, [part(VerdictCause.LATE, infer_ms=1.0, score=0.1 + index) for index in range(40)])
    assert not guard.has_judged_well
    told(guard, varied(20))
    assert guard.has_judged_well
