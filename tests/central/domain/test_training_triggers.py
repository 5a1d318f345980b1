# SPDX-License-Identifier: Apache-2.0
"""What calls for a training by labels and time, and what keeps it from starting."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from central.domain.training_triggers import Because, Recent, Standing, bound, decide
from central.learning_settings import TriggerSettings
from contracts.vocabulary import TrainingTrigger

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
RULES = TriggerSettings()
OLD = Standing(good=500, champion="c" * 64, trained_at=NOW - timedelta(days=10))
NEW = Standing(good=30, last_label_at=NOW - timedelta(hours=1))
L, S, F = TrainingTrigger.LABELS, TrainingTrigger.SCHEDULE, TrainingTrigger.FIRST_PARTS
DUE = NOW - timedelta(days=31)


@pytest.mark.parametrize(
    ("trigger", "known", "because"),
    [
        (L, replace(OLD, new_labels=199, new_by_class={"crack": 19}), Because.TOO_FEW_LABELS),
        (L, replace(OLD, new_labels=200), Because.CALLED_FOR),
        (L, replace(OLD, new_labels=20, new_by_class={"crack": 20}), Because.CALLED_FOR),
        # Twenty of two classes are not twenty of one.
        (L, replace(OLD, new_labels=30, new_by_class={"crack": 15, "fray": 15}), Because.TOO_FEW_LABELS),
        (L, replace(NEW, new_labels=500), Because.NOT_FIRST),
        (L, replace(OLD, good=29, new_labels=200), Because.TOO_FEW_LABELS),
        (L, replace(OLD, new_labels=200, in_the_way=(Because.BUSY, "t-1 is under way")), Because.BUSY),
        (S, replace(OLD, new_labels=50), Because.NOT_DUE),
        (S, replace(OLD, trained_at=DUE, new_labels=9), Because.TOO_FEW_LABELS),
        (S, replace(OLD, trained_at=DUE, new_labels=10), Because.CALLED_FOR),
        (S, NEW, Because.NOT_FIRST),
        (F, NEW, Because.CALLED_FOR),
        (F, replace(NEW, good=29), Because.TOO_FEW_LABELS),
        (F, replace(NEW, last_label_at=NOW - timedelta(seconds=599)), Because.STILL_COMING),
        (F, OLD, Because.NOT_FIRST),
        # One that failed or was refused is not tried again on the same parts.
        (F, replace(NEW, trained_at=NOW - timedelta(days=1)), Because.NOT_FIRST),
    ],
)
def test_each_trigger_says_yes_at_its_figure_and_not_before(
    trigger: TrainingTrigger, known: Standing, because: Because
) -> None:
    said = decide(trigger, known, RULES, 30, NOW)
    assert (said.because, said.is_yes) == (because, because is Because.CALLED_FOR), said.reason
    assert said.trigger is trigger
    assert said.reason


@pytest.mark.parametrize(
    ("trigger", "known", "off"),
    [
        (L, replace(OLD, new_labels=10_000, new_by_class={"crack": 9_000}), {"new_labels": 0, "new_class_labels": 0}),
        (S, replace(OLD, trained_at=DUE, new_labels=500), {"schedule_days": 0.0}),
        (F, NEW, {"is_first_automatic": False}),
    ],
)
def test_zero_switches_a_trigger_off(trigger: TrainingTrigger, known: Standing, off: dict[str, float]) -> None:
    assert decide(trigger, known, RULES, 30, NOW).is_yes
    said = decide(trigger, known, replace(RULES, **off), 30, NOW)  # type: ignore[arg-type]
    assert (said.is_yes, said.because) == (False, Because.OFF)


def test_zero_of_one_figure_leaves_the_other_in_force() -> None:
    known = replace(OLD, new_labels=300, new_by_class={"crack": 25})
    assert decide(L, known, replace(RULES, new_labels=0), 30, NOW).is_yes
    assert decide(L, replace(known, new_by_class={}), replace(RULES, new_class_labels=0), 30, NOW).is_yes
    assert not decide(L, replace(known, new_by_class={}), replace(RULES, new_labels=0), 30, NOW).is_yes


def test_quiet_time_counts_from_the_end_of_the_last_one_to_the_second() -> None:
    for seconds, is_quiet in ((3_599, True), (3_600, False)):
        stop = bound(Recent(NOW - timedelta(seconds=seconds)), RULES, NOW)
        assert (stop is not None) == is_quiet
    assert stop is None
    quiet = bound(Recent(NOW), RULES, NOW)
    assert quiet == (Because.QUIET, "quiet time until 2026-03-02 13:00 UTC, 1 h after the last one")
    assert bound(Recent(NOW), replace(RULES, quiet_hours=0.0), NOW) is None


def test_budget_of_a_week_is_of_any_seven_days_and_says_when_there_is_room_again() -> None:
    begun = tuple(NOW - timedelta(days=day) for day in range(1, 8))
    # The oldest of the seven is just a week old: it counts no more.
    assert bound(Recent(begun=begun), RULES, NOW) is None
    stop = bound(Recent(begun=begun), RULES, NOW - timedelta(seconds=1))
    assert stop is not None
    assert stop[0] is Because.BUDGET_SPENT
    assert stop[1].endswith("room again 2026-03-02 12:00 UTC")
    assert bound(Recent(begun=begun), replace(RULES, week_budget=0), NOW - timedelta(seconds=1)) is None


def test_bounds_hold_what_was_called_for_and_its_figures_stay_in_the_answer() -> None:
    known = replace(OLD, new_labels=250, recent=Recent(NOW))
    said = decide(L, known, RULES, 30, NOW)
    assert (said.is_yes, said.because) == (False, Because.QUIET)
    assert said.figures["new_labels"] == 250
    assert said.reason.startswith("250 new confirmed labels since the champion's dataset, 200 are enough; quiet")
    # What is not called for is not blamed on the quiet time.
    assert decide(L, replace(known, new_labels=1), RULES, 30, NOW).because is Because.TOO_FEW_LABELS


@pytest.mark.parametrize("trigger", [TrainingTrigger.ALARM, TrainingTrigger.PERSON])
def test_what_others_answer_is_refused(trigger: TrainingTrigger) -> None:
    with pytest.raises(ValueError, match="expected LABELS, SCHEDULE or FIRST_PARTS, got"):
        decide(trigger, OLD, RULES, 30, NOW)
