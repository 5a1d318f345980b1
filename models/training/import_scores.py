# SPDX-License-Identifier: Apache-2.0
"""Scores of a folder's pictures by a foreign graph, the limits on them, and what a reader should know of both.

Learns nothing and writes nothing. Whether the foreign graph has learnt from these pictures nobody here can know, and
the notes say so. Called by `importing` and `import_package`.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import LimitsPolicy, TrainingImage
from contracts.manifest import Limits
from models.data.parts import Gallery, Part
from models.data.pictures import told
from models.errors import InputError, was_asked_to_stop
from models.graphs.features import INPUT_NAME, open_session
from models.graphs.foreign import Preparation, Wrapped
from models.graphs.foreign_outputs import Asked
from models.graphs.opening import Foreign
from models.limits.placing import place_limits
from models.measuring.figures import Floats, image_auroc
from models.training.finishing import broken_promises

_FEW_DISTINCT: Final = 0.5
_FLATTERS: Final = (
    "limits: placed on pictures that the foreign graph may have learnt from; scores of learnt pictures flatter, and "
    "then no promise holds. Place limits on pictures that it has never seen"
)


@dataclass(frozen=True)
class Import:
    """What to make a package of. Limits are placed on the training side of `images`."""

    foreign: Foreign
    product: str
    images: Sequence[TrainingImage]
    out: Path
    size_hw: tuple[int, int] | None = None
    prepared: Preparation = field(default_factory=Preparation)
    asked: Asked = field(default_factory=Asked)
    is_falling: bool = False
    limits: LimitsPolicy = field(default_factory=LimitsPolicy)
    seed: int = 0
    threads: int = 1

    @property
    def training_id(self) -> str:
        """Names the import where a training would be named."""
        return f"import-{self.product}"[:63]


class Runner:
    """The wrapped graph, opened; a picture that gets no number ends the import by its name."""

    def __init__(self, wrapped: Wrapped, asked: Import) -> None:
        self._session = open_session(wrapped.model, asked.threads)
        self._file_name = asked.foreign.file_name

    def score(self, picture: NDArray[np.uint8], part: Part) -> tuple[float, float]:
        """Score, and the time of a run for all outputs in ms."""
        started_s = time.perf_counter()
        try:
            score, heatmap, _ = self._session.run(["score", "heatmap", "embedding"], {INPUT_NAME: picture[None]})
        except Exception as error:  # ONNX Runtime raises a family of unrelated classes
            if was_asked_to_stop(error):
                raise
            raise InputError(
                f"{self._file_name}: the graph failed on {told(part.path)} ({' '.join(str(error).split())[:200]}); "
                "take that picture away, or export the graph again"
            ) from error
        took_ms = (time.perf_counter() - started_s) * 1e3
        if not np.isfinite(score).all() or not np.isfinite(heatmap).all():
            raise InputError(
                f"{self._file_name}: expected numbers, got NaN or infinity on {told(part.path)}; check --scale, --mean "
                "and --std, or export the graph again"
            )
        return float(score[0]), took_ms


@dataclass(frozen=True)
class Scored:
    """All pictures with their scores; `placed`: those that limits are placed on."""

    asked: Import
    gallery: Gallery
    wrapped: Wrapped
    placed: list[Part]
    held_out: list[Part]
    placed_scores: Floats
    held_out_scores: Floats

    @property
    def is_defective(self) -> NDArray[np.bool_]:
        """Of the placed ones."""
        return np.array([part.is_defective for part in self.placed], np.bool_)

    @property
    def is_held_out_defective(self) -> NDArray[np.bool_]:
        """Of the held-out ones."""
        return np.array([part.is_defective for part in self.held_out], np.bool_)


def limits_of(done: Scored) -> tuple[Limits, list[str]]:
    """Limits by the rules of a training, on scores that were not cross-fitted: nothing was learnt here."""
    is_defective = done.is_defective
    groups = np.array([part.image.group for part in done.placed])
    limits, notes = place_limits(
        done.placed_scores[~is_defective], done.placed_scores[is_defective], done.asked.limits,
        sound_groups=groups[~is_defective].tolist(), defective_groups=groups[is_defective].tolist(),
    )  # fmt: skip
    rule = limits.rule.replace("cross-fitted scores", "scores of the foreign graph")
    return limits.model_copy(update={"rule": rule[:500]}), notes


def notes_of(done: Scored, limits: Limits) -> list[str]:
    """What a reader should know of the graph and of what its limits rest on."""
    foreign, wrapped, is_defective = done.asked.foreign, done.wrapped, done.is_defective
    height, width = wrapped.size_hw
    fitted = "fitted with a grey border into" if done.asked.prepared.has_border else "stretched to"
    notes = [
        f"graph: {foreign.file_name}, SHA-256 {foreign.sha256}; pictures are {fitted} {width} × {height} px",
        *foreign.notes,
        *wrapped.choice.notes,
        _FLATTERS,
    ]
    if wrapped.choice.boxes is not None and not done.asked.prepared.has_border:
        notes.append("boxes: a YOLO learns with a grey border; if this one did, give --fit border")
    every = np.r_[done.placed_scores, done.held_out_scores]
    defective = np.r_[is_defective, done.is_held_out_defective]
    if len(every) > 1 and len(np.unique(every)) == 1:
        fault = f"the graph gives every one of {len(every)} pictures the score {every[0]:.6g}"
        if defective.any() and not defective.all():
            raise InputError(
                f"{foreign.file_name}: {fault}; check --score, --colour, --scale, --mean and --std, which must be "
                "those of its training"
            )
        notes.append(f"{fault}: it tells nothing apart here; check --scale, --mean and --std")
    sound = done.placed_scores[~is_defective]
    if len(sound) > 1 and len(np.unique(sound)) < _FEW_DISTINCT * len(sound):
        notes.append(
            f"{len(sound)} sound pictures have only {len(np.unique(sound))} different scores: the graph cuts its score "
            "off (a normalisation that ends at 0 or 1?), and limits cannot lie in between; export it without that"
        )
    auroc = image_auroc(every, defective)
    if auroc is not None and auroc < 0.5:
        notes.append(
            f"defective pictures score lower than sound ones (image AUROC {auroc:.3f} of all pictures): should "
            f"the sign be {'+1' if done.asked.is_falling else '-1'}?"
        )
    if wrapped.has_one_batch:
        notes.append("the package takes one picture at a time, as a station gives them")
    if not done.held_out:
        notes.append("no pictures are held out: nothing here says how well the graph tells sound from defective")
    notes.extend(broken_promises(done.held_out, done.held_out_scores, limits))
    return notes
