# SPDX-License-Identifier: Apache-2.0
"""Whatever happens to parts, each gets exactly one report, and none passes but by an OK in time."""

from dataclasses import dataclass
from types import MappingProxyType

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contracts.vocabulary import Disposition, SignalState, Verdict, VerdictCause
from edge_agent.errors import InferenceError
from edge_agent.frame_queue import QueuedFrame
from edge_agent.recipes.recipe import Recipe, Recipes
from tests.edge.station_fakes import Bench, frame_of

DEADLINE_MS = 100


@dataclass(frozen=True)
class Step:
    """What happens to the next frame, after `unseen` parts that the camera lost."""

    unseen: int
    score: float
    takes_s: float
    session_fails: bool
    is_broken: bool
    is_given_up: bool
    signal: SignalState


steps = st.lists(
    st.builds(
        Step,
        unseen=st.integers(0, 3),
        score=st.floats(allow_nan=True, allow_infinity=True),
        takes_s=st.sampled_from([0.0, 0.05, 0.2]),
        session_fails=st.booleans(),
        is_broken=st.booleans(),
        is_given_up=st.booleans(),
        signal=st.sampled_from([SignalState.SENT, SignalState.FAILED]),
    ),
    min_size=1,
    max_size=12,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(story=steps, last_recorded=st.none() | st.integers(0, 5))
def test_every_part_gets_one_report_and_only_an_ok_in_time_passes(story: list[Step], last_recorded: int | None) -> None:
    bench = Bench(
        last_recorded=last_recorded, recipes=Recipes(MappingProxyType({"ring": Recipe(deadline_ms=DEADLINE_MS)}))
    )
    session = bench.activate()
    number = 0 if last_recorded is None else last_recorded
    first = None if last_recorded is None else last_recorded + 1
    for step in story:
        number += step.unseen + 1
        first = number if first is None else first
        bench.clock.advance(1)
        session.score, session.takes_s = step.score, step.takes_s
        session.failure = InferenceError("no") if step.session_fails else None
        bench.output.answer = step.signal
        is_blind = step.is_broken or step.is_given_up
        frame = frame_of(number, bench.clock, **({"pixels": None} if is_blind else {}))
        bench.loop.inspect(QueuedFrame(frame, is_missed=step.is_given_up))
        report, signal = bench.outbox.reports[-1], bench.output.signals[-1]
        if Disposition.PASSED in {report.disposition, signal.disposition}:
            assert (signal.verdict, report.verdict, report.cause) == (Verdict.OK, Verdict.OK, VerdictCause.SCORE)
            assert step.score < 0.3
            assert step.takes_s * 1000 <= DEADLINE_MS
            assert not step.session_fails
            assert not is_blind
        if step.signal is SignalState.FAILED:
            assert report.disposition is Disposition.HELD
    assert first is not None
    assert [report.trigger_number for report in bench.outbox.reports] == list(range(first, number + 1))
    assert [report.sequence for report in bench.outbox.reports] == list(range(1, len(bench.outbox.reports) + 1))
    assert [signal.trigger_number for signal in bench.output.signals] == [
        report.trigger_number for report in bench.outbox.reports if report.signal is not SignalState.MISSED
    ]
