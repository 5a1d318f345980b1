# SPDX-License-Identifier: Apache-2.0
"""The package manifest: what a package holds, how to run it, how to trust it, where it came from.

`PackageId` is the SHA-256 of the bytes of `manifest.json`; the manifest names every other file by digest,
so the id fixes the whole package. Signatures stand outside (TUF targets metadata).
"""

from bisect import bisect_right
from enum import StrEnum
from itertools import pairwise
from typing import Final, Self

from pydantic import Field, field_validator, model_validator

from contracts.base import Count, Message, Ordinal, Shape, UtcTime
from contracts.ids import Name, PackageId, Sha256
from contracts.tiles import MOST_FIELD_PX, Tiles
from contracts.vocabulary import DetectorKind, Variant

MANIFEST_NAME: Final = "manifest.json"
MAX_PACKAGE_BYTES: Final = 512 * 1024 * 1024


class FileRole(StrEnum):
    """What a file of a package is for."""

    MODEL = "model"
    GOLDEN = "golden"
    REPORT = "report"


class FileChunk(Shape):
    """A piece of a file; where it begins follows from those before it."""

    size_bytes: int = Field(ge=1, le=MAX_PACKAGE_BYTES)
    sha256: Sha256


class PackageFile(Shape):
    """One file beside the manifest. Flat names only: a package has no folders.

    `chunks` lie side by side and make up the file (`contracts.chunks` cuts it): what a station already has of them need
    not be sent again. Packages made before there were chunks have none. They save bytes and prove nothing: `sha256`
    does.
    """

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,100}$")
    role: FileRole
    sha256: Sha256
    size_bytes: int = Field(ge=1, le=MAX_PACKAGE_BYTES)
    chunks: list[FileChunk] = Field(default=[], max_length=4096)

    @field_validator("name")
    @classmethod
    def _no_dots_up(cls, value: str) -> str:
        if ".." in value or value == MANIFEST_NAME:
            msg = f"file name {value!r} is not allowed in a package"
            raise ValueError(msg)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        listed = sum(chunk.size_bytes for chunk in self.chunks)
        if self.chunks and listed != self.size_bytes:
            msg = f"file {self.name}: expected chunks of {self.size_bytes} bytes in all, got {listed}"
            raise ValueError(msg)
        return self


class PackageVariant(Shape):
    """One numeric form of the graph, with what was measured of it at the trainer."""

    variant: Variant
    file: str
    image_auroc: float | None = Field(default=None, ge=0, le=1)
    # Largest |score − fp32 score| ÷ (ng_limit − median sound score) over the golden images.
    parity_error: float | None = Field(default=None, ge=0)


class GraphSignature(Shape):
    """The graph's ends. Input `image`: uint8, N × H × W × 3, BGR, any H and W ≥ 32 (resized inside).

    Outputs: `score` float32 [N]; `heatmap` float32 [N, h, w], on the score's scale; `embedding` float32
    [N, d]; with classes also `class_scores` float32 [N, k]. The heatmap covers the picture that went in from edge to
    edge, whatever the proportions of either. The model's field is `tiles` of one size side by side.
    """

    input_name: str = "image"
    model_height_px: int = Field(ge=32, le=MOST_FIELD_PX)
    model_width_px: int = Field(ge=32, le=MOST_FIELD_PX)
    heatmap_height_px: int = Field(ge=1, le=4096)
    heatmap_width_px: int = Field(ge=1, le=4096)
    embedding_length: int = Field(ge=1, le=8192)
    tiles: Tiles = Tiles()

    @model_validator(mode="after")
    def _of_tiles(self) -> Self:
        if (fault := self.tiles.misfit(self.model_height_px, self.model_width_px)) is not None:
            raise ValueError(fault)
        return self


class Promise(Shape):
    """A bound on a share of the parts to come, as long as they are like the parts counted (exchangeable).

    `asked_rate` was wanted, `kept_rate` holds, with `confidence`: in 95 of 100 trainings at 0.95. `parts` are physical
    parts, each counted once by its worst picture, however many pictures show it; `beyond` of them count as lying on the
    wrong side of the limit. `missing_parts` more of them would promise `asked_rate`; null: it is kept, or no number of
    parts within reach can promise it.
    """

    asked_rate: float = Field(ge=0, le=1)
    kept_rate: float = Field(ge=0, le=1)
    confidence: float = Field(gt=0, lt=1)
    parts: Ordinal
    pictures: Ordinal
    beyond: Count
    missing_parts: Ordinal | None = None
    statement: str = Field(max_length=500)


class ScoreScale(Shape):
    """A score as people can read it: the rarity of a sound part that scores at least as high.

    Rarity 2 is one sound part in 10 ** 2, 3 one in 1,000. `scores` rise and `rarities` rise with them; between them the
    scale is linear. It rests on `parts` sound parts: beyond one in `parts` + 1 it goes on as an exponential tail, which
    is a continuation and no promise. Never clamped: a higher score is always a rarer one.
    """

    scores: list[float] = Field(min_length=2, max_length=64)
    rarities: list[float] = Field(min_length=2, max_length=64)
    parts: Ordinal

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if len(self.scores) != len(self.rarities) or self.rarities[0] <= 0:
            msg = f"score scale: expected as many rarities above 0 as scores, got {self.rarities} for {self.scores}"
            raise ValueError(msg)
        for values in (self.scores, self.rarities):
            if any(after <= before for before, after in pairwise(values)):
                msg = f"score scale: expected rising numbers, got {values}"
                raise ValueError(msg)
        return self

    def rarity(self, score: float) -> float:
        """log10 of N, where one sound part in N scores at least this. Above 0, strictly rising, without an end."""
        place = min(max(bisect_right(self.scores, score), 1), len(self.scores) - 1)
        left, right = self.scores[place - 1], self.scores[place]
        low, high = self.rarities[place - 1], self.rarities[place]
        slope = (high - low) / (right - left)
        if score < left:
            # Below all sound parts: towards one in one, which is never reached.
            return low / (1 + slope * (left - score) / low)
        return low + slope * (score - left)


class Limits(Shape):
    """Where OK ends and NG begins, and what was promised of it.

    `overkill_bound` holds with `confidence` for parts like the `sound_parts` the limits were set on; `overkill` says
    the same in full. `escapes` is null without labelled defects. Packages made before there were promises have neither,
    and no `sound_scale`.
    """

    ok_limit: float
    ng_limit: float
    overkill_bound: float | None = Field(default=None, ge=0, le=1)
    confidence: float | None = Field(default=None, gt=0, lt=1)
    sound_parts: Count
    rule: str = Field(max_length=500)
    overkill: Promise | None = None
    escapes: Promise | None = None
    sound_scale: ScoreScale | None = None

    @field_validator("ng_limit")
    @classmethod
    def _ordered(cls, value: float, info: object) -> float:
        ok_limit = getattr(info, "data", {}).get("ok_limit")
        if ok_limit is not None and value < ok_limit:
            msg = f"ng_limit {value} lies below ok_limit {ok_limit}"
            raise ValueError(msg)
        return value


class GoldenSet(Shape):
    """Golden images for the self-test.

    A .npz without pickles: `images` uint8 [n, H, W, 3] BGR and, for each variant, `score_<variant>`
    float32 [n], hyphens as underscores.

    The self-test passes when |score − golden| ≤ tolerance for every image, and no score is NaN.
    """

    file: str
    images: int = Field(ge=1, le=64)
    tolerance: float = Field(gt=0)


class Lineage(Shape):
    """What made this package. Enough to make it again and to find every package a bad picture touched.

    Of a foreign graph nobody here knows what it learnt from. Then the counts are of the pictures that its limits were
    placed on, `dataset_sha256` is of these and of the file, and `backbone`, `backbone_weights_sha256` and
    `backbone_weights_source` are the file's name, its SHA-256 (with weights in files beside it, of the digests of all)
    and what was taken from it.
    """

    training_id: str = Field(max_length=64)
    parent_package_id: PackageId | None = None
    dataset_sha256: Sha256
    sound_parts: Count
    defective_parts: Count
    seed: int = Field(ge=-(2**63), le=2**63 - 1)
    backbone: str
    backbone_weights_sha256: Sha256
    backbone_weights_source: str
    trainer_version: str
    training_seconds: float = Field(ge=0)


class PackageManifest(Message):
    """See the module. `defect_classes` is in the order of `class_scores`."""

    product: Name
    detector: DetectorKind
    created_at: UtcTime
    is_simulated: bool
    graph: GraphSignature
    variants: list[PackageVariant] = Field(min_length=1)
    files: list[PackageFile] = Field(min_length=2)
    limits: Limits
    golden: GoldenSet
    defect_classes: list[str] = []
    lineage: Lineage
