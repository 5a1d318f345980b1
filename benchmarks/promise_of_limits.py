# SPDX-License-Identifier: Apache-2.0
"""Whether limits may promise an overkill, and whether to count parts or pictures: magnetic tiles, 200 random splits.

Each time half of the sound tiles, drawn at random, set the limits and the other half is judged. The promise holds in a
split when, of all tiles, no larger share than promised is judged NG: it was given for the tiles that these were drawn
from. Beside it stands the stricter count on the unseen half alone, which has luck of its own, with what that luck gives
when parts are exchangeable. Once with scores of one cross-fit, once with a memory bank fitted anew on each half, as a
training does (a quarter of an hour). The escape promise likewise: half of the defective tiles labelled, all of them
judged. Needs the real pictures in `../shared/data`; without them it says so.

The splits share their tiles, so the error of a share is at least the binomial one: 0.95 ± 0.03 (two standard errors).
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from contracts.jobs import LimitsPolicy
from models.data.parts import read_picture
from models.detectors.base import Features, Floats, TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.graphs.features import FeatureExtractor, build_front, stage_channels
from models.graphs.trunks import resolve
from models.limits.placing import place_limits
from models.limits.promises import by_part
from models.settings import Settings

DATA: Final = Path(__file__).resolve().parents[2] / "shared" / "data" / "magnetic_tile"
SPLITS: Final = 200
_ASKED_RATES: Final = (0.05, 0.1)
_SIZE_PX: Final = 256
_GRID: Final = 32
_NONE: Final = np.zeros(0, np.float32)


@dataclass(frozen=True)
class Tiles:
    """Features [n, d, 32, 32] of pictures by the shipped trunk, which are of defective tiles, and their tiles."""

    features: Features
    is_defective: NDArray[np.bool_]
    groups: NDArray[np.str_]
    stages: tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Scores of pictures and their tiles: those that set the limits, and those that are judged."""

    scores: Floats
    groups: list[str]
    unseen: Floats
    unseen_groups: list[str]


def read_tiles(folder: Path) -> Tiles:
    """All pictures of `split.json`, both sides."""
    told = json.loads((folder / "split.json").read_text(encoding="utf-8"))
    sound = [*told["train_good"], *told["test_good"]]
    names = [*sound, *(name for kind in told["test_defect"].values() for name in kind)]
    settings = Settings(is_offline=True)
    trunk = resolve(settings, "compact", None, [])
    front = build_front(trunk, size_px=_SIZE_PX, grid=_GRID)
    pictures = (read_picture(folder / name, settings) for name in names)
    return Tiles(
        features=FeatureExtractor(front, threads=1).extract(pictures, len(names)),
        is_defective=np.arange(len(names)) >= len(sound),
        groups=np.array([str(told["group"][name]) for name in names]),
        stages=stage_channels(trunk),
    )


def _fit(bank: MemoryBank, tiles: Tiles, rows: NDArray[np.bool_]) -> Floats:
    """Cross-fitted scores of some of the pictures."""
    training = TrainingSet(
        features=tiles.features[rows],
        is_defective=tiles.is_defective[rows],
        groups=tiles.groups[rows].tolist(),
        stages=tiles.stages,
    )
    return bank.fit(training, seed=0, check=lambda _share: None).cross_fitted_scores


def cross_fitted(tiles: Tiles) -> Floats:
    """Scores [n] of all pictures, each by banks that have not seen its tile."""
    return _fit(MemoryBank(), tiles, np.ones(len(tiles.groups), np.bool_))


def _halves(groups: NDArray[np.str_], splits: int, seed: int = 200) -> Iterator[NDArray[np.bool_]]:
    """For each split, which pictures set the limits: those of half of the tiles."""
    rng = np.random.default_rng(seed)
    tiles = np.unique(groups)
    for _ in range(splits):
        yield np.isin(groups, rng.permutation(tiles)[: len(tiles) // 2])


def split_scores(tiles: Tiles, scores: Floats, splits: int) -> Iterator[Split]:
    """Random halves of the sound tiles with scores that are there already."""
    scores, groups = scores[~tiles.is_defective], tiles.groups[~tiles.is_defective]
    for mine in _halves(groups, splits):
        yield Split(scores[mine], groups[mine].tolist(), scores[~mine], groups[~mine].tolist())


def split_and_refit(tiles: Tiles, splits: int) -> Iterator[Split]:
    """Random halves; the bank learns from the one, cross-fitted, and the finished bank scores the other."""
    sound = np.flatnonzero(~tiles.is_defective)
    for half in _halves(tiles.groups[sound], splits):
        mine = np.isin(np.arange(len(tiles.groups)), sound[half])
        bank = MemoryBank()
        scores = _fit(bank, tiles, mine)
        unseen, _ = bank.score(tiles.features[sound[~half]])
        yield Split(scores, tiles.groups[mine].tolist(), unseen, tiles.groups[sound[~half]].tolist())


def chance_kept(parts: int, unseen: int, beyond: int, most: int) -> float:
    """Chance that at most `most` of `unseen` parts exceed the order statistic that `beyond` of `parts` exceed.

    Exact for exchangeable parts without ties: of the `beyond + most + 1` highest of all, more than `beyond` must be
    among the first (hypergeometric).
    """
    highest = beyond + most + 1
    everything = math.comb(parts + unseen, highest)
    return sum(
        math.comb(parts, mine) * math.comb(unseen, highest - mine) / everything
        for mine in range(beyond + 1, highest + 1)
    )


def judge(splits: Sequence[Split], asked_rate: float) -> dict[str, Any]:
    """How often the overkill promise held, counted by parts and, for comparison, as if each picture were a part."""
    policy = LimitsPolicy(overkill_target_rate=asked_rate)
    kept = {"all": 0, "unseen": 0, "all_by_pictures": 0}
    expected: dict[str, list[float]] = {"all": [], "unseen": []}
    promised: list[float] = []
    for split in splits:
        seen = by_part(split.scores, split.groups, is_highest=True)
        unseen = by_part(split.unseen, split.unseen_groups, is_highest=True)
        everything = np.concatenate([seen, unseen])
        limits, _ = place_limits(split.scores, _NONE, policy, sound_groups=split.groups)
        naive, _ = place_limits(split.scores, _NONE, policy)
        assert limits.overkill is not None
        assert naive.overkill is not None
        rate, beyond = limits.overkill.kept_rate, limits.overkill.beyond
        promised.append(rate)
        kept["all"] += float((everything >= limits.ng_limit).mean()) <= rate
        kept["unseen"] += float((unseen >= limits.ng_limit).mean()) <= rate
        kept["all_by_pictures"] += float((everything >= naive.ng_limit).mean()) <= naive.overkill.kept_rate
        most = {"all": int(rate * len(everything)) - beyond, "unseen": int(rate * len(unseen))}
        for name, count in most.items():
            expected[name].append(chance_kept(len(seen), len(unseen), beyond, count))
    return {
        "splits": len(splits),
        "promised_rate": round(float(np.mean(promised)), 4),
        "held": kept["all"] / len(splits),
        "held_if_exchangeable": round(float(np.mean(expected["all"])), 3),
        "held_on_unseen_half": kept["unseen"] / len(splits),
        "held_on_unseen_half_if_exchangeable": round(float(np.mean(expected["unseen"])), 3),
        "held_counting_pictures_as_parts": kept["all_by_pictures"] / len(splits),
    }


def judge_escapes(tiles: Tiles, scores: Floats, splits: int) -> dict[str, Any]:
    """How often the escape promise held of all defective tiles, with half of them labelled, half of the sound known."""
    sound, defective = scores[~tiles.is_defective], scores[tiles.is_defective]
    sound_groups, groups = tiles.groups[~tiles.is_defective], tiles.groups[tiles.is_defective]
    everything = by_part(defective, groups.tolist(), is_highest=False)
    kept, promised = 0, []
    for known, labelled in zip(_halves(sound_groups, splits), _halves(groups, splits, seed=201), strict=True):
        limits, _ = place_limits(
            sound[known], defective[labelled], LimitsPolicy(),
            sound_groups=sound_groups[known].tolist(), defective_groups=groups[labelled].tolist(),
        )  # fmt: skip
        assert limits.escapes is not None
        promised.append(limits.escapes.kept_rate)
        kept += int(float((everything < limits.ok_limit).mean()) <= limits.escapes.kept_rate)
    return {"splits": splits, "promised_rate": round(float(np.mean(promised)), 4), "held": kept / splits}


def run() -> dict[str, Any]:
    """Shares of the splits in which the promise held."""
    if not DATA.is_dir():
        return {"left_out": f"no real pictures at {DATA}"}
    tiles = read_tiles(DATA)
    scores = cross_fitted(tiles)
    cases = {
        "one_cross_fit": list(split_scores(tiles, scores, SPLITS)),
        "fitted_anew": list(split_and_refit(tiles, SPLITS)),
    }
    is_defective = tiles.is_defective
    return {
        "sound_pictures": int((~is_defective).sum()),
        "sound_tiles": len(np.unique(tiles.groups[~is_defective])),
        "defective_pictures": int(is_defective.sum()),
        "defective_tiles": len(np.unique(tiles.groups[is_defective])),
        "escapes": judge_escapes(tiles, scores, SPLITS),
        **{f"{name}_asked_{asked:g}": judge(splits, asked) for name, splits in cases.items() for asked in _ASKED_RATES},
    }
