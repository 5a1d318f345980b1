# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures on disk, as people and public collections keep them, into judged pictures for a job.

| layout | what is expected |
|---|---|
| mvtec | train/good, optionally train/<defect>, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png |
| magnetic-tile | MT_Free/Imgs, MT_<Defect>/Imgs, and split.json (tile-disjoint) when present |
| bsdata | data/*.png, labels/*.json; trained on the first days of each viewpoint, held out later |
| folder | good/ and any other folder, named after its defect; a share by name is held out |

Reads names and digests only. Called by `__main__` (train, evaluate).
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, LabelSource, PartUse
from models.data.splits import is_held_out
from models.errors import InputError

SUFFIXES: Final = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"})
HELD_OUT_SHARE: Final = 0.3
_GOOD: Final = frozenset({"good", "ok", "sound", "free"})


def read_layout(folder: Path, layout: str, *, half: int | None = None, seed: int = 0) -> list[TrainingImage]:
    """Judged pictures of a folder. `half`: for magnetic-tile, which half of the defective tiles may train.

    Raises:
        InputError: unknown layout, or the folder does not look like it; says what was expected.
    """
    readers: dict[str, Callable[[Path, int | None, int], list[TrainingImage]]] = {
        "mvtec": _mvtec, "magnetic-tile": _magnetic_tile, "bsdata": _bsdata, "folder": _folder,
    }  # fmt: skip
    if layout not in readers:
        raise InputError(f"layout: expected one of {', '.join(readers)}, got {layout!r}")
    if not folder.is_dir():
        raise InputError(f"images: no folder at {folder}")
    images = readers[layout](folder, half, seed)
    if not images:
        raise InputError(
            f"images: no pictures found in {folder} in layout {layout}; see `sightline-models train --help`"
        )
    return images


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)


def _image(
    path: Path, use: PartUse, defect_class: str | None, *, group: str | None = None, mask: Path | None = None
) -> TrainingImage:
    return TrainingImage(
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        judgement=Judgement.GOOD if defect_class is None else Judgement.DEFECTIVE,
        defect_class=None if defect_class is None else defect_class[:64],
        mask_path=None if mask is None or not mask.is_file() else str(mask),
        group=group or path.stem,
        use=use,
        source=LabelSource.REFERENCE,
    )


def _mvtec(folder: Path, _half: int | None, _seed: int) -> list[TrainingImage]:
    images = []
    for side, use in (("train", PartUse.TRAIN), ("test", PartUse.HOLDOUT)):
        for kind in sorted(path for path in folder.glob(f"{side}/*") if path.is_dir()):
            defect_class = None if kind.name in _GOOD else kind.name
            for path in _pictures(kind):
                mask = folder / "ground_truth" / kind.name / f"{path.stem}_mask.png"
                # The same stem stands in several folders for different parts.
                group = f"{side}/{kind.name}/{path.stem}"
                images.append(_image(path, use, defect_class, group=group, mask=mask if defect_class else None))
    return images


def _magnetic_tile(folder: Path, half: int | None, seed: int) -> list[TrainingImage]:
    split = folder / "split.json"
    if not split.is_file():
        return _magnetic_tile_by_name(folder, seed)
    told = _read_split(split)
    groups: dict[str, int] = told["group"]
    trained = set() if half is None else set(told["half"].get(str(half), []))
    if half is not None and not trained:
        raise InputError(f"half: expected one of {', '.join(told['half'])}, got {half}")
    # A sound picture of a tile whose defective pictures train must not be held out.
    images = [_image(folder / name, PartUse.TRAIN, None, group=str(groups[name])) for name in told["train_good"]]
    taken = {groups[name] for name in told["train_good"]}
    held_out_good = [name for name in told["test_good"] if groups[name] not in trained | taken]
    images += [_image(folder / name, PartUse.HOLDOUT, None, group=str(groups[name])) for name in held_out_good]
    for defect_class, names in told["test_defect"].items():
        for name in names:
            use = PartUse.TRAIN if groups[name] in trained or groups[name] in taken else PartUse.HOLDOUT
            path = folder / name
            images.append(_image(path, use, defect_class, group=str(groups[name]), mask=path.with_suffix(".png")))
    return images


def _read_split(path: Path) -> dict[str, Any]:
    """The split file, checked for its shape.

    Raises:
        InputError: not JSON, a key is missing or of another kind, or a picture without a group.
    """
    try:
        told: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a JSON file ({error}); restore it, or remove it to split by name"
        ) from error
    shapes = {"train_good": list, "test_good": list, "test_defect": dict, "group": dict, "half": dict}
    for key, shape in shapes.items():
        if not isinstance(told, dict) or not isinstance(told.get(key), shape):
            raise InputError(
                f"{path}: expected `{key}` to be a JSON {'list' if shape is list else 'object'}; restore the file, or "
                "remove it to split by name"
            )
    named = [
        *told["train_good"],
        *told["test_good"],
        *(name for names in told["test_defect"].values() for name in names),
    ]
    missing = [name for name in named if name not in told["group"]]
    if missing:
        raise InputError(f"{path}: {len(missing)} pictures have no group, such as {missing[0]!r}; add them to `group`")
    split: dict[str, Any] = told
    return split


def _magnetic_tile_by_name(folder: Path, seed: int) -> list[TrainingImage]:
    """Without split.json: frame numbers within 150 of each other are taken for one tile."""
    found = [
        (int(path.stem.rsplit("_", 1)[-1]), path, kind.name.removeprefix("MT_").lower())
        for kind in sorted(folder.glob("MT_*"))
        for path in _pictures(kind / "Imgs")
        if path.suffix.lower() == ".jpg" and path.stem.rsplit("_", 1)[-1].isdigit()
    ]
    tiles, tile, last = [], 0, -1_000
    for number, _, _ in sorted(found):
        tile += number - last > 150
        last = number
        tiles.append(tile)
    # All pictures of a tile stand on one side; tiles with a defective picture are tested, never learnt from.
    tested = {tile for tile, (_, _, kind) in zip(tiles, sorted(found), strict=True) if kind not in _GOOD}
    images = []
    for tile, (_, path, kind_name) in zip(tiles, sorted(found), strict=True):
        defect_class = None if kind_name in _GOOD else kind_name
        is_out = tile in tested or is_held_out(str(tile), HELD_OUT_SHARE, seed)
        mask = path.with_suffix(".png") if defect_class else None
        use = PartUse.HOLDOUT if is_out else PartUse.TRAIN
        images.append(_image(path, use, defect_class, group=str(tile), mask=mask))
    return images


def _bsdata(folder: Path, _half: int | None, _seed: int) -> list[TrainingImage]:
    by_viewpoint: dict[str, list[Path]] = {}
    for path in _pictures(folder / "data"):
        fields = path.stem.split("_")
        if len(fields) >= 4:
            by_viewpoint.setdefault("_".join(fields[2:4]), []).append(path)
    images = []
    for viewpoint, paths in sorted(by_viewpoint.items()):
        # The last frame of most viewpoints shows wear that nobody labelled.
        ordered = sorted(paths, key=lambda path: path.stem.split("_")[1])[:-1]
        for place, path in enumerate(ordered):
            use = PartUse.TRAIN if place < 0.6 * len(ordered) else PartUse.HOLDOUT
            defect_class = "pitting" if (folder / "labels" / f"{path.stem}.json").is_file() else None
            # One viewpoint is one piece of metal over time: the split is by time, so the group carries the side.
            images.append(_image(path, use, defect_class, group=f"{viewpoint}-{use}-{place // 5}"))
    return images


def _folder(folder: Path, _half: int | None, seed: int) -> list[TrainingImage]:
    kinds: Iterable[Path] = sorted(path for path in folder.iterdir() if path.is_dir())
    images = []
    for kind in kinds:
        defect_class = None if kind.name.lower() in _GOOD else kind.name
        for path in _pictures(kind):
            group = f"{kind.name}/{path.stem}"
            use = PartUse.HOLDOUT if is_held_out(group, HELD_OUT_SHARE, seed) else PartUse.TRAIN
            images.append(_image(path, use, defect_class, group=group))
    if images and not any(image.judgement is Judgement.GOOD for image in images):
        raise InputError(f"images: layout folder expects a folder `good` in {folder}")
    return images
