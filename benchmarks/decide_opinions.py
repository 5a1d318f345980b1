# SPDX-License-Identifier: Apache-2.0
"""Which opinions the memory bank should hear: each alone and their sum, on five kinds of product, sound parts only.

Real magnetic tiles (by `split.json`), printed boards (templates against tested boards, by ranges of numbers) and ball
screws (the first days to learn, later ones to judge), rendered rings and boards with all kinds of defects. One product
is not enough to choose by: what helps one may cost another. INT8 fronts as stations run them; MobileNetV2 with ImageNet
weights where it is at hand, else the shipped trunk. Figures: image AUROC and recall at 1 % and 5 % overkill.
"""

import json
import sys
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.decide_detector import DATA, WEIGHTS
from models.data.splits import group_folds
from models.detectors.base import Floats, top_mean
from models.detectors.cells import PlaceScale, direction, pooled
from models.detectors.evidence import Scale
from models.detectors.memory_bank import TOP_CELLS
from models.detectors.nearest_cells import MemoryBankSettings, NearestCells
from models.detectors.white_distance import WhiteCells, WholePart
from models.graphs.features import FeatureExtractor, build_front, stage_channels
from models.graphs.quantization import CALIBRATION_PICTURES, quantize
from models.graphs.trunks import Trunk, resolve
from models.measuring.figures import image_auroc, recall_at_overkill
from models.settings import read_settings
from plant.parts.catalogue import KINDS, DefectSpec
from plant.parts.renderer import PartRenderer

# Role (train, sound or the kind of defect), physical part, picture.
Shown = tuple[str, str, NDArray[np.uint8]]
_GRID: Final = 32
_SIZE_PX: Final = 256
_RENDERED: Final = {"train": 150, "sound": 200}
_OF_A_KIND: Final = 24
_SCREWS: Final = 250
_FOLDS: Final = 5


def run() -> dict[str, Any]:
    """Figures of each product and of each set of opinions, and their means over the products."""
    notes: list[str] = []
    trunk = resolve(read_settings(), "auto", str(WEIGHTS) if WEIGHTS.is_file() else None, notes)
    told: dict[str, Any] = {"backbone": trunk.name, "size_px": _SIZE_PX, "variant": "int8-u8s8", "products": {}}
    for name, shown in _products().items():
        pictures = list(shown())
        if pictures:
            told["products"][name] = _measured(pictures, *_features(pictures, trunk))
            print(f"{name}: {json.dumps(told['products'][name])}", file=sys.stderr, flush=True)
    sets = next(iter(told["products"].values()))["opinions"]
    told["mean"] = {
        each: np.mean([product["opinions"][each] for product in told["products"].values()], axis=0).round(3).tolist()
        for each in sets
    }
    return told


def _products() -> dict[str, Callable[[], Iterator[Shown]]]:
    return {
        "tiles": _tiles,
        "printed-boards": _printed_boards,
        "ball-screws": _ball_screws,
        "rings": lambda: _rendered("ring"),
        "boards": lambda: _rendered("board"),
    }


def _features(pictures: list[Shown], trunk: Trunk) -> tuple[NDArray[np.float16], tuple[int, ...]]:
    front = build_front(trunk, size_px=_SIZE_PX, grid=_GRID)
    training = [picture for role, _, picture in pictures if role == "train"]
    step = max(1, len(training) // CALIBRATION_PICTURES)
    extractor = FeatureExtractor(quantize(front, training[::step][:CALIBRATION_PICTURES]), threads=1)
    return extractor.extract((picture for _, _, picture in pictures), len(pictures)), stage_channels(trunk)


def _measured(pictures: list[Shown], features: NDArray[np.float16], stages: tuple[int, ...]) -> dict[str, Any]:
    roles = np.array([role for role, _, _ in pictures])
    is_training, judged = roles == "train", roles != "train"
    fold_of = np.full(len(roles), -1)
    groups = [part for role, part, _ in pictures if role == "train"]
    fold_of[is_training] = group_folds(groups, _FOLDS, seed=0)
    cells = pooled(features)
    turned = direction(cells, stages)
    _, near = NearestCells.fit(turned, fold_of, np.random.default_rng(0), MemoryBankSettings(), lambda _share: None)
    located = {"nearest": near, "white": WhiteCells.fit(features, stages, fold_of)[1]}
    # As coarse as the nearest cells, which the detector was before.
    located["white-coarse"] = WhiteCells.fit(cells, stages, fold_of)[1]
    values = {
        name: top_mean(PlaceScale.fit(each[is_training]).apply(each), TOP_CELLS) for name, each in located.items()
    }
    values["whole"] = WholePart.fit(cells, fold_of)[1]
    evidence = {name: Scale.fit(each[is_training], end=0.95).evidence(each) for name, each in values.items()}
    is_defective = roles[judged] != "sound"
    opinions = {}
    for count in range(1, len(evidence) + 1):
        for names in combinations(evidence, count):
            total: Floats = np.sum([evidence[name] for name in names], axis=0)[judged]
            figures = (
                image_auroc(total, is_defective),
                *(recall_at_overkill(total, is_defective, rate) for rate in (0.01, 0.05)),
            )
            opinions[" + ".join(names)] = [None if each is None else round(each, 3) for each in figures]
    return {
        "learnt_from": int(is_training.sum()),
        "sound": int((~is_defective).sum()),
        "defective": int(is_defective.sum()),
        "opinions": opinions,
    }


def _tiles() -> Iterator[Shown]:
    folder = DATA / "magnetic_tile"
    if not folder.is_dir():
        return
    split = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    sides = {"train": split["train_good"], "sound": split["test_good"], **split["test_defect"]}
    for role, names in sides.items():
        for name in names:
            yield role, split["group"][name], _read(folder / name)


def _printed_boards() -> Iterator[Shown]:
    tested = sorted((DATA / "deeppcb" / "group00041" / "00041").glob("*_test.jpg"))
    for place, path in enumerate(tested):
        number = path.name.removesuffix("_test.jpg")
        template = _read(path.with_name(f"{number}_temp.jpg"))
        yield ("train" if place < len(tested) // 2 else "sound"), number, template
        if place >= len(tested) // 2:
            yield "fault", number, _read(path)


def _ball_screws() -> Iterator[Shown]:
    folder = DATA / "bsdata"
    pitted = {path.stem for path in folder.glob("labels/*.json")}
    # The second field of a name is the time; the last day shows wear that nobody labelled.
    taken = sorted((path.stem.split("_")[1], path) for path in folder.glob("data/*.jpg"))
    taken = [(time, path) for time, path in taken if not time.startswith("200916")]
    days = sorted({time[:6] for time, _ in taken})
    counts = {"train": 0, "sound": 0, "pitting": 0}
    for time, path in taken:
        is_early, is_pitted = time[:6] <= days[len(days) // 3] if days else False, path.stem in pitted
        if is_early and is_pitted:
            continue
        role = "train" if is_early else "pitting" if is_pitted else "sound"
        counts[role] += 1
        if counts[role] <= _SCREWS:
            # Frames of one viewpoint are alike, but fifteen viewpoints are too few to deal: frames count apart.
            yield role, path.stem, _read(path)


def _rendered(product: str) -> Iterator[Shown]:
    renderer, number = PartRenderer(product, _SIZE_PX, seed=5), 0
    for role, count in (_RENDERED | dict.fromkeys(KINDS[product], _OF_A_KIND)).items():
        for index in range(count):
            spec = None if role in _RENDERED else DefectSpec(role, 0.15 + 0.5 * index / count)
            yield role, str(number), renderer.render(number, spec).pixels
            number += 1


def _read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path))
    if picture is None:
        msg = f"{path}: not a picture"
        raise ValueError(msg)
    return np.asarray(picture, np.uint8)
