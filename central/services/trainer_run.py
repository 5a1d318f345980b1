# SPDX-License-Identifier: Apache-2.0
"""One training process: started apart from central, found again after a restart, ended on demand.

Knows processes and files, no tables and no rules. Called by `services/learning.py`.

The process holds a lock on a file that it inherited: as long as somebody holds the lock the training lives, whoever
started it and whatever its number is. That survives kill -9 of central, and a number that was given to another
process meanwhile is never taken for it. Linux and other systems with flock only.
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

from pydantic import ValidationError

from contracts.jobs import EVALUATION_NAME, PROGRESS_NAME, EvaluationReport, TrainingProgress

_LOG = logging.getLogger(__name__)

JOB_NAME: Final = "job.json"
OUTPUT_FOLDER: Final = "output"
_LOCK_NAME: Final = "alive.lock"
_LOG_NAME: Final = "trainer.log"
_NICENESS: Final = "10"
_TAIL_BYTES: Final = 2_000


class TrainerRun:
    """The process of one training in its folder. Cheap to make; looks at the folder whenever it is asked."""

    def __init__(self, folder: Path) -> None:
        self.folder: Final = folder
        self.output: Final = folder / OUTPUT_FOLDER

    def start(self, command: Sequence[str]) -> "subprocess.Popen[bytes]":
        """Run `command JOB.json` in a session of its own, at low priority; its words go to a log file.

        Returns:
            The process; its number is its process group too. Poll it now and then, or it stays as a zombie.

        Raises:
            OSError: the command cannot be run; the message says why.
        """
        self.output.mkdir(parents=True, exist_ok=True)
        nice = shutil.which("nice")
        full = [*([nice, "-n", _NICENESS] if nice else []), *_resolved(command), str(self.folder / JOB_NAME)]
        lock = os.open(self.folder / _LOCK_NAME, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with (self.folder / _LOG_NAME).open("ab") as log:
                process = subprocess.Popen(
                    full,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(lock,),
                    start_new_session=True,
                    cwd=self.folder,
                )
        finally:
            # The child keeps its own copy: the lock goes when the child does.
            os.close(lock)
        _LOG.info("training process started folder=%s pid=%d", self.folder, process.pid)
        return process

    def is_alive(self) -> bool:
        """Whether the process (or a child of it) still runs."""
        try:
            lock = os.open(self.folder / _LOCK_NAME, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def end(self, pid: int | None, *, is_patient: bool) -> bool:
        """Ask the process group to end (SIGTERM), or end it (SIGKILL). Only while the lock says that it is ours.

        Returns:
            False when there was nothing to signal or its number is not known.
        """
        progress = self.progress()
        number = pid or (progress.pid if progress else None)
        if number is None or not self.is_alive():
            return False
        try:
            os.killpg(number, signal.SIGTERM if is_patient else signal.SIGKILL)
        except (ProcessLookupError, PermissionError) as error:
            _LOG.warning("training process could not be signalled pid=%d error=%s", number, error)
            return False
        return True

    def progress(self) -> TrainingProgress | None:
        """Where it stands, by its own word; None before the first word. It is rewritten whole, so never half read."""
        try:
            return TrainingProgress.model_validate_json((self.output / PROGRESS_NAME).read_bytes())
        except (OSError, ValidationError):
            return None

    def evaluation(self) -> EvaluationReport | None:
        """The result; there only once everything else is whole.

        Raises:
            ValueError: a result that is no evaluation; the training is to be failed with this text.
        """
        try:
            content = (self.output / EVALUATION_NAME).read_bytes()
        except FileNotFoundError:
            return None
        try:
            return EvaluationReport.model_validate_json(content)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            raise ValueError(f"{EVALUATION_NAME}: {first['loc']}: {first['msg']}") from error

    def last_words(self) -> str:
        """Why it ended, for people: its own error, else the end of its log."""
        progress = self.progress()
        if progress is not None and progress.error:
            return progress.error
        try:
            with (self.folder / _LOG_NAME).open("rb") as log:
                log.seek(max(0, log.seek(0, os.SEEK_END) - _TAIL_BYTES))
                tail = log.read().decode(errors="replace").strip()
        except OSError:
            tail = ""
        return tail or "the training process ended without a result and without a word"


def _resolved(command: Sequence[str]) -> list[str]:
    """The program by its full path: a service started without the venv's PATH finds it beside its own Python."""
    beside = Path(sys.executable).parent / command[0]
    program = shutil.which(command[0]) or (str(beside) if beside.is_file() else command[0])
    return [program, *command[1:]]
