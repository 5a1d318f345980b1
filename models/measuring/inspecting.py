# SPDX-License-Identifier: Apache-2.0
"""`sightline-models inspect`: what a package is, where it came from, and whether its files are the ones it names.

Looks at every file, so that one call tells all that is wrong. Runs no graph. Called by `commands`.
"""

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any, Final

import numpy as np

from contracts.manifest import MANIFEST_NAME, FileRole, GoldenSet, PackageManifest
from models.packages.reading import fault_of, read_manifest
from models.reporting.console import number, percent, table
from models.wording import counted

Told = dict[str, Any]
_MAX_GOLDEN_BYTES: Final = 256 * 1024 * 1024
_MAX_REPORT_BYTES: Final = 4 * 1024 * 1024
# What reading a file of arrays raises that is none, that is broken, encrypted, or larger than the memory.
_NO_ARRAYS: Final = (
    OSError, ValueError, TypeError, EOFError, RuntimeError, MemoryError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def inspect_package(folder: Path) -> Told:
    """All that a package says of itself, as a dict for JSON; `files` say per file whether it is whole.

    Raises:
        InputError: not a package at all. An altered or missing file is no error here: see `faults_of`.
    """
    manifest, package_id = read_manifest(folder)
    faults = {file.name: fault_of(folder, file) for file in manifest.files}
    sizes = {file.name: file.size_bytes for file in manifest.files}
    known = {*sizes, MANIFEST_NAME}
    return {
        "package": package_id,
        "product": manifest.product,
        "detector": manifest.detector.value,
        "created_at": manifest.created_at.isoformat(),
        "is_simulated": manifest.is_simulated,
        "schema_version": manifest.schema_version,
        "graph": manifest.graph.model_dump(),
        "limits": manifest.limits.model_dump(),
        "variants": {
            entry.variant.value: {
                "file": entry.file, "size_bytes": sizes[entry.file],
                "image_auroc": entry.image_auroc, "parity_error": entry.parity_error,
            }
            for entry in manifest.variants
        },
        "defect_classes": manifest.defect_classes,
        "lineage": manifest.lineage.model_dump(),
        "golden": _golden(folder, manifest, is_whole=faults[manifest.golden.file] is None),
        "notes": _notes(folder, manifest, faults),
        "size_bytes": sum(sizes.values()),
        "files": {
            file.name: {
                "role": file.role.value, "size_bytes": file.size_bytes, "sha256": file.sha256,
                "is_whole": faults[file.name] is None, "fault": faults[file.name],
            }
            for file in manifest.files
        },
        "not_in_manifest": sorted(path.name for path in folder.iterdir() if path.name not in known),
    }  # fmt: skip


def faults_of(told: Told) -> list[str]:
    """What is wrong with the files of an inspected package."""
    faults = [file["fault"] for file in told["files"].values() if file["fault"] is not None]
    return faults + [fault for fault in (told["golden"]["fault"],) if fault is not None]


def _golden(folder: Path, manifest: PackageManifest, *, is_whole: bool) -> Told:
    golden = manifest.golden
    told: Told = {"file": golden.file, "images": golden.images, "tolerance": golden.tolerance, "fault": None}
    if is_whole:
        told["fault"] = _golden_fault(folder / golden.file, golden, manifest)
    return told


def _golden_fault(path: Path, golden: GoldenSet, manifest: PackageManifest) -> str | None:
    """Whether the golden file holds what its station will look for."""
    if path.stat().st_size > _MAX_GOLDEN_BYTES:
        return f"{golden.file}: expected at most {_MAX_GOLDEN_BYTES} bytes, got {path.stat().st_size}"
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
            names = set(arrays.files)
            wanted = {"images", *(f"score_{entry.variant.replace('-', '_')}" for entry in manifest.variants)}
            if missing := sorted(wanted - names):
                return f"{golden.file}: expected arrays {', '.join(sorted(wanted))}, got no {missing[0]}"
            lengths = {name: len(arrays[name]) for name in sorted(wanted)}
    except _NO_ARRAYS as error:
        return f"{golden.file}: expected arrays without pickles, got {error}"
    wrong = [f"{name} with {length}" for name, length in lengths.items() if length != golden.images]
    return f"{golden.file}: expected {golden.images} images, got {', '.join(wrong)}" if wrong else None


def _notes(folder: Path, manifest: PackageManifest, faults: dict[str, str | None]) -> list[str]:
    """What the training remarked, from the package's report where there is one that can be read."""
    for file in manifest.files:
        if file.role is not FileRole.REPORT or faults[file.name] is not None or file.size_bytes > _MAX_REPORT_BYTES:
            continue
        try:
            told = json.loads((folder / file.name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(told, dict) and isinstance(told.get("notes"), list):
            return [str(note) for note in told["notes"]]
    return []


def render(told: Told) -> str:
    """The package for a person."""
    graph, limits, lineage, golden = told["graph"], told["limits"], told["lineage"], told["golden"]
    simulated = " (simulated parts)" if told["is_simulated"] else ""
    lines = [
        f"package {told['package']}",
        f"product {told['product']}{simulated}, detector {told['detector']}, made {told['created_at']}",
        (
            f"sees {graph['model_width_px']} × {graph['model_height_px']} px{_tiles(graph)}, "
            f"heatmap {graph['heatmap_width_px']} × {graph['heatmap_height_px']}, embedding {graph['embedding_length']}"
        ),
        f"limits: OK below {limits['ok_limit']:.4g}, NG from {limits['ng_limit']:.4g}, in between REVIEW",
        *(f"  {line}" for line in _promises(limits)),
        f"  rule: {limits['rule']}",
        f"defect classes: {', '.join(told['defect_classes']) or 'not named by this detector'}",
        (
            f"lineage: training {lineage['training_id']}, {lineage['sound_parts']} sound and "
            f"{counted(lineage['defective_parts'], 'defective picture')}, seed {lineage['seed']}, "
            f"{lineage['training_seconds']:.1f} s, trainer {lineage['trainer_version']}"
        ),
        (
            f"  backbone {lineage['backbone']} ({lineage['backbone_weights_source']}, "
            f"{lineage['backbone_weights_sha256'][:12]})"
        ),
        f"  pictures {lineage['dataset_sha256'][:12]}, parent {lineage['parent_package_id'] or 'none'}",
        (
            f"golden set: {counted(golden['images'], 'image')} in {golden['file']}, "
            f"scores within {golden['tolerance']:.4g}"
        ),
        "",
    ]
    rows = [["variant", "kB", "image AUROC", "parity error"]]
    rows += [
        [name, f"{each['size_bytes'] / 1000:.0f}", number(each["image_auroc"]), number(each["parity_error"], 3)]
        for name, each in told["variants"].items()
    ]
    lines += [*table(rows), ""]
    rows = [["file", "role", "bytes", "SHA-256", "digest"]]
    rows += [
        [name, each["role"], str(each["size_bytes"]), each["sha256"][:12], "agrees" if each["is_whole"] else "WRONG"]
        for name, each in told["files"].items()
    ]
    lines += table(rows)
    ends = [f"note: {note}" for note in told["notes"]]
    ends += [f"not in the manifest, never used: {name}" for name in told["not_in_manifest"]]
    return "\n".join([*lines, "", *ends] if ends else lines) + "\n"


def _tiles(graph: Told) -> str:
    """How the field is made up, rows first; nothing where it is one tile."""
    tiles = graph["tiles"]
    if tiles["rows"] * tiles["columns"] == 1:
        return ""
    return f" in {tiles['rows']}x{tiles['columns']} tiles of {graph['model_height_px'] // tiles['rows']} px"


def _promises(limits: Told) -> list[str]:
    """What the limits promise: in full where the manifest has it, else what it says of overkill."""
    told = [promise["statement"] for name in ("overkill", "escapes") if (promise := limits.get(name)) is not None]
    if told:
        return [f"promise: {statement}" for statement in told]
    if limits["overkill_bound"] is None or limits["confidence"] is None:
        return [f"no promise, from {counted(limits['sound_parts'], 'sound part')}"]
    return [
        (
            f"promise: at most {percent(limits['overkill_bound'])} overkill with {100 * limits['confidence']:.0f} % "
            f"confidence, from {counted(limits['sound_parts'], 'sound part')}"
        )
    ]
