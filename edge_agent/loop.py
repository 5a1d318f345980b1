# SPDX-License-Identifier: Apache-2.0
"""The inspection loop: grab → judge → act → record, one part after the other.

The order is the promise: the reject signal leaves before anything touches disk or the report queue. The loop
waits for nothing else: outbox, evidence and bus take what they are given and return. A part that cannot be judged
is held and reported; a part that was not seen is reported from the gap in the trigger numbers. Opens nothing
itself; built, started and stopped by the composition root.

Known loss: a process killed between signal and commit finds the part as a gap at its next start and reports it as
SESSION_CRASHED and held, although its signal may have let it pass. These are the last parts of the process: the one
in hand, those in the commit under way and those put since the last began, 10 ms apart; a part or two on a sound disk.
On a disk that takes nothing they are the parts of `outbox_behind_after_s`: after that the outbox is behind and no
part passes, whatever its verdict, until reports are durable again (`on_full_disk`: "halt" does not judge them
either). Without a number to count from (a fresh disk, a camera that counts anew) such parts are no gap and are
reported by nobody. A part whose inspection failed for an unforeseen reason is reported as MISSED_FRAME and held,
whatever its signal said.
"""

import logging
import threading
from collections import deque
from collections.abc import Mapping
from typing import Final

from contracts.commands import RejectSignal
from contracts.ids import InspectionId, StationAddress
from contracts.reports import InspectionReported
from contracts.vocabulary import SignalState, Stage, Verdict, VerdictCause
from edge_agent.actuators.base import RejectOutput
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.errors import EdgeError
from edge_agent.frame_queue import FrameQueue, QueuedFrame
from edge_agent.judging import Judge, Judgement
from edge_agent.loop_seams import CaptureTimes, EvidenceSink, PackageTrials, PartWatch, ReportOutbox
from edge_agent.monitor.health import HealthMonitor, PartSeen
from edge_agent.monitor.image_faults import ImageFaults
from edge_agent.monitor.liveness import JUDGE
from edge_agent.monitor.stages import NO_BUDGETS, stage_times
from edge_agent.recording import inspection_report, missed_report
from edge_agent.triggers import Sighting, TriggerWatch

_log = logging.getLogger(__name__)

_WAIT_S: Final = 0.2
# Longer than a judgement may take before it counts as stalled, and than the wait for a frame.
_HEARD_WITHIN_S: Final = 15.0
_UPLOADED: Final = (Verdict.NG, Verdict.REVIEW)


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
        halts_when_behind: do not even judge while the outbox is behind. Held is every part then in any case.
        watch: sees every part after it was recorded; None: nobody does.
        trials: follows packages and has the challengers; None: there are none.
        times: marks times of capture that cannot be trusted; None: none is.
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
        halts_when_behind: bool = False,
        watch: PartWatch | None = None,
        trials: PackageTrials | None = None,
        times: CaptureTimes | None = None,
    ) -> None:
        self._station = station
        self._times = times
        self._halts_when_behind = halts_when_behind
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
        self._watch = watch
        self._trials = trials
        self._last_product: str | None = None
        self._image_faults = ImageFaults(health)
        # Parts that the triggers have counted and no report names yet, oldest first.
        self._owed: deque[tuple[int, VerdictCause]] = deque()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="judge", daemon=True)
        self.strays = 0
        self.recounts = 0
        self.crashes = 0
        self.unreported = 0

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
            self._health.liveness.beat(JUDGE, _HEARD_WITHIN_S)
            queued = self._queue.get(_WAIT_S)
            if queued is not None:
                self._guarded(queued)
            elif self._stopping.is_set():
                self._health.liveness.ended(JUDGE)
                return

    def _guarded(self, queued: QueuedFrame) -> None:
        """No fault of ours may end the thread, nor let a part go unreported."""
        self._health.part_begun()
        if self._trials is not None:
            self._trials.begun()
        try:
            self.inspect(queued)
        except EdgeError as error:
            # The outbox is closed: the station stops, and the next start finds this part as a gap.
            _log.error("part not recorded trigger_number=%d: %s", queued.frame.trigger_number, error)
        except Exception as error:  # noqa: BLE001 - see above
            self.crashes += 1
            _log.exception("inspection failed trigger_number=%d crashes=%d", queued.frame.trigger_number, self.crashes)
            self._health.set_fault("loop", f"an inspection failed: {error}", "see the station's log")
            self._report_owed(queued.frame)
        finally:
            self._health.part_ended()
            if self._trials is not None:
                self._trials.ended()

    def _report_owed(self, frame: Frame) -> None:
        """After a failure: the triggers have moved on, so these parts would be found by nobody else."""
        try:
            while self._owed:
                number, cause = self._owed[0]
                report = missed_report(
                    frame,
                    number,
                    cause=cause,
                    product=frame.product or self._default_product,
                    sequence=self._outbox.next_sequence(),
                    is_simulated=self._is_simulated or frame.is_simulated,
                    silence=self._output.silence,
                )
                is_seen = number == frame.trigger_number
                self._put(report.model_copy(update={"part_id": frame.part_id}) if is_seen else report)
        except Exception:  # noqa: BLE001 - the thread goes on, and the parts are counted
            self.unreported += len(self._owed)
            message = f"{self.unreported} parts passed without a report, up to trigger number {frame.trigger_number}"
            self._health.set_fault("parts-unreported", message, "see the station's log")
            _log.exception("parts without a report parts=%d unreported=%d", len(self._owed), self.unreported)

    def inspect(self, queued: QueuedFrame) -> None:
        """Take one frame through judge, signal and record.

        Raises:
            EdgeError: the outbox took nothing; the part is found as a gap at the next start.
        """
        frame = queued.frame
        self._owed.clear()
        sighting = self._triggers.see(frame.trigger_number, frame.captured_at)
        if sighting.is_stray:
            self.strays += 1
            _log.warning("stray frame ignored trigger_number=%d strays=%d", frame.trigger_number, self.strays)
            return
        self._owed.extend((number, sighting.cause) for number in sighting.missed)
        self._owed.append((frame.trigger_number, VerdictCause.MISSED_FRAME))
        is_simulated = self._is_simulated or frame.is_simulated
        if is_simulated:
            self._health.mark_simulated()
        is_given_up = queued.is_missed or (self._halts_when_behind and self._outbox.is_behind)
        judgement = self._judge.missed(frame) if is_given_up else self._judge.judge(frame)
        if self._outbox.is_behind:
            # A kill would lose this verdict, and nobody would know why the part was let pass.
            judgement = judgement.held()
        signal = self._signal(frame, judgement)
        signalled_s = self._clock.monotonic()
        # Older parts first: whatever is lost with this process is then a gap behind the last recorded number.
        clock_error_s = None if self._times is None else self._times.error_s(frame)
        self._record_missed(frame, judgement, sighting, is_simulated=is_simulated, clock_error_s=clock_error_s)
        sequence = self._outbox.next_sequence()
        report = inspection_report(
            frame,
            judgement,
            sequence=sequence,
            signal=signal,
            signalled_s=signalled_s,
            is_simulated=is_simulated,
            silence=self._output.silence,
            challenger=self._trials.due() if self._trials is not None else None,
            clock_error_s=clock_error_s,
        )
        self._put(report, judgement.budgets_ms)
        self._last_product = judgement.product
        if self._watch is not None:
            self._watch.judged(frame, judgement)
        self._keep_evidence(judgement, sequence, is_simulated=is_simulated)
        if self._trials is not None:
            # After the picture is kept: of a part that they disagree on it may be wanted.
            self._trials.judged(self._id(sequence), judgement, report)

    def _signal(self, frame: Frame, judgement: Judgement) -> SignalState:
        decision = judgement.decision
        try:
            return self._output.send(
                RejectSignal(
                    station=self._station,
                    epoch=self._outbox.epoch,
                    trigger_number=frame.trigger_number,
                    part_id=frame.part_id,
                    verdict=decision.verdict,
                    disposition=decision.disposition,
                    at=self._clock.now(),
                ),
                frame.captured_monotonic,
                judgement.outputs,
            )
        except Exception as error:  # noqa: BLE001 - the gate holds the part, and the report must still be written
            _log.warning("reject output raised trigger_number=%d: %s", frame.trigger_number, error, exc_info=error)
            return SignalState.FAILED

    def _put(self, report: InspectionReported, budgets_ms: Mapping[Stage, float] = NO_BUDGETS) -> None:
        self._outbox.put(report)
        # Reports leave in the order in which they are owed.
        self._owed.popleft()
        if self._watch is not None:
            self._watch.reported(report)
        latency = report.latency
        self._health.record(
            PartSeen(
                at_s=self._clock.monotonic(),
                verdict=report.verdict,
                cause=report.cause,
                signal=report.signal,
                verdict_ms=latency.verdict_ms if latency is not None else None,
                reject_ms=latency.reject_ms if latency is not None else None,
                stages=None
                if latency is None
                else stage_times(latency, budgets_ms, is_late=report.cause is VerdictCause.LATE),
            )
        )

    def _keep_evidence(self, judgement: Judgement, sequence: int, *, is_simulated: bool) -> None:
        inspection = self._id(sequence)
        if (error := judgement.image_fault) is not None:
            is_shown = self._image_faults.note(error, inspection, self._clock.monotonic())
            if error.picture is not None:
                # One picture tells it; hundreds of a dark lamp would only push others out.
                self._evidence.record(inspection, error.picture, None, upload=is_shown, is_simulated=is_simulated)
            return
        if judgement.view is None:
            return
        self._image_faults.sound(self._clock.monotonic())
        is_uploaded = judgement.decision.verdict in _UPLOADED
        inference = judgement.inference
        self._evidence.record(
            inspection,
            judgement.view,
            inference.heatmap if inference is not None and is_uploaded else None,
            upload=is_uploaded,
            is_simulated=is_simulated,
            ng_limit=judgement.limits.ng_limit if judgement.limits is not None else None,
        )

    def _id(self, sequence: int) -> InspectionId:
        return InspectionId(station=self._station, epoch=self._outbox.epoch, sequence=sequence)

    def _record_missed(
        self,
        frame: Frame,
        judgement: Judgement,
        sighting: Sighting,
        *,
        is_simulated: bool,
        clock_error_s: float | None,
    ) -> None:
        if sighting.is_recount:
            self.recounts += 1
            _log.warning("camera counts anew trigger_number=%d recounts=%d", frame.trigger_number, self.recounts)
        if sighting.unnamed:
            message = f"{sighting.unnamed} more parts passed unseen than are reported one by one"
            remedy = "check how long the station was away; if the camera's counter jumped, nothing is missing"
            _log.error("trigger gap beyond the bound unnamed=%d", sighting.unnamed)
            self._health.set_fault("trigger-gap", message, remedy)
        if not sighting.missed:
            return
        first, count = sighting.missed.start, len(sighting.missed)
        _log.warning("parts missed first=%d count=%d cause=%s", first, count, sighting.cause)
        # Between two parts of one product lay parts of that product; else it is not known.
        product = judgement.product if judgement.product == self._last_product else self._default_product
        for number in sighting.missed:
            self._put(
                missed_report(
                    frame,
                    number,
                    cause=sighting.cause,
                    product=product,
                    sequence=self._outbox.next_sequence(),
                    is_simulated=is_simulated,
                    silence=self._output.silence,
                    clock_error_s=clock_error_s,
                )
            )
