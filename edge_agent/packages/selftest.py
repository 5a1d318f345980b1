# SPDX-License-Identifier: Apache-2.0
"""The self-test: golden images through this station's own runtime, before a package may judge a part.

Reads one golden file and runs one open session; opens no session, keeps nothing, activates nothing. Called by the
package installer for each variant it tries. The golden file comes from the package, so it is read with bounds and
without pickles even though its digest was checked.
"""

import math
import re
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import GoldenSet, PackageManifest
from contracts.vocabulary import RefusalReason, Variant
from edge_agent.clock import Clock
from edge_agent.errors import InferenceError
from edge_agent.inference.session import Inference, InferenceSession
from edge_agent.packages.speed import time_session
from edge_agent.packages.trust import PackageRefused

_MEMBER: Final = re.compile(r"[a-z0-9_]{1,64}\.npy\Z")
MAX_GOLDEN_BYTES: Final = 256 * 1024 * 1024


@dataclass(frozen=True)
class SelfTestResult:
    """A passed self-test: largest |score − golden| and the median time of one inference.

    `levels`: scores that two or more golden images share on this device: there the package saturates.
    """

    worst_error: float
    infer_p50_ms: float
    levels: frozenset[float] = frozenset()


def run_self_test(
    session: InferenceSession, golden: Path, manifest: PackageManifest, variant: Variant, clock: Clock
) -> SelfTestResult:
    """Run every golden image, compare, warm up and time.

    Raises:
        PackageRefused: UNREADABLE golden file; SELF_TEST for a failing run, outputs of another shape, a value
            that is not finite, or a score outside the tolerance.
    """
    images, expected = read_golden(golden, manifest.golden, variant)
    worst = 0.0
    scores: list[float] = []
    for index, (image, wanted) in enumerate(zip(images, expected, strict=True)):
        found = _run(session, image, index)
        _check_shapes(found, manifest, index)
        error = abs(found.score - float(wanted))
        # Not `error > tolerance`: a NaN compares false with everything and must fail.
        if not error <= manifest.golden.tolerance:
            msg = (
                f"self-test of {variant}: golden image {index}: expected score {float(wanted):.6g} "
                f"± {manifest.golden.tolerance:g}, got {found.score:.6g} on {session.provider}"
            )
            raise PackageRefused(RefusalReason.SELF_TEST, msg)
        worst = max(worst, error)
        scores.append(found.score)
    levels = frozenset(score for score in scores if scores.count(score) > 1)
    return SelfTestResult(worst, time_session(session, images, clock), levels)


def read_golden(path: Path, golden: GoldenSet, variant: Variant) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images uint8 [n, H, W, 3] and the scores [n] that `variant` gave at the trainer.

    Raises:
        PackageRefused: UNREADABLE: not the .npz that the manifest promises, or too large when unpacked.
    """
    key = f"score_{variant.value.replace('-', '_')}"
    try:
        with zipfile.ZipFile(path) as archive:
            # A small archive may unpack to more memory than the station has.
            if strange := [each.filename for each in archive.infolist() if not _MEMBER.match(each.filename)]:
                # Nothing is ever unpacked to the disk; a path in there is an attempt all the same (zip slip).
                msg = f"golden set: expected members NAME.npy, got {strange[0]!r}"
                raise PackageRefused(RefusalReason.UNREADABLE, msg)
            total = sum(member.file_size for member in archive.infolist())
            if total > MAX_GOLDEN_BYTES:
                msg = f"golden set: expected at most {MAX_GOLDEN_BYTES} bytes unpacked, got {total}"
                raise PackageRefused(RefusalReason.TOO_LARGE, msg)
        with np.load(path, allow_pickle=False) as content:
            images: NDArray[Any] = content["images"]
            scores: NDArray[Any] = content[key]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        msg = f"golden set: expected a .npz with 'images' and {key!r}: {error}"
        raise PackageRefused(RefusalReason.UNREADABLE, msg) from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or len(images) != golden.images:
        msg = f"golden set: expected uint8 [{golden.images}, H, W, 3], got {images.dtype} {list(images.shape)}"
        raise PackageRefused(RefusalReason.UNREADABLE, msg)
    if scores.shape != (len(images),) or scores.dtype.kind != "f" or not np.isfinite(scores).all():
        msg = f"golden set: expected {len(images)} finite scores in {key!r}, got {scores.dtype} {list(scores.shape)}"
        raise PackageRefused(RefusalReason.UNREADABLE, msg)
    return images, scores.astype(np.float32)


def _run(session: InferenceSession, image: NDArray[np.uint8], index: int) -> Inference:
    try:
        found = session.run(image)
    except InferenceError as error:
        msg = f"self-test: golden image {index}: {error.message}"
        raise PackageRefused(RefusalReason.SELF_TEST, msg) from error
    if not math.isfinite(found.score) or not np.isfinite(found.heatmap).all():
        msg = f"self-test: golden image {index}: expected finite values, got score {found.score}"
        raise PackageRefused(RefusalReason.SELF_TEST, msg)
    return found


def _check_shapes(found: Inference, manifest: PackageManifest, index: int) -> None:
    graph = manifest.graph
    expected: list[tuple[str, tuple[int, ...], tuple[int, ...]]] = [
        ("heatmap", found.heatmap.shape, (graph.heatmap_height_px, graph.heatmap_width_px)),
        ("embedding", found.embedding.shape, (graph.embedding_length,)),
    ]
    if manifest.defect_classes:
        classes = found.class_scores.shape if found.class_scores is not None else ()
        expected.append(("class_scores", classes, (len(manifest.defect_classes),)))
    for name, got, wanted in expected:
        if got != wanted:
            msg = f"self-test: golden image {index}: expected {name} of shape {wanted}, got {got}"
            raise PackageRefused(RefusalReason.SELF_TEST, msg)
