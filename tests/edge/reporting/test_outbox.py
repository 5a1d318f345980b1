# SPDX-License-Identifier: Apache-2.0
"""The outbox loses nothing, keeps the order, repeats no id, and says so when the disk does not play along."""

import errno
import os
import sqlite3
import tempfile
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.commands import ReportsCommitted, SequenceRange
from edge_agent.errors import DeviceError
from edge_agent.reporting.outbox import Outbox
from tests.edge.reporting.builders import NOW, STATION, receipt, report
from tests.fakes.clock import FakeClock
from tests.fakes.waiting import wait_until


def put(outbox: Outbox, count: int, *, first_trigger: int | None = None) -> list[int]:
    """Put reports; returns their sequences."""
    sequences = []
    for index in range(count):
        sequence = outbox.next_sequence()
        outbox.put(report(sequence, None if first_trigger is None else first_trigger + index))
        sequences.append(sequence)
    return sequences


def ids(outbox: Outbox) -> list[tuple[int, int]]:
    """What is durable, in the order of commit."""
    return [(row.epoch, row.sequence) for row in outbox.committed_after(0, 100_000)]


OPERATION = st.one_of(
    st.tuples(st.just("put"), st.integers(1, 40)),
    st.tuples(st.just("receipt"), st.sets(st.integers(1, 60), max_size=30)),
    st.tuples(st.just("again"), st.just(0)),
    st.tuples(st.just("reopen"), st.just(0)),
)


@settings(max_examples=20, deadline=None)
@given(st.lists(OPERATION, max_size=10))
def test_outbox_holds_exactly_what_has_no_receipt_in_order(operations: list[tuple[str, object]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        clock = FakeClock()
        outbox = Outbox(Path(folder) / "outbox.db", clock)
        epochs = [outbox.epoch]
        expected: list[tuple[int, int]] = []
        last_receipt: ReportsCommitted | None = None
        for kind, value in operations:
            if kind == "put":
                assert isinstance(value, int)
                expected += [(outbox.epoch, sequence) for sequence in put(outbox, value)]
            elif kind == "receipt":
                assert isinstance(value, set)
                last_receipt = receipt(outbox.epoch, sorted(value))
                outbox.flush()
                expected = [row for row in expected if not (row[0] == outbox.epoch and row[1] in value)]
                assert outbox.apply_receipt(last_receipt)
            elif kind == "again" and last_receipt is not None:
                # Brokers repeat; a receipt of an earlier epoch must not touch the present one.
                outbox.flush()
                named = {(last_receipt.epoch, span.first) for span in last_receipt.ranges}
                expected = [row for row in expected if row not in named]
                assert outbox.apply_receipt(last_receipt)
            elif kind == "reopen":
                outbox.close()
                outbox = Outbox(Path(folder) / "outbox.db", clock)
                epochs.append(outbox.epoch)
            assert outbox.flush()
            assert ids(outbox) == expected
            assert outbox.row_count == len(expected)
        outbox.close()
        assert epochs == sorted(set(epochs))


def test_rows_come_in_pages_oldest_first(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    put(outbox, 10)
    outbox.flush()
    first = outbox.committed_after(0, 4)
    second = outbox.committed_after(first[-1].row_id, 100, up_to=outbox.last_row_id - 1)
    assert [row.sequence for row in first + second] == list(range(1, 10))
    assert [row.sequence for row in outbox.committed_rows([first[0].row_id, second[0].row_id, 999])] == [1, 5]
    outbox.close()


def test_quarantined_rows_leave_the_outbox_too(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    put(outbox, 3)
    spans = [SequenceRange(first=2, last=2)]
    outbox.flush()
    outbox.apply_receipt(
        ReportsCommitted(station=STATION, epoch=outbox.epoch, ranges=[], quarantined=spans, committed_at=NOW)
    )
    outbox.flush()
    assert [sequence for _, sequence in ids(outbox)] == [1, 3]
    outbox.close()


def test_epoch_never_repeats_though_the_clock_goes_back(tmp_path: Path) -> None:
    clock = FakeClock()
    epochs = []
    for _ in range(3):
        outbox = Outbox(tmp_path / "outbox.db", clock)
        epochs.append(outbox.epoch)
        outbox.close()
        clock.set_wall(clock.now() - timedelta(days=1))
    assert epochs == sorted(set(epochs))


def test_epoch_never_repeats_though_the_database_is_lost_and_the_clock_goes_back(tmp_path: Path) -> None:
    clock = FakeClock()
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, clock)
    before = outbox.epoch
    outbox.close()
    path.write_bytes(b"this is no database" * 1000)
    clock.set_wall(clock.now() - timedelta(days=400))
    outbox = Outbox(path, clock)
    assert outbox.epoch > before
    outbox.close()


def test_last_trigger_number_survives_receipts_and_restart(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    assert outbox.last_trigger_number() is None
    sequences = put(outbox, 5, first_trigger=100)
    put(outbox, 1)
    outbox.flush()
    outbox.apply_receipt(receipt(outbox.epoch, sequences))
    outbox.flush()
    outbox.close()
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    assert outbox.last_trigger_number() == 104
    outbox.close()


def test_sequence_that_was_never_given_is_refused(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    with pytest.raises(ValueError, match="next_sequence"):
        outbox.put(report(1))
    outbox.close()


def test_second_process_is_refused_with_a_remedy(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    with pytest.raises(DeviceError, match="another process"):
        Outbox(tmp_path / "outbox.db", FakeClock())
    outbox.close()


def test_closed_outbox_takes_nothing(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    sequence = outbox.next_sequence()
    outbox.close()
    outbox.close()
    with pytest.raises(DeviceError, match="not taken"):
        outbox.put(report(sequence))


def test_full_disk_raises_a_fault_loses_nothing_and_recovers_by_receipts(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock(), max_bytes=256 * 1024)
    put(outbox, 2000)
    wait_until(lambda: "outbox-disk" in [fault.code for fault in outbox.faults()])
    assert outbox.counters.write_failures > 0
    seen: set[int] = set()
    while len(seen) < 2000:
        wait_until(lambda: outbox.row_count == 0 or bool(outbox.committed_after(0, 1)) or len(seen) == 2000)
        rows = outbox.committed_after(0, 500)
        seen.update(row.sequence for row in rows)
        outbox.apply_receipt(receipt(outbox.epoch, [row.sequence for row in rows]))
        gone = outbox.counters.removed + len(rows)
        wait_until(lambda gone=gone: outbox.counters.removed >= gone)  # type: ignore[misc]
    outbox.flush()
    assert seen == set(range(1, 2001))
    assert outbox.faults() == []
    assert outbox.row_count == 0
    outbox.close()
    assert outbox.counters.lost_at_close == 0


def test_last_room_on_the_disk_is_kept_for_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_handle: int, _start: int, _length: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    put(outbox, 100)
    assert outbox.flush()
    outbox._file._reserve.give_up()
    with monkeypatch.context() as patch:
        patch.setattr(os, "posix_fallocate", no_room)
        put(outbox, 10)
        wait_until(lambda: [fault.code for fault in outbox.faults()] == ["outbox-disk"])
        assert len(ids(outbox)) == 100
        # What a receipt removes makes room for what waits.
        outbox.apply_receipt(receipt(outbox.epoch, range(1, 101)))
        assert outbox.flush(60)
    assert [sequence for _, sequence in ids(outbox)] == list(range(101, 111))
    put(outbox, 1)
    assert outbox.flush(60)
    assert outbox.faults() == []
    outbox.close()


def test_row_bound_holds_rows_in_memory_until_a_receipt(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock(), max_rows=10)
    put(outbox, 15)
    wait_until(lambda: bool(outbox.faults()))
    assert [fault.code for fault in outbox.faults()] == ["outbox-full"]
    assert len(ids(outbox)) == 10
    outbox.apply_receipt(receipt(outbox.epoch, range(1, 8)))
    assert outbox.flush()
    assert [sequence for _, sequence in ids(outbox)] == list(range(8, 16))
    assert outbox.faults() == []
    outbox.close()


def test_put_blocks_at_the_memory_bound_and_goes_on_after_a_receipt(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock(), max_rows=5, max_waiting=5)
    feeder = threading.Thread(target=put, args=(outbox, 20))
    feeder.start()
    wait_until(lambda: outbox.counters.blocked_puts > 0)
    assert "outbox-blocked" in [fault.code for fault in outbox.faults()]
    while feeder.is_alive() or outbox.row_count:
        outbox.apply_receipt(receipt(outbox.epoch, [sequence for _, sequence in ids(outbox)]))
        outbox.flush(0.05)
    feeder.join()
    assert outbox.counters.removed == 20
    assert outbox.faults() == []
    outbox.close()


def test_closing_frees_a_blocked_put(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock(), max_rows=1, max_waiting=1)
    caught: list[BaseException] = []

    def feed() -> None:
        try:
            put(outbox, 10)
        except DeviceError as error:
            caught.append(error)

    feeder = threading.Thread(target=feed)
    feeder.start()
    # One durable, one in memory: the third must wait.
    wait_until(lambda: outbox.row_count == 2 and outbox.flush(0) is False)
    outbox.close()
    feeder.join()
    assert len(caught) == 1
    assert outbox.counters.lost_at_close == 1


def test_unreadable_row_is_set_aside_with_a_fault(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    put(outbox, 2)
    outbox.flush()
    outbox.set_aside([1])
    outbox.flush()
    assert [sequence for _, sequence in ids(outbox)] == [2]
    assert outbox.row_count == 1
    assert [fault.code for fault in outbox.faults()] == ["outbox-unreadable"]
    outbox.close()
    with sqlite3.connect(tmp_path / "outbox.db") as database:
        assert database.execute("SELECT sequence FROM unreadable").fetchall() == [(1,)]
    database.close()


@pytest.mark.parametrize(("start", "length"), [(0, 100), (4096 * 3, 4096), (4096 * 10, 4096 * 5)])
def test_damaged_file_is_moved_aside_and_what_can_be_read_is_saved(tmp_path: Path, start: int, length: int) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, FakeClock())
    put(outbox, 400, first_trigger=1)
    outbox.flush()
    outbox.close()
    content = bytearray(path.read_bytes())
    assert len(content) > start + length
    content[start : start + length] = b"\xa5" * length
    path.write_bytes(bytes(content))
    outbox = Outbox(path, FakeClock())
    assert [fault.code for fault in outbox.faults()] == ["outbox-damaged"]
    assert len(list(tmp_path.glob("outbox.db.damaged-*"))) >= 1
    saved = [sequence for _, sequence in ids(outbox)]
    assert saved == sorted(saved)
    if start > 4096:
        # The header is whole: most rows are.
        assert len(saved) > 100
    sequences = put(outbox, 3)
    outbox.flush()
    assert [sequence for _, sequence in ids(outbox)][-3:] == sequences
    outbox.close()


def test_truncated_file_is_survived(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    outbox = Outbox(path, FakeClock())
    put(outbox, 400)
    outbox.close()
    path.write_bytes(path.read_bytes()[:20_000])
    outbox = Outbox(path, FakeClock())
    assert outbox.faults()
    put(outbox, 1)
    assert outbox.flush()
    outbox.close()


def test_folder_that_cannot_be_made_is_a_device_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DeviceError, match="cannot be opened"):
        Outbox(tmp_path / "file" / "outbox.db", FakeClock())


def test_outbox_is_behind_once_its_oldest_report_has_waited_too_long_and_says_so(tmp_path: Path) -> None:
    clock = FakeClock()
    outbox = Outbox(tmp_path / "outbox.db", clock, max_rows=5, behind_after_s=2.0)

    def is_behind() -> bool:
        return outbox.is_behind

    put(outbox, 5)
    assert outbox.flush(5)
    clock.advance(60)
    assert not is_behind()
    put(outbox, 1)
    clock.advance(1.9)
    put(outbox, 1)
    assert not is_behind()
    clock.advance(0.2)
    assert is_behind()
    assert "outbox-behind" in {fault.code for fault in outbox.faults()}
    outbox.apply_receipt(receipt(outbox.epoch, [1]))
    wait_until(lambda: not is_behind())
    clock.advance(2)
    assert is_behind()
    outbox.apply_receipt(receipt(outbox.epoch, [2]))
    wait_until(lambda: not is_behind())
    assert "outbox-behind" not in {fault.code for fault in outbox.faults()}
    outbox.close()


def test_outbox_of_so_many_bytes_takes_no_more_and_loses_nothing_of_it(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path / "outbox.db", FakeClock(), max_bytes=2**20)
    sequences: list[int] = []
    for _ in range(10):
        sequences += put(outbox, 1000, first_trigger=len(sequences) + 1)
        if not outbox.flush(2):
            break
    assert "outbox-disk" in {fault.code for fault in outbox.faults()}
    assert (tmp_path / "outbox.db").stat().st_size <= 2**20
    kept = len(ids(outbox))
    assert 500 < kept < len(sequences)
    while (durable := [sequence for _, sequence in ids(outbox)]) and durable[-1] != sequences[-1]:
        outbox.apply_receipt(receipt(outbox.epoch, durable[:1000]))
        wait_until(lambda known=durable: [sequence for _, sequence in ids(outbox)] != known)  # type: ignore[misc]
    assert outbox.flush(10)
    assert outbox.counters.committed == len(sequences)
    outbox.close()


def test_reports_soon_after_a_commit_share_the_next_and_a_close_waits_for_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough that only the close can end it.
    monkeypatch.setattr("edge_agent.reporting.outbox._GATHER_S", 600.0)
    outbox = Outbox(tmp_path / "outbox.db", FakeClock())
    put(outbox, 1)
    wait_until(lambda: outbox.counters.committed == 1)
    put(outbox, 20)
    assert not outbox.flush(0.3)
    assert outbox.counters.commits == 1
    outbox.close()
    assert (outbox.counters.committed, outbox.counters.commits) == (21, 2)
    again = Outbox(tmp_path / "outbox.db", FakeClock(NOW + timedelta(hours=1)))
    assert len(ids(again)) == 21
    again.close()
