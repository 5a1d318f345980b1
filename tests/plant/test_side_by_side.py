# SPDX-License-Identifier: Apache-2.0
"""What was gained is said of the same pictures, judged by both packages at their own limits."""

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from contracts.manifest import MANIFEST_NAME
from contracts.vocabulary import Verdict
from plant.findings.demands import Demand, failings
from plant.findings.report import rate
from plant.findings.side_by_side import TwiceJudged, compare, judge_twice, true_rates_of
from plant.findings.summary import _side_by_side_lines
from plant.replay.pictures import ReplayItem, ReplaySet
from tests.edge import tiny_package

OK, NG, REVIEW = Verdict.OK, Verdict.NG, Verdict.REVIEW


def _judged(kind: str | None, old: Verdict, new: Verdict, part: str = "p") -> TwiceJudged:
    return TwiceJudged(ReplayItem(Path("x.png"), part, kind is not None, kind), old, new)


STORY = [
    _judged("break", OK, NG, "1"),
    _judged("break", OK, REVIEW, "1"),
    _judged("break", OK, OK, "2"),
    _judged("break", NG, OK, "2"),
    _judged("crack", OK, OK, "3"),
    _judged(None, OK, REVIEW, "4"),
    _judged(None, NG, OK, "5"),
    _judged(None, OK, OK, "6"),
]


def test_escapes_overkill_and_review_are_counted_over_the_same_pictures() -> None:
    found = compare(STORY, {"break"})
    assert (found["pictures"], found["parts"]) == (8, 6)
    fresh, every = found["escapes"]["new_kind"], found["escapes"]["all"]
    assert [(fresh[name]["count"], fresh[name]["of"]) for name in ("before", "after")] == [(3, 4), (2, 4)]
    assert (fresh["mended"], fresh["newly_let_through"], fresh["parts"]) == (2, 1, 2)
    assert [(every[name]["count"], every[name]["of"]) for name in ("before", "after")] == [(4, 5), (3, 5)]
    assert [found["overkill"][name]["count"] for name in ("before", "after")] == [1, 0]
    assert [found["review"][name]["count"] for name in ("before", "after")] == [0, 1]


def _told(story: list[TwiceJudged]) -> dict[str, Any]:
    """The part of a replay's report that tells of gains, with other figures on the line than on the same pictures."""
    found = compare(story, {"break"})
    line = {"escapes_before": {"new_kind": rate(28, 100)}, "escapes_after": {"new_kind": rate(46, 100)}}
    told = {"side_by_side": found, "on_the_line": line, "new_kinds": ["break"], "rollout_seconds": 13.0}
    return told | true_rates_of(found)


def test_no_picture_is_no_rate_and_the_words_say_so() -> None:
    assert compare([], {"break"})["escapes"]["new_kind"]["before"]["rate"] is None
    assert "not known" in " ".join(_side_by_side_lines(_told([])))


def test_true_rates_before_and_after_are_those_of_the_same_pictures() -> None:
    told = _told(STORY)
    assert told["true_rates_from"] == "same-pictures"
    for name, kind, counts in (
        ("escapes", "new_kind", (3, 2)),
        ("escapes", "all", (4, 3)),
        ("overkill", "all", (1, 0)),
        ("review", "new_kind", (0, 1)),
    ):
        figures = [told[f"true_{name}_{when}"][kind] for when in ("before", "after")]
        assert tuple(each["count"] for each in figures) == counts
        assert figures[0]["of"] == figures[1]["of"]


def test_the_words_tell_the_gain_on_the_same_pictures_from_what_the_line_met() -> None:
    text = "\n".join(_side_by_side_lines(_told(STORY)))
    assert "escapes     of break: before 75.0% (3 of 4" in text
    assert "on the line escapes of break: 28.0% (28 of 100" in text


def _replay_failings(story: list[TwiceJudged], **change: Any) -> list[str]:
    whole = {
        "parts_captured": 10, "reports_lost": 0, "reports_duplicated": 0, "reports_unknown": 0,
        "alarm_after_parts": 5, "training_seconds": 1.0,
    }  # fmt: skip
    return failings(whole | _told(story) | change, frozenset({Demand.LOOP_CLOSED}))


def test_a_loop_on_real_pictures_must_not_make_escapes_or_overkill_worse() -> None:
    assert _replay_failings(STORY) == []
    worse = [*STORY, _judged("break", NG, OK), _judged("break", NG, OK)]
    assert _replay_failings(worse) == ["escapes of the new kind went up from 3 of 6 (50.0%) to 4 of 6 (66.7%)"]
    good = [_judged(None, OK, NG) for _ in range(3)]
    assert _replay_failings([*STORY, *good]) == [
        "overkill went from 1 of 6 (16.7%) to 3 of 6 (50.0%) (demanded: not doubled)"
    ]


def test_a_gain_that_was_not_measured_on_the_same_pictures_is_not_taken_on_trust() -> None:
    assert "nobody knows what was gained" in _replay_failings(STORY, true_rates_from="line")[0]


@pytest.fixture(name="replay")
def _replay(tmp_path: Path) -> ReplaySet:
    items = []
    for level, side, is_defective in ((40, "B", False), (120, "B", True), (220, "B", True), (220, "A", True)):
        path = tmp_path / f"{level}-{side}.png"
        cv2.imwrite(str(path), tiny_package.part(level))
        items.append(ReplayItem(path, path.stem, is_defective, "break" if is_defective else None, None, side))
    return ReplaySet("folder", "ring", (), tuple(items), is_ordered=False, left_out={})


def test_both_packages_judge_each_picture_of_the_side_at_their_own_limits(tmp_path: Path, replay: ReplaySet) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for folder in (old, new):
        tiny_package.write_package(folder)
    manifest = json.loads((old / MANIFEST_NAME).read_text())
    manifest["limits"] |= {"ok_limit": 0.7, "ng_limit": 0.8}
    (old / MANIFEST_NAME).write_text(json.dumps(manifest))
    judged = judge_twice(replay, "B", old, new)
    assert [(each.old, each.new) for each in judged] == [(OK, OK), (OK, REVIEW), (NG, NG)]
