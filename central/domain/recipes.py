# SPDX-License-Identifier: Apache-2.0
"""What a recipe document says: read strictly, compared field by field, held against the package that it loosens.

Pure. Stores nothing, chooses no station's version beyond the rule itself. Called by `services/recipes.py` and the API.

People write these documents, so a field that nobody knows is a mistake here, though the wire's reader would drop it.
"""

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError

from contracts.manifest import PackageManifest
from contracts.recipes import ProductRecipe

# As the station has it: what is smaller is not found again, and a station refuses all its recipes for one such mark.
MIN_LANDMARK_PX: Final = 8
_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
# Version and product are where the document stands, not what it says.
_NOT_COMPARED: Final = frozenset({"version", "product"})


class DocumentError(ValueError):
    """A document that is no recipe. The text names each field."""


@dataclass(frozen=True)
class Difference:
    """One field that differs. None: not set."""

    field: str
    old: Any
    new: Any


def read_document(document: Mapping[str, Any], product: str, version: int) -> ProductRecipe:
    """The recipe that a person wrote. It may name its product, but no other; its version is ours to give.

    Raises:
        DocumentError: fields that are unknown, of the wrong kind or out of range, each by its name.
    """
    said = {key: value for key, value in document.items() if key != "version"}
    if said.setdefault("product", product) != product:
        raise DocumentError(f"product: expected {product!r}, got {said['product']!r}")
    try:
        recipe = ProductRecipe.model_validate({**said, "version": version})
    except ValidationError as error:
        raise DocumentError("; ".join(_in_words(error))) from error
    strange = list(_unknown(said, recipe.model_dump(mode="json", exclude_unset=True)))
    if strange:
        known = ", ".join(sorted(ProductRecipe.model_fields.keys() - _NOT_COMPARED))
        raise DocumentError(f"{', '.join(strange)}: no such field; of a recipe there are {known}")
    faults = list(_landmark_faults(recipe))
    if faults:
        raise DocumentError("; ".join(faults))
    return recipe


def differences(old: ProductRecipe | None, new: ProductRecipe) -> list[Difference]:
    """The fields in which two versions differ, by path. Without an older one: from a recipe of defaults."""
    before = _flat(old or ProductRecipe(product=new.product, version=1))
    after = _flat(new)
    return [
        Difference(field, before.get(field), after.get(field))
        for field in sorted({*before, *after})
        if before.get(field) != after.get(field)
    ]


def loosened(recipe: ProductRecipe, manifest: PackageManifest | None) -> list[str]:
    """What lets more parts pass than the package alone would, in words. `manifest`: of `limits.package_id`."""
    warnings = []
    limits = recipe.limits
    if limits is not None and manifest is None:
        warnings.append(
            f"limits: package {limits.package_id[:12]} is not known here; nothing can be said of its limits"
        )
    elif limits is not None and manifest is not None:
        for name, asked, own in (
            ("ok_limit", limits.ok_limit, manifest.limits.ok_limit),
            ("ng_limit", limits.ng_limit, manifest.limits.ng_limit),
        ):
            if asked > own:
                warnings.append(
                    f"limits.{name}: {asked:g} is above the package's {own:g}: parts pass that it would stop, "
                    "and what it promises of escapes does not hold"
                )
        family = recipe.package_family or recipe.product
        if manifest.product != family:
            warnings.append(
                f"limits.package_id: that package judges {manifest.product}, this recipe's is one of {family}: "
                "these limits will not be used"
            )
    if recipe.pass_review:
        warnings.append("pass_review: parts in REVIEW pass without a person having seen them")
    return warnings


def wanted_versions(newest: Mapping[str, int], own: Mapping[str, int], pinned: Mapping[str, int]) -> dict[str, int]:
    """What one station should use: its pin, else the newest made for it alone, else the newest for every station."""
    return {**newest, **own, **pinned}


def _in_words(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        where = ".".join(str(part) for part in fault["loc"] if part != "[key]") or "document"
        given = fault.get("input")
        got = f", got {given!r}" if isinstance(given, int | float | str | bool) and len(str(given)) < 64 else ""
        # The contract's own rules name their field already.
        text = fault["msg"].removeprefix("Value error, ").removeprefix(f"{where}: ")
        yield f"{where}: {text}{got}"


def _unknown(said: Any, read: Any, path: str = "") -> Iterator[str]:
    if isinstance(said, Mapping) and isinstance(read, Mapping):
        for key, value in said.items():
            where = f"{path}.{key}" if path else str(key)
            if key not in read:
                yield where
            else:
                yield from _unknown(value, read[key], where)
    elif isinstance(said, list | tuple) and isinstance(read, list | tuple):
        for index, (left, right) in enumerate(zip(said, read, strict=False)):
            yield from _unknown(left, right, f"{path}.{index}")


def _flat(recipe: ProductRecipe) -> dict[str, Any]:
    """Paths to plain values. What is None has no path, so that an absent group and an empty one are the same."""
    found: dict[str, Any] = {}

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(inner, f"{path}.{key}" if path else str(key))
        elif isinstance(value, Sequence) and any(isinstance(item, Mapping) for item in value):
            for index, inner in enumerate(value):
                walk(inner, f"{path}.{index}")
        elif value is not None:
            found[path] = _picture_in_words(value) if path.endswith(".png") else value

    walk(recipe.model_dump(mode="json", exclude=set(_NOT_COMPARED)), "")
    return found


def _picture_in_words(encoded: str) -> str:
    content = base64.b64decode(encoded)
    return f"PNG of {len(content)} bytes, sha256 {hashlib.sha256(content).hexdigest()[:12]}"


def _landmark_faults(recipe: ProductRecipe) -> Iterator[str]:
    """A landmark that is torn or too small. Whether it shows something only the station can tell."""
    for index, landmark in enumerate(recipe.registration.landmarks if recipe.registration else ()):
        size = _png_size(base64.b64decode(landmark.png))
        if size is None or min(size) < MIN_LANDMARK_PX:
            got = "no whole picture" if size is None else f"{size[0]} × {size[1]} px"
            where = f"registration.landmarks.{index}.png"
            yield f"{where}: expected a PNG of {MIN_LANDMARK_PX} px a side or more, got {got}"


def _png_size(content: bytes) -> tuple[int, int] | None:
    """Width and height, if every chunk is whole up to the end mark."""
    place, size = len(_PNG_START), None
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kind, body = content[place + 4 : place + 8], content[place + 8 : place + 8 + length]
        check = content[place + 8 + length : place + 12 + length]
        if len(body) != length or zlib.crc32(kind + body).to_bytes(4, "big") != check:
            return None
        if kind == b"IHDR" and length == 13:
            size = (int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"))
        if kind == b"IEND":
            return size
        place += 12 + length
    return None
