# SPDX-License-Identifier: Apache-2.0
"""The candidates of `--fit-budget-ms`: trunks at hand × sizes, how long each takes, and in which order to train them.

Each is measured before any training, with a stand-in for the detector, in the forms that the package will hold. Trains
nothing and chooses none. Called by `fit_budget`.
"""

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import onnx

from contracts.jobs import LEAST_SIZE_PX, TrainingJob
from contracts.tiles import Tiles
from contracts.vocabulary import Variant
from models.clock import Clock
from models.data.parts import Picture
from models.detectors.base import MIN_SOUND_PARTS, TrainingSet
from models.detectors.memory_bank import MemoryBank
from models.detectors.nearest_cells import MemoryBankSettings
from models.errors import InputError, QuantizationError
from models.graphs.export import build_graph
from models.graphs.features import FeatureExtractor, build_front
from models.graphs.half import halved
from models.graphs.quantization import quantize
from models.graphs.timing import SessionTime, noise_picture
from models.graphs.trunks import SHIPPED_NAME, Trunk, at_hand, resolve
from models.settings import Settings
from models.training.gathering import grid_of

_log = logging.getLogger(__name__)
# Of the size asked for; at 256 px: 256, 224, 192, 160.
_SHARES: Final = (1.0, 7 / 8, 3 / 4, 5 / 8)
# Most promising first: the larger trunk, then as `auto` prefers them; one of another name before the shipped one. No
# measurement: it decides what is trained first, and what is taken where nothing can be compared.
_ORDER: Final = ("resnet50", "resnet50v2", "resnet18", "mobilenet_v2", "squeezenet1_1")
# How long a graph takes for a side in px and a number of threads.
Measure = Callable[[onnx.ModelProto | bytes, int, int], SessionTime]


@dataclass
class Candidate:
    """One trunk at one size, what was measured of it, and what became of it.

    Attributes:
        trunk: with its weights.
        weights_path: the file, where one was given.
        size_px: side of a tile, px.
        tiles: as asked; no others are tried.
        ms: of each variant measured with a stand-in for the detector, ms.
        trained_ms: of each variant of the trained package, ms.
        quality: separation of the cross-fitted scores of its training pictures; None: too few labelled defects.
        fate: why it was taken or left.
        unrest: the most that a median was of its fastest turn.
    """

    trunk: Trunk
    weights_path: str | None
    size_px: int
    tiles: Tiles = field(default_factory=Tiles)
    ms: dict[Variant, float] = field(default_factory=dict)
    trained_ms: dict[Variant, float] = field(default_factory=dict)
    quality: float | None = None
    fate: str = ""
    unrest: float = 1.0

    def taking(self, took: SessionTime) -> float:
        """The median, ms; keeps how steady it was."""
        self.unrest = max(self.unrest, took.p50_ms / max(took.fastest_ms, 1e-6))
        return took.p50_ms

    @property
    def name(self) -> str:
        """For people."""
        tiles = "" if self.tiles.count == 1 else f", {self.tiles.told} tiles"
        return f"{self.trunk.name} at {self.size_px} px{tiles}"

    def told(self) -> str:
        """One line of the table."""
        parts = [f"{self.name}: {told_ms(self.ms)}"]
        if self.trained_ms:
            parts.append(f"trained {told_ms(self.trained_ms)}")
        if self.quality is not None:
            parts.append(f"quality on unseen groups {self.quality:.3f}")
        return f"fit-budget: {', '.join(parts)}; {self.fate}"


def told_ms(ms: dict[Variant, float]) -> str:
    """For people."""
    return ", ".join(f"{variant} {value:.2f} ms" for variant, value in ms.items())


def told_threads(threads: int) -> str:
    """For people."""
    return "1 thread" if threads == 1 else f"{threads} threads"


@dataclass(frozen=True)
class Asked:
    """What all steps share."""

    job: TrainingJob
    settings: Settings
    clock: Clock
    left_out: Sequence[str]
    within_ms: float
    until_s: float | None
    measure: Measure


def candidates_of(asked: Asked, notes: list[str]) -> list[Candidate]:
    """Every trunk at hand at every size. A file that was not asked for and cannot be used is told and passed over."""
    job = asked.job
    found: dict[str, tuple[Trunk, str | None]] = {}
    if job.weights_path is not None or job.backbone != "auto":
        trunk = resolve(asked.settings, job.backbone, job.weights_path, notes)
        found[trunk.name] = (trunk, job.weights_path)
    for name in at_hand(asked.settings) if job.backbone == "auto" else ():
        if name in found:
            continue
        try:
            found[name] = (resolve(asked.settings, name, None, notes), None)
        except InputError as error:
            notes.append(f"fit-budget: {name}: left: {error}")
    sizes = sorted({max(LEAST_SIZE_PX, int(job.size_px * share) // 16 * 16) for share in _SHARES[1:]} - {job.size_px})
    return [
        Candidate(trunk, path, size_px, job.tiles)
        for trunk, path in found.values()
        for size_px in [job.size_px, *(each for each in reversed(sizes) if each < job.size_px)]
    ]


def measure_candidate(asked: Asked, candidate: Candidate) -> None:
    """FP32, and where that is over the budget the other forms asked for, with a memory bank of noise as the detector.

    A form that will not be in the package says nothing of it.
    """
    job, size_px = asked.job, candidate.size_px
    grid = grid_of(size_px)
    front = build_front(candidate.trunk, size_px=size_px, grid=grid, tiles=job.tiles)
    # Values do not change how long it takes, so a picture of noise calibrates well enough for the measurement.
    picture = noise_picture(size_px, job.tiles)
    channels = FeatureExtractor(front, threads=job.threads).extract([picture], 1).shape[1]
    bank = _stand_in(channels, grid, job.tiles)
    for variant in dict.fromkeys([Variant.FP32, *job.variants]):
        if candidate.ms and candidate.ms[Variant.FP32] <= asked.within_ms:
            break
        try:
            graph = build_graph(_in_form(front, variant, picture), bank, channels=channels)
            candidate.ms[variant] = candidate.taking(asked.measure(graph, size_px, job.threads))
        except QuantizationError as error:
            _log.warning("candidate=%s variant=%s left_out=%s", candidate.name, variant, error)
    _log.info("candidate=%s measured=%s", candidate.name, told_ms(candidate.ms))


def _in_form(front: onnx.ModelProto, variant: Variant, picture: Picture) -> onnx.ModelProto:
    if variant is Variant.FP32:
        return front
    return halved(front) if variant is Variant.FP16 else quantize(front, [picture], variant)


def _stand_in(channels: int, grid: int, tiles: Tiles) -> MemoryBank:
    """A bank as large as a trained one, of noise: a detector of either kind has one.

    What learns from labels comes on top and is measured after the training.
    """
    height, width = tiles.rows * grid, tiles.columns * grid
    cells = height // 2 * (width // 2)
    count = max(MIN_SOUND_PARTS, 2 * math.ceil(MemoryBankSettings().cells / cells))
    noise = np.random.default_rng(0).standard_normal((count, channels, height, width), np.float32).astype(np.float16)
    bank = MemoryBank()
    training = TrainingSet(noise, np.zeros(count, np.bool_), [str(row) for row in range(count)])
    bank.fit(training, seed=0, check=lambda _share: None)
    return bank


def in_order(fitting: Sequence[Candidate], *, has_labels: bool) -> list[Candidate]:
    """The order of training.

    With labels: of each trunk the largest field that fits, the more promising trunk first; then their next smaller
    fields. Without: the largest field, then the more promising trunk.
    """

    def rank(candidate: Candidate) -> int:
        name = candidate.trunk.name
        return _ORDER.index(name) if name in _ORDER else len(_ORDER) + (name == SHIPPED_NAME)

    def smaller_than(candidate: Candidate) -> int:
        mine = [each.size_px for each in fitting if each.trunk.name == candidate.trunk.name]
        return sum(size_px > candidate.size_px for size_px in mine)

    if has_labels:
        return sorted(fitting, key=lambda each: (smaller_than(each), rank(each)))
    return sorted(fitting, key=lambda each: (-each.size_px, rank(each)))
