# SPDX-License-Identifier: Apache-2.0
"""Whether the active package errs at this station: three rules over the parts that it was asked about. Pure.

- Errors: exceptions and scores that are no number, so many in a row or so large a share of the last parts.
- Late: parts that were late and of which the graph alone took more than half the deadline. A part that was late for the
  camera's or the queue's sake says nothing of the package.
- Stuck: so many parts in a row with one and the same score, to the last bit, although their pictures differ. A
  picture of a real camera never repeats (noise), so a graph that looks at it gives another score each time; one that
  does not is broken. Two kinds of scene repeat a score rightly and are excepted: equal pictures (a simulated camera;
  fewer than half of the pictures differ in their measures), and a level at which the package saturates, that is, a
  score that two of its own golden images share on this device (a classifier that is sure says 0 for every sound part).

Falls back to nothing itself. Used by `packages.watching`.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from contracts.vocabulary import VerdictCause

# A share of fewer parts is an accident.
_LEAST_OF_A_SHARE: Final = 10


@dataclass(frozen=True)
class GuardPolicy:
    """When a package counts as erring; 0 switches a rule off.

    Args:
        errors_in_a_row: parts whose inference failed, one after the other.
        late_in_a_row: parts that were late for the graph's sake, one after the other.
        share: of the last `window` parts, for either; at least ten parts.
        window: parts that the share is taken of.
        stuck_parts: parts in a row with the same score.
        sound_parts: judged without an error before the package counts as one that judged well.
    """

    errors_in_a_row: int = 5
    late_in_a_row: int = 10
    share: float = 0.3
    window: int = 50
    stuck_parts: int = 300
    sound_parts: int = 50


@dataclass(frozen=True)
class PartJudged:
    """What the guard looks at of one part. `measures`: of its picture, to tell pictures apart; None: not measured."""

    cause: VerdictCause
    deadline_ms: float
    score: float | None = None
    infer_ms: float | None = None
    measures: tuple[float, ...] | None = None


class PackageGuard:
    """Follows one package from its first part on.

    Args:
        levels: scores at which it saturates rightly.
    """

    def __init__(self, policy: GuardPolicy, levels: Collection[float] = ()) -> None:
        self._policy = policy
        self._levels = frozenset(levels)
        self._errors: deque[bool] = deque(maxlen=policy.window)
        self._late: deque[bool] = deque(maxlen=policy.window)
        self._stuck_at: float | None = None
        self._stuck_for = 0
        self._pictures: set[tuple[float, ...]] = set()
        self.sound = 0
        self.parts = 0

    @property
    def has_judged_well(self) -> bool:
        """Whether it has shown that it can judge here."""
        return self.sound >= self._policy.sound_parts

    def seen(self, part: PartJudged) -> str:
        """Take one part. Returns why the package errs, with figures; empty: it does not."""
        self.parts += 1
        is_error = part.cause is VerdictCause.INFERENCE_ERROR
        is_late = part.cause is VerdictCause.LATE and part.infer_ms is not None and part.infer_ms > part.deadline_ms / 2
        self._errors.append(is_error)
        self._late.append(is_late)
        self.sound += part.cause is VerdictCause.SCORE
        return (
            _often(self._errors, self._policy.errors_in_a_row, self._policy.share, "could not be judged by it")
            or _often(
                self._late,
                self._policy.late_in_a_row,
                self._policy.share,
                f"were late, its graph alone took more than half of {part.deadline_ms:g} ms",
            )
            or self._stuck(part)
        )

    def _stuck(self, part: PartJudged) -> str:
        if self._policy.stuck_parts == 0 or part.score is None:
            return ""
        if part.score != self._stuck_at:
            self._stuck_at, self._stuck_for = part.score, 0
            self._pictures.clear()
        self._stuck_for += 1
        if part.measures is not None:
            self._pictures.add(part.measures)
        if self._stuck_for < self._policy.stuck_parts or self._stuck_at in self._levels:
            return ""
        pictures, self._pictures = self._pictures, set()
        for_parts, self._stuck_for = self._stuck_for, 0
        # Counted anew: over all of a night one lamp that flickers must not make equal pictures look different.
        if len(pictures) < for_parts / 2:
            return ""
        return f"{for_parts} parts in a row got the score {part.score:.6g}, with {len(pictures)} different pictures"


def _often(marks: deque[bool], in_a_row: int, share: float, what: str) -> str:
    if in_a_row and len(marks) >= in_a_row and all(list(marks)[-in_a_row:]):
        return f"{in_a_row} parts in a row {what}"
    count = sum(marks)
    if share and in_a_row and len(marks) == marks.maxlen and count >= max(_LEAST_OF_A_SHARE, share * len(marks)):
        return f"{count} of the last {len(marks)} parts {what}"
    return ""
