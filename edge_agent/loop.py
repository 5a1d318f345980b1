# SPDX-License-Identifier: Apache-2.0
"""The inspection loop: grab → judge → act → record, one part after the other.

The order is the promise: the reject signal leaves before anything touches disk or the report queue. The loop
waits for nothing else: outbox, evidence and bus take what they are given and return. A part that cannot be judged
is held and reported; a part that was not seen is reported from the gap in the trigger numbers. Opens nothing
itself; built, started and stopped by the composition root.

Known loss, bounded to the last group commit: a process killed between signal and commit finds the part as a gap
at its next start and reports it as SESSION_CRASHED and held, although its signal may have let it pass.
"""

import logging
import threading
from collections.abc import Iterator
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from contracts.commands import RejectSignal
from contracts.ids import InspectionId, StationAddress
from contracts.reports import ImageMeasures, InspectionReported, StageLatency
from contracts.vocabulary import Disposition, SignalState, Verdict
from edge_agent.actuators.base import RejectOutput
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.decision import no_decision
from edge_agent.errors import EdgeError
from edge_agent.frame_queue import FrameQueue, QueuedFrame
from edge_agent.judging import MS_PER_S, Judge, Judgement
from edge_agent.monitor.health import HealthMonitor, PartSeen
from edge_agent.triggers import Sighting, TriggerWatch
from edge_agent.vision.measures import measure

_log = logging.getLogger(__name__)

_WAIT_S: Final = 0.2
_UPLOADED: Final = (Verdict.NG, Verdict.REVIEW)


class ReportOutbox(Protocol):
    """What the loop asks of the outbox."""

    @property
    def epoch(self) -> int:
        """The epoch of this process start."""
        ...

    def next_sequence(self) -> int:
        """A fresh number for the next report."""
        ...

    def put(self, report: InspectionReported) -> None:
        """Take a report without waiting for the disk."""
        ...


class EvidenceSink(Protocol):
    """What the loop asks of the evidence recorder."""

    def record(
        self,
        inspection: InspectionId,
        crop: NDArray[np.uint8],
        heatmap: NDArray[np.float32] | None,
        *,
        upload: bool,
        is_simulated: bool,
    ) -> None:
        """Take a picture without waiting; may drop it, counted."""
        ...


class InspectionLoop:
    """The judge's thread.

    Args:
        station: this station.
        queue: frames from the grab thread.
        judge: frame → judgement.
        triggers: follows the trigger numbers.
        output: the reject output.
        outbox: where reports go.
        evidence: where pictures go.
        health: counts.
        clock: the station's clock.
        is_simulated: the whole station is simulated, whatever the frames say.
        default_product: product of missed parts when the camera does not say.
    """

    def __init__(
        self,
        station: StationAddress,
        *,
        queue: FrameQueue,
        judge: Judge,
        triggers: TriggerWatch,
        output: RejectOutput,
        outbox: ReportOutbox,
        evidence: EvidenceSink,
        health: HealthMonitor,
        clock: Clock,
        is_simulated: bool = False,
        default_product: str | None = None,
    ) -> None:
        self._station = station
        self._queue = queue
        self._judge = judge
        self._triggers = triggers
        self._output = output
        self._outbox = outbox
        self._evidence = evidence
        self._health = health
        self._clock = clock
        self._is_simulated = is_simulated
        self._default_product = default_product
        self._last_product: str | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self.strays = 0
        self.recounts = 0
        self.crashes = 0

    def start(self) -> None:
        """Begin to judge."""
        self._thread.start()

    def stop(self, timeout_s: float = 1.0) -> bool:
        """Judge what waits in the queue, then end. False: it did not end in time."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            queued = self._queue.get(_WAIT_S)
            if queued is not None:
                self._guarded(queued)
            elif self._stopping.is_set():
                return

    def _guarded(self, queued: QueuedFrame) -> None:
        """A fault in our own code costs one part (found as a gap later), never the thread."""
        self._health.judging(True)
        try:
            self.inspect(queued)
        except EdgeError as error:
            _log.error("part not recorded trigger_number=%d: %s", queued.frame.trigger_number, error)
        except Exception as error:
            self.crashes += 1
            _log.exception("part not recorded trigger_number=%d", queued.frame.trigger_number)
            self._health.set_fault("loop", f"a part could not be recorded: {error}", "see the station's log")
        finally:
            self._health.judging(False)

    def inspect(self, queued: QueuedFrame) -> None:
        """Take one frame through judge, signal and record."""
        frame = queued.frame
        sighting = self._triggers.see(frame.trigger_number, frame.captured_at)
        if sighting.is_stray:
            self.strays += 1
            _log.warning("stray frame ignored trigger_number=%d strays=%d", frame.trigger_number, self.strays)
            return
        is_simulated = self._is_simulated or frame.is_simulated
        judgement = self._judge.missed(frame) if queued.is_missed else self._judge.judge(frame)
        signal = self._signal(frame, judgement)
        signalled_s = self._clock.monotonic()
        self._record_missed(frame, judgement, sighting, is_simulated=is_simulated)
        self._record(frame, judgement, signal, signalled_s, is_simulated=is_simulated)
        self._last_product = judgement.product

    def _signal(self, frame: Frame, judgement: Judgement) -> SignalState:
        decision = judgement.decision
        return self._output.send(
            RejectSignal(
                station=self._station,
                epoch=self._outbox.epoch,
                trigger_number=frame.trigger_number,
                part_id=frame.part_id,
                verdict=decision.verdict,
                disposition=decision.disposition,
                at=self._clock.now(),
            )
        )

    def _record(
        self, frame: Frame, judgement: Judgement, signal: SignalState, signalled_s: float, *, is_simulated: bool
    ) -> None:
        decision, package, inference = judgement.decision, judgement.package, judgement.inference
        sequence = self._outbox.next_sequence()
        latency = StageLatency(
            prepare_ms=_rounded(judgement.prepare_ms),
            infer_ms=_rounded(judgement.infer_ms),
            verdict_ms=_since_ms(frame, judgement.decided_s),
            reject_ms=_since_ms(frame, signalled_s) if signal is SignalState.SENT else None,
        )
        limits = package.manifest.limits if package is not None else None
        report = InspectionReported(
            sequence=sequence,
            trigger_number=frame.trigger_number,
            part_id=frame.part_id,
            product=judgement.product,
            captured_at=frame.captured_at,
            verdict=decision.verdict,
            cause=decision.cause,
            score=inference.score if inference is not None else None,
            ok_limit=limits.ok_limit if limits is not None else None,
            ng_limit=limits.ng_limit if limits is not None else None,
            defect_class=judgement.defect_class,
            package_id=package.package_id if package is not None else None,
            variant=package.variant if package is not None else None,
            provider=package.session.provider if package is not None else None,
            # Without a signal the fail-safe gate holds the part, whatever we thought of it.
            disposition=Disposition.HELD if signal is SignalState.FAILED else decision.disposition,
            signal=signal,
            latency=latency,
            image=_measures(judgement),
            is_simulated=is_simulated,
        )
        self._outbox.put(report)
        self._keep_evidence(judgement, sequence, is_simulated=is_simulated)
        if is_simulated:
            self._health.mark_simulated()
        self._health.record(
            PartSeen(
                at_s=self._clock.monotonic(),
                verdict=decision.verdict,
                cause=decision.cause,
                signal=signal,
                verdict_ms=latency.verdict_ms,
                reject_ms=latency.reject_ms,
            )
        )

    def _keep_evidence(self, judgement: Judgement, sequence: int, *, is_simulated: bool) -> None:
        if judgement.view is None:
            return
        is_uploaded = judgement.decision.verdict in _UPLOADED
        inference = judgement.inference
        self._evidence.record(
            InspectionId(station=self._station, epoch=self._outbox.epoch, sequence=sequence),
            judgement.view,
            inference.heatmap if inference is not None and is_uploaded else None,
            upload=is_uploaded,
            is_simulated=is_simulated,
        )

    def _record_missed(self, frame: Frame, judgement: Judgement, sighting: Sighting, *, is_simulated: bool) -> None:
        if sighting.is_recount:
            self.recounts += 1
            _log.warning("camera counts anew trigger_number=%d recounts=%d", frame.trigger_number, self.recounts)
        if sighting.missed:
            _log.warning(
                "parts missed first=%d count=%d cause=%s",
                sighting.missed.start,
                len(sighting.missed),
                sighting.cause,
            )
        if sighting.unnamed:
            message = f"{sighting.unnamed} more parts passed unseen than are reported one by one"
            remedy = "check how long the station was away; if the camera's counter jumped, nothing is missing"
            _log.error("trigger gap beyond the bound unnamed=%d", sighting.unnamed)
            self._health.set_fault("trigger-gap", message, remedy)
        for report in self._missed_reports(frame, judgement, sighting, is_simulated=is_simulated):
            self._outbox.put(report)
            self._health.record(
                PartSeen(self._clock.monotonic(), report.verdict, report.cause, report.signal),
            )

    def _missed_reports(
        self, frame: Frame, judgement: Judgement, sighting: Sighting, *, is_simulated: bool
    ) -> Iterator[InspectionReported]:
        decision = no_decision(sighting.cause)
        # Between two parts of one product lay parts of that product; else it is not known.
        product = judgement.product if judgement.product == self._last_product else self._default_product
        for number in sighting.missed:
            yield InspectionReported(
                sequence=self._outbox.next_sequence(),
                trigger_number=number,
                product=product,
                captured_at=frame.captured_at,
                verdict=decision.verdict,
                cause=decision.cause,
                disposition=decision.disposition,
                signal=SignalState.MISSED,
                is_simulated=is_simulated,
            )


def _measures(judgement: Judgement) -> ImageMeasures | None:
    return measure(judgement.view) if judgement.view is not None else None


def _since_ms(frame: Frame, then_s: float) -> float:
    return round(max(0.0, then_s - frame.captured_monotonic) * MS_PER_S, 3)


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(max(0.0, value_ms), 3)
