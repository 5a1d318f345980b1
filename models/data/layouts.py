# SPDX-License-Identifier: Apache-2.0
"""Folders of pictures on disk, as people and public collections keep them, into judged pictures for a job.

| layout | what is expected |
|---|---|
| mvtec | train/good, optionally train/<defect>, test/good, test/<defect>, ground_truth/<defect>/<stem>_mask.png |
| magnetic-tile | MT_Free/Imgs, MT_<Defect>/Imgs, and split.json (tile-disjoint) when present |
| bsdata | data/*.png, labels/*.json; trained on the first days of each viewpoint, held out later |
| folder | good/ and any other folder, named after its defect; a share by name is held out |

Reads names and digests only; what cannot be read is named and left out, what is not looked at is counted. Labels of a
file (`models.data.labels`) overrule the folders. Called by `training.asking` and `measuring.holdout`.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement, LabelSource, PartUse
from models.data.folders import SUFFIXES, folders_of, is_companion, is_file, is_there, pictures_in, shut_in
from models.data.labels import Label
from models.data.pictures import read_bytes, told
from models.data.splits import is_held_out
from models.errors import InputError
from models.settings import Settings
from models.wording import counted

HELD_OUT_SHARE: Final = 0.3
# What each layout looks for, for a person whose folder has none of it.
EXPECTED: Final = {
    "mvtec": "train/good/ and test/good/, test/<defect>/",
    "magnetic-tile": "MT_Free/Imgs/ and MT_<Defect>/Imgs/",
    "bsdata": "data/*.png and labels/*.json",
    "folder": "good/ and <defect>/",
}
_MOST_TOLD: Final = 5
_GOOD: Final = frozenset({"good", "ok", "sound", "free"})
_LONGEST_GROUP: Final = 200


@dataclass(frozen=True)
class Found:
    """Judged pictures of a folder, and a line for everything that was left out."""

    images: list[TrainingImage]
    left_out: list[str]


@dataclass(frozen=True)
class _Listed:
    """A picture as its folder tells of it, not opened yet. A layout's defective pictures all have a class."""

    path: Path
    use: PartUse
    defect_class: str | None
    group: str
    mask: Path | None = None
    is_defective_without_class: bool = False
    # What cannot be told about its mask.
    doubt: str | None = None

    @property
    def is_defective(self) -> bool:
        return self.is_defective_without_class or self.defect_class is not None


def read_layout(folder: Path, layout: str, *, half: int | None = None, seed: int = 0) -> list[TrainingImage]:
    """Judged pictures of a folder; `read_folder` also says what was left out."""
    return read_folder(folder, layout, Settings(), half=half, seed=seed).images


def read_folder(
    folder: Path,
    layout: str,
    settings: Settings,
    *,
    half: int | None = None,
    seed: int = 0,
    labels: Sequence[Label] = (),
) -> Found:
    """Judged pictures of a folder, and what was left out.

    Args:
        folder: where the pictures are.
        layout: see the module.
        settings: bounds of a file.
        half: for magnetic-tile, which half of the defective tiles may train.
        seed: of the split by name.
        labels: judgements that overrule the layout's. In layout `folder` without a folder of sound parts they are the
            only ones, and a picture without a label is left out.

    Raises:
        InputError: unknown layout, or the folder does not look like it, or may not be looked into (a folder within it
            may be shut and is left out; not the labels of bsdata, without which defective parts would pass as sound);
            says what was expected.
    """
    readers: dict[str, Callable[[Path, int | None, int], list[_Listed]]] = {
        "mvtec": _mvtec, "magnetic-tile": _magnetic_tile, "bsdata": _bsdata, "folder": _folder,
    }  # fmt: skip
    if layout not in readers:
        raise InputError(f"layout: expected one of {', '.join(readers)}, got {layout!r}")
    if half is not None and layout != "magnetic-tile":
        raise InputError(f"--half: only layout magnetic-tile has halves, got layout {layout}; leave it out")
    if not folder.is_dir():
        raise InputError(f"images: no folder at {folder}")
    try:
        listed = readers[layout](folder, half, seed)
    except OSError as error:
        raise InputError(f"images: {error.filename} cannot be read ({error.strerror}); allow it") from error
    shut = shut_in(folder)
    # A mask may lie below the pictures' folder; it is the picture of no part.
    masks = {label.mask.resolve() for label in labels if label.mask is not None}
    listed = [item for item in listed if item.path.resolve() not in masks] if masks else listed
    has_sound = any(not item.is_defective for item in listed)
    if listed and layout == "folder" and not has_sound and not labels:
        why = f" ({'; '.join(shut[:3])})" if shut else ""
        raise InputError(f"images: layout folder expects a folder `good` in {folder}{why}; or give --labels FILE")
    looked_at = masks.union(item.path.resolve() for item in listed).union(label.path.resolve() for label in labels)
    left_out = [*shut, *_passed_over(folder, looked_at if layout == "folder" else None)]
    if labels:
        if layout == "folder" and not has_sound:
            # Folder names are no judgements here, and a name tells the side as well.
            unlabelled, listed = listed, []
            named = {label.path.resolve() for label in labels}
            left_out += [
                f"{told(item.path)}: has no label; add a line for it"
                for item in unlabelled
                if item.path.resolve() not in named
            ]
        listed = _overruled(listed, labels, seed, left_out, has_sides=layout != "folder")
    left_out += [item.doubt for item in listed if item.doubt is not None]
    images = [image for item in listed if (image := _image(item, settings, left_out)) is not None]
    if not images:
        why = f" ({'; '.join(left_out[:3])})" if left_out else ""
        raise InputError(
            f"images: layout {layout} expects {EXPECTED[layout]}, found no usable picture there{why}; "
            f"{folder} holds {_told_content(folder)}{_fitting_layout(folder, layout)}"
        )
    return Found(images, left_out)


def _told_content(folder: Path) -> str:
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not is_companion(entry))
    if not entries:
        return "nothing"
    more = f" and {len(entries) - _MOST_TOLD} more" if len(entries) > _MOST_TOLD else ""
    return ", ".join(entries[:_MOST_TOLD]) + more


def _fitting_layout(folder: Path, layout: str) -> str:
    """The layout whose mark a folder bears, as advice; empty when there is none."""
    for name, mark in (("mvtec", "train/good"), ("magnetic-tile", "MT_Free"), ("bsdata", "labels"), ("folder", "good")):
        if name != layout and (folder / mark).is_dir():
            return f"; it looks like --layout {name}"
    return ""


def _passed_over(folder: Path, looked_at: set[Path] | None) -> list[str]:
    """A line that counts the files whose names are not those of pictures; label files of the layouts are none.

    And, when it is known what was looked at, one that counts the pictures which lie elsewhere in the folder.
    """
    known = {".json", ".csv", ".txt", ".md", ".xml", ""}
    others = Counter[str]()
    elsewhere: list[Path] = []
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder)
        if any(name.startswith(".") for name in within.parts) or not is_file(path):
            continue
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            others.update([] if suffix in known else [suffix])
        elif looked_at is not None and path.resolve() not in looked_at:
            elsewhere.append(within)
    lines = []
    if others:
        kinds = ", ".join(f"{count} × {told(Path(suffix))}" for suffix, count in sorted(others.items()))
        lines.append(f"{kinds}: not read as pictures; save them as PNG or JPEG if they are")
    if elsewhere:
        lines.append(
            f"{len(elsewhere)} × a picture outside the folders that are read, such as {told(elsewhere[0])}: move each "
            "into `good` or a folder named after its defect, or give it a label"
        )
    return lines


def _image(item: _Listed, settings: Settings, left_out: list[str]) -> TrainingImage | None:
    try:
        str(item.path).encode()
    except UnicodeEncodeError:
        left_out.append(f"{told(item.path)}: its name is not UTF-8; rename it")
        return None
    try:
        sha256 = hashlib.sha256(read_bytes(item.path, settings.max_picture_bytes)).hexdigest()
    except InputError as error:
        left_out.append(str(error))
        return None
    group = item.group
    if len(group) > _LONGEST_GROUP:
        group = f"{group[:120]}-{hashlib.sha256(group.encode()).hexdigest()}"
    return TrainingImage(
        path=str(item.path),
        sha256=sha256,
        judgement=Judgement.DEFECTIVE if item.is_defective else Judgement.GOOD,
        defect_class=None if item.defect_class is None else item.defect_class[:64],
        mask_path=None if item.mask is None or not is_there(item.mask) else str(item.mask),
        group=group,
        use=item.use,
        source=LabelSource.REFERENCE,
    )


def _overruled(
    listed: list[_Listed], labels: Sequence[Label], seed: int, left_out: list[str], *, has_sides: bool
) -> list[_Listed]:
    """The pictures with the labels' judgements; those that only a label names are split by the name of their group."""
    by_path = {item.path.resolve(): item for item in listed}
    judged: list[_Listed] = []
    missing = [label for label in labels if not is_there(label.path)]
    if len(missing) == len(labels):
        raise InputError(
            f"--labels: none of {counted(len(labels), 'line')} names a file that is there; the first is "
            f"{missing[0].place}, {told(missing[0].path)}; correct the paths"
        )
    if 2 * len(missing) > len(labels):
        left_out.append(
            f"labels: {len(missing)} of {counted(len(labels), 'line')} name files that are not there; check the paths"
        )
    for label in labels:
        before = by_path.pop(label.path.resolve(), None)
        if not is_there(label.path):
            left_out.append(f"{label.name}: {label.place} names it, but there is no such file; correct the path")
            continue
        group = label.group or (label.name if before is None else before.group)
        # Where the layout has sides of its own they stay; else the group decides, and a label may name another one.
        use = PartUse.HOLDOUT if is_held_out(group, HELD_OUT_SHARE, seed) else PartUse.TRAIN
        use = before.use if before is not None and has_sides else use
        mask = label.mask or (None if before is None else before.mask)
        if label.mask is not None and not is_there(label.mask):
            left_out.append(f"{told(label.mask)}: {label.place} names it as a mask, but there is no such file")
            mask = None
        defect_class = label.defect_class or (None if before is None else before.defect_class)
        judged.append(
            _Listed(
                label.path, use, defect_class, group, mask, is_defective_without_class=defect_class is None,
                doubt=None if before is None or label.mask is not None else before.doubt,
            )
            if label.is_defective
            else _Listed(label.path, use, None, group)
        )  # fmt: skip
    return [*by_path.values(), *judged]


def _mvtec(folder: Path, _half: int | None, _seed: int) -> list[_Listed]:
    images = []
    for side, use in (("train", PartUse.TRAIN), ("test", PartUse.HOLDOUT)):
        for kind in folders_of(folder.glob(f"{side}/*")):
            defect_class = None if kind.name.lower() in _GOOD else kind.name
            tested = {path.stem for path in pictures_in(folder / "test" / kind.name)}
            for path in pictures_in(kind):
                mask: Path | None = folder / "ground_truth" / kind.name / f"{path.stem}_mask.png"
                doubt = None
                if (
                    use is PartUse.TRAIN
                    and defect_class
                    and path.stem in tested
                    and mask is not None
                    and is_there(mask)
                ):
                    # Both folders may count from 000 on: learning from another part's mask is worse than from none.
                    doubt = f"{told(mask)}: taken for the mask of test/{kind.name}; {told(path)} is used without a mask"
                    mask = None
                # The same stem stands in several folders for different parts.
                group = f"{side}/{kind.name}/{path.stem}"
                images.append(_Listed(path, use, defect_class, group, mask if defect_class else None, doubt=doubt))
    return images


def _magnetic_tile(folder: Path, half: int | None, seed: int) -> list[_Listed]:
    if not (folder / "split.json").is_file():
        return _magnetic_tile_by_name(folder, seed)
    split = _read_split(folder / "split.json")
    groups: dict[str, int] = split["group"]
    trained = set() if half is None else set(split["half"].get(str(half), []))
    if half is not None and not trained:
        raise InputError(f"half: expected one of {', '.join(split['half'])}, got {half}")
    # A sound picture of a tile whose defective pictures train must not be held out.
    images = [_Listed(folder / name, PartUse.TRAIN, None, str(groups[name])) for name in split["train_good"]]
    taken = {groups[name] for name in split["train_good"]}
    held_out_good = [name for name in split["test_good"] if groups[name] not in trained | taken]
    images += [_Listed(folder / name, PartUse.HOLDOUT, None, str(groups[name])) for name in held_out_good]
    for defect_class, names in split["test_defect"].items():
        for name in names:
            use = PartUse.TRAIN if groups[name] in trained or groups[name] in taken else PartUse.HOLDOUT
            path = folder / name
            images.append(_Listed(path, use, defect_class, str(groups[name]), path.with_suffix(".png")))
    return images


def _read_split(path: Path) -> dict[str, Any]:
    """The split file, checked for its shape.

    Raises:
        InputError: not JSON, a key is missing or of another kind, or a picture without a group.
    """
    try:
        given: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: expected a JSON file ({error}); restore it, or remove it to split by name"
        ) from error
    shapes = {"train_good": list, "test_good": list, "test_defect": dict, "group": dict, "half": dict}
    for key, shape in shapes.items():
        if not isinstance(given, dict) or not isinstance(given.get(key), shape):
            raise InputError(
                f"{path}: expected `{key}` to be a JSON {'list' if shape is list else 'object'}; restore the file, or "
                "remove it to split by name"
            )
    named = [
        *given["train_good"],
        *given["test_good"],
        *(name for names in given["test_defect"].values() for name in names),
    ]
    missing = [name for name in named if name not in given["group"]]
    if missing:
        raise InputError(
            f"{path}: {counted(len(missing), 'picture')} without a group, such as {missing[0]!r}; add to `group`"
        )
    split: dict[str, Any] = given
    return split


def _magnetic_tile_by_name(folder: Path, seed: int) -> list[_Listed]:
    """Without split.json: frame numbers within 150 of each other are taken for one tile."""
    found = [
        (int(path.stem.rsplit("_", 1)[-1]), path, kind.name.removeprefix("MT_").lower())
        for kind in sorted(folder.glob("MT_*"))
        for path in pictures_in(kind / "Imgs")
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
        images.append(_Listed(path, use, defect_class, str(tile), mask))
    return images


def _bsdata(folder: Path, _half: int | None, _seed: int) -> list[_Listed]:
    by_viewpoint: dict[str, list[Path]] = {}
    for path in pictures_in(folder / "data"):
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
            images.append(_Listed(path, use, defect_class, f"{viewpoint}-{use}-{place // 5}"))
    return images


def _folder(folder: Path, _half: int | None, seed: int) -> list[_Listed]:
    images = []
    for kind in folders_of(folder.iterdir()):
        defect_class = None if kind.name.lower() in _GOOD else kind.name
        for path in pictures_in(kind):
            group = f"{kind.name}/{path.stem}"
            use = PartUse.HOLDOUT if is_held_out(group, HELD_OUT_SHARE, seed) else PartUse.TRAIN
            images.append(_Listed(path, use, defect_class, group))
    return images
