# SPDX-License-Identifier: Apache-2.0
"""Opens packages, scores pictures with their graphs, and judges scores at their limits as a station does.

Computes no figure (`measuring.figures` does). Called by `training`, `measuring`, `reporting` and the plant.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from contracts.codec import MAX_MESSAGE_BYTES, CodecError, decode
from contracts.manifest import MANIFEST_NAME, Limits, PackageFile, PackageManifest
from contracts.vocabulary import Variant, Verdict
from models.errors import InputError
from models.graphs.features import CLASS_OUTPUT, INPUT_NAME, open_session
from models.packages.writing import sha256_of

Floats = NDArray[np.float32]
Picture = NDArray[np.uint8]


def verdict_of(score: float, limits: Limits) -> Verdict:
    """What a station would say; a score that is no number is NO_DECISION."""
    if not np.isfinite(score):
        return Verdict.NO_DECISION
    if score >= limits.ng_limit:
        return Verdict.NG
    return Verdict.OK if score < limits.ok_limit else Verdict.REVIEW


def class_named(verdict: Verdict, class_scores: Floats | None, classes: Sequence[str]) -> str | None:
    """The name that a station gives to a defect, by class scores [k]; None: it passes, or there is no name to give."""
    if verdict not in (Verdict.NG, Verdict.REVIEW) or class_scores is None or len(class_scores) != len(classes):
        return None
    return classes[int(np.argmax(class_scores))] if classes else None


@dataclass(frozen=True)
class Scored:
    """Scores of pictures in order, and how long one took (median), bare session, one at a time.

    `heatmaps`: float32 [h, w] of each picture, where they were asked for. `class_scores` [n, k] where the graph names
    defect classes.
    """

    scores: Floats
    infer_p50_ms: float
    heatmaps: tuple[Floats, ...] = ()
    class_scores: Floats | None = None

    def class_scores_of(self, row: int) -> Floats | None:
        """Those of one picture, [k]."""
        return None if self.class_scores is None else self.class_scores[row]


def score_pictures(
    model: onnx.ModelProto | bytes,
    pictures: Iterable[Picture],
    threads: int,
    check: Callable[[int], None] | None = None,
    has_heatmaps: bool = False,
) -> Scored:
    """Run a package's graph over pictures of any size."""
    session = open_session(model, threads)
    offered = {output.name for output in session.get_outputs()}
    outputs = [
        name for name in ("score", *(("heatmap",) if has_heatmaps else ()), CLASS_OUTPUT)
        if name != CLASS_OUTPUT or name in offered
    ]  # fmt: skip
    scores, times_ms = [], []
    heatmaps: list[Floats] = []
    class_scores: list[Floats] = []
    for index, picture in enumerate(pictures):
        started = time.perf_counter()
        told = dict(zip(outputs, session.run(outputs, {INPUT_NAME: picture[None]}), strict=True))
        times_ms.append((time.perf_counter() - started) * 1e3)
        scores.append(float(told["score"][0]))
        if has_heatmaps:
            heatmaps.append(np.asarray(told["heatmap"][0], np.float32))
        if CLASS_OUTPUT in told:
            class_scores.append(np.asarray(told[CLASS_OUTPUT][0], np.float32))
        if check is not None:
            check(index + 1)
    return Scored(
        np.array(scores, np.float32), float(np.median(times_ms)) if times_ms else 0.0, heatmaps=tuple(heatmaps),
        class_scores=np.array(class_scores, np.float32) if class_scores else None,
    )  # fmt: skip


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
        InputError: no folder, no manifest, not a manifest, a file missing or altered.
    """
    manifest, package_id = read_manifest(folder)
    for file in manifest.files:
        if (fault := fault_of(folder, file)) is not None:
            raise InputError(f"package {folder}: {fault}; fetch it again")
    return OpenPackage(folder, manifest, package_id)


def read_manifest(folder: Path) -> tuple[PackageManifest, str]:
    """The manifest of a package folder and the package id; the other files are not looked at.

    Raises:
        InputError: no folder, no permission, no manifest in it, not a manifest, or one that runs a file which it does
            not vouch for.
    """
    path = folder / MANIFEST_NAME
    try:
        if not folder.is_dir():
            got = "a file" if folder.exists() else "nothing"
            raise InputError(f"package {folder}: expected a folder with {MANIFEST_NAME}, got {got}; check the path")
        if not path.is_file():
            raise InputError(
                f"package {folder}: expected a folder with {MANIFEST_NAME}, got none in it; {_remedy(folder)}"
            )
        size = path.stat().st_size
        if size > MAX_MESSAGE_BYTES:
            raise InputError(
                f"package {folder}: expected a {MANIFEST_NAME} of at most {MAX_MESSAGE_BYTES} bytes, got {size}; "
                "fetch the package again"
            )
        content = path.read_bytes()
        manifest = decode(PackageManifest, content)
    except OSError as error:
        raise InputError(
            f"package {folder}: {MANIFEST_NAME} cannot be read ({error.strerror}); allow it, or run as its owner"
        ) from error
    except CodecError as error:
        raise InputError(f"package {folder}: {error}") from error
    vouched = {file.name for file in manifest.files}
    run = [entry.file for entry in manifest.variants] + [manifest.golden.file]
    # A name without a digest could be any file, even one outside the folder.
    if strangers := [name for name in run if name not in vouched]:
        raise InputError(
            f"package {folder}: expected a digest of every file that it uses, got none of {strangers[0]!r}; make the "
            "package again"
        )
    return manifest, sha256_of(content)


def _remedy(folder: Path) -> str:
    inside = sorted(each.parent.name for each in folder.glob(f"*/{MANIFEST_NAME}"))
    return f"give {folder / inside[0]}" if inside else "give the folder `package` that a training left"


def fault_of(folder: Path, file: PackageFile) -> str | None:
    """What is wrong with one file of a package; None: it is the file that the manifest names."""
    path = folder / file.name
    try:
        # The size first, so that a file of any length costs nothing to refuse.
        if path.stat().st_size == file.size_bytes and sha256_of(path.read_bytes()) == file.sha256:
            return None
    except OSError as error:
        return f"{file.name} cannot be read ({error.strerror})"
    return f"{file.name} is not the file its manifest names"
