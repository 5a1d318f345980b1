# SPDX-License-Identifier: Apache-2.0
"""Where the time of a step goes: computing, waiting for data, waiting for other workers. Counts and decides nothing.

Filled by what extracts features and by what learns by gradient; told by `training.progress` with the usage.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

_T = TypeVar("_T")


@dataclass
class Pace:
    """Seconds so far, by a monotonic clock."""

    compute_s: float = 0.0
    data_wait_s: float = 0.0
    peers_wait_s: float = 0.0

    @contextmanager
    def computing(self) -> Iterator[None]:
        """What runs inside computes, but for what it says of itself meanwhile."""
        began_s, apart_s = time.monotonic(), self.data_wait_s + self.peers_wait_s
        try:
            yield
        finally:
            apart_s = self.data_wait_s + self.peers_wait_s - apart_s
            self.compute_s += max(0.0, time.monotonic() - began_s - apart_s)

    @contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """What runs inside reads, decodes or draws what is computed on next."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.data_wait_s += time.monotonic() - began_s

    @contextmanager
    def waiting_for_peers(self) -> Iterator[None]:
        """What runs inside waits for other workers."""
        began_s = time.monotonic()
        try:
            yield
        finally:
            self.peers_wait_s += time.monotonic() - began_s

    def drawn(self, source: Iterable[_T]) -> Iterator[_T]:
        """The same things in the same order; the time until each is there counts as waiting for data."""
        iterator = iter(source)
        while True:
            with self.waiting_for_data():
                try:
                    found = next(iterator)
                except StopIteration:
                    return
            yield found
