# SPDX-License-Identifier: Apache-2.0
"""The recipe of the shipped trunk: MobileNetV2's features distilled into `CompactTrunk` on made-up pictures.

A rolling pool of pictures is drawn, the teacher (ONNX) says its stride-8 and stride-16 features, the student
learns them, each channel standardised. No foreign picture is seen. Does not touch detectors or packages.
Called by `sightline-models distil`.
"""

import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.data.procedural import draw_pictures
from models.errors import InputError
from models.graphs.backbones import IMAGENET_MEAN, IMAGENET_STD, CompactTrunk

_log = logging.getLogger(__name__)
_STAGES: Final = ("stride8", "stride16")


@dataclass(frozen=True)
class DistilSettings:
    """How long and how hard to distil. Time is the budget: the schedule follows the clock, not a step count."""

    teacher: Path
    start_from: Path | None = None
    # Written after every round, so that a stopped run is not lost.
    keep_at: Path | None = None
    budget_s: float = 900.0
    side_px: int = 128
    pool_pictures: int = 9000
    round_pictures: int = 1500
    passes_per_round: int = 3
    batch: int = 32
    peak_rate: float = 4e-3
    threads: int = 2
    seed: int = 0


@dataclass
class _Pool:
    pictures: NDArray[np.uint8]
    targets: list[NDArray[np.float16]]


class _Teacher:
    """The teacher's features, standardised by statistics taken once on the first pictures."""

    def __init__(self, settings: DistilSettings) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = settings.threads
        try:
            self._session = ort.InferenceSession(str(settings.teacher), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            reason = str(error).partition("\n")[0]
            raise InputError(f"--teacher: {settings.teacher} cannot be opened as ONNX ({reason})") from error
        self._centre: list[NDArray[np.float32]] = []
        self._spread: list[NDArray[np.float32]] = []

    def features(self, pictures: NDArray[np.uint8]) -> list[NDArray[np.float16]]:
        batches: list[list[NDArray[np.float32]]] = [[], []]
        for start in range(0, len(pictures), 32):
            outputs = self._session.run(list(_STAGES), {"image": normalised(pictures[start : start + 32])})
            for stage, output in zip(batches, outputs, strict=True):
                stage.append(output)
        whole = [np.concatenate(stage) for stage in batches]
        if not self._centre:
            self._centre = [stage.mean((0, 2, 3), keepdims=True) for stage in whole]
            self._spread = [stage.std((0, 2, 3), keepdims=True) + 1e-6 for stage in whole]
        return [
            ((stage - centre) / spread).astype(np.float16)
            for stage, centre, spread in zip(whole, self._centre, self._spread, strict=True)
        ]


def normalised(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """uint8 BGR [n, h, w, 3] → float32 RGB [n, 3, h, w] in ImageNet's normalisation."""
    unit: NDArray[np.float32] = pictures[..., ::-1].astype(np.float32) / np.float32(255)
    mean, spread = np.asarray(IMAGENET_MEAN, np.float32), np.asarray(IMAGENET_STD, np.float32)
    return np.ascontiguousarray(np.divide(unit - mean, spread, dtype=np.float32).transpose(0, 3, 1, 2))


def _draw(rng: np.random.Generator, teacher: _Teacher, count: int, side_px: int) -> _Pool:
    pictures = draw_pictures(rng, count, side_px)
    return _Pool(pictures, teacher.features(pictures))


def _extended(pool: _Pool | None, fresh: _Pool, limit: int) -> _Pool:
    if pool is None:
        return fresh
    joined = np.concatenate([fresh.pictures, pool.pictures])[:limit]
    targets = [np.concatenate(pair)[:limit] for pair in zip(fresh.targets, pool.targets, strict=True)]
    return _Pool(joined, targets)


def _loss(outputs: tuple[Tensor, Tensor], targets: list[Tensor]) -> Tensor:
    """Mean squared error, a little capped: single wild teacher values must not steer the student."""
    parts = [
        torch.nn.functional.smooth_l1_loss(out, goal, beta=2.0) for out, goal in zip(outputs, targets, strict=True)
    ]
    return 2 * (parts[0] + parts[1])


def distil(settings: DistilSettings) -> tuple[CompactTrunk, dict[str, float]]:
    """Distil for `budget_s` seconds and return the student with its error on fresh pictures."""
    torch.manual_seed(settings.seed)
    torch.set_num_threads(settings.threads)
    cv2.setNumThreads(1)
    rng = np.random.default_rng(settings.seed)
    teacher = _Teacher(settings)
    held_out = _draw(np.random.default_rng([settings.seed, 1]), teacher, 256, settings.side_px)
    student = CompactTrunk()
    if settings.start_from is not None:
        student.load_state_dict(
            {name: value.float() for name, value in load_file(settings.start_from).items()}, strict=False
        )
    student = student.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub lacks it
    optimiser = torch.optim.AdamW(student.parameters(), lr=settings.peak_rate, weight_decay=0.01)
    started = time.monotonic()
    pool: _Pool | None = None
    seen = drawn = 0
    while (spent := time.monotonic() - started) < settings.budget_s:
        # The last tenth only polishes: no new pictures, so that the falling rate meets a settled pool.
        if pool is None or spent < 0.9 * settings.budget_s:
            count = settings.round_pictures * (2 if pool is None else 1)
            pool = _extended(pool, _draw(rng, teacher, count, settings.side_px), settings.pool_pictures)
            drawn += count
        student.train()
        running: list[float] = []
        for _ in range(settings.passes_per_round * settings.round_pictures // settings.batch):
            share = min(1.0, (time.monotonic() - started) / settings.budget_s)
            rate = settings.peak_rate * min(1.0, share / 0.03 + 0.02) * (0.5 + 0.5 * math.cos(math.pi * share))
            for group in optimiser.param_groups:
                group["lr"] = max(rate, 1e-5)
            running.append(_step(student, optimiser, pool, rng.integers(0, len(pool.pictures), settings.batch)))
            seen += settings.batch
            if share >= 1:
                break
        if settings.keep_at is not None:
            save_half(student, settings.keep_at)
        _log.info(
            "distil seconds=%.0f seen=%d drawn=%d loss=%.4f held_out=%s",
            time.monotonic() - started, seen, drawn, float(np.mean(running)), _held_out(student, held_out),
        )  # fmt: skip
    error8, error16 = _held_out(student, held_out)
    measured = {
        "explained_stride8": 1 - error8,
        "explained_stride16": 1 - error16,
        "pictures": float(drawn),
        "seen": float(seen),
    }
    return student.eval(), measured


def save_half(student: CompactTrunk, path: Path) -> None:
    """Write the weights as fp16 safetensors: half the size, far below what INT8 will cost."""
    tensors = {
        name: value.half().contiguous() for name, value in student.state_dict().items() if value.is_floating_point()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    save_file(tensors, temporary, metadata={"licence": "Apache-2.0", "trunk": "compact"})
    temporary.replace(path)


def _step(student: CompactTrunk, optimiser: torch.optim.Optimizer, pool: _Pool, rows: NDArray[np.int64]) -> float:
    images = torch.from_numpy(normalised(pool.pictures[rows])).to(memory_format=torch.channels_last)
    targets = [torch.from_numpy(stage[rows].astype(np.float32)) for stage in pool.targets]
    loss = _loss(student(images), targets)
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(student.parameters(), 5.0)
    optimiser.step()
    return float(loss.detach())


def _held_out(student: CompactTrunk, held_out: _Pool) -> tuple[float, float]:
    """Share of the teacher's variance that the student misses, per stage."""
    student.eval()
    errors = []
    with torch.inference_mode():
        outputs = student(torch.from_numpy(normalised(held_out.pictures)))
    for output, goal in zip(outputs, held_out.targets, strict=True):
        wanted = goal.astype(np.float32)
        spread = wanted.var(axis=(0, 2, 3))
        missed = ((output.numpy() - wanted) ** 2).mean((0, 2, 3))
        errors.append(float(np.mean(missed / (spread + 1e-6))))
    return errors[0], errors[1]
