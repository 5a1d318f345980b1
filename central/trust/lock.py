# SPDX-License-Identifier: Apache-2.0
"""One writer of the trust folder at a time, over threads and over processes: a running central and the `keys` command.

The kernel drops the lock when a process dies. Used by the package repository and by changes of keys.
"""

import fcntl
import os
import threading
from pathlib import Path
from types import TracebackType


class TrustLock:
    """Re-entrant within a thread; a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.RLock()
        self._depth = 0
        self._descriptor = -1

    def __enter__(self) -> None:
        self._threads.acquire()
        try:
            if self._depth == 0:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                fcntl.flock(self._descriptor, fcntl.LOCK_EX)
            self._depth += 1
        except BaseException:
            self._threads.release()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0:
            os.close(self._descriptor)
        self._threads.release()
