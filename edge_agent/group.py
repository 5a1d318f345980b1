# SPDX-License-Identifier: Apache-2.0
"""A group of stations in one process: one for each camera, sharing the sessions of their packages.

Frames that wait at several cameras at the same moment are judged together where that is faster.

Each station keeps what makes it one: its address, outbox, recipes and links. So a camera that fails stops no other, and
central sees stations, not processes. Called by `__main__`.
"""

import logging
import threading
from collections.abc import Sequence
from itertools import combinations

from edge_agent import app
from edge_agent.clock import SystemClock
from edge_agent.errors import SettingsError
from edge_agent.inference.pool import SessionPool
from edge_agent.packages.rate import RateLimit
from edge_agent.settings import Settings
from edge_agent.supervision.settings import read_supervisor
from edge_agent.supervision.watchdog import Watchdog

_log = logging.getLogger(__name__)


class StationGroup:
    """Stations that start and stop together.

    Raises:
        SettingsError: two of them have the same address or folder.
        EdgeError: one of them cannot be built; none is running then.
    """

    def __init__(self, settings: Sequence[Settings]) -> None:
        check_apart(settings)
        self.pool = SessionPool()
        rate = RateLimit(settings[0].downloads.max_bytes_per_s, SystemClock())
        self.stations: list[app.Station] = []
        try:
            for each in settings:
                station = app.Station(each, pool=self.pool, shared_by=len(settings), rate=rate)
                self.stations.append(station)
        except BaseException:
            # Those that were built hold their outbox; nothing of theirs has been started.
            for station in self.stations:
                station.outbox.close()
            raise
        self.watchdog = Watchdog(read_supervisor(), lambda: [station.health for station in self.stations])

    def start(self) -> None:
        """Start all of them."""
        for station in self.stations:
            station.start()
        if len(self.stations) > 1:
            _log.info("group started stations=%d", len(self.stations))
        self.watchdog.start()

    def stop(self) -> bool:
        """Stop all of them at once, each as it stops alone. Returns whether all ended clean."""
        self.watchdog.stopping()
        clean: list[bool] = []
        threads = [threading.Thread(target=lambda each=each: clean.append(each.stop())) for each in self.stations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return len(clean) == len(self.stations) and all(clean)


def check_apart(settings: Sequence[Settings]) -> None:
    """Two stations of one process must not be the same, and what they share they must name alike.

    Raises:
        SettingsError: naming what they share, or do not.
    """
    faults = []
    for one, other in combinations(settings, 2):
        if one.station == other.station:
            faults.append(f"station: expected another address in each settings file, got {one.station} twice")
        if one.data_dir == other.data_dir:
            faults.append(f"data_dir: expected another folder in each settings file, got {one.data_dir} twice")
    limits = {each.downloads.max_bytes_per_s for each in settings}
    if len(limits) > 1:
        told = ", ".join(map(str, sorted(limits)))
        key = "downloads.max_bytes_per_s"
        faults.append(f"{key}: expected the same in each settings file, since the process shares it, got {told}")
    if faults:
        raise SettingsError(list(dict.fromkeys(faults)))
