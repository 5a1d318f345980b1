# SPDX-License-Identifier: Apache-2.0
"""Days without central: two million verdicts queued on disk, then drained while the line goes on reporting.

The station's own outbox, bus and reporter, on a file and over a real broker, against a receiver in a process of its own
that answers with receipts at once; central's database is left out (`ingest` has that). Settles whether live reports may
be sent beside the backlog or must wait behind it: their delay, from hand-over to arrival, with and without a backlog.

`SIGHTLINE_BENCH_ROWS` sets the number of verdicts (default 2,000,000).
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from benchmarks._turns import percentile
from benchmarks.station import running
from contracts.ids import StationAddress
from contracts.reports import InspectionReported, StageLatency
from contracts.vocabulary import Disposition, SignalState, Variant, Verdict, VerdictCause
from edge_agent.clock import SystemClock
from edge_agent.reporting.bus import PahoBus
from edge_agent.reporting.outbox import Outbox
from edge_agent.reporting.reporter import Reporter
from plant.processes.broker import BrokerPlan, choose_broker, free_port, plan_broker, wait_for_broker

_ROWS: Final = 2_000_000
_STATION: Final = StationAddress(site="bench", line="one", station="offline")
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_TAKT_S: Final = 0.05
_CALM_PARTS: Final = 400
_WAIT_S: Final = 3600.0
# A drain is over when only what was just handed over is left.
_LIVE_LEFT: Final = 20


def run() -> dict[str, Any]:
    """Rows, bytes, rates, delays and memory; what came, what came again, what came out of order."""
    rows = int(os.environ.get("SIGHTLINE_BENCH_ROWS", _ROWS))
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="sightline-offline-") as name:
        folder = Path(name)
        plan = plan_broker(choose_broker("auto"), free_port(), folder / "broker")
        with running(list(plan.spec.command), env={**os.environ, **plan.spec.environment}):
            wait_for_broker(plan)
            calm = _session(plan, Outbox(folder / "calm.db", clock), 0, 0, lambda sent: sent < _CALM_PARTS)
            outbox = Outbox(folder / "outbox.db", clock, max_rows=rows + 1_000_000)
            epoch = outbox.epoch
            queue_s = _queue(outbox, rows)
            outbox.close()
            size_bytes = (folder / "outbox.db").stat().st_size
            print(f"queued {rows} in {queue_s:.0f} s", file=sys.stderr, flush=True)
            rss_before_mib = _peak_rss_mib()
            outbox = Outbox(folder / "outbox.db", clock, max_rows=rows + 1_000_000)
            busy = _session(plan, outbox, epoch, rows, lambda _sent: outbox.row_count > _LIVE_LEFT)
    return {
        "rows": rows,
        "bytes_per_row": round(size_bytes / rows, 1),
        "queue_rows_per_s": round(rows / queue_s),
        "drain_rows_per_s": round(rows / busy["took_s"]),
        "backlog_came": busy["came"],
        "backlog_missing": busy["missing"],
        "backlog_came_again": busy["again"],
        "backlog_out_of_order": busy["out_of_order"],
        "left_in_outbox": busy["left"],
        "live_parts_calm": len(calm["delays_ms"]),
        "live_parts_draining": len(busy["delays_ms"]),
        "live_lost": calm["live_lost"] + busy["live_lost"],
        "live_delay_p50_ms_calm": percentile(calm["delays_ms"], 50),
        "live_delay_p99_ms_calm": percentile(calm["delays_ms"], 99),
        "live_delay_p50_ms_draining": percentile(busy["delays_ms"], 50),
        "live_delay_p99_ms_draining": percentile(busy["delays_ms"], 99),
        "peak_rss_mib_queued": rss_before_mib,
        "peak_rss_mib": _peak_rss_mib(),
        "broker": plan.kind.value,
        "load": round(os.getloadavg()[0], 1),
    }


def _queue(outbox: Outbox, rows: int) -> float:
    began_s = time.perf_counter()
    for _ in range(rows):
        outbox.put(_report(outbox.next_sequence()))
    assert outbox.flush(_WAIT_S)
    return time.perf_counter() - began_s


def _session(plan: BrokerPlan, outbox: Outbox, epoch: int, rows: int, goes_on: Callable[[int], bool]) -> dict[str, Any]:
    """Report at a takt while `goes_on(parts so far)`, then wait until the outbox is empty."""
    command = [sys.executable, "-m", "benchmarks._drain", str(plan.port), plan.username, str(_STATION)]
    command += [str(epoch), str(rows)]
    receiver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert receiver.stdin is not None
    assert receiver.stdout is not None
    receiver.stdin.write(plan.password + "\n")
    receiver.stdin.flush()
    assert receiver.stdout.readline() == "ready\n"
    bus = PahoBus(plan.url, "benchmark-station", plan.username, plan.password)
    reporter = Reporter(outbox, bus, _STATION)
    reporter.start()
    bus.start()
    put_s: dict[int, float] = {}
    began_s = next_s = time.monotonic()
    while goes_on(len(put_s)):
        report = _report(outbox.next_sequence())
        put_s[report.sequence] = time.monotonic()
        outbox.put(report)
        next_s += _TAKT_S
        time.sleep(max(0.0, next_s - time.monotonic()))
    took_s = time.monotonic() - began_s
    give_up_s = time.monotonic() + 60
    while outbox.row_count and time.monotonic() < give_up_s:
        time.sleep(0.01)
    left = outbox.row_count
    reporter.stop()
    bus.stop()
    outbox.close()
    told = json.loads(receiver.communicate(timeout=60)[0])
    came_s = {int(sequence): at_s for sequence, at_s in told.pop("live").items()}
    delays_ms = sorted(round(1e3 * (came_s[number] - at_s), 2) for number, at_s in put_s.items() if number in came_s)
    return {**told, "took_s": took_s, "left": left, "delays_ms": delays_ms, "live_lost": len(put_s) - len(delays_ms)}


def _report(sequence: int) -> InspectionReported:
    """As a judged part leaves it."""
    return InspectionReported(
        sequence=sequence,
        trigger_number=sequence,
        part_id=f"part-{sequence}",
        product="ring",
        captured_at=_START + timedelta(milliseconds=100 * sequence),
        verdict=Verdict.OK,
        cause=VerdictCause.SCORE,
        score=0.31,
        ok_limit=0.5,
        ng_limit=0.7,
        package_id="a" * 64,
        variant=Variant.FP32,
        provider="CPUExecutionProvider",
        disposition=Disposition.PASSED,
        signal=SignalState.SENT,
        latency=StageLatency(
            capture_ms=1.2, prepare_ms=0.4, infer_ms=9.8, decide_ms=0.1, verdict_ms=11.5, reject_ms=11.9
        ),
        is_simulated=True,
    )


def _peak_rss_mib() -> float:
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
