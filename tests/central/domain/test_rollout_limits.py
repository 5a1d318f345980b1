# SPDX-License-Identifier: Apache-2.0
"""Limits of a baking wave from its stations' own past: the machine, the counting, and both errors by simulation."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from central.domain.rollout import step, with_waves
from central.domain.rollout_conditions import BakePolicy, Seen
from central.domain.rollout_gates import WaveAnswer, WaveOutcome
from central.domain.rollout_limits import Counts, LimitTerms, WaveLimits, allowed_in_chunk, chunks_of, count_part
from central.domain.rollout_plan import ControlPlan, WavePlan, WaveScope, choose_waves
from central.domain.rollout_shapes import Assign, RollBack, Rollout
from central.domain.rollout_waves import waves_of
from contracts.vocabulary import PackageState, RolloutState, Verdict, VerdictCause, WaveState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
POLICY = BakePolicy(bake_parts=20)
BAKED = {"a": Seen(PackageState.ACTIVE, judged=20, heard_at=NOW)}
TERMS = LimitTerms(alpha=0.05, chunk_parts=10, least_chunks=5, needs_limits=True)
STATIONS = ("st-1", "st-2", "st-3")
RUNS = 2_000


def answer(outcome: WaveOutcome, *reasons: str) -> dict[int, WaveAnswer]:
    return {0: WaveAnswer(outcome, reasons, {})}


def canary(control: ControlPlan | None = None, *, has_previous: bool = True) -> Rollout:
    plan = (replace(WavePlan(WaveScope.COUNT, 1), control=control), WavePlan())
    planned = with_waves(Rollout((), has_previous=has_previous), waves_of(choose_waves(["a", "b"], plan)))
    begun, _ = step(planned, {}, POLICY, NOW)
    baking, _ = step(begun, {"a": Seen(PackageState.ACTIVE, heard_at=NOW)}, POLICY, NOW)
    return baking


@pytest.mark.parametrize("said", [{}, answer(WaveOutcome.NOT_ENOUGH_EVIDENCE, "rejects: 2 of 5 chunks")])
def test_wave_whose_limits_have_shown_nothing_never_finishes(said: dict[int, WaveAnswer]) -> None:
    rollout, actions = step(canary(ControlPlan()), BAKED, POLICY, NOW, limits=said)
    again, more = step(rollout, BAKED, POLICY, NOW, limits=said)
    assert (actions, more) == ((), ())
    assert (again.state, again.waves[0].state) == (RolloutState.RUNNING, WaveState.RUNNING)
    assert again.waves[0].waits.startswith("not enough evidence for its limits: ")
    after, given = step(again, BAKED, POLICY, NOW, limits=answer(WaveOutcome.PASSED))
    assert (after.waves[0].state, given, after.waves[0].waits) == (WaveState.FINISHED, (Assign("b"),), "")


def test_wave_whose_limits_fail_sends_every_touched_station_back_also_while_paused() -> None:
    for state in (RolloutState.RUNNING, RolloutState.PAUSED):
        baking = replace(canary(ControlPlan()), state=state)
        rollout, actions = step(baking, {}, POLICY, NOW, limits=answer(WaveOutcome.FAILED, "rejects: 9 of 10"))
        assert (rollout.state, actions) == (RolloutState.ERROR, (RollBack("a"),))
        assert "ERROR: limits of canary: rejects: 9 of 10" in rollout.history[-2]


def test_limits_hold_after_their_wave_has_finished_and_until_the_rollout_ends() -> None:
    rollout, _ = step(canary(ControlPlan()), BAKED, POLICY, NOW, limits=answer(WaveOutcome.PASSED))
    after, actions = step(rollout, BAKED, POLICY, NOW, limits=answer(WaveOutcome.FAILED, "station health: 3 of 10"))
    assert (after.state, set(actions)) == (RolloutState.ERROR, {RollBack("a"), RollBack("b")})


@pytest.mark.parametrize("changes", [{"control": None}, {"control": ControlPlan(), "has_previous": False}])
def test_wave_without_limits_in_its_plan_or_without_a_package_before_needs_none(changes: dict[str, Any]) -> None:
    rollout, _ = step(canary(**changes), BAKED, POLICY, NOW)
    assert rollout.waves[0].state is WaveState.FINISHED


def test_limits_are_on_unless_people_turn_them_off() -> None:
    assert WavePlan().control == ControlPlan()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha": 0.5}, "control alpha: expected a number above 0"),
        ({"chunk_parts": 0}, "control chunk_parts: expected 1 to 100, got 0"),
        ({"least_chunks": 0}, "watching nothing is no success"),
        ({"tolerated_factor": 0.5}, "tolerated_factor: expected 1"),
    ],
)
def test_limits_that_cannot_be_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ControlPlan(**changes)


def test_each_part_is_counted_as_what_it_is() -> None:
    score, late = VerdictCause.SCORE, VerdictCause.LATE
    said = [(Verdict.OK, score), (Verdict.NG, score), (Verdict.REVIEW, score)]
    said += [(Verdict.NO_DECISION, VerdictCause.IMAGE_FAULT), (Verdict.NO_DECISION, late)]
    parts = [count_part(*each) for each in said]
    assert parts == [(0, 0, 0), (1, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    # The oldest is left over.
    assert chunks_of(parts, 2) == [(2, 0, 0), (0, 1, 1)]


def test_rightly_diverted_parts_are_allowed_for_as_a_binomial_says() -> None:
    rng = np.random.default_rng(3)
    for share, parts in ((0.05, 20), (0.2, 100)):
        allowed = allowed_in_chunk(share, parts)
        drawn = rng.binomial(parts, share, 50_000)
        assert (drawn <= allowed).mean() >= 0.99 > (drawn <= allowed - 1).mean()
    assert (allowed_in_chunk(0.0, 50), allowed_in_chunk(1.0, 50)) == (0, 50)


def drawn(rng: np.random.Generator, shares: tuple[float, ...], chunks: int, terms: LimitTerms) -> list[Counts]:
    """Chunks of parts with these shares of rejects, image faults and parts without a decision."""
    counts = rng.multinomial(terms.chunk_parts, [*shares, 1.0 - sum(shares)], chunks).tolist()
    return [(rejects, faults, undecided) for rejects, faults, undecided, _ in counts]


def play(
    rng: np.random.Generator,
    before: tuple[float, ...],
    after: tuple[float, ...],
    terms: LimitTerms = TERMS,
    *,
    past: int = 60,
    chunks: int = 12,
    stations: tuple[str, ...] = STATIONS,
) -> WaveAnswer:
    """Answer of one wave after so many chunks at each station. An abort is final: it need not be asked for before."""
    limits = WaveLimits(terms, {station: drawn(rng, before, past, terms) for station in stations})
    for _ in range(chunks):
        for station in stations:
            limits.take(station, *drawn(rng, after, 1, terms))
    return limits.answer(stations)


@pytest.mark.parametrize(
    ("stations", "past", "chunks"),
    [(STATIONS[:1], 40, 8), pytest.param(STATIONS, 100, 20, marks=pytest.mark.slow)],
    ids=["a canary", "three stations"],
)
def test_unchanged_process_is_sent_back_in_at_most_5_percent(stations: tuple[str, ...], past: int, chunks: int) -> None:
    rng, shares = np.random.default_rng(31), (0.1, 0.03, 0.02)
    seen = [play(rng, shares, shares, past=past, chunks=chunks, stations=stations).outcome for _ in range(RUNS)]
    assert seen.count(WaveOutcome.FAILED) / RUNS <= 0.05


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ((0.1, 0.0, 0.0), (0.4, 0.0, 0.0), "rejects"),
        ((0.3, 0.0, 0.0), (0.0, 0.0, 0.0), "missing rejects"),
        ((0.1, 0.01, 0.0), (0.1, 0.3, 0.0), "image faults"),
        ((0.1, 0.0, 0.01), (0.1, 0.0, 0.3), "station health"),
    ],
)
def test_worse_process_is_sent_back_and_the_reason_names_what_is_worse(
    before: tuple[float, ...], after: tuple[float, ...], name: str
) -> None:
    rng = np.random.default_rng(32)
    answers = [play(rng, before, after, past=150, chunks=20) for _ in range(40)]
    failed = [each for each in answers if each.outcome is WaveOutcome.FAILED]
    assert len(failed) >= 38
    assert all(any(reason.startswith(f"{name}: ") for reason in each.reasons) for each in failed)


def test_what_is_tolerated_and_what_audits_promise_is_not_held_against_it() -> None:
    rng = np.random.default_rng(33)
    before, after = (0.1, 0.0, 0.0), (0.2, 0.0, 0.0)
    for terms in (replace(TERMS, tolerated_factor=3.0), replace(TERMS, rightly_diverted=0.12)):
        answers = [play(rng, before, after, terms, past=150, chunks=20) for _ in range(40)]
        assert sum(each.outcome is WaveOutcome.FAILED for each in answers) <= 2


def test_passed_only_when_every_station_was_watched_for_long_enough() -> None:
    rng = np.random.default_rng(34)
    limits = WaveLimits(TERMS, {station: drawn(rng, (0.1, 0.0, 0.0), 60, TERMS) for station in STATIONS})
    assert limits.answer(()).reasons == ("no station judges with it yet",)
    for station in STATIONS:
        for chunk in drawn(rng, (0.1, 0.0, 0.0), 5 if station != "st-2" else 4, TERMS):
            limits.take(station, chunk)
    said = limits.answer(STATIONS)
    assert said.outcome is WaveOutcome.NOT_ENOUGH_EVIDENCE
    assert said.reasons[0] == "rejects: 4 of 5 chunks of 10 parts at st-2"
    # A station that is away is not waited for here; the wave's plan says whether it may be.
    assert limits.answer(("st-1", "st-3")).outcome is WaveOutcome.PASSED


@pytest.mark.parametrize("past", [[], [(1, 0, 0)] * 19, [(index // 4, 0, 0) for index in range(40)]])
def test_past_that_gives_no_limits_holds_the_wave_or_is_told(past: list[Counts]) -> None:
    """No past, too short a one, one that drifts."""
    for needs, outcome in ((True, WaveOutcome.NOT_ENOUGH_EVIDENCE), (False, WaveOutcome.PASSED)):
        limits = WaveLimits(replace(TERMS, needs_limits=needs), {"st-1": past})
        for _ in range(10):
            limits.take("st-1", (1, 0, 0))
        said = limits.answer(("st-1",))
        assert said.outcome is outcome
        told = said.evidence["quantities"]["rejects"]["without_limits"]["st-1"]
        assert told.startswith("expected a past of at least 20 independent chunks")
        assert needs is any("no limits for st-1: expected a past" in reason for reason in said.reasons)


def test_evidence_gives_counts_denominators_and_limits() -> None:
    limits = WaveLimits(TERMS, {"st-1": [(2, 0, 0), (1, 0, 1)] * 20})
    for _ in range(3):
        limits.take("st-1", (4, 1, 0))
    told = limits.answer(("st-1",)).evidence["quantities"]["rejects"]
    row = told["stations"]["st-1"]
    assert (row["hits"], row["parts"], row["past_hits"], row["past_parts"]) == (12, 30, 60, 400)
    assert (row["past_chunk_most"], row["chunk_most"], told["alpha"]) == (2, 4, 0.05 / 4)
    assert told["log_e_needed"] == pytest.approx(np.log(80))
    assert told["log_e_abort"] > 0
