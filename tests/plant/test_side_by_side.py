# SPDX-License-Identifier: Apache-2.0
"""What was gained is said of the same pictures, judged by both packages at their own limits."""

import json
from pathlib import Path

import cv2
import pytest

from contracts.manifest import MANIFEST_NAME
from contracts.vocabulary import Verdict
from plant.findings.side_by_side import TwiceJudged, compare, judge_twice
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


def test_no_picture_is_no_rate_and_the_words_say_so() -> None:
    found = compare([], {"break"})
    assert found["escapes"]["new_kind"]["before"]["rate"] is None
    assert "not known" in " ".join(_side_by_side_lines(found, ["break"]))


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
