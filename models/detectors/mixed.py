# SPDX-License-Identifier: Apache-2.0
"""Mixed: the memory bank plus two opinions that learn from labelled defects: summary, and a convolutional head.

The summary is a line through what the whole part looks like (`summary`) and learns from image labels. The head sees
image labels (the mean of its highest cells must say it), masks where there are any, and synthetic anomalies in
feature space, the more the fewer labels; without masks it is left out where the summary left it little to find, with
masks where no gain is left that would let it count. Their evidence can only raise the bank's score, never veto it. How
much each counts is decided by scores from folds that had not seen the part's group; without a gain there it counts
nothing, so that by those scores the detector is never worse than the bank. Called by `kinds` and `training`;
`classifier` shares how it compares.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import DetectorKind
from models.data.splits import folds_of_both
from models.detectors.base import Check, Features, Fitted, Floats, TrainingSet, top_mean, write_top_mean
from models.detectors.evidence import Scale
from models.detectors.folds import rounds
from models.detectors.head import HeadSettings, HeadTrainer, HeadWeights, head_logits, train_alone, write_head
from models.detectors.memory_bank import MemoryBank
from models.detectors.summary import SummaryWeights, train_summary, write_summary
from models.errors import InputError
from models.graphs.writer import GraphWriter

# With fewer, nothing can be checked on groups that the head has not seen.
MIN_DEFECTIVE_PARTS: Final = 8
MIN_DEFECTIVE_GROUPS: Final = 2
HEAD_TOP_CELLS: Final = 5
# With fewer image labels the head learned nothing on any pictures tried; masks say more, and then it may try.
_HEAD_LABELS: Final = 40
_FOLDS: Final = 3
_WEIGHTS: Final = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
# How much further out than the end of sound parts evidence begins, in distances from their middle to their end.
_MARGINS: Final = (2.0, 1.0)
_END: Final = 0.98
# By what share of their reach the end of sound scores may be lifted: the least for a few parts, the most from
# `_TAUGHT_WELL` labelled parts on. Magnetic tiles (35 labelled parts), a whole reach instead of a fifth: .01 to .02 in
# AUROC, .02 to .12 in recall at 1 % overkill. What it costs kinds without labels stands in benchmarks/RESULTS.md.
_LEAST_LIFT: Final = 0.2
_MOST_LIFT: Final = 1.0
_TAUGHT_WELL: Final = 30
_LEAST_GAIN: Final = 0.005
# From this quality on the head, which costs most of the training, has little left to find: a tenth of wrong labels
# alone keeps it below 0.95.
_GOOD_ENOUGH: Final = 0.9


class Mixed:
    """See the module."""

    kind: Final = DetectorKind.MIXED

    def __init__(
        self,
        bank: MemoryBank | None = None,
        settings: HeadSettings | None = None,
        *,
        threads: int = 1,
        trainer: HeadTrainer = train_alone,
    ) -> None:
        self._trainer = trainer
        self._bank = bank or MemoryBank()
        self._settings = settings or HeadSettings(threads=threads)
        self._head: HeadWeights | None = None
        self._curves: dict[str, list[tuple[int, float]]] = {}
        self._scale = Scale()
        self.head_weight = 0.0
        self._summary: SummaryWeights | None = None
        self._summary_scale = Scale()
        self.summary_weight = 0.0

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the maps: the grid's."""
        return self._bank.map_shape

    def fit(self, training: TrainingSet, *, seed: int, check: Check) -> Fitted:
        """Bank first, then the head on folds, then how much it counts, then the head on everything."""
        defective = int(training.is_defective.sum())
        if defective < MIN_DEFECTIVE_PARTS:
            raise InputError(
                f"defective training parts: mixed expects at least {MIN_DEFECTIVE_PARTS}, got {defective}; "
                "label more, or use memory-bank"
            )
        if len(defective_groups(training)) < MIN_DEFECTIVE_GROUPS:
            raise InputError(
                f"defective training parts: mixed expects pictures of at least {MIN_DEFECTIVE_GROUPS} parts, got "
                f"{defective} of one; label another part, or use memory-bank"
            )
        bank = self._bank.fit(training, seed=seed, check=lambda share: check(0.3 * share))
        notes = list(bank.notes)
        folds = _folds(training, seed)
        base = bank.cross_fitted_scores + self._fit_summary(training, bank.cross_fitted_scores, folds, notes)
        check(0.4)
        quality = separation(base, training.is_defective)
        no_time = "; not trained for want of time" if self._settings.steps == 0 else None
        if (why := no_time or why_no_head(quality, defective, has_masks=bool(training.masks))) is not None:
            notes.append(f"head counts 0 (quality on unseen groups without it {quality:.3f}{why})")
            check(1.0)
            return Fitted(base, notes)
        joined = base + self._fit_head(training, base, folds, notes, seed=seed, check=check)
        return Fitted(joined, notes, self._curves)

    def _fit_summary(self, training: TrainingSet, base: Floats, folds: NDArray[np.int64], notes: list[str]) -> Floats:
        """Fit the summary; returns what it adds to the cross-fitted scores."""
        logits = np.zeros(len(training.groups), np.float32)
        for each in rounds(folds, training.is_defective):
            logits[each.unseen] = train_summary(training, each.seen).logits(training.features[each.unseen])
        bearable = bearable_lift(training)
        self._summary_scale, self.summary_weight, told = _choose(base, logits, training.is_defective, bearable)
        notes.append(f"summary {told}")
        if self.summary_weight > 0:
            self._summary = train_summary(training, np.arange(len(training.groups)))
        return np.float32(self.summary_weight) * self._summary_scale.evidence(logits)

    def _fit_head(
        self,
        training: TrainingSet,
        base: Floats,
        folds: NDArray[np.int64],
        notes: list[str],
        *,
        seed: int,
        check: Check,
    ) -> Floats:
        """Fit the head; returns what it adds to the cross-fitted scores."""
        logits = np.zeros(len(training.groups), np.float32)
        every = rounds(folds, training.is_defective)
        for place, each in enumerate(every):
            head = self._trainer(training, each.seen, self._settings, seed + each.fold)
            logits[each.unseen] = self._image_logits(head, training.features[each.unseen])
            self._curves[f"head loss, fold {each.fold + 1}"] = list(head.losses)
            check(0.35 + 0.45 * (place + 1) / len(every))
        self._scale, self.head_weight, told = _choose(base, logits, training.is_defective, bearable_lift(training))
        notes.append(f"head {told}")
        if self.head_weight > 0:
            everything = np.arange(len(training.groups))
            self._head = self._trainer(training, everything, self._settings, seed)
            self._curves["head loss"] = list(self._head.losses)
        check(1.0)
        return np.float32(self.head_weight) * self._scale.evidence(logits)

    def _image_logits(self, head: HeadWeights, features: Features) -> Floats:
        return top_mean(head_logits(head, features, self._settings.threads), HEAD_TOP_CELLS)

    def score(self, features: Features) -> tuple[Floats, Floats]:
        """Scores [n] and maps [n, h, w], as fine as the grid."""
        scores, maps = self._bank.score(features)
        if self._summary is not None:
            logits = self._summary.logits(features)
            scores = scores + np.float32(self.summary_weight) * self._summary_scale.evidence(logits)
        if self._head is None:
            return scores, maps
        weight = np.float32(self.head_weight)
        logits = head_logits(self._head, features, self._settings.threads)
        scores = scores + weight * self._scale.evidence(top_mean(logits, HEAD_TOP_CELLS))
        return scores, maps + weight * self._scale.evidence(logits)

    def write(self, writer: GraphWriter, features: str) -> tuple[str, str]:
        """Bank and head side by side on the same features."""
        score, maps = self._bank.write(writer, features)
        writer.scope = "mixed/"
        grid_h, grid_w = self.map_shape
        if self._summary is not None:
            said = write_summary(writer, self._summary, features)
            score = writer.op("Add", [score, self._summary_scale.write(writer, said, self.summary_weight)])
            writer.scope = "mixed/"
        if self._head is None:
            return score, maps
        logits = write_head(writer, self._head, features)
        logits = writer.op("Reshape", [logits, writer.constant([-1, grid_h, grid_w])])
        best = write_top_mean(writer, logits, grid_h * grid_w, HEAD_TOP_CELLS)
        raised = writer.op("Add", [score, self._scale.write(writer, best, self.head_weight)])
        return raised, writer.op("Add", [maps, self._scale.write(writer, logits, self.head_weight)])


def _folds(training: TrainingSet, seed: int) -> NDArray[np.int64]:
    """As `folds_of_both` deals them. What it notes the bank has said already."""
    return folds_of_both(training.groups, training.is_defective, _FOLDS, seed)[0]


def separation(scores: Floats, is_defective: NDArray[np.bool_]) -> float:
    """Half AUROC, half the mean recall over overkill 0 … 5 %: what counts at the line is the low-overkill end."""
    sound = np.sort(scores[~is_defective])
    caught = scores[is_defective]
    below = np.searchsorted(sound, caught, side="left") + np.searchsorted(sound, caught, side="right")
    auroc = float(below.mean()) / (2 * len(sound))
    limits = np.quantile(sound, np.linspace(0.95, 1.0, 11))
    recall = float(np.mean([(caught > limit).mean() for limit in limits]))
    return 0.5 * auroc + 0.5 * recall


def why_no_head(quality: float, defective: int, *, has_masks: bool) -> str | None:
    """Why the head is not trained, as the note goes on; None: it is.

    Args:
        quality: separation on unseen groups without it.
        defective: labelled pictures.
        has_masks: whether any of them has one.
    """
    # Exact: `_choose` would let it count nothing, and a head that counts nothing is in neither score nor map.
    if quality + _LEAST_GAIN > 1:
        return f"; not trained: it must gain {_LEAST_GAIN}, and no more than {1 - quality:.3f} is left"
    if not has_masks and (quality >= _GOOD_ENOUGH or defective < _HEAD_LABELS):
        return ""
    return None


def defective_groups(training: TrainingSet) -> set[str]:
    """The physical parts that the labelled defects are of."""
    return {group for group, bad in zip(training.groups, training.is_defective, strict=True) if bad}


def bearable_lift(training: TrainingSet) -> float:
    """How far an opinion may lift the end of sound scores, in their reach from the middle; by labelled parts.

    A few parts say little of what the opinion is worth on others; pictures of the same part add nothing to that.
    """
    return float(np.clip(_MOST_LIFT * len(defective_groups(training)) / _TAUGHT_WELL, _LEAST_LIFT, _MOST_LIFT))


def _choose(
    base: Floats, logits: Floats, is_defective: NDArray[np.bool_], lift_share: float
) -> tuple[Scale, float, str]:
    """From where evidence begins and how much it counts: the best by cross-fitted scores; 0 without a gain.

    What sound parts gain lifts the limits, and that blinds the bank to every kind that nobody has labelled; so only
    options count that lift the end of the sound scores by no more than `lift_share` of their reach.
    """
    sound = base[~is_defective]
    end = float(np.quantile(sound, _END))
    bearable = lift_share * (end - float(np.median(sound)))
    without = separation(base, is_defective)
    best: tuple[float, float, Scale, float] | None = None
    for margin in _MARGINS:
        scale = Scale.fit(logits[~is_defective], end=_END, margin=margin)
        evidence = scale.evidence(logits)
        for weight in _WEIGHTS:
            total = base + np.float32(weight) * evidence
            lift = float(np.quantile(total[~is_defective], _END)) - end
            quality = separation(total, is_defective)
            # Nearly equal quality: the smaller lift.
            is_better = best is None or quality > best[0] + _LEAST_GAIN / 2
            is_gentler = best is not None and quality >= best[0] - _LEAST_GAIN / 2 and lift < best[1]
            if lift <= bearable and (is_better or is_gentler):
                best = (quality, lift, scale, weight)
    if best is None or best[0] < without + _LEAST_GAIN:
        found = "no option" if best is None else f"{best[0]:.3f}"
        return Scale(), 0.0, f"counts 0 (quality on unseen groups without it {without:.3f}, with it {found})"
    quality, lift, scale, weight = best
    return (
        scale,
        weight,
        f"counts {weight:g} (quality on unseen groups {without:.3f} without it, {quality:.3f} with it)",
    )
