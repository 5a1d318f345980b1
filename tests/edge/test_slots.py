# SPDX-License-Identifier: Apache-2.0
import threading

from contracts.reports import InspectionReported
from edge_agent.frame_queue import QueuedFrame
from edge_agent.inference.slots import PackageSlots
from tests.edge.station_fakes import Bench, ScoreSession, frame_of, loaded

PACKAGES = 8


def test_slots_hold_one_package_per_product() -> None:
    slots = PackageSlots()
    slots.activate(loaded("ring", ScoreSession(0.1), package_id="01" * 32))
    slots.activate(loaded("board", ScoreSession(0.1), package_id="02" * 32))
    slots.activate(loaded("ring", ScoreSession(0.1), package_id="03" * 32))
    assert [(active.product, active.package_id) for active in slots.snapshot()] == [
        ("board", "02" * 32),
        ("ring", "03" * 32),
    ]
    slots.deactivate_missing({"ring"})
    assert slots.products() == ["ring"]
    assert slots.active("board") is None


def test_switching_under_load_loses_no_frame_and_mixes_no_verdict() -> None:
    bench = Bench()
    by_id = {f"{index:02x}" * 32: index / PACKAGES for index in range(PACKAGES)}
    packages = [loaded("ring", ScoreSession(score), package_id=name) for name, score in by_id.items()]
    bench.slots.activate(packages[0])
    is_done = threading.Event()

    def switch() -> None:
        while not is_done.is_set():
            for package in packages:
                bench.slots.activate(package)

    switchers = [threading.Thread(target=switch) for _ in range(2)]
    for thread in switchers:
        thread.start()
    for number in range(300):
        bench.loop.inspect(QueuedFrame(frame_of(number, bench.clock)))
    is_done.set()
    for thread in switchers:
        thread.join()
    reports: list[InspectionReported] = bench.outbox.reports
    assert [report.trigger_number for report in reports] == list(range(300))
    assert len({report.package_id for report in reports}) > 1
    for report in reports:
        assert report.package_id is not None
        assert report.score == by_id[report.package_id]
