# SPDX-License-Identifier: Apache-2.0
"""Do two workers pay: images a second and time to a target, of one and of two local workers.

Magnetic tiles, shipped trunk in float, 256 px, the classifier's head. Each worker is held to one thread, or one worker
would use both cores and nothing would be left to scale to. Start-up (processes, imports, meeting) is told apart and is
in no rate. Target: the image AUROC on held-out tiles that one worker's head has after all its steps, less .02; seen
every 25 steps, and looking does not count. Needs the real pictures; the part on a GPU is in `_training_gpu` and says so
where there is none.
"""

import io
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from benchmarks._training_gpu import on_gpu
from contracts.jobs import TrainingImage
from contracts.vocabulary import Judgement
from models.data.layouts import read_layout
from models.data.parts import Picture, read_picture
from models.detectors.base import Features, Floats, TrainingSet, top_mean
from models.detectors.head import HeadSettings, HeadWeights, head_logits, train_head
from models.distributed.following import Shown
from models.distributed.leading import Gang, MemoryKeeper, Starter
from models.distributed.local import LocalFollowers
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.trunks import SHIPPED_NAME, resolve
from models.measuring.figures import image_auroc
from models.pace import Pace
from models.settings import Settings

_SOUND: Final = 112
_DEFECTIVE: Final = 48
_HELD_OUT: Final = 30
_STEPS: Final = 100
_BATCH: Final = 24
_BELOW: Final = 0.02
_SIDE_PX: Final = 256
_GRID: Final = 32


@dataclass(frozen=True)
class Tiles:
    """What is learnt from and judged: the same for all."""

    shown: list[Shown]
    is_defective: NDArray[np.bool_]
    held_out: list[Shown]
    is_held_out_defective: NDArray[np.bool_]


def run() -> dict[str, Any]:
    """Figures of each way, and their efficiency against twice one worker."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    data = Path(os.environ.get("SIGHTLINE_DATA_DIR", default))
    if not (data / "magnetic_tile").is_dir():
        return {"skipped": "no magnetic_tile folder among the real pictures (SIGHTLINE_DATA_DIR)", "gpu": on_gpu()}
    with threadpool_limits(limits=1):
        tiles = chosen(read_layout(data / "magnetic_tile", "magnetic-tile"))
        judged = _alone(tiles.held_out)
        one = measured(tiles, judged, 1, None)
        found = {"local_1": one, "local_2": measured(tiles, judged, 2, LocalFollowers(2, 1), one["target_auroc"])}
    two = found["local_2"]
    two["efficiency"] = {
        rate: round(two[rate] / (2 * one[rate]), 3) for rate in ("extracted_per_s", "learnt_per_s")
    }  # fmt: skip
    return {**found, "threads_a_worker": 1, "cores": os.cpu_count(), "load": os.getloadavg()[0], "gpu": on_gpu()}


def chosen(images: list[TrainingImage]) -> Tiles:
    """Some sound and defective tiles to learn from and to judge, no part on both sides."""
    images = sorted(images, key=lambda image: image.path)
    groups = sorted({image.group for image in images})
    judged = set(groups[::3])
    picks: dict[tuple[bool, bool], list[TrainingImage]] = {}
    for image in images:
        picks.setdefault((image.group in judged, image.judgement is Judgement.DEFECTIVE), []).append(image)
    sound, bad = _evenly(picks[False, False], _SOUND), _evenly(picks[False, True], _DEFECTIVE)
    held = _evenly(picks[True, False], _HELD_OUT), _evenly(picks[True, True], _HELD_OUT)
    return Tiles(
        [Shown(image.path) for image in [*sound, *bad]], np.arange(len(sound) + len(bad)) >= len(sound),
        [Shown(image.path) for image in [*held[0], *held[1]]], np.arange(len(held[0]) + len(held[1])) >= len(held[0]),
    )  # fmt: skip


def _evenly(images: list[TrainingImage], count: int) -> list[TrainingImage]:
    return [images[place * len(images) // count] for place in range(min(count, len(images)))]


def _front() -> bytes:
    front: bytes = build_front(
        resolve(Settings(), SHIPPED_NAME, None, []), size_px=_SIDE_PX, grid=_GRID
    ).SerializeToString()
    return front


def _read(shown: Shown) -> Picture:
    return read_picture(Path(shown.path), Settings())


def _alone(shown: list[Shown], pace: Pace | None = None) -> Features:
    return FeatureExtractor(_front(), threads=1).extract((pace or Pace()).drawn(map(_read, shown)), len(shown))


def measured(
    tiles: Tiles, judged: Features, workers: int, starter: Starter | None, target: float | None = None
) -> dict[str, Any]:
    """Rates of one way. `target` None: what it ends with, less `_BELOW`."""
    notes: list[str] = []
    gang = None if starter is None else Gang(starter, workers=workers, threads=workers, notes=notes)
    began_s, pace = time.monotonic(), Pace()
    if gang is not None:
        # Forms the group.
        gang.extract(_front(), tiles.shown[:workers], _read, lambda _count: None, Pace())
    start_s = time.monotonic() - began_s
    began_s = time.monotonic()
    if gang is None:
        with pace.computing():
            features = _alone(tiles.shown, pace)
    else:
        features = gang.extract(_front(), tiles.shown, _read, lambda _count: None, pace)
    extract_s = time.monotonic() - began_s
    training = TrainingSet(features, tiles.is_defective, [shown.path for shown in tiles.shown])
    settings, rows = HeadSettings(steps=_STEPS, enough_labels=1), np.arange(len(tiles.shown))
    # Torch's first step also loads it.
    train_head(training, rows, HeadSettings(steps=1), seed=0)
    seen: list[tuple[float, float]] = []
    looking_s = 0.0

    def look(content: bytes) -> None:
        nonlocal looking_s
        looked_s = time.monotonic()
        scores = top_mean(head_logits(_head_of(content, training), judged), settings.top_cells)
        seen.append((looked_s - began_s - looking_s, image_auroc(scores, tiles.is_held_out_defective) or 0.0))
        looking_s += time.monotonic() - looked_s

    began_s = time.monotonic()
    keeper = MemoryKeeper(None, look)
    if gang is None:
        train_head(training, rows, settings, seed=0, keeper=keeper, pace=pace)
    else:
        gang.train_head(training, rows, settings, 0, keeper=keeper, pace=pace)
    learn_s = time.monotonic() - began_s - looking_s
    if gang is not None:
        gang.finish()
    target = seen[-1][1] - _BELOW if target is None else target
    reached = next((extract_s + at_s for at_s, auroc in seen if auroc >= target), None)
    return {
        "start_s": round(start_s, 2), "extracted_per_s": round(len(tiles.shown) / extract_s, 2),
        "learnt_per_s": round(_STEPS * _BATCH / learn_s, 1), "target_auroc": round(target, 4),
        "to_target_s": None if reached is None else round(reached, 2), "auroc": round(seen[-1][1], 4),
        "data_wait_rate": round(pace.data_wait_s / (pace.data_wait_s + pace.compute_s + pace.peers_wait_s), 3),
        "peers_wait_s": round(pace.peers_wait_s, 2), "lost": notes,
    }  # fmt: skip


def _head_of(content: bytes, training: TrainingSet) -> HeadWeights:
    """The head of a state in mid-training, as `train_head` would have ended with it."""
    sound = np.flatnonzero(~training.is_defective)
    part = training.features[sound[:: max(1, len(sound) // 100)]].astype(np.float32)
    with np.load(io.BytesIO(content), allow_pickle=False) as kept:
        weights: list[Floats] = [kept[f"weight-{place}"] for place in range(8)]
    return HeadWeights(part.mean((0, 2, 3)), part.std((0, 2, 3)) + np.float32(1e-6), weights[::2], weights[1::2])
