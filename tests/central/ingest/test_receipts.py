# SPDX-License-Identifier: Apache-2.0
import shutil
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from central.services.ingest import IngestService
from central.services.reading import to_ranges
from central.settings import IngestSettings
from central.store.database import Database
from tests.central.conftest import RememberingPublisher, StillClock, make_report
from tests.central.ingest.conftest import EPOCH, Bench


@given(st.lists(st.integers(min_value=1, max_value=400)))
def test_ranges_name_exactly_the_given_numbers(sequences: list[int]) -> None:
    ranges = to_ranges(sequences)
    named = [number for item in ranges for number in range(item.first, item.last + 1)]
    assert named == sorted(set(sequences))
    assert all(later.first > earlier.last + 1 for earlier, later in pairwise(ranges))


messages = st.lists(
    st.tuples(st.integers(min_value=0, max_value=1), st.lists(st.integers(1, 40), min_size=1, max_size=12)),
    max_size=12,
)


@settings(max_examples=30, deadline=None)
@given(messages=messages, works=st.sets(st.integers(0, 12)), crash_at=st.integers(0, 13))
def test_receipts_cover_exactly_what_is_durable(
    migrated_sqlite: Path, messages: list[tuple[int, list[int]]], works: set[int], crash_at: int
) -> None:
    """Any order, any repetition, any batching, and a crash anywhere: what is receipted is stored, and the reverse."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "central.db"
        shutil.copyfile(migrated_sqlite, path)
        database = Database(f"sqlite:///{path}")
        publisher = RememberingPublisher()

        def start() -> Bench:
            service = IngestService(database, publisher, IngestSettings(batch_rows=9, batch_wait_ms=1), StillClock())
            return Bench(database, publisher, service)

        bench = start()
        for index, (epoch, sequences) in enumerate(messages):
            bench.send([make_report(number) for number in sequences], epoch=EPOCH + epoch)
            if index in works:
                bench.work()
            if index == crash_at:
                # What was only queued is gone, as with SIGKILL.
                bench = start()
        bench.work()
        receipted = {
            (receipt.epoch, number)
            for receipt in bench.receipts()
            for item in receipt.ranges
            for number in range(item.first, item.last + 1)
        }
        with database.read() as session:
            rows = session.connection().exec_driver_sql("SELECT epoch, sequence FROM inspection").all()
            (rolled_up,) = session.connection().exec_driver_sql("SELECT sum(parts) FROM rollup_minute").one()
        database.close()
    assert receipted == {(epoch, sequence) for epoch, sequence in rows}
    assert (rolled_up or 0) == len(rows)
