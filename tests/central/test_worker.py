# SPDX-License-Identifier: Apache-2.0
import threading
from datetime import datetime

from central.services.worker import Worker
from tests.central.conftest import START, StillClock


class Ticking:
    def __init__(self, name: str, period_s: float, *, fails: bool = False) -> None:
        self.name = name
        self.period_s = period_s
        self.fails = fails
        self.seen: list[datetime] = []
        self.ticked = threading.Event()

    def tick(self, now: datetime) -> None:
        self.seen.append(now)
        if len(self.seen) >= 3:
            self.ticked.set()
        if self.fails:
            raise RuntimeError("broken tick")


def test_service_that_fails_is_counted_and_does_not_stop_the_others() -> None:
    broken, sound = Ticking("broken", 0.001, fails=True), Ticking("sound", 0.001)
    worker = Worker([broken, sound], StillClock())
    worker.start()
    assert broken.ticked.wait(20)
    assert sound.ticked.wait(20)
    worker.stop(10)
    counts = worker.counts
    assert counts["broken"].failures == counts["broken"].ticks >= 3
    assert counts["broken"].last_error == "RuntimeError: broken tick"
    assert counts["sound"].failures == 0
    assert sound.seen[0] == START


def test_each_service_is_ticked_at_its_own_period() -> None:
    often, seldom = Ticking("often", 0.0), Ticking("seldom", 3600.0)
    worker = Worker([often, seldom], StillClock())
    for _ in range(5):
        worker.run_due()
    assert (len(often.seen), len(seldom.seen)) == (5, 1)


def test_stopped_worker_ticks_no_more() -> None:
    service = Ticking("one", 0.0)
    worker = Worker([service], StillClock())
    worker.stop(1)
    worker.run_due()
    assert service.seen == []
