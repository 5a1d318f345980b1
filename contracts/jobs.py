# SPDX-License-Identifier: Apache-2.0
"""The seam between central and the training side: a job file in, a folder of results out.

Layout of `output_dir`: `progress.json` (`TrainingProgress`, rewritten whole), `evaluation.json`
(`EvaluationReport`) and `package/` (manifest and files). `evaluation.json` appears last: its presence
means that the rest is whole.
"""

from typing import Final, Self

from pydantic import Field, model_validator

from contracts.base import Count, Message, Ordinal, Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.tiles import MOST_FIELD_PX, Tiles
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse, TrainingState, Variant, Verdict

PROGRESS_NAME: Final = "progress.json"
EVALUATION_NAME: Final = "evaluation.json"
PACKAGE_FOLDER: Final = "package"
# Steps of a resumable training that are done; gone when it is.
RESUME_FOLDER: Final = ".resume"
# What a cluster keeps beside a training of several workers; gone when it is.
CLUSTER_FOLDER: Final = ".cluster"
# More threads than any station or trainer has cores; each costs memory, so an endless number must not be asked for.
MOST_THREADS: Final = 256
# More workers than a batch of the head has pairs of pictures would have nothing to learn from.
MOST_WORKERS: Final = 12
# Px a side that a model may see.
LEAST_SIZE_PX: Final = 64
MOST_SIZE_PX: Final = 2048
# What a trainer may tell of its course: so many curves of so many points each.
MOST_CURVES: Final = 12
MOST_POINTS: Final = 100


class TrainingImage(Shape):
    """One judged picture. `group` is the physical part: one group never stands on both sides of the split."""

    path: str
    sha256: Sha256
    judgement: Judgement
    defect_class: str | None = Field(default=None, max_length=64)
    mask_path: str | None = None
    group: str = Field(min_length=1, max_length=200)
    use: PartUse
    source: LabelSource


class LimitsPolicy(Shape):
    """What the limits should promise. Shares of sound parts, but `escape_target_rate`: of labelled defective ones.

    When more labelled defects than that lie below the OK limit, the band held for review widens until they do not,
    or until it holds `review_ceiling_rate` of the sound parts. `confidence` is that of the promises (overkill and
    escapes); the share held for review is people's load, not a promise, and rests on `review_confidence`.
    """

    overkill_target_rate: float = Field(default=0.01, gt=0, lt=0.5)
    review_target_rate: float = Field(default=0.02, ge=0, lt=0.5)
    escape_target_rate: float = Field(default=0.05, ge=0, lt=1)
    review_ceiling_rate: float = Field(default=0.1, ge=0, lt=0.5)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    review_confidence: float = Field(default=0.9, gt=0.5, lt=1)


class TrainingJob(Message):
    """What to learn from, what to beat, where to leave it. Simulated and real pictures never share a job."""

    training_id: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")
    product: Name
    detector: DetectorKind = DetectorKind.AUTO
    reason: str = Field(max_length=1000)
    is_simulated: bool
    images: list[TrainingImage] = Field(min_length=1)
    # The version of what it learns from; None: a folder of pictures, which has none.
    dataset_id: Sha256 | None = None
    champion_dir: str | None = None
    champion_package_id: PackageId | None = None
    # Side of one tile; the model's field is `tiles` of them.
    size_px: int = Field(default=256, ge=LEAST_SIZE_PX, le=MOST_SIZE_PX)
    tiles: Tiles = Tiles()
    backbone: str = "auto"
    weights_path: str | None = None
    limits: LimitsPolicy = LimitsPolicy()
    # Forms to make beside fp32, which is always made: the others are measured against it and every station runs it.
    variants: list[Variant] = [Variant.INT8_U8S8, Variant.FP32]
    seed: Count = 0
    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
    # Processes that extract features and learn together; each gets its share of the threads. Part of what is learnt:
    # the same job gives the same weights with the same number of them.
    workers: int = Field(default=1, ge=1, le=MOST_WORKERS)
    # Keep the steps that are done in the output folder (`RESUME_FOLDER`) until the end, and go on from those kept.
    is_resumable: bool = False
    output_dir: str

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if max(self.tiles.field_px(self.size_px)) > MOST_FIELD_PX:
            got = f"{self.tiles.told} of {self.size_px} px"
            msg = f"tiles: expected a field of at most {MOST_FIELD_PX} px a side, got {got}"
            raise ValueError(msg)
        return self


class ResourceUsage(Shape):
    """What a training has used so far: CPU time of all its threads, s; the most memory of any of its processes.

    Of a training on several workers: of all of them together; the memory is the sum of what each held at its most.
    `compute_s`, `data_wait_s` and `peers_wait_s`: how the leading worker spent the steps that read pictures or learn by
    gradient: computing, waiting for data (reading, decoding, drawing batches), waiting for the other workers.
    """

    cpu_s: float = Field(ge=0)
    peak_memory_bytes: Count
    workers: int = Field(default=1, ge=1, le=MOST_WORKERS)
    compute_s: float = Field(default=0.0, ge=0)
    data_wait_s: float = Field(default=0.0, ge=0)
    peers_wait_s: float = Field(default=0.0, ge=0)

    @property
    def data_wait_rate(self) -> float | None:
        """Share of those steps that the processor waited for data; None before the first."""
        spent_s = self.compute_s + self.data_wait_s + self.peers_wait_s
        return self.data_wait_s / spent_s if spent_s > 0 else None


class MadeBy(Shape):
    """The machine a training runs on, and the versions of what it computes with. Null: the system does not tell."""

    machine: str = Field(max_length=200)
    system: str = Field(max_length=200)
    processor: str | None = Field(default=None, max_length=200)
    cores: Ordinal
    memory_bytes: Count | None = None
    python: str = Field(max_length=40)
    # Distribution → version, of those that are installed.
    libraries: dict[str, str] = Field(default_factory=dict, max_length=32)


class MetricCurve(Shape):
    """One figure by step, thinned; `steps` rise."""

    name: str = Field(min_length=1, max_length=64)
    steps: list[Count] = Field(max_length=MOST_POINTS)
    values: list[float] = Field(max_length=MOST_POINTS)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.steps) != len(self.values):
            msg = f"curve {self.name}: expected a value for each of {len(self.steps)} steps, got {len(self.values)}"
            raise ValueError(msg)
        return self


class TrainingProgress(Message):
    """Where a training stands. `fraction` 0 … 1. `made_by` null, no `curves`: the trainer does not tell them."""

    training_id: str
    state: TrainingState
    stage: str
    fraction: float = Field(ge=0, le=1)
    started_at: UtcTime
    at: UtcTime
    pid: Count | None = None
    error: str | None = Field(default=None, max_length=4000)
    usage: ResourceUsage | None = None
    made_by: MadeBy | None = None
    curves: list[MetricCurve] = Field(default_factory=list, max_length=MOST_CURVES)


class HoldoutVerdict(Shape):
    """One held-out picture as both packages judge it, each at its own limits. Paired by picture.

    `defect_class` is the truth, `candidate_class` what a station would call it: null where it passes or has no names.
    """

    sha256: Sha256
    group: str
    judgement: Judgement
    defect_class: str | None = None
    candidate_score: float
    candidate_verdict: Verdict
    candidate_class: str | None = Field(default=None, max_length=64)
    champion_score: float | None = None
    champion_verdict: Verdict | None = None


class VariantMeasured(Shape):
    """What was measured of one variant on the held-out pictures; None where one class is missing."""

    variant: Variant
    image_auroc: float | None = None
    average_precision: float | None = None
    # Score at which nothing sound would be judged NG more than the target says: recall there.
    recall_at_1pct_overkill: float | None = None
    infer_p50_ms: float | None = None
    # The same for each tile: what one more tile costs.
    tile_p50_ms: float | None = None
    parity_error: float | None = None
    # Area under per-region overlap, on held-out pictures with masks; None where there are none.
    au_pro: float | None = None
    # Trunk nodes that stay in float, of how many that could be quantized.
    float_nodes: Count = 0
    of_nodes: Count = 0
    is_included: bool
    note: str = ""


class QuantizationStep(Shape):
    """One step of the search for the nodes that harm a quantized variant: the worst go back to float, then more.

    Figures that were not measured, because an earlier rule had refused the step, are None.
    """

    variant: Variant
    step: Ordinal
    float_nodes: Count
    of_nodes: Ordinal
    # The worst of them, worst first.
    worst: list[str] = []
    parity_error: float | None = None
    image_auroc: float | None = None
    au_pro: float | None = None
    is_accepted: bool
    note: str = ""


class EvaluationReport(Message):
    """What a training found out, held-out pictures only."""

    training_id: str
    product: Name
    detector: DetectorKind
    package_id: PackageId
    candidate_variant: Variant
    champion_package_id: PackageId | None = None
    is_simulated: bool
    tiles: Tiles = Tiles()
    train_good: Count
    train_defective: Count
    holdout: list[HoldoutVerdict]
    variants: list[VariantMeasured]
    searched: list[QuantizationStep] = []
    champion_image_auroc: float | None = None
    backbone: str
    backbone_weights_source: str
    training_seconds: float
    left_out: list[str] = []
    notes: list[str] = []
