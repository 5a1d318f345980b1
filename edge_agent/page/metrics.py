# SPDX-License-Identifier: Apache-2.0
"""The station's figures in Prometheus' text format, by a collector over the health monitor.

Counts nothing itself and keeps nothing. Imported when the page starts, not before: a station without a page does not
carry the library. Names and labels are listed in docs/installing-a-station.md.
"""

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from contracts.vocabulary import StationState
from edge_agent.monitor.totals import BUCKETS_MS, StageTotal, Totals
from edge_agent.page.views import PageViews

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MS_PER_S = 1000.0


def metrics_text(views: PageViews) -> bytes:
    """All figures now."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_StationCollector(views))
    return generate_latest(registry)


class _StationCollector(Collector):
    def __init__(self, views: PageViews) -> None:
        self._views = views

    def describe(self) -> list[Metric]:
        """Nothing: the registry would collect everything once more to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """See `Collector`."""
        totals = self._views.health.totals()
        yield from _counters(totals)
        yield from _stages(totals)
        yield from self._readings()

    def _readings(self) -> Iterator[Metric]:
        status = self._views.status()
        for name, text, value in (
            ("outbox_rows", "Reports without central's receipt.", status.outbox_rows),
            ("evidence_pending", "Pictures that wait for their upload.", status.evidence_pending),
            ("queue_frames", "Frames that wait for the judge.", self._views.queue_length()),
            ("source_present", "1 while the camera is open.", int(self._views.health.has_source)),
            ("simulated", "1 when parts are not real ones.", int(status.is_simulated)),
        ):
            yield GaugeMetricFamily(f"sightline_{name}", text, value=value)
        yield CounterMetricFamily(
            "sightline_evidence_dropped", "Pictures that were not kept.", value=status.evidence_dropped
        )
        faults = GaugeMetricFamily("sightline_fault", "1 for every fault that is open.", labels=["code"])
        for code in sorted({fault.code for fault in status.faults}):
            faults.add_metric([code], 1)
        yield faults
        state = GaugeMetricFamily("sightline_state", "1 for the state of the station.", labels=["state"])
        for each in StationState:
            state.add_metric([each.value], int(each is status.state))
        yield state
        packages = GaugeMetricFamily(
            "sightline_package_info",
            "1 for every active package.",
            labels=["product", "package_id", "variant", "provider"],
        )
        for active in status.active:
            packages.add_metric([active.product, active.package_id, active.variant.value, active.provider], 1)
        yield packages
        agent = GaugeMetricFamily(
            "sightline_agent_info", "1; which station this is.", labels=["site", "line", "station", "version"]
        )
        where = status.station
        agent.add_metric([where.site, where.line, where.station, status.agent_version or ""], 1)
        yield agent


def _counters(totals: Totals) -> Iterator[Metric]:
    parts = CounterMetricFamily("sightline_parts", "Parts by verdict and cause.", labels=["verdict", "cause"])
    for (verdict, cause), count in sorted(totals.parts.items()):
        parts.add_metric([verdict.value, cause.value], count)
    yield parts
    signals = CounterMetricFamily("sightline_signals", "Reject signals by what became of them.", labels=["signal"])
    for signal, count in sorted(totals.signals.items()):
        signals.add_metric([signal.value], count)
    yield signals


def _stages(totals: Totals) -> Iterator[Metric]:
    times = HistogramMetricFamily("sightline_stage_seconds", "Time of a part in each stage.", labels=["stage"])
    over = CounterMetricFamily("sightline_stage_over_budget", "Parts beyond their recipe's budget.", labels=["stage"])
    late = CounterMetricFamily(
        "sightline_stage_late", "Late parts, by the stage that they owe it to.", labels=["stage"]
    )
    for stage, total in totals.stages.items():
        times.add_metric([stage.value], buckets=_buckets(total), sum_value=total.sum_ms / _MS_PER_S)
        over.add_metric([stage.value], total.over_budget)
        late.add_metric([stage.value], total.late)
    yield times
    yield over
    yield late


def _buckets(total: StageTotal) -> list[tuple[str, float]]:
    """Upper end in seconds → parts up to it, as the format wants them."""
    ends = [*(f"{end_ms / _MS_PER_S:g}" for end_ms in BUCKETS_MS), "+Inf"]
    return list(zip(ends, map(float, accumulate(total.buckets)), strict=True))
