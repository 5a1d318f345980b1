# SPDX-License-Identifier: Apache-2.0
"""What both monitors say of real wear, in time order: ball screws that soil (normal) and then pit (not).

15 viewpoints of `bsdata`, each photographed every four hours or so over 19 days. A part is a window of 64 px of a
picture brought to 1,152 × 384 px (18 × 6 windows, none overlaps another), so that there are enough for the references:
108 for each picture, mixed by a fixed seed within each round of pictures. Its embedding is the mean feature of the
shipped trunk (float, 224 dimensions); its score the Mahalanobis distance from the windows of the first rounds; its
truth whether the labels show pitting on a hundredth of it. Every window counts as accepted: nothing judges here. The
last round has wear that nobody labelled and is left out.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.decide_detector import DATA
from central.quality.drift import DriftMonitor
from central.quality.novelty import NoveltyMonitor
from contracts.tiles import Tiles
from edge_agent.vision.measures import measure
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.trunks import SHIPPED_NAME, resolve
from models.settings import read_settings

Floats = NDArray[np.float64]

_ROWS: Final = 6
_COLUMNS: Final = 18
_SIDE_PX: Final = 64
_CELLS: Final = 2
# The trunk sees 2 × 6 tiles of 3 × 3 windows as one field.
_A_TILE: Final = 3
_PITTED_FROM: Final = 0.01
_SCORE_ROUNDS: Final = 8
_NOVELTY_REFERENCE: Final = 40_000
_LOOKED_AT: Final = 30
_SEED: Final = 6


@dataclass(frozen=True)
class Windows:
    """All windows in time order: time, round, viewpoint and place in its picture [n], embedding [n, d], and so on."""

    at: Floats
    round: NDArray[np.int64]
    viewpoint: NDArray[np.str_]
    place: NDArray[np.int64]
    embedding: Floats
    channels: dict[str, Floats]
    is_pitted: NDArray[np.bool_]


def run() -> dict[str, Any]:
    """What was found when, and what a person who looks where the monitor points would have seen."""
    folder = DATA / "bsdata"
    if not folder.is_dir():
        return {"skipped": "no bsdata folder among the real pictures (SIGHTLINE_DATA_DIR)"}
    windows = _windows(folder)
    first = windows.at[windows.is_pitted].min()
    told = {
        "pictures": int(len(windows.at) // (_ROWS * _COLUMNS)),
        "windows": len(windows.at),
        "pitted_windows": int(windows.is_pitted.sum()),
        "pictures_with_pitting": _pictures(windows, windows.is_pitted),
        "first_pitted_window": _said(float(first)),
        "share_pitted": {
            f"round {number}": round(float(windows.is_pitted[windows.round == number].mean()), 4)
            for number in range(0, int(windows.round.max()) + 1, 6)
        },
        "novelty": _novelty(windows),
        "drift": _drift(windows),
        "as_it_is": _one_a_picture(windows),
    }
    print(json.dumps(told, indent=1), flush=True)
    return told


def _novelty(windows: Windows) -> dict[str, Any]:
    monitor = NoveltyMonitor(reference_parts=_NOVELTY_REFERENCE)
    signals, ready = [], None
    for index in _rounds(windows):
        accepted = np.ones(len(index), np.bool_)
        signals += [
            {
                "raised_at": _said(signal.raised_at), "onset": _said(signal.onset), "rate": round(signal.rate, 5),
                "usual_rate": round(signal.usual_rate, 5), "is_crowded": signal.is_crowded,
                **_looked_at(windows, signal.onset, signal.raised_at),
            }
            for signal in monitor.update_many(windows.at[index], windows.embedding[index], accepted)
        ]  # fmt: skip
        if ready is None and monitor.is_ready:
            ready = _said(float(windows.at[index][-1]))
    return {"reference_parts": _NOVELTY_REFERENCE, "ready": ready, "notes": monitor.notes, "signals": signals}


def _drift(windows: Windows) -> dict[str, Any]:
    monitor = DriftMonitor()
    signals, ready = [], None
    for index in _rounds(windows):
        channels = {name: values[index] for name, values in windows.channels.items()}
        signals += [
            {
                "raised_at": _said(signal.raised_at), "onset": _said(signal.onset), "channels": list(signal.channels),
                "sizes": {name: round(float(size), 3) for name, size in signal.sizes.items()},
                "pitted_share_of_round": round(float(windows.is_pitted[index].mean()), 4),
            }
            for signal in monitor.update_many(windows.at[index], windows.viewpoint[index], channels)
        ]  # fmt: skip
        if ready is None and monitor.reference.is_ready:
            ready = _said(float(windows.at[index][-1]))
    return {"ready": ready, "reference": str(monitor.reference), "signals": signals}


def _one_a_picture(windows: Windows) -> dict[str, Any]:
    """The data as it is, one part a picture: too short for either reference, which they must say."""
    index = np.arange(0, len(windows.at), _ROWS * _COLUMNS)
    drift, novelty = DriftMonitor(), NoveltyMonitor(reference_parts=20_000)
    channels = {name: values[index] for name, values in windows.channels.items()}
    found: list[object] = [*drift.update_many(windows.at[index], windows.viewpoint[index], channels)]
    found += novelty.update_many(windows.at[index], windows.embedding[index], np.ones(len(index), np.bool_))
    return {"parts": len(index), "signals": len(found), "drift": str(drift.reference), "novelty": novelty.notes}


def _looked_at(windows: Windows, onset: float, raised_at: float) -> dict[str, Any]:
    """The windows since the onset that lie farthest from the reference: how many of the first few are pitted."""
    since = np.flatnonzero((windows.at >= onset) & (windows.at <= raised_at))
    ordered = since[np.argsort(-windows.channels["score"][since])]
    farthest, pitted = ordered[:_LOOKED_AT], np.flatnonzero(windows.is_pitted[ordered])
    return {
        "windows_since_onset": len(since),
        "pitted_since_onset": int(windows.is_pitted[since].sum()),
        "pitted_before_onset": int(windows.is_pitted[windows.at < onset].sum()),
        "looked_at": len(farthest),
        "looked_at_until_the_first_pitted": int(pitted[0]) + 1 if len(pitted) else None,
        "pitted_among_them": int(windows.is_pitted[farthest].sum()),
        "viewpoints_among_them": len(set(windows.viewpoint[farthest].tolist())),
        "pictures_with_pitting_by_then": _pictures(windows, windows.is_pitted & (windows.at <= raised_at)),
    }


def _pictures(windows: Windows, is_wanted: NDArray[np.bool_]) -> int:
    return len(set(zip(windows.round[is_wanted].tolist(), windows.viewpoint[is_wanted].tolist(), strict=True)))


def _rounds(windows: Windows) -> Iterator[NDArray[np.int64]]:
    for number in range(int(windows.round.max()) + 1):
        yield np.flatnonzero(windows.round == number)


def _windows(folder: Path) -> Windows:
    trunk = resolve(read_settings(), SHIPPED_NAME, None, [])
    tiles = Tiles(rows=_ROWS // _A_TILE, columns=_COLUMNS // _A_TILE)
    front = build_front(trunk, size_px=_A_TILE * _SIDE_PX, grid=_A_TILE * _CELLS, tiles=tiles)
    extractor = FeatureExtractor(front, threads=1)
    rng = np.random.default_rng(_SEED)
    names = ("at", "round", "viewpoint", "place", "embedding", "channels", "pitted")
    parts: dict[str, list[Any]] = {name: [] for name in names}
    for number, pictures in enumerate(_taken(folder)):
        found: dict[str, list[Any]] = {name: [] for name in parts}
        for at, viewpoint, path in pictures:
            picture = _read(path)
            field = extractor.extract([picture], 1)[0].astype(np.float64)
            cells = field.reshape(len(field), _ROWS, _CELLS, _COLUMNS, _CELLS).mean((2, 4))
            found["embedding"].append(cells.reshape(len(field), -1).T)
            found["pitted"].append(_pitted(folder / "labels" / f"{path.stem}.json", picture))
            found["channels"].append(_measured(picture))
            found["at"].append(np.full(_ROWS * _COLUMNS, at))
            found["place"].append(np.arange(_ROWS * _COLUMNS))
            found["viewpoint"].append(np.full(_ROWS * _COLUMNS, viewpoint))
        order = rng.permutation(sum(map(len, found["at"])))
        for name, values in found.items():
            if name not in {"at", "round"}:
                parts[name].append(np.concatenate(values)[order])
        # A round takes up to half an hour; its windows come evenly within it.
        times = np.concatenate(found["at"])
        parts["at"].append(np.linspace(times.min(), max(times.max(), times.min() + 60.0), len(times)))
        parts["round"].append(np.full(len(times), number))
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    measured = ("brightness", "contrast", "blur", "colour")
    channels = {name: joined["channels"][:, column] for column, name in enumerate(measured)}
    channels["score"] = _distance(joined["embedding"], joined["round"] < _SCORE_ROUNDS)
    return Windows(
        joined["at"], joined["round"], joined["viewpoint"], joined["place"], joined["embedding"], channels,
        joined["pitted"],
    )  # fmt: skip


def _taken(folder: Path) -> list[list[tuple[float, str, Path]]]:
    """Rounds of pictures, each viewpoint once in each, in the order of their time; without the last."""
    by_viewpoint: dict[str, list[tuple[float, str, Path]]] = {}
    for path in folder.glob("data/*.jpg"):
        fields = path.stem.split("_")
        if len(fields) >= 5 and fields[1].isdecimal():
            at = datetime.strptime(fields[1], "%y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
            by_viewpoint.setdefault("_".join(fields[2:4]), []).append((at, "_".join(fields[2:4]), path))
    rounds = [sorted(each) for each in zip(*(sorted(taken)[:-1] for taken in by_viewpoint.values()), strict=True)]
    return sorted(rounds)


def _read(path: Path) -> NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise ValueError(f"{path}: expected a picture")
    return cv2.resize(picture, (_COLUMNS * _SIDE_PX, _ROWS * _SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.uint8)


def _pitted(label: Path, picture: NDArray[np.uint8]) -> NDArray[np.bool_]:
    if not label.is_file():
        return np.zeros(_ROWS * _COLUMNS, np.bool_)
    told = json.loads(label.read_text(encoding="utf-8"))
    mask = np.zeros(picture.shape[:2], np.uint8)
    scale = np.array([picture.shape[1] / told["imageWidth"], picture.shape[0] / told["imageHeight"]])
    for shape in told["shapes"]:
        cv2.fillPoly(mask, [np.round(np.array(shape["points"]) * scale).astype(np.int32)], (1,))
    covered = mask.reshape(_ROWS, _SIDE_PX, _COLUMNS, _SIDE_PX).mean((1, 3))
    return np.asarray(covered >= _PITTED_FROM).ravel()


def _measured(picture: NDArray[np.uint8]) -> Floats:
    rows = []
    for top in range(0, picture.shape[0], _SIDE_PX):
        for left in range(0, picture.shape[1], _SIDE_PX):
            found = measure(picture[top : top + _SIDE_PX, left : left + _SIDE_PX])
            rows.append((found.brightness, found.contrast, found.blur, found.colour))
    return np.array(rows, dtype=np.float64)


def _distance(embedding: Floats, is_reference: NDArray[np.bool_]) -> Floats:
    known = embedding[is_reference]
    centre, covariance = known.mean(0), np.cov(known.T)
    variance, axes = np.linalg.eigh(covariance)
    white = (embedding - centre) @ (axes / np.sqrt(np.maximum(variance, 1e-6 * variance.max())))
    return np.asarray(np.maximum(np.sqrt((white**2).sum(1)), 1e-6), np.float64)


def _said(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M}"
