# SPDX-License-Identifier: Apache-2.0
"""Readers of picture folders: mvtec, magnetic-tile, bsdata, folder.

Each turns file names and labels into a `ReplaySet`; none opens a picture. Refuses a folder that is not laid
out as named, and says what it expected. Called by the `sightline` command.
"""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from plant.replay.pictures import ReplayError, ReplayItem, ReplaySet, divide

_PICTURES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff"})
# Pictures of each bsdata viewpoint that count as commissioning: the first days, before any pitting.
_BSDATA_COMMISSIONING: Final = 8
_BSDATA_LAST_DAY: Final = "200916"
_SPLIT_KEYS: Final = "train_good, test_good, test_defect, group"
# Where each layout has the sound pictures that commission, for a person who has none there.
SOUND_PICTURES: Final = {
    "mvtec": "them in train/good/",
    "magnetic-tile": "them under train_good in split.json, with their files beside it",
    "bsdata": f"the first {_BSDATA_COMMISSIONING} pictures of each viewpoint in data/ without a file in labels/",
    "folder": "them in good/",
}


def _mvtec(root: Path) -> ReplaySet:
    """train/good, test/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png."""
    for needed in ("train/good", "test/good"):
        if not (root / needed).is_dir():
            raise ReplayError(f"{root}: layout mvtec expects {needed}/ below it")
    commissioning = [
        ReplayItem(path, f"train-{path.stem}", is_defective=False) for path in _pictures(root / "train/good")
    ]
    stream = []
    for folder in sorted(entry for entry in (root / "test").iterdir() if entry.is_dir()):
        is_good = folder.name == "good"
        for path in _pictures(folder):
            mask = root / "ground_truth" / folder.name / f"{path.stem}_mask.png"
            stream.append(
                ReplayItem(
                    path,
                    f"{folder.name}-{path.stem}",
                    is_defective=not is_good,
                    defect_class=None if is_good else _name(folder.name),
                    mask_path=mask if mask.is_file() else None,
                )
            )
    return ReplaySet(
        "mvtec", _name(root.name), tuple(commissioning), tuple(divide(stream)), is_ordered=False, left_out={}
    )


def _magnetic_tile(root: Path) -> ReplaySet:
    """`split.json` decides: train_good commissions, test_good and test_defect are judged, groups are tiles."""
    split = _read_split(root / "split.json")
    group = split.group
    left_out: Counter[str] = Counter()

    def item(name: str, kind: str | None) -> ReplayItem:
        path = root / name
        mask = path.with_suffix(".png")
        return ReplayItem(
            path, f"tile-{group[name]}", kind is not None, kind, mask if kind and mask.is_file() else None
        )

    trained = {group[name] for name in split.train_good}
    stream = [item(name, None) for name in split.test_good]
    for kind, names in split.test_defect.items():
        stream += [item(name, _name(kind)) for name in names]
    used = {*split.train_good, *split.test_good, *(n for names in split.test_defect.values() for n in names)}
    left_out["sound picture of a tile that also has defective ones"] = sum(
        1 for name in group if name.startswith("MT_Free/") and name not in used
    )
    kept = [shown for shown in stream if shown.path.is_file()]
    left_out["file is missing"] = len(stream) - len(kept)
    # A tile that commissioned is never judged, whatever the split says of its other pictures.
    judged = [shown for shown in kept if int(shown.part_id.removeprefix("tile-")) not in trained]
    left_out["tile was used for commissioning"] = len(kept) - len(judged)
    half = frozenset(f"tile-{number}" for number in split.half.get("0", []))
    commissioning = tuple(item(name, None) for name in split.train_good if (root / name).is_file())
    return ReplaySet(
        "magnetic-tile",
        "magnetic-tile",
        commissioning,
        tuple(divide(judged, half)),
        is_ordered=False,
        left_out={reason: count for reason, count in left_out.items() if count},
    )


def _bsdata(root: Path) -> ReplaySet:
    """Ball screws over weeks: in order of time; a label file means pitting; the viewpoint is the part."""
    pictures, labels = root / "data", root / "labels"
    if not pictures.is_dir() or not labels.is_dir():
        raise ReplayError(f"{root}: layout bsdata expects data/ and labels/ below it")
    left_out: Counter[str] = Counter()
    timed: list[tuple[str, ReplayItem]] = []
    for path in _pictures(pictures):
        fields = path.stem.split("_")
        if len(fields) < 4 or not re.fullmatch(r"\d{12}", fields[1]):
            left_out["name without a time and viewpoint"] += 1
            continue
        is_pitted = (labels / f"{path.stem}.json").is_file()
        if fields[1].startswith(_BSDATA_LAST_DAY) and not is_pitted:
            left_out["unlabelled picture of the last day, which shows wear"] += 1
            continue
        viewpoint = f"viewpoint-{fields[2]}-{fields[3]}"
        timed.append((fields[1], ReplayItem(path, viewpoint, is_pitted, "pitting" if is_pitted else None)))
    timed.sort(key=lambda pair: (pair[0], str(pair[1].path)))
    commissioning: list[ReplayItem] = []
    stream: list[ReplayItem] = []
    seen: Counter[str] = Counter()
    for _, shown in timed:
        seen[shown.part_id] += 1
        is_early = seen[shown.part_id] <= _BSDATA_COMMISSIONING and not shown.is_defective
        (commissioning if is_early else stream).append(shown)
    return ReplaySet(
        "bsdata", "ball-screw", tuple(commissioning), tuple(divide(stream)), is_ordered=True, left_out=dict(left_out)
    )


def _folder(root: Path) -> ReplaySet:
    """Any pictures, in order of their names, without truth. A folder `good/` below it commissions."""
    good = root / "good"
    commissioning = (
        [ReplayItem(path, f"good-{path.stem}", is_defective=False) for path in _pictures(good)] if good.is_dir() else []
    )
    stream = [
        ReplayItem(path, path.relative_to(root).as_posix()[-120:], None)
        for path in sorted(root.rglob("*"))
        if path.suffix.lower() in _PICTURES and path.is_file() and good not in path.parents
    ]
    return ReplaySet("folder", _name(root.name), tuple(commissioning), tuple(stream), is_ordered=True, left_out={})


LAYOUTS: Final[dict[str, Callable[[Path], ReplaySet]]] = {
    "mvtec": _mvtec,
    "magnetic-tile": _magnetic_tile,
    "bsdata": _bsdata,
    "folder": _folder,
}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in _PICTURES and path.is_file())


def _name(text: str) -> str:
    """A folder's name as a product or kind: lower case, digits, dashes."""
    return re.sub(r"[^a-z0-9_-]+", "-", text.lower()).strip("-_")[:63] or "replay"


class _Split(BaseModel):
    """`split.json` as far as it is used. `group` has the tile of each picture, `half` tiles by side, "0" for A."""

    model_config = ConfigDict(strict=True)

    train_good: list[str]
    test_good: list[str]
    test_defect: dict[str, list[str]]
    group: dict[str, int]
    half: dict[str, list[int]] = {}


def _read_split(path: Path) -> _Split:
    try:
        content = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ReplayError(f"{path}: layout magnetic-tile expects split.json beside MT_Free/ …: {error}") from error
    except (ValueError, RecursionError) as error:
        raise ReplayError(f"{path}: expected JSON in UTF-8, got something else ({error}); restore the file") from error
    if not isinstance(content, dict):
        got = type(content).__name__
        raise ReplayError(f"{path}: expected a mapping with the keys {_SPLIT_KEYS}, got a {got}; restore the file")
    try:
        split = _Split.model_validate(content)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        wrong = ", ".join(dict.fromkeys(str(fault["loc"][0]) for fault in faults))
        first = faults[0]
        what = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        if first["type"] != "missing":
            what += f", got {first['input']!r:.80}"
        raise ReplayError(
            f"{path}: expected the keys {_SPLIT_KEYS}; missing or of another shape: {wrong} (the first is {what}); "
            "restore the file"
        ) from error
    named = [*split.train_good, *split.test_good, *(n for names in split.test_defect.values() for n in names)]
    unknown = [name for name in named if name not in split.group]
    if unknown:
        raise ReplayError(f"{path}: {len(unknown)} picture(s) have no group, the first is {unknown[0]!r}")
    return split
