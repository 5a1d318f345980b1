# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for the rooms around the loop. Each writes what happened, in order, into one shared list."""

from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from contracts.commands import RejectSignal
from contracts.ids import InspectionId, StationAddress
from contracts.manifest import (
    FileRole,
    GoldenSet,
    GraphSignature,
    Limits,
    Lineage,
    PackageFile,
    PackageManifest,
    PackageVariant,
)
from contracts.reports import InspectionReported
from contracts.vocabulary import DetectorKind, Disposition, SignalState, Variant
from edge_agent.actuators.base import OutputUse
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.frame_queue import FrameQueue, QueuedFrame
from edge_agent.inference.session import Inference, LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.judging import Judge
from edge_agent.loop import InspectionLoop
from edge_agent.monitor.health import Gauges, HealthMonitor
from edge_agent.recipes.recipe import Recipes
from edge_agent.triggers import TriggerWatch
from tests.fakes.clock import FakeClock

STATION = StationAddress(site="plant", line="line-1", station="st-1")
START = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
DIGEST = "ab" * 32


def manifest_of(
    product: str, *, ok_limit: float = 0.3, ng_limit: float = 0.6, classes: list[str] | None = None
) -> PackageManifest:
    """A manifest that is whole enough for judging."""
    return PackageManifest(
        product=product,
        detector=DetectorKind.MEMORY_BANK,
        created_at=START,
        is_simulated=True,
        graph=GraphSignature(
            model_height_px=64, model_width_px=64, heatmap_height_px=4, heatmap_width_px=4, embedding_length=2
        ),
        variants=[PackageVariant(variant=Variant.FP32, file="fp32.onnx")],
        files=[
            PackageFile(name="fp32.onnx", role=FileRole.MODEL, sha256=DIGEST, size_bytes=1),
            PackageFile(name="golden.npz", role=FileRole.GOLDEN, sha256=DIGEST, size_bytes=1),
        ],
        limits=Limits(ok_limit=ok_limit, ng_limit=ng_limit, sound_parts=10, rule="by hand"),
        golden=GoldenSet(file="golden.npz", images=1, tolerance=0.1),
        defect_classes=classes or [],
        lineage=Lineage(
            training_id="t1",
            dataset_sha256=DIGEST,
            sound_parts=10,
            defective_parts=0,
            seed=0,
            backbone="none",
            backbone_weights_sha256=DIGEST,
            backbone_weights_source="none",
            trainer_version="0",
            training_seconds=0,
        ),
    )


class ScoreSession:
    """Answers with a fixed score; can take time, or fail."""

    provider = "FakeExecutionProvider"

    def __init__(self, score: float = 0.1, classes: list[float] | None = None) -> None:
        self.score = score
        self.classes = classes
        self.embedding = np.zeros(2, dtype=np.float32)
        self.takes_s = 0.0
        self.clock: FakeClock | None = None
        self.failure: Exception | None = None
        self.runs = 0
        self.shapes: list[tuple[int, ...]] = []

    def run(self, image_bgr: NDArray[np.uint8]) -> Inference:
        self.runs += 1
        self.shapes.append(image_bgr.shape)
        if self.clock is not None:
            self.clock.advance(self.takes_s)
        if self.failure is not None:
            raise self.failure
        return Inference(
            score=self.score,
            heatmap=np.full((4, 4), self.score, dtype=np.float32),
            embedding=self.embedding,
            class_scores=None if self.classes is None else np.array(self.classes, dtype=np.float32),
        )


def loaded(
    product: str, session: ScoreSession, *, package_id: str = DIGEST, classes: list[str] | None = None
) -> LoadedPackage:
    """An active package around a session."""
    return LoadedPackage(
        package_id=package_id,
        manifest=manifest_of(product, classes=classes),
        variant=Variant.FP32,
        session=session,
    )


def textured(height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    """A picture that shows something."""
    rows, columns = np.indices((height, width))
    grey = ((rows * 7 + columns * 13) % 251).astype(np.uint8)
    return np.dstack([grey, grey, grey])


def _noisy(number: int) -> NDArray[np.uint8]:
    """No two pictures of a camera are equal to the last bit."""
    pixels = textured()
    pixels[0, 0] = number % 256
    return pixels


def frame_of(number: int, clock: Clock, **changes: object) -> Frame:
    """A frame captured now."""
    values: dict[str, object] = {
        "pixels": _noisy(number),
        "captured_at": clock.now(),
        "captured_monotonic": clock.monotonic(),
        "trigger_number": number,
        "product": "ring",
    }
    return Frame(**{**values, **changes})  # type: ignore[arg-type]  # a test names what it changes


@dataclass
class MemoryOutbox:
    """Keeps reports, in order."""

    story: list[str]
    epoch: int = 77
    is_behind: bool = False
    reports: list[InspectionReported] = field(default_factory=list)
    sequence: int = 0
    failure: Exception | None = None

    def next_sequence(self) -> int:
        self.sequence += 1
        return self.sequence

    def put(self, report: InspectionReported) -> None:
        if self.failure is not None:
            raise self.failure
        self.story.append(f"outbox {report.trigger_number}")
        self.reports.append(report)


@dataclass
class MemoryEvidence:
    """Keeps what was recorded."""

    story: list[str]
    kept: list[tuple[int, tuple[int, ...], bool, bool, bool]] = field(default_factory=list)
    failure: Exception | None = None

    def record(
        self,
        inspection: InspectionId,
        crop: NDArray[np.uint8],
        heatmap: NDArray[np.float32] | None,
        *,
        upload: bool,
        is_simulated: bool,
        ng_limit: float | None = None,
    ) -> None:
        del ng_limit
        if self.failure is not None:
            raise self.failure
        self.story.append(f"evidence {inspection.sequence}")
        self.kept.append((inspection.sequence, crop.shape, heatmap is not None, upload, is_simulated))


@dataclass
class MemoryOutput:
    """Keeps signals; can refuse or raise."""

    story: list[str]
    signals: list[RejectSignal] = field(default_factory=list)
    answer: SignalState = SignalState.SENT
    failure: Exception | None = None
    silence: Disposition = Disposition.HELD
    captured: list[float] = field(default_factory=list)
    uses: list[OutputUse | None] = field(default_factory=list)

    def send(self, signal: RejectSignal, captured_s: float, use: OutputUse | None = None) -> SignalState:
        self.uses.append(use)
        self.captured.append(captured_s)
        self.story.append(f"signal {signal.trigger_number}")
        self.signals.append(signal)
        if self.failure is not None:
            raise self.failure
        return self.answer


class Bench:
    """A loop with everything around it in memory."""

    def __init__(
        self,
        *,
        last_recorded: int | None = None,
        max_gap_parts: int = 1000,
        recipes: Recipes | None = None,
        default_product: str | None = None,
        is_simulated: bool = False,
        halts_when_behind: bool = False,
    ) -> None:
        self.story: list[str] = []
        self.clock = FakeClock()
        self.slots = PackageSlots()
        self.outbox = MemoryOutbox(self.story)
        self.evidence = MemoryEvidence(self.story)
        self.output = MemoryOutput(self.story)
        self.queue = FrameQueue(4)
        self.health = HealthMonitor(
            STATION, epoch=77, version="0", clock=self.clock, gauges=lambda: Gauges(active=self.slots.snapshot())
        )
        self.loop = InspectionLoop(
            STATION,
            queue=self.queue,
            judge=Judge(self.slots, recipes or Recipes(), self.clock, default_product=default_product),
            triggers=TriggerWatch(last_recorded, max_gap_parts),
            output=self.output,
            outbox=self.outbox,
            evidence=self.evidence,
            health=self.health,
            clock=self.clock,
            is_simulated=is_simulated,
            default_product=default_product,
            halts_when_behind=halts_when_behind,
        )

    def activate(self, score: float = 0.1, *, classes: list[str] | None = None) -> ScoreSession:
        """Put a package for product `ring` into its slot."""
        session = ScoreSession(score)
        session.clock = self.clock
        self.slots.activate(loaded("ring", session, classes=classes))
        return session

    def show(self, number: int, **changes: object) -> InspectionReported:
        """Take one frame through the loop; the report that it left."""
        self.loop.inspect(QueuedFrame(frame_of(number, self.clock, **changes)))
        return self.outbox.reports[-1]
