# SPDX-License-Identifier: Apache-2.0
"""Classifier: sound against defective from labels alone, for products with plenty of labelled defects.

Two opinions that learn from labels: the summary (a line through what the whole part looks like) and the convolutional
head (image labels by its highest cells, masks where there are any). How much each counts is decided by scores from
folds that had not seen the part's group. Remembers no sound part, so it costs a station less than a memory bank, and it
is blind to every kind of defect that nobody has labelled: `auto` never chooses it. Called by `kinds`.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import DetectorKind
from models.data.splits import folds_of_both
from models.detectors.base import (
    MIN_SOUND_PARTS,
    Check,
    Features,
    Fitted,
    Floats,
    TrainingSet,
    top_mean,
    write_top_mean,
)
from models.detectors.folds import rounds
from models.detectors.head import HeadSettings, HeadTrainer, HeadWeights, head_logits, train_alone, write_head
from models.detectors.mixed import separation
from models.detectors.summary import SummaryWeights, train_summary, write_summary
from models.errors import InputError
from models.graphs.writer import GraphWriter
from models.wording import counted

# Physical parts: as many as of sound ones, since both sides are learnt alike.
MIN_DEFECTIVE_PARTS: Final = 10
TOP_CELLS: Final = 5
_FOLDS: Final = 3
# How much the head counts beside the summary; equal shares unless others are better on unseen groups.
_SHARES: Final = (0.0, 0.25, 0.75, 1.0)
_EQUAL: Final = 0.5
_LEAST_GAIN: Final = 0.005


@dataclass(frozen=True)
class _Standard:
    """Brings logits to a scale on which sound parts have mean 0 and spread 1."""

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, sound: Floats) -> "_Standard":
        return cls(float(sound.mean()), max(float(sound.std()), 1e-6))

    def __call__(self, logits: Floats) -> Floats:
        scaled: Floats = ((logits - np.float32(self.mean)) / np.float32(self.spread)).astype(np.float32)
        return scaled

    def write(self, writer: GraphWriter, logits: str) -> str:
        centred = writer.op("Sub", [logits, writer.constant(self.mean)])
        return writer.op("Mul", [centred, writer.constant(1 / self.spread)])


class Classifier:
    """See the module."""

    kind: Final = DetectorKind.CLASSIFIER

    def __init__(
        self, settings: HeadSettings | None = None, *, threads: int = 1, trainer: HeadTrainer = train_alone
    ) -> None:
        self._trainer = trainer
        # Synthetic anomalies at the least weight: labels are what it has plenty of.
        self._settings = settings or HeadSettings(threads=threads, enough_labels=1)
        self._head: HeadWeights | None = None
        self._summary: SummaryWeights | None = None
        self._of_head, self._of_summary, self._of_both = _Standard(), _Standard(), _Standard()
        self._shape = (0, 0)
        self.head_share = _EQUAL

    @property
    def map_shape(self) -> tuple[int, int]:
        """Rows and columns of the maps: the grid's."""
        return self._shape

    def fit(self, training: TrainingSet, *, seed: int, check: Check) -> Fitted:
        """Both opinions on folds, then how much each counts, then both on everything."""
        _refuse_few(training)
        self._shape = (training.features.shape[2], training.features.shape[3])
        folds, notes = folds_of_both(training.groups, training.is_defective, _FOLDS, seed)
        by_head, by_summary = (np.zeros(len(folds), np.float32) for _ in range(2))
        every, curves = rounds(folds, training.is_defective), {}
        for place, each in enumerate(every):
            unseen = each.unseen
            by_summary[unseen] = train_summary(training, each.seen).logits(training.features[unseen])
            head = self._trainer(training, each.seen, self._settings, seed + each.fold)
            curves[f"head loss, fold {each.fold + 1}"] = list(head.losses)
            by_head[unseen] = top_mean(self._cell_logits(head, training.features[unseen]), TOP_CELLS)
            check((place + 1) / (len(every) + 1))
        is_sound = ~training.is_defective
        self._of_head, self._of_summary = _Standard.of(by_head[is_sound]), _Standard.of(by_summary[is_sound])
        opinions = self._of_head(by_head), self._of_summary(by_summary)
        self.head_share, told = choose_share(*opinions, training.is_defective)
        both = self._joined(*opinions)
        self._of_both = _Standard.of(both[is_sound])
        everything = np.arange(len(folds))
        self._summary = train_summary(training, everything)
        self._head = self._trainer(training, everything, self._settings, seed)
        check(1.0)
        curves["head loss"] = list(self._head.losses)
        return Fitted(self._of_both(both), [*notes, told], curves)

    def _cell_logits(self, head: HeadWeights, features: Features) -> Floats:
        return head_logits(head, features, self._settings.threads)

    def _joined(self, by_head: Floats, by_summary: Floats) -> Floats:
        both: Floats = np.float32(self.head_share) * by_head + np.float32(1 - self.head_share) * by_summary
        return both

    def _learnt(self) -> tuple[HeadWeights, SummaryWeights]:
        if self._head is None or self._summary is None:
            msg = "classifier: expected a fit before it is asked"
            raise RuntimeError(msg)
        return self._head, self._summary

    def score(self, features: Features) -> tuple[Floats, Floats]:
        """Scores [n] and maps [n, g, g]; a cell is as suspicious as a part whose highest cells are like it."""
        head, summary = self._learnt()
        cells = self._cell_logits(head, features)
        both = self._joined(self._of_head(top_mean(cells, TOP_CELLS)), self._of_summary(summary.logits(features)))
        return self._of_both(both), self._of_head(cells)

    def write(self, writer: GraphWriter, features: str) -> tuple[str, str]:
        """Head and summary side by side on the same features."""
        head, summary = self._learnt()
        height, width = self._shape
        by_summary = self._of_summary.write(writer, write_summary(writer, summary, features))
        writer.scope = "classifier/"
        cells = writer.op("Reshape", [write_head(writer, head, features), writer.constant([-1, height, width])])
        best = write_top_mean(writer, cells, height * width, TOP_CELLS)
        shares = (self._of_head.write(writer, best), self.head_share), (by_summary, 1 - self.head_share)
        weighed = [writer.op("Mul", [value, writer.constant(share)]) for value, share in shares]
        score = self._of_both.write(writer, writer.op("Add", weighed))
        return score, self._of_head.write(writer, cells)


def _refuse_few(training: TrainingSet) -> None:
    sound = int((~training.is_defective).sum())
    if sound < MIN_SOUND_PARTS:
        raise InputError(
            f"sound training parts: expected at least {MIN_SOUND_PARTS}, got {sound}; "
            f"add {counted(MIN_SOUND_PARTS - sound, 'more picture')} of sound parts"
        )
    pictures = int(training.is_defective.sum())
    defective = len({group for group, bad in zip(training.groups, training.is_defective, strict=True) if bad})
    if defective < MIN_DEFECTIVE_PARTS:
        raise InputError(
            f"defective training parts: classifier expects at least {MIN_DEFECTIVE_PARTS}, got {defective} "
            f"({counted(pictures, 'picture')}); label {MIN_DEFECTIVE_PARTS - defective} more, or use mixed or "
            "memory-bank"
        )


def choose_share(by_head: Floats, by_summary: Floats, is_defective: NDArray[np.bool_]) -> tuple[float, str]:
    """The head's share with the best separation on unseen groups; equal shares unless another gains enough."""

    def quality(share: float) -> float:
        return separation(np.float32(share) * by_head + np.float32(1 - share) * by_summary, is_defective)

    equal = quality(_EQUAL)
    best = max(_SHARES, key=quality)
    share = best if quality(best) >= equal + _LEAST_GAIN else _EQUAL
    told = (
        f"classifier: head counts {share:.0%}, summary {1 - share:.0%} (quality on unseen groups {quality(share):.3f}; "
        f"head alone {quality(1.0):.3f}, summary alone {quality(0.0):.3f})"
    )
    return share, told if share > 0 else f"{told}; the heatmap shows cells of the head, which does not count"
