# SPDX-License-Identifier: Apache-2.0
"""Made-up parts for the training side's tests: a soft grey plate; defective ones carry a dark or bright speck.

One small training of each kind is run once a worker and shared; tests that need another make their own.
"""

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from contracts.jobs import EvaluationReport, TrainingImage, TrainingJob
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse
from models.clock import SystemClock
from models.data.parts import Part
from models.settings import Settings
from models.training.job import run_job


@pytest.fixture(scope="session", autouse=True)
def one_thread_a_worker() -> Iterator[None]:
    """Detectors that tests fit by themselves; the workers use the cores already."""
    with threadpool_limits(limits=1, user_api="blas"):
        yield


SIDE_PX = 96
# Defects that `draw_defect` draws, in the order of a package that names them.
CLASSES = ["scratch", "speck"]


def unread_part(name: str, judgement: Judgement) -> Part:
    """A part of which nothing but what is listed is ever asked."""
    image = TrainingImage(
        path=name, sha256="0" * 64, judgement=judgement, group=name, use=PartUse.TRAIN, source=LabelSource.REFERENCE
    )
    return Part(image, Path(name))


def draw_part(rng: np.random.Generator, *, is_defective: bool, side_px: int = SIDE_PX) -> NDArray[np.uint8]:
    """A plate with grain and a hole; uint8 BGR."""
    plate = np.full((side_px, side_px), 120.0, np.float32) + np.linspace(0, 20, side_px, dtype=np.float32)
    plate += rng.normal(0, 3, plate.shape).astype(np.float32)
    cv2.circle(plate, (side_px // 2, side_px // 2), side_px // 6, 60.0, -1)
    if is_defective:
        x, y = rng.integers(side_px // 8, side_px // 3, 2)
        cv2.circle(plate, (int(x), int(y)), 5, float(rng.choice([30.0, 220.0])), -1)
    grey = np.clip(plate, 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def write_parts(
    folder: Path, rng: np.random.Generator, count: int, *, is_defective: bool, use: PartUse
) -> list[TrainingImage]:
    """Pictures on disk with their judgement; each is a part of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for index in range(count):
        kind = "defective" if is_defective else "good"
        path = folder / f"{use.lower()}-{kind}-{index}.png"
        assert cv2.imwrite(str(path), draw_part(rng, is_defective=is_defective))
        images.append(
            TrainingImage(
                path=str(path),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                judgement=Judgement.DEFECTIVE if is_defective else Judgement.GOOD,
                defect_class="speck" if is_defective else None,
                group=path.stem,
                use=use,
                source=LabelSource.AUDIT,
            )
        )
    return images


def write_pictures(
    folder: Path, pictures: Sequence[NDArray[np.uint8]], *, use: PartUse, defect_class: str | None = None
) -> list[TrainingImage]:
    """Given pictures on disk with their judgement, each a part of its own, named after what it shows."""
    images = []
    for picture in pictures:
        content = cv2.imencode(".png", picture)[1].tobytes()
        digest = hashlib.sha256(content).hexdigest()
        path = folder / f"{digest[:16]}.png"
        path.write_bytes(content)
        images.append(
            TrainingImage(
                path=str(path), sha256=digest, judgement=Judgement.DEFECTIVE if defect_class else Judgement.GOOD,
                defect_class=defect_class, group=path.stem, use=use, source=LabelSource.AUDIT,
            )
        )  # fmt: skip
    return images


def make_job(folder: Path, images: list[TrainingImage], **changes: object) -> TrainingJob:
    """A small job; `changes` replace its fields."""
    fields: dict[str, object] = {
        "training_id": "t-1",
        "product": "plate",
        "reason": "a test",
        "is_simulated": True,
        "images": images,
        "size_px": SIDE_PX,
        "backbone": "compact",
        "output_dir": str(folder / "out"),
    }
    return TrainingJob.model_validate(fields | changes)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Offline, with an empty cache: the shipped trunk."""
    return Settings(cache_dir=tmp_path / "cache", is_offline=True)


@dataclass(frozen=True)
class Trained:
    """A finished training."""

    job: TrainingJob
    report: EvaluationReport

    @property
    def package(self) -> Path:
        return Path(self.job.output_dir) / "package"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[DetectorKind], Trained]:
    """Trainings by detector, each run once."""
    done: dict[DetectorKind, Trained] = {}

    def get(kind: DetectorKind) -> Trained:
        if kind not in done:
            folder = tmp_path_factory.mktemp(kind)
            rng = np.random.default_rng(3)
            images = write_parts(folder, rng, 24, is_defective=False, use=PartUse.TRAIN)
            images += write_parts(folder, rng, 10, is_defective=True, use=PartUse.TRAIN)
            images += write_parts(folder, rng, 10, is_defective=False, use=PartUse.HOLDOUT)
            images += write_parts(folder, rng, 8, is_defective=True, use=PartUse.HOLDOUT)
            job = make_job(folder, images, detector=kind)
            report = run_job(job, Settings(cache_dir=folder / "cache", is_offline=True), SystemClock())
            done[kind] = Trained(job, report)
        return done[kind]

    return get


def draw_defect(rng: np.random.Generator, name: str) -> NDArray[np.uint8]:
    """A plate with a bright round speck or a long dark scratch."""
    plate = draw_part(rng, is_defective=False)
    x, y = (int(value) for value in rng.integers(SIDE_PX // 8, SIDE_PX // 3, 2))
    if name == "speck":
        cv2.circle(plate, (x, y), 6, (225, 225, 225), -1)
    else:
        cv2.line(plate, (x, y), (x + SIDE_PX // 2, y + 6), (20, 20, 20), 3)
    return plate


def write_defects(folder: Path, rng: np.random.Generator, counts: dict[str, int], use: PartUse) -> list[TrainingImage]:
    """Defective parts of these classes, each a part of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    images = []
    for name, count in counts.items():
        for index in range(count):
            path = folder / f"{use.lower()}-{name}-{index}.png"
            assert cv2.imwrite(str(path), draw_defect(rng, name))
            images.append(
                TrainingImage(
                    path=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                    judgement=Judgement.DEFECTIVE, defect_class=name, group=path.stem, use=use,
                    source=LabelSource.AUDIT,
                )
            )  # fmt: skip
    return images


def trained_on(folder: Path, counts: dict[str, int], kind: DetectorKind) -> Trained:
    """A training on 24 sound parts and these defects; held out are 6 sound parts and 6 of each class."""
    rng = np.random.default_rng(3)
    images = write_parts(folder, rng, 24, is_defective=False, use=PartUse.TRAIN)
    images += write_defects(folder, rng, counts, PartUse.TRAIN)
    images += write_parts(folder, rng, 6, is_defective=False, use=PartUse.HOLDOUT)
    images += write_defects(folder, rng, dict.fromkeys(CLASSES, 6), PartUse.HOLDOUT)
    job = make_job(folder, images, detector=kind)
    return Trained(job, run_job(job, Settings(cache_dir=folder / "cache", is_offline=True), SystemClock()))


@pytest.fixture(scope="session")
def named(tmp_path_factory: pytest.TempPathFactory) -> Callable[[DetectorKind], Trained]:
    """One training on two classes for each detector."""
    done: dict[DetectorKind, Trained] = {}

    def get(kind: DetectorKind) -> Trained:
        if kind not in done:
            done[kind] = trained_on(tmp_path_factory.mktemp(kind), {"scratch": 7, "speck": 9}, kind)
        return done[kind]

    return get


@pytest.fixture(scope="session")
def real_images() -> Path:
    """The folder of real inspection images."""
    default = Path(__file__).parents[2].parent / "shared" / "data"
    folder = Path(os.environ.get("SIGHTLINE_DATA_DIR", default))
    if not (folder / "magnetic_tile").is_dir():
        pytest.skip(f"no real inspection images at {folder}; set SIGHTLINE_DATA_DIR")
    return folder
