# SPDX-License-Identifier: Apache-2.0
"""A small fleet goes through the whole benchmark: told, active, taken back, and accounted for."""

import pytest

from benchmarks import fleet, fleet_steps

STATIONS = 20


@pytest.mark.slow
def test_small_fleet_is_told_becomes_active_and_goes_back() -> None:
    figures = fleet.run(STATIONS, idle_s=0.5, part_s=2.0)
    assert (figures["faults"], figures["disconnects"]) == (0, 0), figures["first_fault"]
    for step in ("first_package", "second_package", "abort"):
        times = figures[step]
        assert 0 < times["told_p50_s"] <= times["told_all_s"]
        # Nobody judges with a package before it has heard of it.
        assert times["told_p50_s"] <= times["active_p50_s"] <= times["active_all_s"]
    for step in ("start", "abort_at_once"):
        assert 0 < figures[step]["told_p50_s"] <= figures[step]["told_all_s"]
    traffic = figures["per_station"]
    # Five assignments at least came down, and each package was fetched once: metadata, manifest, golden set, graph.
    assert traffic["messages_down"] >= 5
    assert traffic["requests"] >= 8
    assert traffic["http_bytes"] > 2 * 20_000
    assert figures["central"]["cpu_s"] > 0


def test_steps_of_a_rollout_reach_every_station_and_are_timed() -> None:
    figures = fleet_steps.run(STATIONS)
    # Two packages and one way back, and a receipt for each message of parts.
    assert figures["published"] == (2 + 1 + 2) * STATIONS
    assert set(figures["cpu_s"]) >= {"heartbeats", "start_second", "abort", "view"}
