# SPDX-License-Identifier: Apache-2.0
"""Lines that run already, for the tests of what comes next."""

from pathlib import Path

from contracts.vocabulary import Verdict
from tests.central.services.bench import Bench, FakeStation

OK, NG = Verdict.OK, Verdict.NG


def line(bench: Bench, folder: Path, *names: str) -> tuple[list[FakeStation], str]:
    """Stations that run a champion, with a past of 100 parts each."""
    added = [bench.add_station(name) for name in names]
    champion = bench.register(1, folder, champion=None)
    # First packages: active is enough, wave after wave.
    bench.tick(7)
    assert bench.champion() == champion
    for station in added:
        bench.report(station, ([OK] * 19 + [NG]) * 5)
    return added, champion
