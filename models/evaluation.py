# SPDX-License-Identifier: Apache-2.0
"""Measures graphs on held-out pictures. Positive means defect, everywhere in this file.

Pure figures on arrays first (AUROC, average precision, recall at an overkill), then a runner that scores pictures
with a package's graph. Draws no conclusion about promotion: central's gate does. Called by `training` and the CLI.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.codec import CodecError, decode
from contracts.manifest import MANIFEST_NAME, Limits, PackageManifest
from contracts.vocabulary import Variant, Verdict
from models.errors import InputError
from models.features import INPUT_NAME, open_session
from models.packaging import sha256_of

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Picture = NDArray[np.uint8]
_RESAMPLES = 200


def image_auroc(scores: Floats, is_defective: Bools) -> float | None:
    """P(a defective part scores above a sound one), ties half; None where one class is missing."""
    sound, caught = np.sort(scores[~is_defective]), scores[is_defective]
    if len(sound) == 0 or len(caught) == 0:
        return None
    ranks = np.searchsorted(sound, caught, side="left") + np.searchsorted(sound, caught, side="right")
    return float(ranks.mean() / (2 * len(sound)))


def average_precision(scores: Floats, is_defective: Bools) -> float | None:
    """Area under precision over recall, by steps; equal scores enter together."""
    if not is_defective.any() or is_defective.all():
        return None
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_defective[order])
    last_of_tie = np.r_[np.diff(scores[order]) != 0, True]
    hits, seen = hits[last_of_tie], (np.flatnonzero(last_of_tie) + 1)
    gained = np.diff(np.r_[0, hits])
    return float((gained * hits / seen).sum() / is_defective.sum())


def recall_at_overkill(scores: Floats, is_defective: Bools, overkill: float) -> float | None:
    """Recall at the lowest limit that judges at most this share of the sound parts NG."""
    sound, caught = np.sort(scores[~is_defective]), scores[is_defective]
    if len(sound) == 0 or len(caught) == 0:
        return None
    limit = sound[len(sound) - 1 - int(overkill * len(sound))]
    return float((caught > limit).mean())


def is_auroc_lost(before: Floats, after: Floats, is_defective: Bools, allowed: float) -> bool:
    """Whether AUROC fell by more than `allowed`, and not just by the luck of these pictures.

    Paired bootstrap: on few pictures one swapped pair is worth more than any allowance.
    """
    first, second = image_auroc(before, is_defective), image_auroc(after, is_defective)
    if first is None or second is None or first - second <= allowed:
        return False
    rng = np.random.default_rng(0)
    sound, defective = np.flatnonzero(~is_defective), np.flatnonzero(is_defective)
    worse = 0
    for _ in range(_RESAMPLES):
        rows = np.concatenate([rng.choice(sound, len(sound)), rng.choice(defective, len(defective))])
        worse += (image_auroc(before[rows], is_defective[rows]) or 0) > (
            image_auroc(after[rows], is_defective[rows]) or 0
        )
    return worse >= _RESAMPLES * 0.9


def verdict_of(score: float, limits: Limits) -> Verdict:
    """What a station would say; a score that is no number is NO_DECISION."""
    if not np.isfinite(score):
        return Verdict.NO_DECISION
    if score >= limits.ng_limit:
        return Verdict.NG
    return Verdict.OK if score < limits.ok_limit else Verdict.REVIEW


@dataclass(frozen=True)
class Scored:
    """Scores of pictures in order, and how long one took (median), bare session, one at a time."""

    scores: Floats
    infer_p50_ms: float


def score_pictures(
    model: onnx.ModelProto | bytes,
    pictures: Iterable[Picture],
    threads: int,
    check: Callable[[int], None] | None = None,
) -> Scored:
    """Run a package's graph over pictures of any size."""
    session = open_session(model, threads)
    scores, times_ms = [], []
    for index, picture in enumerate(pictures):
        started = time.perf_counter()
        score = session.run(["score"], {INPUT_NAME: picture[None]})[0]
        times_ms.append((time.perf_counter() - started) * 1e3)
        scores.append(float(score[0]))
        if check is not None:
            check(index + 1)
    return Scored(np.array(scores, np.float32), float(np.median(times_ms)) if times_ms else 0.0)


@dataclass(frozen=True)
class OpenPackage:
    """A package read from disk, every file's digest checked."""

    folder: Path
    manifest: PackageManifest
    package_id: str

    def model(self, variant: Variant) -> bytes:
        """The graph of one variant."""
        for entry in self.manifest.variants:
            if entry.variant is variant:
                return (self.folder / entry.file).read_bytes()
        has = ", ".join(entry.variant for entry in self.manifest.variants)
        raise InputError(f"package {self.package_id[:12]}: no variant {variant}; it has {has}")

    def preferred(self) -> Variant:
        """INT8 where the package has it: what a CPU station runs."""
        variants = [entry.variant for entry in self.manifest.variants]
        return Variant.INT8_U8S8 if Variant.INT8_U8S8 in variants else variants[0]


def open_package(folder: Path) -> OpenPackage:
    """Read and check a package.

    Raises:
        InputError: no manifest, not a manifest, a file missing or altered.
    """
    try:
        content = (folder / MANIFEST_NAME).read_bytes()
        manifest = decode(PackageManifest, content)
        for file in manifest.files:
            if sha256_of((folder / file.name).read_bytes()) != file.sha256:
                raise InputError(f"package {folder}: {file.name} is not the file its manifest names; fetch it again")
    except OSError as error:
        raise InputError(
            f"package {folder}: {error.filename or MANIFEST_NAME} cannot be read ({error.strerror})"
        ) from error
    except CodecError as error:
        raise InputError(f"package {folder}: {error}") from error
    return OpenPackage(folder, manifest, sha256_of(content))
