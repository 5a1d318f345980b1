# SPDX-License-Identifier: Apache-2.0
"""A backlog comes back whole, in order and once, while live reports overtake it."""

import pytest

from benchmarks import offline_days

ROWS = 20_000


@pytest.mark.slow
def test_backlog_comes_whole_and_in_order_and_live_reports_do_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_BENCH_ROWS", str(ROWS))
    monkeypatch.setattr(offline_days, "_CALM_PARTS", 40)
    figures = offline_days.run()
    assert (figures["backlog_came"], figures["backlog_missing"], figures["backlog_out_of_order"]) == (ROWS, 0, 0)
    assert (figures["left_in_outbox"], figures["live_lost"]) == (0, 0)
    assert figures["live_parts_draining"] > 5
    # Behind the backlog a report would wait for about the whole drain.
    assert figures["live_delay_p50_ms_draining"] < 1e3 * ROWS / figures["drain_rows_per_s"] / 2
