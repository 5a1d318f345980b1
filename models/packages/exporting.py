# SPDX-License-Identifier: Apache-2.0
"""`sightline-models export`: one graph of a package as a bare ONNX file, and beside it what its numbers mean.

The graph is the package's, byte for byte, its digest checked. A file that no export left, or that was changed since,
is never written over. Converts nothing. Called by `__main__`.
"""

import contextlib
import json
from pathlib import Path
from typing import Any, Final

import onnx

from contracts.manifest import MANIFEST_NAME, PackageVariant
from contracts.vocabulary import Variant
from models.errors import InputError
from models.files import write_whole
from models.packages.reading import OpenPackage, open_package, read_manifest
from models.packages.writing import sha256_of
from models.stdout import say

_MARK: Final = "sightline-export-1"
_MEANING: Final = {
    "score": "one number a picture, larger is more anomalous",
    "heatmap": "where, on the scale of the score; brought to the picture's size bilinearly",
    "embedding": "describes the picture, to compare pictures by",
    "class_scores": "one number a defect class, in the order of defect_classes",
}


def export(folder: Path, variant: str, out: Path) -> None:
    """Write the graph to `out` and its description beside it, with the suffix .json.

    Raises:
        InputError: not a whole package, no such variant, `out` lies in a package, or a file stands there that must not
            be written over.
    """
    if out.suffix != ".onnx":
        raise InputError(f"--out: expected a file .onnx, got {out.name!r}; give {out.with_suffix('.onnx')}")
    if variant not in list(Variant):
        raise InputError(f"--variant: expected one of {', '.join(Variant)}, got {variant!r}")
    package = open_package(folder)
    _check_apart(package, out)
    content = package.model(Variant(variant))
    (entry,) = [each for each in package.manifest.variants if each.variant == variant]
    beside = out.with_suffix(".json")
    _check_free(out, beside)
    told = json.dumps(_described(package, entry, out.name, content), indent=1, ensure_ascii=False) + "\n"
    try:
        # The description first: should the second write fail, the first file says what was to come.
        before = beside.read_bytes() if beside.exists() else None
        write_whole(beside, told.encode())
        try:
            write_whole(out, content)
        except BaseException:
            if before is None:
                beside.unlink(missing_ok=True)
            else:
                write_whole(beside, before)
            raise
    except OSError as error:
        raise InputError(f"--out: {out} cannot be written ({error.strerror}); give another file") from error
    say(f"{out}: {variant} of package {package.package_id}, {len(content)} bytes\n{beside}\n")


def _check_apart(package: OpenPackage, out: Path) -> None:
    """A package is the files of its manifest and no more, and what lies in its folder goes when it is replaced."""
    place = out.resolve().parent
    within = package.folder if place.is_relative_to(package.folder.resolve()) else None
    if within is None and (place / MANIFEST_NAME).is_file():
        # Others call files so, too.
        with contextlib.suppress(InputError):
            read_manifest(place)
            within = place
    if within is not None:
        raise InputError(f"--out: {out} lies in the package {within}, which must not change; give another file")


def _check_free(out: Path, beside: Path) -> None:
    """Only what an export left, and nobody changed since, may be replaced."""
    for path in (out, beside):
        if path.exists() and not path.is_file():
            raise InputError(f"--out: {path} is no file; give another name")
    try:
        earlier = json.loads(beside.read_bytes()) if beside.exists() else None
        is_ours = isinstance(earlier, dict) and earlier.get("format") == _MARK
        digest = sha256_of(out.read_bytes()) if out.exists() else None
    except (OSError, ValueError):
        is_ours, digest, earlier = False, None, None
    if beside.exists() and not is_ours:
        raise InputError(f"--out: {beside} is there and no export left it; give another name, or move it away")
    if out.exists() and (earlier is None or earlier.get("sha256") != digest):
        raise InputError(f"--out: {out} is there and is no export as it was left; give another name, or move it away")


def _described(package: OpenPackage, entry: PackageVariant, name: str, content: bytes) -> dict[str, Any]:
    """What someone needs who has the two files alone."""
    model, manifest = onnx.load_model_from_string(content), package.manifest
    limits = manifest.limits
    return {
        "format": _MARK,
        "file": name,
        "sha256": sha256_of(content),
        "package": package.package_id,
        "product": manifest.product,
        "detector": manifest.detector.value,
        "variant": entry.variant.value,
        "is_simulated": manifest.is_simulated,
        "operator_sets": {each.domain or "ai.onnx": each.version for each in model.opset_import},
        "inputs": [
            _end(value) | {"meaning": "pictures, BGR, 0 … 255, any height and width from 32 px; resized inside"}
            for value in model.graph.input
        ],
        "outputs": [_end(value) | {"meaning": _MEANING.get(value.name, "")} for value in model.graph.output],
        "model_size_px": {"height": manifest.graph.model_height_px, "width": manifest.graph.model_width_px},
        "tiles": manifest.graph.tiles.model_dump(),
        "limits": {
            "ok_limit": limits.ok_limit, "ng_limit": limits.ng_limit,
            "rule": "score < ok_limit: OK; score >= ng_limit: NG; in between REVIEW; no number: NO_DECISION",
        },
        "defect_classes": manifest.defect_classes,
        "image_auroc": entry.image_auroc,
        "parity_error": entry.parity_error,
    }  # fmt: skip


def _end(value: onnx.ValueInfoProto) -> dict[str, Any]:
    tensor = value.type.tensor_type
    shape = [each.dim_param or each.dim_value for each in tensor.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), "shape": shape}
