# SPDX-License-Identifier: Apache-2.0
"""From a judged or missed part to its report. Pure, but for the picture measures it works out.

Sends nothing and stores nothing. Called by the loop, after the reject signal has left. A report must come out for
every part: measures that fail are left out, they never cost the report.
"""

import logging
import math
from typing import Final

import numpy as np

from contracts.reports import MAX_EMBEDDING, ChallengerVerdict, ImageMeasures, InspectionReported, StageLatency
from contracts.vocabulary import Disposition, SignalState, VerdictCause
from edge_agent.camera.source import Frame
from edge_agent.decision import no_decision
from edge_agent.judging import MS_PER_S, Judgement
from edge_agent.vision.measures import measure

_log = logging.getLogger(__name__)

# Nothing comes near it: units are those in which sound parts differ.
_MOST_EMBEDDED: Final = 1e4


def inspection_report(
    frame: Frame,
    judgement: Judgement,
    *,
    sequence: int,
    signal: SignalState,
    signalled_s: float,
    is_simulated: bool,
    silence: Disposition = Disposition.HELD,
    challenger: ChallengerVerdict | None = None,
    clock_error_s: float | None = None,
) -> InspectionReported:
    """The report on a part that the station saw.

    Args:
        frame: as the camera gave it.
        judgement: what was found out.
        sequence: number of the report.
        signal: whether the reject output took our word.
        signalled_s: monotonic time at which the signal was handed over.
        is_simulated: not a real part.
        silence: what the gate does with a part that it hears nothing of.
        challenger: what a challenger said of an earlier part; it rides along.
        clock_error_s: how far the time of capture is off; None: it can be trusted.
    """
    decision, package, inference = judgement.decision, judgement.package, judgement.inference
    limits = judgement.limits or (package.manifest.limits if package is not None else None)
    return InspectionReported(
        sequence=sequence,
        trigger_number=frame.trigger_number,
        part_id=frame.part_id,
        product=judgement.product,
        captured_at=frame.captured_at,
        clock_error_s=clock_error_s,
        verdict=decision.verdict,
        cause=decision.cause,
        # A score that is no number cannot travel; its part is NO_DECISION already.
        score=inference.score if inference is not None and math.isfinite(inference.score) else None,
        ok_limit=limits.ok_limit if limits is not None else None,
        ng_limit=limits.ng_limit if limits is not None else None,
        defect_class=judgement.defect_class,
        package_id=package.package_id if package is not None else None,
        variant=package.variant if package is not None else None,
        provider=package.session.provider if package is not None else None,
        # Without a signal the gate does what it does with every such part, whatever we thought of this one.
        disposition=silence if signal is SignalState.FAILED else decision.disposition,
        signal=signal,
        image_fault=None if judgement.image_fault is None else judgement.image_fault.fault,
        recipe_version=judgement.recipe_version,
        latency=StageLatency(
            capture_ms=_rounded(judgement.capture_ms),
            prepare_ms=_rounded(judgement.prepare_ms),
            infer_ms=_rounded(judgement.infer_ms),
            decide_ms=_rounded(judgement.decide_ms),
            actuate_ms=_rounded((signalled_s - judgement.decided_s) * MS_PER_S) if signal is SignalState.SENT else None,
            verdict_ms=_since_ms(frame, judgement.decided_s),
            reject_ms=_since_ms(frame, signalled_s) if signal is SignalState.SENT else None,
        ),
        image=_measures(judgement),
        embedding=_embedding(judgement),
        challenger=challenger,
        is_simulated=is_simulated,
    )


def missed_report(
    revealing: Frame,
    trigger_number: int,
    *,
    cause: VerdictCause,
    product: str | None,
    sequence: int,
    is_simulated: bool,
    silence: Disposition = Disposition.HELD,
    clock_error_s: float | None = None,
) -> InspectionReported:
    """The report on a part that passed unseen; `revealing` is the frame whose number and time gave it away."""
    decision = no_decision(cause)
    return InspectionReported(
        sequence=sequence,
        trigger_number=trigger_number,
        product=product,
        captured_at=revealing.captured_at,
        clock_error_s=clock_error_s,
        verdict=decision.verdict,
        cause=decision.cause,
        disposition=silence,
        signal=SignalState.MISSED,
        is_simulated=is_simulated,
    )


def _measures(judgement: Judgement) -> ImageMeasures | None:
    if judgement.view is None:
        return None
    try:
        return measure(judgement.view)
    except Exception as error:  # noqa: BLE001 - a chart without this point is better than a part without a report
        _log.warning("picture could not be measured shape=%s", judgement.view.shape, exc_info=error)
        return None


def _embedding(judgement: Judgement) -> list[float] | None:
    """Short enough to travel with every part, and whole: with one number missing it would be another part's."""
    if judgement.inference is None or not 0 < judgement.inference.embedding.size <= MAX_EMBEDDING:
        return None
    values = judgement.inference.embedding.ravel().astype(np.float64)
    if not np.isfinite(values).all():
        return None
    return [round(value, 2) for value in np.clip(values, -_MOST_EMBEDDED, _MOST_EMBEDDED).tolist()]


def _since_ms(frame: Frame, then_s: float) -> float:
    return round(max(0.0, then_s - frame.captured_monotonic) * MS_PER_S, 3)


def _rounded(value_ms: float | None) -> float | None:
    return None if value_ms is None else round(max(0.0, value_ms), 3)
