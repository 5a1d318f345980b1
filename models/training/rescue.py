# SPDX-License-Identifier: Apache-2.0
"""When a quantized variant is refused: put its most harmful nodes back to float until the rules let it pass.

Nodes are ranked on training pictures, by the harm each does alone (`graphs.accuracy_control`); steps are judged by the
rules that refused the variant, the cheap one on golden images first. Bounded: each unit is run over a few pictures, and
there are five steps at most. Does not learn: whoever fits on a front fits anew on what is found here. Called by `job`
and `quantizing`.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx

from contracts.jobs import QuantizationStep
from contracts.vocabulary import Variant
from models.errors import QuantizationError
from models.graphs.accuracy_control import RANKING_PICTURES, Damage, Picture, Unit, names_of, rank, steps_of, units_of
from models.graphs.quantization import Quantizer, evenly
from models.packages.reading import Scored
from models.training.judging_variants import Bench, Candidate

_log = logging.getLogger(__name__)
# Share of a search that goes into the ranking.
_RANKED = 0.6
_MOST_NAMED = 12
Share = Callable[[float], None]


@dataclass
class Rescue:
    """What came of a search. `found` None: no step passed; `why` says more of that, or of what was found."""

    variant: Variant
    refused: str
    steps: list[QuantizationStep] = field(default_factory=list)
    found: Candidate | None = None
    # The quantized graph as the quantizer gave it, before `whole` made a package graph of it.
    graph: onnx.ModelProto | None = None
    why: str = ""

    def stay_beside(self, fault: str, *, of_its_own: str) -> None:
        """A fit of its own was refused: keep what was found on the fit of fp32, unless that has a fault too."""
        self.why = f"limits are of a fit on fp32, because with one of its own: {of_its_own}"
        if fault:
            self.steps[-1] = self.steps[-1].model_copy(update={"is_accepted": False, "note": fault})
            self.why = f"step {len(self.steps)} passed, but with a fit of its own: {of_its_own}; and without: {fault}"
            self.found = None

    @property
    def note(self) -> str:
        """One line for the report."""
        if self.found is None:
            return f"{self.variant}: no harmful nodes whose return to float would save it: {self.why}"
        worst = ", ".join(self.steps[-1].worst[:3])
        return (
            f"{self.variant}: {self.found.float_nodes} of {self.found.of_nodes} nodes that could be quantized stay in "
            f"float (step {len(self.steps)} of the search; the worst: {worst}); with all of them in INT8: "
            f"{self.refused}{f'; {self.why}' if self.why else ''}"
        )


def rescue(
    variant: Variant,
    model: onnx.ModelProto,
    pictures: Sequence[Picture],
    *,
    bare: Callable[[onnx.ModelProto], bytes],
    whole: Callable[[onnx.ModelProto], bytes],
    bench: Bench,
    exact: Candidate,
    refused: str,
    is_fitted_on: bool,
    check: Share,
) -> Rescue:
    """Search for a form of a refused variant that passes.

    Args:
        variant: the refused one, INT8.
        model: the float graph that is quantized, a front or a whole package graph.
        pictures: training pictures to calibrate on; a few of them rank the nodes.
        bare: makes a package graph of a quantized one.
        whole: the same, shifted onto the scale of the limits, which takes longer.
        bench: the rules and their pictures.
        exact: fp32 on that bench.
        refused: why the variant was refused.
        is_fitted_on: a fit on what is found will follow, and the rules will be asked again then.
        check: told the share done; may raise to stop.
    """
    done = Rescue(variant, refused)
    few = evenly(len(pictures), RANKING_PICTURES)
    try:
        with Quantizer(model, pictures, variant) as quantizer:
            damage = Damage(exact.model, [pictures[each] for each in few], bench.threads)
            units = rank(
                units_of(quantizer.nodes),
                lambda names: damage.of(bare(quantizer.with_only(names))),
                lambda share: check(_RANKED * share),
            )
            _search(
                done,
                quantizer,
                steps_of(units),
                whole=whole,
                bench=bench,
                exact=exact,
                is_fitted_on=is_fitted_on,
                check=check,
            )
    except QuantizationError as error:
        done.why = str(error)
    _log.info("variant=%s search_steps=%d saved=%s", variant, len(done.steps), done.found is not None)
    return done


def _search(
    done: Rescue,
    quantizer: Quantizer,
    steps: Sequence[Sequence[Unit]],
    *,
    whole: Callable[[onnx.ModelProto], bytes],
    bench: Bench,
    exact: Candidate,
    is_fitted_on: bool,
    check: Share,
) -> None:
    for number, step in enumerate(steps, start=1):
        names = names_of(step)
        graph = quantizer.quantized(but=names)
        candidate = _attempt(done.variant, whole(graph), bench, exact, is_fitted_on=is_fitted_on)
        candidate.float_nodes, candidate.of_nodes = len(names), len(quantizer.nodes)
        is_scored = len(candidate.held_out.scores) == len(bench.held_out) > 0
        done.steps.append(bench.step_of(candidate, number, names[:_MOST_NAMED], is_scored=is_scored))
        check(_RANKED + (1 - _RANKED) * number / len(steps))
        if candidate.is_included:
            done.found, done.graph = candidate, graph
            return
    last = f"; at the last step {done.steps[-1].note}" if done.steps else ""
    done.why = f"{len(steps)} steps, at most half of the nodes{last}"


def _attempt(variant: Variant, model: bytes, bench: Bench, exact: Candidate, *, is_fitted_on: bool) -> Candidate:
    """Golden images first: what they refuse need not be run over the held-out pictures."""
    golden = bench.golden_scores(model)
    if fault := bench.golden_fault(golden, exact.golden):
        error = float(np.abs(golden - exact.golden).max()) / bench.scale
        nothing = Scored(np.zeros(0, np.float32), 0.0)
        return Candidate(
            variant, model, golden, nothing, parity_error=error if np.isfinite(error) else None, is_included=False,
            note=fault,
        )  # fmt: skip
    candidate = bench.score(variant, model)
    bench.judge(candidate, exact, is_fitted_on=is_fitted_on)
    return candidate
