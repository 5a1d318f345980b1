# SPDX-License-Identifier: Apache-2.0
"""The rules by which a variant is let into a package: every numeric form against fp32, on the same pictures.

Refused is a variant whose front keeps too little of what fp32's says, that gets no number, that strays on sound golden
images (or, where nothing was fitted on it, on any of more sound training pictures: limits do not know its noise), or
that loses image AUROC or AU-PRO on held-out pictures by more than is allowed and beyond chance. The same rules for a
training and for `quantize`. Learns nothing, makes no variant and writes nothing. Called by `finishing`, `rescue` and
`quantizing`.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import QuantizationStep, VariantMeasured
from contracts.vocabulary import PartUse, Variant
from models.data.parts import Gallery, Part, Picture
from models.graphs.quantization import evenly
from models.measuring.figures import average_precision, image_auroc, is_auroc_lost, recall_at_overkill
from models.measuring.region_figures import Places, RegionAreas, is_au_pro_lost, region_areas
from models.packages.reading import Scored, score_pictures

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
MOST_AUROC_LOST: Final = 0.005
MOST_AU_PRO_LOST: Final = 0.005
# Share of the distance from a typical sound score to ng_limit, on sound golden images.
MOST_PARITY_ERROR: Final = 1.0
# Of the variance of fp32's features; good INT8 fronts keep 0.83 to 0.95. Below it, noise says more than the picture.
LEAST_KEPT_VARIANCE: Final = 0.5
SOUND_PICTURES: Final = 48


@dataclass
class Candidate:
    """One variant on its way into a package."""

    variant: Variant
    model: bytes
    golden: Floats
    held_out: Scored
    regions: RegionAreas | None = None
    # None: a golden image got no number.
    parity_error: float | None = 0.0
    is_included: bool = True
    note: str = ""
    # The figure of its held-out pictures for which it was refused; empty: another rule, or none.
    outdone_in: Literal["", "AUROC", "AU-PRO"] = ""
    # Of the bench's sound training pictures, once they were asked for.
    sound: Floats | None = None
    float_nodes: int = 0
    of_nodes: int = 0

    def auroc(self, is_defective: Bools) -> float | None:
        """Image AUROC on the held-out pictures that got a number."""
        return image_auroc(*scored_rows(self.held_out.scores, is_defective))

    @property
    def au_pro(self) -> float | None:
        """AU-PRO on the held-out pictures with masks, None without any."""
        return None if self.regions is None else self.regions.au_pro

    def outdoes(self, lost: "Candidate", is_defective: Bools) -> bool:
        """Whether this one is really better in the figure for which the other was refused, on the same pictures."""
        if lost.outdone_in == "AU-PRO":
            here, there, allowed = lost.au_pro, self.au_pro, MOST_AU_PRO_LOST
        else:
            here, there, allowed = lost.auroc(is_defective), self.auroc(is_defective), MOST_AUROC_LOST
        return here is None or (there is not None and there > here + allowed)

    def measured(self, is_defective: Bools) -> VariantMeasured:
        """What the evaluation says of it."""
        scores, is_defective = scored_rows(self.held_out.scores, is_defective)
        return VariantMeasured(
            variant=self.variant, image_auroc=image_auroc(scores, is_defective),
            average_precision=average_precision(scores, is_defective),
            recall_at_1pct_overkill=recall_at_overkill(scores, is_defective, 0.01),
            infer_p50_ms=self.held_out.infer_p50_ms or None, parity_error=self.parity_error, au_pro=self.au_pro,
            float_nodes=self.float_nodes, of_nodes=self.of_nodes, is_included=self.is_included, note=self.note,
        )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What all variants of one fit are judged on.

    Attributes:
        gallery: pixels and masks of the pictures.
        held_out: pictures that nothing was learnt from.
        golden: uint8 [n, h, w, 3], training pictures, the sound ones first.
        golden_sound: how many of them are sound.
        scale: from a typical sound score to ng_limit: what scores are measured against.
        centre: the OK limit.
        threads: of the sessions.
    """

    gallery: Gallery
    held_out: list[Part]
    golden: NDArray[np.uint8]
    golden_sound: int
    scale: float
    centre: float
    threads: int

    @cached_property
    def is_defective(self) -> Bools:
        """Of the held-out pictures, [n]."""
        return np.array([part.is_defective for part in self.held_out], np.bool_)

    @cached_property
    def groups(self) -> list[str]:
        """Physical part of each held-out picture."""
        return [part.image.group for part in self.held_out]

    @cached_property
    def places(self) -> Places:
        """Held-out pictures that tell of places."""
        return Places.among(self.held_out, self.gallery)

    def golden_scores(self, model: bytes) -> Floats:
        """Scores of the golden images."""
        return score_pictures(model, self.golden, self.threads).scores

    def score(self, variant: Variant, model: bytes, check: Callable[[int], None] | None = None) -> Candidate:
        """Run a variant over all pictures; `check` is told the count of held-out ones."""
        pixels = (self.gallery.pixels(part) for part in self.held_out)
        scored = score_pictures(model, pixels, self.threads, check, bool(self.places.masked))
        golden = self.golden_scores(model)
        regions = region_areas(scored.heatmaps, self.held_out, self.gallery, self.places, self.centre)
        # The areas are kept, the heatmaps of thousands of pictures need not be.
        return Candidate(variant, model, golden, replace(scored, heatmaps=()), regions)

    @cached_property
    def sound(self) -> list[Picture]:
        """Sound training pictures, evenly picked."""
        parts = self.gallery.select(PartUse.TRAIN, is_defective=False)
        return [self.gallery.pixels(parts[row]) for row in evenly(len(parts), SOUND_PICTURES)]

    def sound_fault(self, candidate: Candidate, exact: Candidate) -> str:
        """What sound training pictures say against a form that nothing was fitted on; empty: nothing."""
        for each in (candidate, exact):
            if each.sound is None:
                each.sound = score_pictures(each.model, self.sound, self.threads).scores
        if candidate.sound is None or exact.sound is None or len(exact.sound) == 0:
            return ""
        error = float(np.abs(candidate.sound - exact.sound).max()) / self.scale
        # Not `error > …`: a NaN compares false with everything.
        if error <= MOST_PARITY_ERROR:
            return ""
        return (
            f"parity error {error:.2f} on {len(exact.sound)} sound training pictures, at most {MOST_PARITY_ERROR} "
            "allowed where limits were placed on another form"
        )

    def judge(self, candidate: Candidate, exact: Candidate, *, is_fitted_on: bool, known: str = "") -> None:
        """Compare with fp32; what breaks a rule is left out and its `note` says why.

        `is_fitted_on`: limits and detector know this form's noise. Else a few golden images are too few to trust it.
        `known`: what speaks against it already.
        """
        apart = np.abs(candidate.golden - exact.golden)
        candidate.parity_error = finite(float(apart.max()) / self.scale)
        before, after = exact.held_out.scores, candidate.held_out.scores
        fault = known or self.golden_fault(candidate.golden, exact.golden, after)
        if not fault and not is_fitted_on:
            fault = self.sound_fault(candidate, exact)
        if fault:
            candidate.note = fault
        elif is_auroc_lost(before, after, self.is_defective, self.groups, allowed=MOST_AUROC_LOST):
            told_before, told_after = (image_auroc(each, self.is_defective) or 0.0 for each in (before, after))
            candidate.outdone_in = "AUROC"
            candidate.note = (
                f"image AUROC fell from {told_before:.4f} to {told_after:.4f}, at most {MOST_AUROC_LOST} may be lost"
            )
        elif (
            exact.regions is not None
            and candidate.regions is not None
            and is_au_pro_lost(exact.regions, candidate.regions, allowed=MOST_AU_PRO_LOST)
        ):
            candidate.outdone_in = "AU-PRO"
            candidate.note = (
                f"AU-PRO fell from {exact.au_pro or 0.0:.4f} to {candidate.au_pro or 0.0:.4f} "
                f"({len(exact.regions.areas)} defect regions), at most {MOST_AU_PRO_LOST} may be lost"
            )
        candidate.is_included = not candidate.note

    def golden_fault(self, golden: Floats, exact: Floats, held_out: Floats | None = None) -> str:
        """What the golden images alone say against a variant; empty: nothing."""
        sound_error = float(np.abs(golden - exact)[: self.golden_sound].max(initial=0.0)) / self.scale
        scores = golden if held_out is None else np.r_[golden, held_out]
        if unscored := int((~np.isfinite(scores)).sum()):
            return f"{unscored} golden or held-out pictures got no number as a score"
        if sound_error > MOST_PARITY_ERROR:
            return f"parity error {sound_error:.2f} on sound golden images, at most {MOST_PARITY_ERROR} allowed"
        return ""

    def step_of(self, candidate: Candidate, number: int, worst: list[str], *, is_scored: bool) -> QuantizationStep:
        """A step of a search as the report tells it; `is_scored`: its held-out pictures were."""
        return QuantizationStep(
            variant=candidate.variant, step=number, float_nodes=candidate.float_nodes, of_nodes=candidate.of_nodes,
            worst=worst, parity_error=candidate.parity_error,
            image_auroc=candidate.auroc(self.is_defective) if is_scored else None, au_pro=candidate.au_pro,
            is_accepted=candidate.is_included, note=candidate.note,
        )  # fmt: skip


def front_fault(kept: float) -> str:
    """What speaks against a variant whose front keeps this share of the variance; empty: nothing."""
    # Not `kept < …`: a NaN compares false with everything.
    if kept >= LEAST_KEPT_VARIANCE:
        return ""
    return (
        f"its front keeps {max(0.0, kept):.0%} of the variance of fp32's features, at least "
        f"{LEAST_KEPT_VARIANCE:.0%} expected"
    )


def finite(value: float) -> float | None:
    """A number that can be written; None for one that is none."""
    return value if np.isfinite(value) else None


def scored_rows(scores: Floats, is_defective: Bools) -> tuple[Floats, Bools]:
    """The pictures that got a number: a rank needs one."""
    rows = np.isfinite(scores)
    return scores[rows], is_defective[rows]
