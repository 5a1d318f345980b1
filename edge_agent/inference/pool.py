# SPDX-License-Identifier: Apache-2.0
"""Sessions shared by the stations of one process: one copy of a graph, however many cameras it judges for.

With a session go its batcher and what was measured of batches, so that its cameras meet at one and the same.

ONNX Runtime's sessions may be run by several threads at once, each run on threads of its own. A session lives as long
as anybody holds it. Opens through `inference.onnx`; closes nothing itself. Built by the composition root of a group.
"""

import threading
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_agent.inference.batching import BatchSession, BatchTimes, FrameBatcher, Seat
from edge_agent.inference.onnx import OnnxSession, open_session

# Package (its folder is named by its digest), file, provider, threads.
_Key = tuple[str, str, str, int]


class SessionPool:
    """See the module. Safe for many threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opening: dict[_Key, threading.Lock] = {}
        self._open: weakref.WeakValueDictionary[_Key, OnnxSession] = weakref.WeakValueDictionary()
        # Held while times are taken: two cameras that measured at once would measure each other.
        self.measuring = threading.Lock()
        self._measured: weakref.WeakKeyDictionary[BatchSession, Sequence[BatchTimes]] = weakref.WeakKeyDictionary()
        # By the identity of the session, which a batcher holds.
        self._batchers: weakref.WeakValueDictionary[int, FrameBatcher] = weakref.WeakValueDictionary()

    def open(self, path: Path, *, provider: str, threads: int) -> OnnxSession:
        """The session of a stored package's graph; opened when nobody holds it. Two who ask at once share it.

        Args:
            path: in a folder whose name is the package's id, already verified.
            provider: as for `open_session`.
            threads: as for `open_session`.

        Raises:
            TrustError: as from `open_session`.
            DeviceError: as from `open_session`.
        """
        key = (path.parent.name, path.name, provider, threads)
        with self._lock:
            opening = self._opening.setdefault(key, threading.Lock())
        with opening:
            found = self._open.get(key)
            if found is None:
                found = open_session(path, provider=provider, threads=threads)
                self._open[key] = found
            return found

    def measured(self, session: BatchSession, measure: Callable[[], Sequence[BatchTimes]]) -> Sequence[BatchTimes]:
        """What batches of a session take; measured by the first that asks, while the others wait."""
        with self.measuring:
            found = self._measured.get(session)
            if found is None:
                found = measure()
                self._measured[session] = found
            return found

    def batcher(self, session: BatchSession, make: Callable[[], FrameBatcher]) -> FrameBatcher:
        """The one batcher of a session; made by the first that asks."""
        with self._lock:
            found = self._batchers.get(id(session))
            if found is None:
                found = make()
                self._batchers[id(session)] = found
            return found

    def __len__(self) -> int:
        """Sessions that somebody holds."""
        return len(self._open)


@dataclass(frozen=True)
class Group:
    """A station's place among those of its process. `cameras`: of all of them."""

    pool: SessionPool
    seat: Seat
    cameras: int
