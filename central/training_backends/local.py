# SPDX-License-Identifier: Apache-2.0
"""Trainings as processes of this machine: started apart from central, found again after a restart, ended on demand.

Knows processes and files, no tables and no rules. Keeps to `seam.TrainingBackend`.

The process holds a lock on a file that it inherited: as long as somebody holds the lock the training lives, whoever
started it and whatever its number is. That survives kill -9 of central, and a number that was given to another
process meanwhile is never taken for it. A few lines of shell stay around the trainer and write down how it ended, for
the exit code goes to the parent alone, and central may be another process by then. Linux and other systems with flock.
"""

import fcntl
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from central.training_backends.results import (
    LOG_NAME,
    has_evaluation,
    mark_of,
    read_evaluation,
    read_progress,
    read_tail,
)
from central.training_backends.seam import Attempt, Look, Standing
from contracts.jobs import RESUME_FOLDER, EvaluationReport

_LOG = logging.getLogger(__name__)

_LOCK_NAME: Final = "alive.lock"
# Number of the process group; written by the shell itself, so that it is known even if central died on the way.
_GROUP_NAME: Final = "group"
_ENDED_NAME: Final = "ended"
_NICENESS: Final = "10"
_EXPECTED_OF_TRAINING: Final = (
    "a training that needs at most {} MB (learning.memory_limit_mb); raise it, or lower learning.max_images or size_px"
)
_SIGNALLED: Final = 128
# Exit codes of a shell for SIGABRT and SIGSEGV: how native code ends that gets no memory.
_NATIVE_ENDS: Final = frozenset({_SIGNALLED + signal.SIGABRT, _SIGNALLED + signal.SIGSEGV})
_OUT_OF_MEMORY: Final = (
    "MemoryError",
    "Unable to allocate",
    "bad_alloc",
    "can't allocate memory",
    "annot allocate memory",
    "ailed to allocate memory",
    "not enough memory",
)
# $1: kB of private memory or 0; the rest: the command. SIGTERM goes to the whole group: the trainer answers it, and
# the shell waits on. Where the kernel runs out of memory it takes the training before central and the database.
_SHELL: Final = """
trap : TERM
echo $$ >group
if [ "$1" != 0 ]; then ulimit -d "$1" || exit 125; fi
shift
{ echo 500 >/proc/self/oom_score_adj; } 2>/dev/null
"$@" &
child=$!
wait "$child"
code=$?
while kill -0 "$child" 2>/dev/null; do
  wait "$child"
  code=$?
done
echo "$code" >ended.new && mv ended.new ended
exit "$code"
"""


class LocalBackend:
    """See the module."""

    name: Final = "local"

    def __init__(self, command: Sequence[str], memory_limit_mb: int = 0, expected: str = _EXPECTED_OF_TRAINING) -> None:
        """`command` is run with the job file as its last word. `memory_limit_mb`: of each process; 0: none.

        `expected`: what was expected of one that took more, and what to do; `{}` stands for the limit.
        """
        self._command: Final = tuple(command)
        self._expected: Final = expected
        self._limit_mb: Final = memory_limit_mb
        # To be polled, or they stay as zombies.
        self.children: list[subprocess.Popen[bytes]] = []

    def start(self, attempt: Attempt) -> str:
        """Run the command in a session of its own, at low priority; its words go to a log file."""
        if _is_alive(attempt.folder):
            return str(_group_of(attempt) or "")
        attempt.output.mkdir(parents=True, exist_ok=True)
        program = _resolved(self._command)
        nice = shutil.which("nice")
        for name in (_GROUP_NAME, _ENDED_NAME):
            (attempt.folder / name).unlink(missing_ok=True)
        lock = os.open(attempt.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with (attempt.folder / LOG_NAME).open("ab") as log:
                log.write(mark_of(attempt.number).encode())
                log.flush()
                process = subprocess.Popen(
                    [
                        *("/bin/sh", "-c", _SHELL, "sh", str(self._limit_mb * 1024)),
                        *([nice, "-n", _NICENESS] if nice else []),
                        *program,
                        str(attempt.job_path),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    cwd=attempt.folder,
                )
        finally:
            # The child keeps its own copy: the lock goes when the child does.
            os.close(lock)
        self.children.append(process)
        _LOG.info("training process started folder=%s pid=%d", attempt.folder, process.pid)
        return str(process.pid)

    def look(self, attempt: Attempt) -> Look:
        """By the lock, the files, and what the shell wrote down."""
        self.children = [child for child in self.children if child.poll() is None]
        # Before the files: what ends between two looks has written them by then.
        is_alive = _is_alive(attempt.folder)
        progress, has_result = read_progress(attempt.output), has_evaluation(attempt.output)
        if is_alive:
            group = _group_of(attempt)
            return Look(Standing.RUNNING, progress, has_result, handle=None if group is None else str(group))
        if attempt.handle is None and not (attempt.folder / _GROUP_NAME).exists():
            # Central was killed between its row and the process.
            return Look(Standing.ABSENT)
        code = _exit_code(attempt.folder)
        if code is None:
            words = "its processes are gone without an exit code: killed from outside, or the machine went down"
            return Look(Standing.LOST, progress, has_result, words)
        if code == _SIGNALLED + signal.SIGKILL:
            words = "killed (SIGKILL), by somebody or by the system for want of memory"
            return Look(Standing.LOST, progress, has_result, words)
        return Look(Standing.ENDED, progress, has_result, self._last_words(attempt, code))

    def cancel(self, attempt: Attempt, *, is_patient: bool) -> None:
        """SIGTERM or SIGKILL to the process group. Only while the lock says that it is ours."""
        if not _is_alive(attempt.folder):
            return
        group = _group_of(attempt)
        if group is None:
            return
        try:
            os.killpg(group, signal.SIGTERM if is_patient else signal.SIGKILL)
        except (ProcessLookupError, PermissionError) as error:
            _LOG.warning("training process could not be signalled pid=%d error=%s", group, error)

    def collect(self, attempt: Attempt) -> EvaluationReport:
        """They lie where they belong."""
        return read_evaluation(attempt.output)

    def forget(self, attempt: Attempt, *, goes_on: bool = False) -> None:
        """Nothing is kept elsewhere. All attempts share a folder of results, so that the next finds the steps done."""
        if not goes_on:
            shutil.rmtree(attempt.output / RESUME_FOLDER, ignore_errors=True)

    def _last_words(self, attempt: Attempt, code: int) -> str:
        """Why it ended, for people: its own error, else the end of its log."""
        progress, log = read_progress(attempt.output), read_tail(attempt.folder / LOG_NAME)
        said = (progress.error if progress is not None else None) or log
        is_hungry = any(phrase in f"{said} {log}" for phrase in _OUT_OF_MEMORY)
        if self._limit_mb and (is_hungry or code in _NATIVE_ENDS):
            most = "out of memory" if is_hungry else "most likely out of memory"
            return (
                f"{most}: expected {self._expected.format(self._limit_mb)}; exit code {code}, last words: "
                f"{said or 'none'}"
            )
        return said or f"the training process ended without a result and without a word, exit code {code}"


def _is_alive(folder: Path) -> bool:
    """Whether a process of the training still runs."""
    try:
        lock = os.open(folder / _LOCK_NAME, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _group_of(attempt: Attempt) -> int | None:
    said = _number(attempt.folder / _GROUP_NAME)
    if said is None and attempt.handle:
        return int(attempt.handle)
    return said


def _exit_code(folder: Path) -> int | None:
    return _number(folder / _ENDED_NAME)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _resolved(command: Sequence[str]) -> list[str]:
    """The program by its full path: a service started without the venv's PATH finds it beside its own Python.

    Raises:
        FileNotFoundError: there is no such program.
    """
    beside = Path(sys.executable).parent / command[0]
    program = shutil.which(command[0]) or (str(beside) if beside.is_file() else None)
    if program is None:
        raise FileNotFoundError(f"{command[0]}: no such command; put it on the PATH or name it whole")
    return [program, *command[1:]]
