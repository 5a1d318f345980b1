# SPDX-License-Identifier: Apache-2.0
"""Hypothesis strategies for wire shapes; one place, used by the property tests of every room."""

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st

from contracts.ids import StationAddress
from contracts.reports import InspectionReported, InspectionsReported, StageLatency
from contracts.vocabulary import Disposition, SignalState, Variant, Verdict, VerdictCause

names = st.from_regex(r"\A[a-z0-9][a-z0-9_-]{0,12}\Z")
stations = st.builds(StationAddress, site=names, line=names, station=names)
sha256s = st.binary(min_size=32, max_size=32).map(bytes.hex)
numbers = st.integers(min_value=1, max_value=2**53)
finite = st.floats(allow_nan=False, allow_infinity=False, width=32)
moments = st.integers(min_value=0, max_value=10**9).map(
    lambda seconds: datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
)

judged = st.builds(
    InspectionReported,
    sequence=numbers,
    trigger_number=st.none() | st.integers(0, 2**53),
    part_id=st.none() | st.text(min_size=1, max_size=20),
    product=names,
    captured_at=moments,
    verdict=st.sampled_from([Verdict.OK, Verdict.NG, Verdict.REVIEW]),
    cause=st.just(VerdictCause.SCORE),
    score=finite,
    ok_limit=finite,
    ng_limit=finite,
    package_id=sha256s,
    variant=st.sampled_from(Variant),
    provider=st.just("CPUExecutionProvider"),
    disposition=st.sampled_from(Disposition),
    signal=st.sampled_from(SignalState),
    latency=st.none() | st.builds(StageLatency, verdict_ms=st.floats(0, 1e6)),
    image=st.none(),
    is_simulated=st.booleans(),
)
undecided = st.builds(
    InspectionReported,
    sequence=numbers,
    trigger_number=st.none() | st.integers(0, 2**53),
    product=st.none() | names,
    captured_at=moments,
    verdict=st.just(Verdict.NO_DECISION),
    cause=st.sampled_from([cause for cause in VerdictCause if cause is not VerdictCause.SCORE]),
    disposition=st.just(Disposition.HELD),
    signal=st.sampled_from(SignalState),
    latency=st.none(),
    image=st.none(),
    is_simulated=st.booleans(),
)
batches = st.builds(
    InspectionsReported,
    station=stations,
    epoch=numbers,
    reports=st.lists(judged | undecided, min_size=1, max_size=5),
)
