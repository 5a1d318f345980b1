# SPDX-License-Identifier: Apache-2.0
"""/metrics, read by the library's own parser and held against what really happened."""

from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contracts.vocabulary import SignalState, Verdict, VerdictCause
from edge_agent.monitor.health import PartSeen
from edge_agent.monitor.totals import BUCKETS_MS
from tests.edge.page.rig import PageRig

Sample = tuple[str, frozenset[tuple[str, str]]]


@pytest.fixture
def rig() -> Iterator[PageRig]:
    made = PageRig()
    made.page.start()
    yield made
    made.page.stop()


def scraped(rig: PageRig) -> dict[Sample, float]:
    """Every sample by name and labels."""
    status, body, answer = rig.ask("/metrics")
    assert status == 200
    assert (answer.getheader("Content-Type") or "").startswith("text/plain; version=0.0.4")
    samples: dict[Sample, float] = {}
    for family in text_string_to_metric_families(body.decode()):
        for sample in family.samples:
            place = (sample.name, frozenset(sample.labels.items()))
            assert place not in samples
            samples[place] = sample.value
    return samples


def of(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples[f"sightline_{name}", frozenset(labels.items())]


def test_counters_rise_with_parts_and_never_fall_with_the_window(rig: PageRig) -> None:
    rig.see(score=0.1)
    rig.see(score=0.9, takes_s=0.02)
    rig.see(score=0.1, takes_s=2.0)
    rig.clock.advance(3600)
    samples = scraped(rig)
    assert of(samples, "parts_total", verdict="OK", cause="SCORE") == 1
    assert of(samples, "parts_total", verdict="NG", cause="SCORE") == 1
    assert of(samples, "parts_total", verdict="NO_DECISION", cause="LATE") == 1
    assert of(samples, "signals_total", signal="SENT") == 3
    assert of(samples, "stage_over_budget_total", stage="INFER") == 2
    assert of(samples, "stage_late_total", stage="INFER") == 1
    assert of(samples, "stage_seconds_count", stage="INFER") == 3
    assert of(samples, "stage_seconds_sum", stage="INFER") == pytest.approx(2.02, abs=0.001)
    assert of(samples, "stage_seconds_bucket", stage="INFER", le="0.0005") == 1
    assert of(samples, "stage_seconds_bucket", stage="INFER", le="0.02") == 2
    assert of(samples, "stage_seconds_bucket", stage="INFER", le="1") == 2
    assert of(samples, "stage_seconds_bucket", stage="INFER", le="+Inf") == 3


def test_buckets_are_cumulative_for_every_stage(rig: PageRig) -> None:
    for takes_s in (0.0004, 0.003, 0.04, 0.6):
        rig.see(takes_s=takes_s)
    samples = scraped(rig)
    ends = [*(f"{end_ms / 1000:g}" for end_ms in BUCKETS_MS), "+Inf"]
    counts = [of(samples, "stage_seconds_bucket", stage="INFER", le=end) for end in ends]
    assert counts == sorted(counts)
    assert counts[-1] == 4
    assert counts[0] == 1


def test_readings_faults_state_and_package_are_told(rig: PageRig) -> None:
    rig.health.set_fault("disk", "slow")
    samples = scraped(rig)
    assert of(samples, "fault", code="disk") == 1
    assert of(samples, "state", state="DEGRADED") == 1
    assert of(samples, "state", state="FAULT") == 0
    assert of(samples, "source_present") == 1
    for name in ("outbox_rows", "evidence_pending", "evidence_dropped_total", "queue_frames"):
        assert of(samples, name) == 0
    (package,) = [dict(labels) for name, labels in samples if name == "sightline_package_info"]
    assert (package["product"], package["variant"]) == ("ring", "fp32")
    assert of(samples, "agent_info", site="plant", line="line-1", station="st-1", version="0") == 1
    rig.health.clear_fault("disk")
    rig.clock.advance(1)
    assert not [name for name, _ in scraped(rig) if name == "sightline_fault"]


def test_part_that_was_never_seen_counts_as_a_part_and_in_no_stage(rig: PageRig) -> None:
    rig.health.record(PartSeen(0.0, Verdict.NO_DECISION, VerdictCause.MISSED_FRAME, SignalState.MISSED))
    samples = scraped(rig)
    assert of(samples, "parts_total", verdict="NO_DECISION", cause="MISSED_FRAME") == 1
    assert of(samples, "stage_seconds_count", stage="CAPTURE") == 0
