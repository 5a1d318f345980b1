# SPDX-License-Identifier: Apache-2.0
"""The supervisor keeps children running, ends all of them, and leaves nothing behind however it ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from plant.errors import UsageError
from plant.processes.guardian import MARK_VARIABLE, marked_processes
from plant.processes.rundir import FolderLock, RotatingLog, lock_owner
from plant.processes.supervisor import ChildSpec, Supervisor, SupervisorSettings

Eventually = Callable[[Callable[[], object], str], None]
MakeChild = Callable[[str, str], ChildSpec]
SLEEP = "import time; time.sleep(600)"
DEAF = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"


def _is_running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_killed_child_is_started_again(supervisor: Supervisor, python_child: MakeChild, eventually: Eventually) -> None:
    supervisor.start(python_child("worker", SLEEP))
    first = supervisor.kill("worker")
    assert first is not None
    eventually(lambda: supervisor.pid("worker") not in (None, first), "the child was not started again")
    assert supervisor.restarts == {"worker": 1}
    assert supervisor.failure is None


def test_child_that_keeps_dying_is_given_up_with_its_last_words(
    supervisor: Supervisor, python_child: MakeChild, eventually: Eventually
) -> None:
    supervisor.start(python_child("worker", "import sys; sys.exit('the cable is missing')"))
    eventually(lambda: supervisor.failure, "the supervisor never gave up")
    failure = supervisor.failure or ""
    assert "worker" in failure
    assert "the cable is missing" in failure
    assert "worker.log" in failure


def test_stop_ends_a_child_that_ignores_sigterm(
    tmp_path: Path, python_child: MakeChild, eventually: Eventually
) -> None:
    supervisor = Supervisor(tmp_path / "logs", settings=SupervisorSettings(grace_s=0.3))
    supervisor.start(python_child("deaf", DEAF))
    supervisor.start(python_child("worker", SLEEP))
    eventually(lambda: supervisor.last_line("deaf") == "deaf", "the child never spoke")
    pids = [supervisor.pid("deaf"), supervisor.pid("worker")]
    supervisor.stop()
    assert not any(_is_running(pid) for pid in pids if pid is not None)


def test_stop_ends_grandchildren_in_sessions_of_their_own(
    supervisor: Supervisor, python_child: MakeChild, eventually: Eventually
) -> None:
    code = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    supervisor.start(python_child("parent", code))
    eventually(lambda: supervisor.last_line("parent").isdigit(), "the grandchild was never started")
    grandchild = int(supervisor.last_line("parent"))
    assert _is_running(grandchild)
    supervisor.stop()
    assert not _is_running(grandchild)


def test_no_orphan_is_left_when_the_supervisor_is_killed(tmp_path: Path, eventually: Eventually) -> None:
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from plant.processes.supervisor import ChildSpec, Supervisor, SupervisorSettings\n"
        "supervisor = Supervisor(Path(sys.argv[1]), settings=SupervisorSettings(grace_s=0.3))\n"
        "supervisor.start(ChildSpec('a', (sys.executable, '-c', 'import time; time.sleep(600)')))\n"
        f"supervisor.start(ChildSpec('b', (sys.executable, '-c', {DEAF!r})))\n"
        "while supervisor.last_line('b') != 'deaf': time.sleep(0.02)\n"
        "print(supervisor.pid('a'), supervisor.pid('b'), flush=True)\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "logs")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pids = [int(text) for text in parent.stdout.readline().split()]
        mark = psutil.Process(pids[0]).environ()[MARK_VARIABLE]
        assert all(_is_running(pid) for pid in pids)
        os.kill(parent.pid, signal.SIGKILL)
    eventually(lambda: not any(_is_running(pid) for pid in pids), "children outlived their supervisor")
    eventually(lambda: not marked_processes(mark), "something of the plant is still running")


def test_halted_child_stays_down_until_resumed(
    supervisor: Supervisor, python_child: MakeChild, eventually: Eventually
) -> None:
    supervisor.start(python_child("worker", SLEEP))
    supervisor.halt("worker")
    time.sleep(0.3)
    assert supervisor.pid("worker") is None
    supervisor.resume("worker")
    eventually(lambda: supervisor.pid("worker") is not None, "the child was not resumed")


def test_logs_reach_the_file_and_the_printer(tmp_path: Path, python_child: MakeChild, eventually: Eventually) -> None:
    printed: list[str] = []
    supervisor = Supervisor(tmp_path / "logs", printer=printed.append)
    supervisor.start(python_child("speaker", "import time; print('hello', flush=True); time.sleep(600)"))
    eventually(lambda: printed, "nothing was forwarded")
    supervisor.stop()
    assert printed == ["[speaker] hello"]
    assert (tmp_path / "logs" / "speaker.log").read_text() == "hello\n"


def test_log_files_are_bounded_in_bytes(tmp_path: Path) -> None:
    log = RotatingLog(tmp_path / "a.log", max_bytes=100, kept=2)
    for index in range(100):
        log.write(f"line {index}\n".encode())
    log.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.log", "a.log.1"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert "line 99" in (tmp_path / "a.log").read_text()


def test_a_data_folder_that_is_a_file_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder that can be made and written, got a file"):
        FolderLock(tmp_path / "file")


def test_second_plant_on_the_same_folder_is_refused_by_name(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    assert lock_owner(tmp_path) == os.getpid()
    with pytest.raises(UsageError, match=f"running on it already .process {os.getpid()}.*--data"):
        FolderLock(tmp_path)
    lock.release()
    assert lock_owner(tmp_path) is None
    FolderLock(tmp_path).release()
