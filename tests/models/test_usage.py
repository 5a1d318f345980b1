# SPDX-License-Identifier: Apache-2.0
"""What a training says of its own use is what the operating system counts, threads and ended children with it."""

import subprocess
import sys
import threading
import time

from models.usage import used

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def burn(cpu_s: float) -> None:
    end = time.thread_time() + cpu_s
    while time.thread_time() < end:
        pass


def test_cpu_time_of_a_thread_and_of_an_ended_child_counts() -> None:
    before = used().cpu_s
    thread = threading.Thread(target=burn, args=(0.3,))
    thread.start()
    thread.join()
    after = used().cpu_s
    assert 0.3 <= after - before < 10
    subprocess.run([sys.executable, "-c", BURN], check=True)
    assert used().cpu_s - after >= 0.3


def test_time_asleep_does_not_count() -> None:
    before = time.process_time(), used().cpu_s
    time.sleep(0.2)
    # As another clock of the system says it.
    assert abs((used().cpu_s - before[1]) - (time.process_time() - before[0])) < 0.1


def test_the_most_memory_is_kept_when_it_is_given_back_and_is_not_that_of_whoever_started_it() -> None:
    mine = bytearray(b"1" * 300_000_000)
    code = (
        "from models.usage import used\nfirst = used().peak_memory_bytes\nblock = bytearray(200_000_000)\n"
        "del block\nassert 150_000_000 < used().peak_memory_bytes - first < 400_000_000, used()\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert len(mine) == 300_000_000
