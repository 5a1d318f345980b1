# SPDX-License-Identifier: Apache-2.0
"""One frame to one judgement: choose recipe and package, crop, infer, decide.

Never raises and does no I/O: whatever goes wrong becomes NO_DECISION with its cause. Signals and records nothing;
the loop does. The package is taken once per frame, so that score, limits and id always belong together.
"""

import logging
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import Verdict, VerdictCause
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.decision import Decision, decide, no_decision
from edge_agent.errors import EdgeError, ImageFaultError
from edge_agent.inference.session import Inference, LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.log_pace import is_worth_a_line
from edge_agent.recipe import Recipe, Recipes
from edge_agent.vision.measures import contrast
from edge_agent.vision.roi import crop

_log = logging.getLogger(__name__)

MS_PER_S = 1000.0


@dataclass(frozen=True, eq=False)
class Judgement:
    """What was found out about one frame.

    Args:
        decision: verdict, cause, disposition.
        product: type of the part; None when nothing told.
        decided_s: monotonic time of the decision.
        package: the package that was asked; None when none was.
        inference: its answer; None when there is none. A late answer is kept for the record.
        view: the model's field of view; None when no picture could be cut out.
        defect_class: the likeliest class of a part that is not OK, when the package knows classes.
        prepare_ms: time for the crop and its check.
        infer_ms: time in the graph.
    """

    decision: Decision
    product: str | None
    decided_s: float
    package: LoadedPackage | None = None
    inference: Inference | None = None
    view: NDArray[np.uint8] | None = None
    defect_class: str | None = None
    prepare_ms: float | None = None
    infer_ms: float | None = None


class Judge:
    """Judges frames one after the other.

    Args:
        slots: the active packages.
        recipes: how each product is inspected.
        clock: the station's clock.
        default_product: product of frames that do not say theirs.
    """

    def __init__(self, slots: PackageSlots, recipes: Recipes, clock: Clock, *, default_product: str | None) -> None:
        self._slots = slots
        self._recipes = recipes
        self._clock = clock
        self._default_product = default_product
        self.failures = 0

    def product_of(self, frame: Frame) -> str | None:
        """The frame's own product, else the station's, else the only one that has a package."""
        if (product := frame.product or self._default_product) is not None:
            return product
        products = self._slots.products()
        return products[0] if len(products) == 1 else None

    def judge(self, frame: Frame) -> Judgement:
        """Judge one frame. Never raises."""
        product = self.product_of(frame)
        package = self._slots.active(product) if product is not None else None
        recipe = self._recipes.of(product)
        begun_s = self._clock.monotonic()
        try:
            view = self._view_of(frame, recipe)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one part, not the station
            self._log_failure("image fault", frame, error)
            return self._failed(VerdictCause.IMAGE_FAULT, product)
        prepared_s = self._clock.monotonic()
        prepare_ms = (prepared_s - begun_s) * MS_PER_S
        if package is None:
            return self._failed(VerdictCause.NO_PACKAGE, product, view=view, prepare_ms=prepare_ms)
        if (prepared_s - frame.captured_monotonic) * MS_PER_S > recipe.deadline_ms:
            # Late already: the graph's time is better spent on a part that can still be judged in time.
            return self._failed(VerdictCause.LATE, product, view=view, prepare_ms=prepare_ms)
        try:
            inference = package.session.run(view)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one part, not the station
            self._log_failure("inference failed", frame, error)
            return self._failed(VerdictCause.INFERENCE_ERROR, product, package=package, view=view)
        decided_s = self._clock.monotonic()
        decision = decide(
            inference.score,
            ok_limit=package.manifest.limits.ok_limit,
            ng_limit=package.manifest.limits.ng_limit,
            elapsed_ms=(decided_s - frame.captured_monotonic) * MS_PER_S,
            recipe=recipe,
        )
        return Judgement(
            decision=decision,
            product=product,
            decided_s=decided_s,
            package=package,
            inference=inference,
            view=view,
            defect_class=_defect_class(decision, inference, package),
            prepare_ms=prepare_ms,
            infer_ms=(decided_s - prepared_s) * MS_PER_S,
        )

    def missed(self, frame: Frame) -> Judgement:
        """The judgement on a frame whose pixels were given up before it could be judged."""
        return self._failed(VerdictCause.MISSED_FRAME, self.product_of(frame))

    def _log_failure(self, what: str, frame: Frame, error: Exception) -> None:
        """Our own errors say all there is to say; a foreign one is worth its traceback."""
        self.failures += 1
        if is_worth_a_line(self.failures):
            trace = None if isinstance(error, EdgeError) else error
            message = "%s trigger_number=%d failures=%d: %s"
            _log.warning(message, what, frame.trigger_number, self.failures, error, exc_info=trace)

    def _view_of(self, frame: Frame, recipe: Recipe) -> NDArray[np.uint8]:
        if frame.pixels is None:
            raise ImageFaultError(frame.fault or "the frame has no picture")
        view = crop(frame.pixels, recipe.roi)
        found = contrast(view)
        if found < recipe.min_contrast:
            msg = f"the picture is empty: contrast {found:.2f}, expected at least {recipe.min_contrast:g}"
            raise ImageFaultError(msg, remedy="check lamp, lens cap and exposure")
        return view

    def _failed(
        self,
        cause: VerdictCause,
        product: str | None,
        *,
        package: LoadedPackage | None = None,
        view: NDArray[np.uint8] | None = None,
        prepare_ms: float | None = None,
    ) -> Judgement:
        return Judgement(
            decision=no_decision(cause),
            product=product,
            decided_s=self._clock.monotonic(),
            package=package,
            view=view,
            prepare_ms=prepare_ms,
        )


def _defect_class(decision: Decision, inference: Inference, package: LoadedPackage) -> str | None:
    classes, scores = package.manifest.defect_classes, inference.class_scores
    if decision.verdict not in (Verdict.NG, Verdict.REVIEW) or scores is None or len(scores) != len(classes):
        return None
    return classes[int(np.argmax(scores))][:64] if classes else None
