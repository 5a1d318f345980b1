# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from contracts import codec
from contracts.reports import ActivePackage, StationReported, TriggerCounts
from contracts.topics import Channel, topic
from contracts.vocabulary import SignalState, StationState, Variant, Verdict, VerdictCause
from edge_agent.errors import DeviceError
from edge_agent.monitor.health import Gauges, HealthMonitor, PartSeen, summarize
from edge_agent.monitor.heartbeat import Heartbeat
from edge_agent.monitor.state import FAILING_IN_A_ROW, Conditions, station_state
from tests.edge.station_fakes import DIGEST, STATION
from tests.fakes.bus import FakeBroker, FakeBus
from tests.fakes.clock import FakeClock

STATUS = topic(STATION, Channel.STATUS)
ACTIVE = ActivePackage(product="ring", package_id=DIGEST, variant=Variant.FP32, provider="CPUExecutionProvider")


class Rig:
    """A monitor whose gauges a test sets."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.gauges = Gauges(active=[ACTIVE])
        self.health = HealthMonitor(STATION, epoch=5, version="1", clock=self.clock, gauges=lambda: self.gauges)
        self.health.started()
        self.health.source_opened()

    def part(self, cause: VerdictCause = VerdictCause.SCORE, signal: SignalState = SignalState.SENT) -> None:
        verdict = Verdict.OK if cause is VerdictCause.SCORE else Verdict.NO_DECISION
        self.health.record(PartSeen(self.clock.monotonic(), verdict, cause, signal, 10.0, 11.0))

    def codes(self) -> set[str]:
        return {fault.code for fault in self.health.status().faults}


def test_login_of_a_camera_never_reaches_a_status() -> None:
    rig = Rig()
    rig.health.source_lost(DeviceError("cannot open 'rtsp://user:se@cret@cam/1'", remedy="look at rtsp://user:x@cam"))
    (fault,) = rig.health.status().faults
    assert (fault.message, fault.remedy) == ("cannot open 'rtsp://cam/1'", "look at rtsp://cam")


TABLE = [
    (Conditions(has_started=False, source_fault=True), StationState.STARTING),
    (Conditions(is_halted=True, source_fault=True), StationState.HALTED),
    (Conditions(source_fault=True, has_package=False), StationState.FAULT),
    (Conditions(is_outbox_faulty=True), StationState.FAULT),
    (Conditions(is_stalled=True), StationState.FAULT),
    (Conditions(causes=(VerdictCause.INFERENCE_ERROR,) * FAILING_IN_A_ROW, is_inspecting=True), StationState.FAULT),
    (Conditions(has_package=False, is_inspecting=True), StationState.HALTED),
    (Conditions(has_product=False, is_inspecting=True), StationState.HALTED),
    (Conditions(has_source=False), StationState.HALTED),
    (Conditions(is_inspecting=True), StationState.INSPECTING),
    (Conditions(), StationState.READY),
]


@pytest.mark.parametrize(("conditions", "state"), TABLE)
def test_gravest_condition_names_the_state(conditions: Conditions, state: StationState) -> None:
    assert station_state(conditions, has_faults=False) is state


def test_station_that_does_not_know_what_is_made_is_not_able() -> None:
    rig = Rig()
    assert rig.health.is_able()
    rig.gauges = Gauges(active=[ACTIVE], has_product=False)
    rig.clock.advance(1)
    assert not rig.health.is_able()


def test_fault_beside_judging_is_degraded() -> None:
    assert station_state(Conditions(is_inspecting=True), has_faults=True) is StationState.DEGRADED
    assert station_state(Conditions(), has_faults=True) is StationState.DEGRADED


def test_camera_gone_is_a_fault_with_its_remedy_until_it_is_back() -> None:
    rig = Rig()
    rig.health.source_lost(DeviceError("no signal", remedy="check the cable", code="source-url"))
    status = rig.health.status()
    assert status.state is StationState.FAULT
    assert [(fault.code, fault.remedy) for fault in status.faults] == [("source-gone", "check the cable")]
    rig.health.source_opened()
    assert rig.health.status().state is StationState.READY


def test_fault_keeps_the_time_it_began() -> None:
    rig = Rig()
    began = rig.clock.now()
    rig.health.set_fault("disk", "slow")
    rig.clock.advance(60)
    rig.health.set_fault("disk", "slower")
    assert [(fault.message, fault.since) for fault in rig.health.status().faults] == [("slower", began)]


@pytest.mark.parametrize(
    ("cause", "signal", "code"),
    [
        (VerdictCause.MISSED_FRAME, SignalState.MISSED, "frames-missed"),
        (VerdictCause.LATE, SignalState.SENT, "verdicts-late"),
        (VerdictCause.SCORE, SignalState.FAILED, "signals-failed"),
    ],
)
def test_passing_trouble_degrades_and_passes(cause: VerdictCause, signal: SignalState, code: str) -> None:
    rig = Rig()
    rig.part(cause, signal)
    began = rig.clock.now()
    assert rig.health.status().state is StationState.DEGRADED
    rig.clock.advance(20)
    assert [(fault.code, fault.since) for fault in rig.health.status().faults] == [(code, began)]
    rig.clock.advance(20)
    rig.part()
    status = rig.health.status()
    assert (status.state, status.faults) == (StationState.INSPECTING, [])


def test_judgement_that_does_not_end_is_a_fault() -> None:
    rig = Rig()
    rig.health.part_begun()
    rig.clock.advance(11)
    assert (rig.health.status().state, rig.codes()) == (StationState.FAULT, {"judge-stalled"})
    rig.health.part_ended()
    assert rig.health.status().state is StationState.READY


def test_faults_of_other_rooms_and_their_readings_are_in_the_status() -> None:
    rig = Rig()
    rig.gauges = Gauges(active=[ACTIVE], outbox_rows=3, evidence_pending=2, is_outbox_faulty=True)
    status = rig.health.status()
    assert (status.outbox_rows, status.evidence_pending, status.state) == (3, 2, StationState.FAULT)


def test_station_that_hears_no_triggers_is_blind_and_unable_whatever_its_camera_says() -> None:
    rig = Rig()
    assert rig.health.is_able()
    rig.gauges = Gauges(active=[ACTIVE], is_blind=True, triggers=TriggerCounts(received=7, without_frame=1))
    status = rig.health.status()
    rig.clock.advance(0.5)
    assert (status.state, rig.health.is_able()) == (StationState.FAULT, False)
    assert codec.decode(StationReported, codec.encode(status)).triggers == TriggerCounts(received=7, without_frame=1)


def test_pictures_lost_lately_degrade_but_old_losses_do_not() -> None:
    rig = Rig()
    rig.gauges = Gauges(active=[ACTIVE], evidence_dropped=5)
    assert rig.codes() == set()
    rig.clock.advance(2)
    rig.gauges = Gauges(active=[ACTIVE], evidence_dropped=7)
    assert rig.codes() == {"evidence-dropped"}
    rig.clock.advance(31)
    assert rig.codes() == set()


def test_rates_and_latencies_cover_the_window_and_counts_the_process() -> None:
    rig = Rig()
    for _ in range(10):
        rig.part()
        rig.clock.advance(1)
    status = rig.health.status()
    assert status.parts_per_minute == pytest.approx(60, abs=1)
    assert status.verdict_latency is not None
    assert (status.verdict_latency.count, status.verdict_latency.p50_ms) == (10, 10.0)
    rig.clock.advance(100)
    status = rig.health.status()
    assert (status.parts_total, status.parts_per_minute, status.verdict_latency) == (10, 0.0, None)


def test_percentiles_are_ranks_of_what_was_measured() -> None:
    summary = summarize([float(value) for value in range(100, 0, -1)])
    assert summary is not None
    assert (summary.p50_ms, summary.p99_ms, summary.max_ms) == (51.0, 99.0, 100.0)
    assert summarize([]) is None


def test_last_will_says_that_the_station_vanished_and_a_clean_stop_does_not() -> None:
    rig = Rig()
    will, goodbye = rig.health.gone(is_planned=False), rig.health.gone(is_planned=True)
    assert (will.is_connected, will.state, will.faults[0].code) == (False, StationState.FAULT, "connection-lost")
    assert (goodbye.is_connected, goodbye.state, goodbye.faults) == (False, StationState.HALTED, [])


def test_heartbeat_is_retained_sent_on_connect_and_ends_with_the_last_word() -> None:
    rig = Rig()
    broker = FakeBroker()
    bus = FakeBus(broker)
    heartbeat = Heartbeat(bus, STATUS, rig.health.status, period_s=0.02)
    heartbeat.start()
    bus.start()
    give_up_at = time.monotonic() + 20
    while len(broker.published(STATUS)) < 3 and time.monotonic() < give_up_at:
        time.sleep(0.01)
    heartbeat.stop(rig.health.gone(is_planned=True))
    bus.stop()
    beats = [codec.decode(StationReported, payload) for payload in broker.published(STATUS)]
    assert len(beats) >= 3
    assert [beat.is_connected for beat in beats] == [True] * (len(beats) - 1) + [False]
    assert broker.retained[STATUS] == broker.published(STATUS)[-1]
