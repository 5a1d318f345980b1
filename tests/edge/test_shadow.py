# SPDX-License-Identifier: Apache-2.0
"""What a challenger in shadow may and may not do to the champion, with real threads."""

import random
import threading
import time
from collections.abc import Callable, Iterator, MutableSequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.ids import InspectionId
from contracts.reports import ChallengerVerdict, ShadowCounts
from contracts.vocabulary import Verdict, VerdictCause
from edge_agent.clock import SystemClock
from edge_agent.decision import decide, no_decision
from edge_agent.errors import InferenceError
from edge_agent.inference.challenger import Trial
from edge_agent.inference.session import Inference, LoadedPackage
from edge_agent.inference.shadow import Shadow
from edge_agent.judging import Judgement
from edge_agent.recipes.recipe import Recipe
from tests.edge.station_fakes import STATION, ScoreSession, loaded, textured
from tests.fakes.waiting import wait_until

CHAMPION, CHALLENGER = "aa" * 32, "bb" * 32


class Blocked(ScoreSession):
    """Does not answer before it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Event()
        self.may_go = threading.Event()

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        self.entered.set()
        self.may_go.wait()
        return super().run(image_bgr)


class Stage:
    """A shadow, and parts that a champion has judged."""

    def __init__(self, **settings: object) -> None:
        self.clock = SystemClock()
        self.pictures: list[InspectionId] = []
        self.waiting = 0
        self.shadow = Shadow(
            self.clock,
            waiting=lambda: self.waiting,
            ask_picture=self.pictures.append,
            **{"share": 1.0, **settings},  # type: ignore[arg-type]
        )
        self.sequence = 0
        # The line pauses, with a takt that is known.
        for _ in range(10):
            self.shadow.begun()
            self.shadow.ended()
            time.sleep(0.002)

    def try_out(self, session: ScoreSession) -> None:
        package = loaded("ring", session, package_id=CHALLENGER)
        self.shadow.set("ring", Trial(package, expected_ms=0.1))

    def offer(self, score: float = 0.1, **changes: object) -> None:
        """A part that the champion gave this score."""
        self.sequence += 1
        recipe = Recipe()
        judgement = Judgement(
            decision=decide(score, ok_limit=0.3, ng_limit=0.6, elapsed_ms=0, recipe=recipe),
            product="ring",
            decided_s=0.0,
            package=loaded("ring", ScoreSession(score), package_id=CHAMPION),
            view=textured(),
            infer_ms=2.0,
            recipe=recipe,
        )
        inspection = InspectionId(station=STATION, epoch=77, sequence=self.sequence)
        self.shadow.offer(inspection, replace(judgement, **changes))  # type: ignore[arg-type]

    def wait(self, is_so: Callable[[], bool]) -> None:
        wait_until(is_so, lambda: f"{self.shadow.counts('ring')} {self.shadow.trouble('ring')}")

    def wait_counts(self, **wanted: int) -> None:
        def is_so() -> bool:
            counts = self.shadow.counts("ring")
            return counts is not None and all(getattr(counts, name) == value for name, value in wanted.items())

        self.wait(is_so)

    def due(self) -> list[ChallengerVerdict]:
        found = []
        while (said := self.shadow.due()) is not None:
            found.append(said)
        return found


@pytest.fixture(name="stage")
def _stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.shadow.close()


def test_verdict_score_and_time_of_the_challenger_are_told_once_for_its_part(stage: Stage) -> None:
    stage.try_out(ScoreSession(0.7))
    stage.offer(0.1)
    stage.wait_counts(judged=1, discordant=1)
    (said,) = stage.due()
    assert (said.sequence, said.package_id, said.verdict, said.score) == (1, CHALLENGER, Verdict.NG, 0.7)
    assert said.infer_ms is not None
    assert stage.due() == []


def test_picture_of_a_discordant_part_is_asked_for_unless_it_goes_anyway(stage: Stage) -> None:
    stage.try_out(ScoreSession(0.1))
    for score in (0.1, 0.4, 0.7):
        stage.offer(score)
    stage.wait_counts(judged=3, discordant=2)
    assert stage.pictures == []
    stage.try_out(ScoreSession(0.4))
    stage.offer(0.1)
    stage.offer(0.7)
    stage.wait_counts(judged=2, discordant=1)
    assert [each.sequence for each in stage.pictures] == [4]


def test_pictures_are_bounded_by_the_hour() -> None:
    stage = Stage(pictures_per_hour=2)
    stage.try_out(ScoreSession(0.9))
    for number in range(1, 6):
        stage.offer(0.1)
        stage.wait_counts(judged=number)
    assert [each.sequence for each in stage.pictures] == [1, 2]
    assert stage.shadow.pictures_withheld == 3
    stage.shadow.close()


def test_challenger_that_never_returns_holds_up_nobody_and_is_over() -> None:
    stage = Stage(hung_after_s=0.05)
    session = Blocked()
    stage.try_out(session)
    stage.offer()
    assert session.entered.wait(30)
    # All on the judge's thread: were one of them to wait for the challenger, the test would never end.
    for _ in range(20):
        stage.shadow.begun()
        stage.offer()
        assert stage.shadow.due() is None
        stage.shadow.ended()
    counts = stage.shadow.counts("ring")
    assert counts is not None
    assert (counts.judged, counts.skipped) == (0, 16)
    stage.wait(lambda: bool(stage.shadow.trouble("ring")))
    assert stage.shadow.trouble("ring") == "one part took longer than 0.05 s"
    stage.shadow.set("ring", None)
    session.may_go.set()
    time.sleep(0.05)
    assert stage.due() == []
    stage.shadow.close()


def test_another_challenger_judges_while_a_hanging_one_is_left_behind() -> None:
    stage = Stage(hung_after_s=0.05)
    session = Blocked()
    stage.try_out(session)
    stage.offer()
    assert session.entered.wait(30)
    stage.try_out(ScoreSession(0.1))
    stage.offer()
    stage.wait_counts(judged=1)
    session.may_go.set()
    stage.shadow.close()


@pytest.mark.parametrize(
    ("score", "failure"),
    [
        (float("nan"), None),
        (float("inf"), None),
        (0.1, InferenceError("no")),
        (0.1, RuntimeError("driver")),
    ],
)
def test_challenger_that_fails_is_counted_told_and_over_after_too_many_in_a_row(
    score: float, failure: Exception | None
) -> None:
    session = ScoreSession(score)
    session.failure = failure
    stage = Stage(errors_in_a_row=3)
    stage.try_out(session)
    for number in range(1, 4):
        stage.offer()
        stage.wait_counts(errors=number)
    assert stage.shadow.trouble("ring").startswith("3 parts in a row failed, the last: ")
    assert {(said.verdict, said.score) for said in stage.due()} == {(Verdict.NO_DECISION, None)}
    stage.offer()
    stage.wait_counts(judged=0, errors=3, skipped=1)
    stage.shadow.close()


def test_challenger_waits_while_parts_wait_for_the_champion(stage: Stage) -> None:
    session = ScoreSession()
    stage.try_out(session)
    stage.waiting = 1
    stage.offer()
    time.sleep(0.1)
    assert session.runs == 0
    stage.waiting = 0
    stage.wait_counts(judged=1)


def test_challenger_waits_while_the_champion_judges(stage: Stage) -> None:
    session = ScoreSession()
    stage.try_out(session)
    stage.shadow.begun()
    stage.offer()
    time.sleep(0.1)
    assert session.runs == 0
    stage.shadow.ended()
    stage.wait_counts(judged=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"decision": no_decision(VerdictCause.LATE)},
        {"decision": no_decision(VerdictCause.INFERENCE_ERROR)},
        {"view": None},
        {"package": None},
        {"package": loaded("ring", ScoreSession(), package_id=CHALLENGER)},
    ],
    ids=["late", "failed", "no picture", "no package", "judged by itself"],
)
def test_only_parts_that_the_champion_judged_are_offered(stage: Stage, changes: dict[str, object]) -> None:
    session = ScoreSession()
    stage.try_out(session)
    stage.offer(0.1, **changes)
    stage.offer()
    stage.wait_counts(judged=1, skipped=0, errors=0)
    assert session.runs == 1


def test_the_judged_picture_is_a_copy(stage: Stage) -> None:
    seen: list[int] = []

    class Looking(ScoreSession):
        def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
            seen.append(int(image_bgr[0, 0, 0]))
            return super().run(image_bgr)

    stage.try_out(Looking())
    stage.shadow.begun()
    view = textured()
    view[0, 0] = 7
    stage.offer(view=view)
    # The camera writes its next frame into the same memory.
    view[:] = 99
    stage.shadow.ended()
    stage.wait_counts(judged=1)
    assert seen == [7]


class Slow(ScoreSession):
    """Takes as long as it is told, and keeps in one list who ran."""

    def __init__(self, name: str, takes_s: float, order: list[str]) -> None:
        super().__init__()
        self._name, self._takes_s, self._order = name, takes_s, order

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        self._order.append(self._name)
        time.sleep(self._takes_s)
        return super().run(image_bgr)


def champion(session: ScoreSession) -> LoadedPackage:
    return loaded("ring", session, package_id=CHAMPION)


def test_the_champion_is_timed_in_shadow_and_not_on_the_line(stage: Stage) -> None:
    order: list[str] = []
    stage.try_out(Slow("challenger", 0.001, order))
    stage.offer(infer_ms=900.0, package=champion(Slow("champion", 0.03, order)))
    stage.wait_counts(judged=1)
    (said,) = stage.due()
    assert sorted(order) == ["challenger", "champion"]
    assert said.infer_ms is not None
    assert said.champion_infer_ms is not None
    assert said.infer_ms < 30 <= said.champion_infer_ms < 900
    counts = stage.shadow.counts("ring")
    assert counts is not None
    assert (counts.champion_p99_ms, counts.challenger_p99_ms) == (said.champion_infer_ms, said.infer_ms)


def test_chance_says_who_is_timed_first() -> None:
    stage = Stage(chance=random.Random(3))
    order: list[str] = []
    stage.try_out(Slow("challenger", 0.0, order))
    for number in range(1, 41):
        stage.offer(package=champion(Slow("champion", 0.0, order)))
        stage.wait_counts(judged=number)
    firsts = order[::2]
    assert 10 <= firsts.count("champion") <= 30
    assert order.count("champion") == order.count("challenger") == 40
    stage.shadow.close()


def test_later_only_one_part_in_four_is_timed(stage: Stage) -> None:
    package = loaded("ring", ScoreSession(), package_id=CHALLENGER)
    stage.shadow.set("ring", Trial(package, expected_ms=0.1, counts=ShadowCounts(judged=1598)))
    for number in range(1599, 1611):
        stage.offer()
        stage.wait_counts(judged=number)
    is_timed = [said.champion_infer_ms is not None for said in stage.due()]
    assert is_timed == [True, True, *[False, False, False, True] * 2, False, False]


def test_a_challenger_that_fails_costs_no_run_of_the_champion_after_it_and_has_no_time_beside_it() -> None:
    stage = Stage(chance=FirstComesLast())
    order: list[str] = []
    failing = ScoreSession()
    failing.failure = InferenceError("no")
    stage.try_out(failing)
    stage.offer(package=champion(Slow("champion", 0.0, order)))
    stage.wait_counts(errors=1)
    (said,) = stage.due()
    assert (said.champion_infer_ms, order) == (None, [])
    stage.shadow.close()


def test_a_champion_that_fails_in_shadow_is_not_held_against_the_challenger(stage: Stage) -> None:
    failing = ScoreSession()
    failing.failure = InferenceError("no")
    stage.try_out(ScoreSession(0.1))
    stage.offer(package=champion(failing))
    stage.wait_counts(judged=1, errors=0)
    (said,) = stage.due()
    assert (said.verdict, said.champion_infer_ms) == (Verdict.OK, None)
    counts = stage.shadow.counts("ring")
    assert counts is not None
    assert counts.champion_p99_ms is None


class FirstComesLast(random.Random):
    """The challenger always first."""

    def shuffle(self, x: MutableSequence[Any]) -> None:
        x.reverse()
