# SPDX-License-Identifier: Apache-2.0
"""One frame to one judgement: choose recipe and package, crop, infer, decide.

Never raises and does no I/O: whatever goes wrong becomes NO_DECISION with its cause. Signals and records nothing;
the loop does. The package is taken once per frame, so that score, limits and id always belong together.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import Limits
from contracts.recipes import RecipeLimits
from contracts.vocabulary import Disposition, Stage, Verdict, VerdictCause
from edge_agent.actuators.base import OutputUse
from edge_agent.camera.source import Frame
from edge_agent.clock import Clock
from edge_agent.decision import Decision, decide, no_decision
from edge_agent.errors import EdgeError, ImageFaultError
from edge_agent.inference.batching import Seat
from edge_agent.inference.session import Inference, LoadedPackage
from edge_agent.inference.slots import PackageSlots
from edge_agent.log_pace import is_worth_a_line
from edge_agent.monitor.stages import NO_BUDGETS
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.vision.prepare import Preparation

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
        capture_ms: capture → the judge took the frame up.
        prepare_ms: time for the crop and its check.
        infer_ms: time in the graph.
        decide_ms: from the graph's answer to the verdict.
        budgets_ms: what the recipe allows each stage.
        recipe_version: of the recipe that was followed.
        recipe: the recipe itself, for whoever judges the same picture later.
        outputs: what that recipe makes of the station's outputs.
        limits: that the score was held against; None where there was none.
        image_fault: why the picture was not fit to be judged, with the picture.
    """

    decision: Decision
    product: str | None
    decided_s: float
    package: LoadedPackage | None = None
    inference: Inference | None = None
    view: NDArray[np.uint8] | None = None
    defect_class: str | None = None
    capture_ms: float | None = None
    prepare_ms: float | None = None
    infer_ms: float | None = None
    decide_ms: float | None = None
    budgets_ms: Mapping[Stage, float] = field(default_factory=lambda: NO_BUDGETS)
    recipe_version: int = 0
    recipe: Recipe = field(default_factory=Recipe)
    outputs: OutputUse | None = None
    limits: Limits | RecipeLimits | None = None
    image_fault: ImageFaultError | None = None

    def held(self) -> "Judgement":
        """The same verdict on a part that may not pass for a reason outside its picture."""
        return replace(self, decision=replace(self.decision, disposition=Disposition.HELD))


class Judge:
    """Judges frames one after the other.

    Args:
        slots: the active packages.
        recipes: how each product is inspected.
        clock: the station's clock.
        default_product: product of frames that do not say theirs.
        seat: told of each frame, so that those of other cameras may be judged with it; None: there are no others.
    """

    def __init__(
        self,
        slots: PackageSlots,
        recipes: Recipes,
        clock: Clock,
        *,
        default_product: str | None,
        seat: Seat | None = None,
    ) -> None:
        self._seat = seat
        self._slots = slots
        self._recipes = recipes
        self._clock = clock
        self._default_product = default_product
        self._preparation = Preparation()
        self.failures = 0

    def product_of(self, frame: Frame) -> str | None:
        """The frame's own product, else the station's, else the only one that has a package."""
        if frame.recipe is not None and frame.recipe.refusal:
            # Whoever bound it knows what is made, or that nobody does.
            return frame.product
        if (product := frame.product or self._default_product) is not None:
            return product
        products = self._slots.products()
        return products[0] if len(products) == 1 else None

    def judge(self, frame: Frame) -> Judgement:
        """Judge one frame. Never raises."""
        product = self.product_of(frame)
        recipe = frame.recipe or self._recipes.of(product)
        family = recipe.package_family or product
        package = self._slots.active(family) if family is not None else None
        begun_s = self._clock.monotonic()
        capture_ms = (begun_s - frame.captured_monotonic) * MS_PER_S
        if self._seat is not None:
            self._seat.take_up(frame.captured_monotonic + recipe.deadline_ms / MS_PER_S)
        # Given to the one Judgement that is made: a second one, made of the first, would delay the signal.
        known = {
            "product": product,
            "capture_ms": capture_ms,
            "budgets_ms": recipe.budgets_ms,
            "recipe_version": recipe.version,
            "recipe": recipe,
            "outputs": recipe.outputs,
        }
        try:
            return self._judged(frame, package, recipe, begun_s, known)
        finally:
            if self._seat is not None:
                self._seat.let_go()

    def _judged(
        self, frame: Frame, package: LoadedPackage | None, recipe: Recipe, begun_s: float, known: Mapping[str, Any]
    ) -> Judgement:
        if recipe.refusal:
            return self._failed(VerdictCause.NO_PACKAGE, known)
        try:
            view = self._preparation.view_of(frame, recipe)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one part, not the station
            self._log_failure("image fault", frame, error)
            fault = error if isinstance(error, ImageFaultError) else ImageFaultError(str(error))
            prepare_ms = (self._clock.monotonic() - begun_s) * MS_PER_S
            return self._failed(VerdictCause.IMAGE_FAULT, known, prepare_ms=prepare_ms, image_fault=fault)
        prepared_s = self._clock.monotonic()
        prepare_ms = (prepared_s - begun_s) * MS_PER_S
        if package is None:
            return self._failed(VerdictCause.NO_PACKAGE, known, view=view, prepare_ms=prepare_ms)
        if (prepared_s - frame.captured_monotonic) * MS_PER_S > recipe.deadline_ms:
            # Late already: the graph's time is better spent on a part that can still be judged in time.
            return self._failed(VerdictCause.LATE, known, view=view, prepare_ms=prepare_ms)
        try:
            inference = package.session.run(view)
        except Exception as error:  # noqa: BLE001 - whatever it was, it must cost one part, not the station
            self._log_failure("inference failed", frame, error)
            return self._failed(VerdictCause.INFERENCE_ERROR, known, package=package, view=view, prepare_ms=prepare_ms)
        inferred_s = self._clock.monotonic()
        limits = limits_of(package, recipe)
        decision = decide(
            inference.score,
            ok_limit=limits.ok_limit,
            ng_limit=limits.ng_limit,
            elapsed_ms=(inferred_s - frame.captured_monotonic) * MS_PER_S,
            recipe=recipe,
        )
        defect_class = _defect_class(decision, inference, package)
        decided_s = self._clock.monotonic()
        return Judgement(
            decision=decision,
            decided_s=decided_s,
            package=package,
            inference=inference,
            view=view,
            limits=limits,
            defect_class=defect_class,
            prepare_ms=prepare_ms,
            infer_ms=(inferred_s - prepared_s) * MS_PER_S,
            decide_ms=(decided_s - inferred_s) * MS_PER_S,
            **known,
        )

    def missed(self, frame: Frame) -> Judgement:
        """The judgement on a frame whose pixels were given up before it could be judged."""
        product = self.product_of(frame)
        recipe = frame.recipe or self._recipes.of(product)
        return self._failed(VerdictCause.MISSED_FRAME, {"product": product, "outputs": recipe.outputs})

    def _log_failure(self, what: str, frame: Frame, error: Exception) -> None:
        """Our own errors say all there is to say; a foreign one is worth its traceback."""
        self.failures += 1
        if is_worth_a_line(self.failures):
            trace = None if isinstance(error, EdgeError) else error
            message = "%s trigger_number=%d failures=%d: %s"
            _log.warning(message, what, frame.trigger_number, self.failures, error, exc_info=trace)

    def _failed(
        self,
        cause: VerdictCause,
        known: Mapping[str, Any],
        *,
        package: LoadedPackage | None = None,
        view: NDArray[np.uint8] | None = None,
        prepare_ms: float | None = None,
        image_fault: ImageFaultError | None = None,
    ) -> Judgement:
        return Judgement(
            decision=no_decision(cause),
            decided_s=self._clock.monotonic(),
            package=package,
            view=view,
            prepare_ms=prepare_ms,
            image_fault=image_fault,
            **known,
        )


def limits_of(package: LoadedPackage, recipe: Recipe) -> Limits | RecipeLimits:
    """The recipe's where they are meant for this very package, else the package's own."""
    own = recipe.limits
    return own if own is not None and own.package_id == package.package_id else package.manifest.limits


def _defect_class(decision: Decision, inference: Inference, package: LoadedPackage) -> str | None:
    classes, scores = package.manifest.defect_classes, inference.class_scores
    if decision.verdict not in (Verdict.NG, Verdict.REVIEW) or scores is None or len(scores) != len(classes):
        return None
    return classes[int(np.argmax(scores))][:64] if classes else None
