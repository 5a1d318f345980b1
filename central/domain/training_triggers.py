# SPDX-License-Identifier: Apache-2.0
"""Whether something calls for a training now, and whether one may start: yes or no, in words, with the figures.

Pure: what is known of a product comes in, a decision goes out, time is a parameter. Does not know how labels are
counted (`services/trainings/counts.py`) nor where decisions are kept (`services/trainings/decisions.py`). The rule for
alarms is older and stands in `services/trainings/requests.py`; what bounds it stands here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from central.learning_settings import TriggerSettings
from contracts.vocabulary import TrainingTrigger

WEEK: Final = timedelta(days=7)
UNNAMED: Final = "without a class"


class Because(StrEnum):
    """What a decision comes down to. Another one is another answer; other figures under the same one are not."""

    CALLED_FOR = "CALLED_FOR"
    OFF = "OFF"
    # Not enough of what the trigger waits for.
    TOO_FEW_LABELS = "TOO_FEW_LABELS"
    NOT_DUE = "NOT_DUE"
    STILL_COMING = "STILL_COMING"
    NOT_FIRST = "NOT_FIRST"
    SAME_EVIDENCE = "SAME_EVIDENCE"
    # It was called for, and something stands in the way.
    OTHER_CAUSE = "OTHER_CAUSE"
    BUSY = "BUSY"
    AWAITS_ROLLOUT = "AWAITS_ROLLOUT"
    QUIET = "QUIET"
    BUDGET_SPENT = "BUDGET_SPENT"
    REFUSED = "REFUSED"


@dataclass(frozen=True)
class Decision:
    """An answer to "does this trigger start a training of this product now?"."""

    trigger: TrainingTrigger
    because: Because
    reason: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_yes(self) -> bool:
        """A training is started."""
        return self.because is Because.CALLED_FOR


@dataclass(frozen=True)
class Recent:
    """Trainings of a product that no person asked for: when the last one ended, and when those of a week began."""

    last_ended_at: datetime | None = None
    begun: tuple[datetime, ...] = ()


@dataclass(frozen=True)
class Standing:
    """What is known of a product.

    Attributes:
        good: firm good labels; where the product trained before, counted no farther than is asked for.
        last_label_at: when the last label came, where it never trained.
        trained_at: when the last training was asked for that still counts; None: never.
        new_labels: confirmed labels since what the champion and that training learnt from.
        new_by_class: of the defective ones among them, by class.
        champion: its package; None: none yet.
        recent: trainings that no person asked for.
        in_the_way: what forbids any training now, in words, with what it is; None: nothing.
    """

    good: int = 0
    last_label_at: datetime | None = None
    trained_at: datetime | None = None
    new_labels: int = 0
    new_by_class: Mapping[str, int] = field(default_factory=dict)
    champion: str | None = None
    recent: Recent = field(default_factory=Recent)
    in_the_way: tuple[Because, str] | None = None


def decide(trigger: TrainingTrigger, known: Standing, rules: TriggerSettings, min_good: int, now: datetime) -> Decision:
    """The answer of one trigger that looks at labels and time: `LABELS`, `SCHEDULE` or `FIRST_PARTS`.

    Args:
        trigger: one of the three.
        known: of the product.
        rules: the settings.
        min_good: sound parts that a first training needs.
        now: aware time.

    Raises:
        ValueError: another trigger.
    """
    if trigger is TrainingTrigger.LABELS:
        wanted = _on_labels(known, rules)
    elif trigger is TrainingTrigger.SCHEDULE:
        wanted = _on_schedule(known, rules, now)
    elif trigger is TrainingTrigger.FIRST_PARTS:
        wanted = _on_first_parts(known, rules, min_good, now)
    else:
        msg = f"trigger: expected LABELS, SCHEDULE or FIRST_PARTS, got {trigger}"
        raise ValueError(msg)
    if not wanted.is_yes:
        return wanted
    if known.good < min_good:
        words = f"{wanted.reason}; but {known.good} of {min_good} sound parts"
        return Decision(trigger, Because.TOO_FEW_LABELS, words, wanted.figures)
    stop = known.in_the_way or bound(known.recent, rules, now)
    if stop is None:
        return wanted
    return Decision(trigger, stop[0], f"{wanted.reason}; {stop[1]}", wanted.figures)


def bound(recent: Recent, rules: TriggerSettings, now: datetime) -> tuple[Because, str] | None:
    """What the quiet time or the budget of a week says against a training that no person asks for; None: nothing."""
    if recent.last_ended_at is not None:
        quiet_until = recent.last_ended_at + timedelta(hours=rules.quiet_hours)
        if now < quiet_until:
            return Because.QUIET, f"quiet time until {_at(quiet_until)}, {rules.quiet_hours:g} h after the last one"
    begun = sorted(at for at in recent.begun if at > now - WEEK)
    if rules.week_budget and len(begun) >= rules.week_budget:
        free_at = begun[-rules.week_budget] + WEEK
        return (
            Because.BUDGET_SPENT,
            f"the budget of {rules.week_budget} a week is spent ({len(begun)} in 7 days); room again {_at(free_at)}",
        )
    return None


def _on_labels(known: Standing, rules: TriggerSettings) -> Decision:
    name = max(known.new_by_class, key=lambda one: (known.new_by_class[one], one), default=None)
    most = known.new_by_class[name] if name is not None else 0
    figures = {
        "new_labels": known.new_labels,
        "wanted": rules.new_labels,
        "new_by_class": dict(sorted(known.new_by_class.items())),
        "wanted_of_a_class": rules.new_class_labels,
    }
    since = "since the champion's dataset"
    if not rules.new_labels and not rules.new_class_labels:
        return Decision(TrainingTrigger.LABELS, Because.OFF, "switched off (triggers.new_labels)", figures)
    if known.champion is None:
        return Decision(TrainingTrigger.LABELS, Because.NOT_FIRST, "there is no champion to be newer than", figures)
    if rules.new_class_labels and most >= rules.new_class_labels:
        words = f"{most} new confirmed labels of {name} {since}, {rules.new_class_labels} of a class are enough"
        return Decision(TrainingTrigger.LABELS, Because.CALLED_FOR, words, figures)
    if rules.new_labels and known.new_labels >= rules.new_labels:
        words = f"{known.new_labels} new confirmed labels {since}, {rules.new_labels} are enough"
        return Decision(TrainingTrigger.LABELS, Because.CALLED_FOR, words, figures)
    wanted = [
        *([f"{known.new_labels} of {rules.new_labels} new confirmed labels"] if rules.new_labels else []),
        *([f"{most} of {rules.new_class_labels} of one class"] if rules.new_class_labels else []),
    ]
    return Decision(TrainingTrigger.LABELS, Because.TOO_FEW_LABELS, f"{', '.join(wanted)} {since}", figures)


def _on_schedule(known: Standing, rules: TriggerSettings, now: datetime) -> Decision:
    trigger = TrainingTrigger.SCHEDULE
    figures: dict[str, Any] = {"new_labels": known.new_labels, "wanted": rules.schedule_labels}
    if not rules.schedule_days:
        return Decision(trigger, Because.OFF, "switched off (triggers.schedule_days)", figures)
    if known.champion is None or known.trained_at is None:
        return Decision(trigger, Because.NOT_FIRST, "nothing was trained that could be renewed", figures)
    due_at = known.trained_at + timedelta(days=rules.schedule_days)
    figures["due_at"] = due_at.isoformat()
    if now < due_at:
        return Decision(trigger, Because.NOT_DUE, f"due {_at(due_at)}, every {rules.schedule_days:g} days", figures)
    if known.new_labels < rules.schedule_labels:
        words = f"due since {_at(due_at)}, but {known.new_labels} of {rules.schedule_labels} new confirmed labels"
        return Decision(trigger, Because.TOO_FEW_LABELS, f"{words}: the same labels teach the same", figures)
    words = f"due since {_at(due_at)}, {known.new_labels} new confirmed labels"
    return Decision(trigger, Because.CALLED_FOR, words, figures)


def _on_first_parts(known: Standing, rules: TriggerSettings, min_good: int, now: datetime) -> Decision:
    trigger = TrainingTrigger.FIRST_PARTS
    figures = {"good": known.good, "wanted": min_good}
    if known.champion is not None or known.trained_at is not None:
        return Decision(trigger, Because.NOT_FIRST, "the product has trained before", {})
    if not rules.is_first_automatic:
        return Decision(trigger, Because.OFF, "switched off (triggers.is_first_automatic)", figures)
    if known.good < min_good:
        return Decision(trigger, Because.TOO_FEW_LABELS, f"{known.good} of {min_good} sound parts", figures)
    if known.last_label_at is not None:
        still_at = known.last_label_at + timedelta(seconds=rules.first_wait_s)
        if now < still_at:
            words = f"{known.good} sound parts, enough; waiting until none was added for {rules.first_wait_s:g} s"
            return Decision(trigger, Because.STILL_COMING, words, figures)
    words = f"{known.good} sound parts of a new product, {min_good} are enough"
    return Decision(trigger, Because.CALLED_FOR, words, figures)


def _at(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
