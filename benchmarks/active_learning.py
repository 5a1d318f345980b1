# SPDX-License-Identifier: Apache-2.0
"""How many labels it takes to be as good as with all of them: parts that `quality.asking` chooses, against chance.

Magnetic tiles, all pictures of `split.json`; of each seed half of the tiles (whole tiles) are the pool, the other half
tests. A line on what the shipped compact trunk sees learns from 20 labels that chance drew, then from 20 more at a
time. Two pools: as they are (31 % defective), and with 5 % defective, as on a line. Four ways to choose:

- `random`: chance, the same pictures at the start.
- `asked`: as central asks, with the four measures that stations report (brightness, contrast, blur, colour) to tell
  parts apart; no challenger, so its share goes to the other reasons.
- `asked_by_features`: the same with what the trunk sees instead, which central is not told.
- `uncertain`: the nearest to the limit alone, whatever they show.

Score is the AUROC of the test half. `needed`: labels at which it first comes within .01 of what all labels give, and
the share of all labels that is, all of them where 320 were not enough; `area`: mean AUROC over the run. Seeds are
10 – 17; nothing was chosen on them (the length of the shortlist was, of 2 and 4, on 0 – 3 of the first pool). Needs the
real pictures; without them it says so.
"""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from central.quality.asking import AskReason, choose, novelty, standardised, uncertainty
from central.services.audits.asked import SHARES
from contracts.vocabulary import Judgement
from models.cleaning.command import Looked, look_at
from models.cleaning.seen import Eye
from models.data.layouts import read_layout
from models.data.pictures import read_picture
from models.graphs.trunks import SHIPPED_NAME, resolve
from models.settings import Settings

SEEDS: Final = tuple(range(10, 18))
_BATCH: Final = 20
_NEAR: Final = 0.01
_RARE: Final = 0.05
# Beyond, a run says nothing more: all ways have nearly the same labels.
_MOST: Final = 320
_RIDGE: Final = 1.0

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Parts:
    """Pictures of a set: what the trunk sees, what stations measure, defective or not, and of which part."""

    features: Floats
    measures: Floats
    is_defective: NDArray[np.bool_]
    groups: list[str]

    def of(self, rows: Rows) -> "Parts":
        """Some of them."""
        return Parts(
            self.features[rows], self.measures[rows], self.is_defective[rows], [self.groups[row] for row in rows]
        )


Way = Callable[[Parts, Rows, Floats, np.random.Generator], Rows]


def run(seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """Figures of each pool and way, with their spread over seeds."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("SIGHTLINE_DATA_DIR", default))
    if not (data / "magnetic_tile").is_dir():
        return {"skipped": "no magnetic_tile folder among the real pictures (SIGHTLINE_DATA_DIR)"}
    parts = _seen(data / "magnetic_tile")
    return {
        "pictures": len(parts.groups),
        "parts": len(set(parts.groups)),
        "seeds": list(seeds),
        "batch": _BATCH,
        "pools": {name: _pool(parts, seeds, share) for name, share in (("as_they_are", None), ("rare", _RARE))},
    }


def _seen(folder: Path) -> Parts:
    settings = Settings()
    eye = Eye(resolve(settings, SHIPPED_NAME, None, []), threads=1)
    images = sorted(read_layout(folder, "magnetic-tile"), key=lambda image: image.path)
    looked: Looked = look_at(images, eye, settings)
    measured = []
    for image, each in zip(looked.images, looked.measured, strict=True):
        picture = read_picture(Path(image.path), settings)
        grey = cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)
        # As a station reports them: grey tiles have no colour, which then says nothing.
        sharpness = float(cv2.Laplacian(grey, cv2.CV_64F).var())
        measured.append((each.brightness, each.contrast, sharpness, 0.0))
    return Parts(
        looked.summaries.astype(np.float64),
        np.array(measured),
        np.array([image.judgement is Judgement.DEFECTIVE for image in looked.images]),
        [image.group for image in looked.images],
    )


def _pool(parts: Parts, seeds: tuple[int, ...], share: float | None) -> dict[str, Any]:
    told: dict[str, list[dict[str, float]]] = defaultdict(list)
    sizes, bests = [], []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        pool, test = _halves(parts, rng)
        if share is not None:
            pool = _rarer(pool, share, rng)
        best = _auroc(_fit(pool, np.arange(len(pool.groups)))(test), test.is_defective)
        start = _start(pool, rng)
        sizes.append(len(pool.groups))
        bests.append(best)
        for name, way in WAYS.items():
            told[name].append(_learn(pool, test, way, start, best=best, rng=np.random.default_rng(seed)))
    chance = [row["needed"] for row in told["random"]]
    return {
        "pool": _spread([float(size) for size in sizes]),
        "auroc_of_all_labels": _spread(bests),
        "ways": {
            name: {
                **{figure: _spread([row[figure] for row in rows]) for figure in rows[0]},
                "never_reached": sum(row["needed_share"] >= 1.0 for row in rows),
                "fewer_than_chance_in": sum(row["needed"] < other for row, other in zip(rows, chance, strict=True)),
            }
            for name, rows in told.items()
        },
        "by_seed": {name: [row["needed"] for row in rows] for name, rows in told.items()},
    }


def _halves(parts: Parts, rng: np.random.Generator) -> tuple[Parts, Parts]:
    """Whole tiles on each side, those with a defect dealt apart, so that both sides have as many."""
    with_defect = {group for group, bad in zip(parts.groups, parts.is_defective, strict=True) if bad}
    first: set[str] = set()
    for names in (sorted(with_defect), sorted(set(parts.groups) - with_defect)):
        first |= set(rng.permutation(names)[: len(names) // 2].tolist())
    is_first = np.array([group in first for group in parts.groups])
    return parts.of(np.flatnonzero(is_first)), parts.of(np.flatnonzero(~is_first))


def _rarer(pool: Parts, share: float, rng: np.random.Generator) -> Parts:
    good, bad = np.flatnonzero(~pool.is_defective), np.flatnonzero(pool.is_defective)
    kept = rng.permutation(bad)[: round(len(good) * share / (1 - share))]
    return pool.of(np.sort(np.concatenate([good, kept])))


def _start(pool: Parts, rng: np.random.Generator) -> Rows:
    """Labels that chance drew, again and again until both kinds are there: else nothing can be learnt."""
    while True:
        rows = rng.permutation(len(pool.groups))[:_BATCH]
        if 0 < pool.is_defective[rows].sum() < _BATCH:
            return rows


def _learn(
    pool: Parts, test: Parts, way: Way, start: Rows, *, best: float, rng: np.random.Generator
) -> dict[str, float]:
    labelled, curve = start, []
    total = len(pool.groups)
    needed = float(total)
    while True:
        told = _fit(pool, labelled)
        curve.append(_auroc(told(test), test.is_defective))
        if curve[-1] >= best - _NEAR and needed == total:
            needed = float(len(labelled))
        if len(labelled) + _BATCH > min(_MOST, total):
            break
        labelled = np.concatenate([labelled, way(pool, labelled, told(pool), rng)])
    found = float(pool.is_defective[labelled].sum()) / max(1.0, float(pool.is_defective.sum()))
    return {
        "needed": needed,
        "needed_share": needed / total,
        "area": float(np.mean(curve)),
        "auroc_at_100": curve[min(100 // _BATCH, len(curve)) - 1],
        "defects_found": found,
    }


def _random(pool: Parts, labelled: Rows, score: Floats, rng: np.random.Generator) -> Rows:  # noqa: ARG001 - a way
    return rng.permutation(_open(pool, labelled))[:_BATCH]


def _uncertain(pool: Parts, labelled: Rows, score: Floats, rng: np.random.Generator) -> Rows:  # noqa: ARG001 - a way
    rows = _open(pool, labelled)
    return rows[np.argsort(np.abs(score[rows]), kind="stable")[:_BATCH]]


def _asked(pool: Parts, labelled: Rows, score: Floats, rng: np.random.Generator) -> Rows:
    return _by(pool.measures, pool, labelled, score, rng)


def _asked_by_features(pool: Parts, labelled: Rows, score: Floats, rng: np.random.Generator) -> Rows:
    return _by(pool.features, pool, labelled, score, rng)


def _by(told: Floats, pool: Parts, labelled: Rows, score: Floats, rng: np.random.Generator) -> Rows:
    rows = _open(pool, labelled)
    features, seen = standardised(told[rows], told[labelled])
    limit = np.zeros(len(rows))
    strengths = {
        AskReason.UNCERTAIN: uncertainty(score[rows], limit, limit),
        AskReason.NOVEL: novelty(features, seen),
        AskReason.DISAGREEMENT: np.zeros(len(rows)),
    }
    chosen = choose(strengths, features, seen, [pool.groups[row] for row in rows], _BATCH, shares=SHARES)
    picked = rows[[each.index for each in chosen]]
    # Few tiles are left, one picture of each is asked about: chance fills the batch, so that all ways have as many.
    rest = rng.permutation(np.setdiff1d(rows, picked))[: _BATCH - len(picked)]
    return np.concatenate([picked, rest])


WAYS: Final[dict[str, Way]] = {
    "random": _random,
    "asked": _asked,
    "asked_by_features": _asked_by_features,
    "uncertain": _uncertain,
}


def _open(pool: Parts, labelled: Rows) -> Rows:
    return np.setdiff1d(np.arange(len(pool.groups)), labelled)


def _fit(pool: Parts, rows: Rows) -> Callable[[Parts], Floats]:
    """Ridge regression of defective (+1) against good (-1), each kind counting alike; 0 is the limit."""
    x, bad = pool.features[rows], pool.is_defective[rows]
    share = np.where(bad, 0.5 / max(1, bad.sum()), 0.5 / max(1, (~bad).sum()))
    centre, spread = share @ x, x.std(0) + 1e-6
    root = np.sqrt(share)[:, None]
    scaled = (x - centre) / spread * root
    goals = root[:, 0] * np.where(bad, 1.0, -1.0)
    if len(x) <= x.shape[1]:
        weights = scaled.T @ np.linalg.solve(scaled @ scaled.T + _RIDGE * np.eye(len(x)), goals)
    else:
        weights = np.linalg.solve(scaled.T @ scaled + _RIDGE * np.eye(x.shape[1]), scaled.T @ goals)
    return lambda parts: (parts.features - centre) / spread @ weights


def _auroc(score: Floats, is_defective: NDArray[np.bool_]) -> float:
    ranks = np.empty(len(score))
    ranks[np.argsort(score, kind="stable")] = np.arange(1, len(score) + 1)
    bad = int(is_defective.sum())
    above = float(ranks[is_defective].sum()) - bad * (bad + 1) / 2
    return above / (bad * (len(score) - bad))


def _spread(values: list[float]) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 4),
        "sd": round(float(np.std(values, ddof=1)) if len(values) > 1 else 0.0, 4),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }
