# SPDX-License-Identifier: Apache-2.0
"""Answers of central, kept for a moment and shown on when central is away.

Several viewers and refreshes share one answer. While central does not answer, it is asked again only every
few seconds and the last known value stands, marked as old. Draws nothing; `access` hands it to the pages.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar, cast

from dashboard.client import CentralClient, CentralError, UnreachableError
from dashboard.clock import Clock

MAX_ANSWERS: Final = 256
MAX_PICTURE_BYTES: Final = 64 * 1024 * 1024
RETRY_AFTER_S: Final = 2.0
# An answer that took long is kept this many times as long: a slow central is not asked all the time.
REST_FACTOR: Final = 4.0

_T = TypeVar("_T")


@dataclass(frozen=True)
class Reading(Generic[_T]):
    """The last known value, when it was fetched, and what went wrong since (None: it is fresh)."""

    value: _T | None
    at: datetime | None
    error: CentralError | None

    def or_else(self, default: _T) -> _T:
        """The value, or what to show when nothing is known."""
        return default if self.value is None else self.value


@dataclass
class _Kept:
    value: Any
    at: datetime | None
    error: CentralError | None
    asked_s: float
    took_s: float = 0.0


class Feed:
    """Cached answers of one central for one token. Safe to share between sessions of that token."""

    def __init__(self, client: CentralClient, clock: Clock) -> None:
        self.client = client
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._pictures: OrderedDict[Hashable, bytes] = OrderedDict()
        self._picture_bytes = 0
        self._down: UnreachableError | None = None
        self._down_until_s = 0.0
        self._last_answer_at: datetime | None = None

    @property
    def trouble(self) -> CentralError | None:
        """Why central does not answer right now; None while it does."""
        return self._down

    @property
    def last_answer_at(self) -> datetime | None:
        """When central last answered anything."""
        return self._last_answer_at

    def get(self, key: Hashable, fetch: Callable[[CentralClient], _T], max_age_s: float) -> Reading[_T]:
        """A value at most `max_age_s` old if central answers in time, else the last known one with the error.

        Never raises a `CentralError`: the reading carries it.
        """
        now_s = self._clock.monotonic()
        with self._lock:
            kept = self._answers.get(key)
            last = kept or _Kept(None, None, None, float("-inf"))
            if now_s - last.asked_s < max(max_age_s, REST_FACTOR * last.took_s):
                return _reading(last)
            if self._down is not None and now_s < self._down_until_s:
                return _reading(_Kept(last.value, last.at, self._down, now_s))
        value, error = self._ask(fetch)
        done_s = self._clock.monotonic()
        with self._lock:
            if error is None:
                last = _Kept(value, self._clock.now(), None, done_s, done_s - now_s)
            else:
                last = _Kept(last.value, last.at, error, done_s)
            self._answers[key] = last
            self._answers.move_to_end(key)
            while len(self._answers) > MAX_ANSWERS:
                self._answers.popitem(last=False)
        return _reading(last)

    def _ask(self, fetch: Callable[[CentralClient], _T]) -> tuple[_T | None, CentralError | None]:
        try:
            value = fetch(self.client)
        except UnreachableError as error:
            with self._lock:
                self._down = error
                self._down_until_s = self._clock.monotonic() + RETRY_AFTER_S
            return None, error
        except CentralError as error:
            self._answered()
            return None, error
        self._answered()
        return value, None

    def _answered(self) -> None:
        with self._lock:
            self._down = None
            self._last_answer_at = self._clock.now()

    def forget(self) -> None:
        """After a change made here: ask again at once. Last known values stay as a fallback."""
        with self._lock:
            for kept in self._answers.values():
                kept.asked_s = float("-inf")

    def picture(self, sha256: str) -> bytes | None:
        """A stored picture, or None when it cannot be had right now. Content-addressed, so kept for good."""
        return self.made(sha256, lambda: self.client.evidence(sha256))

    def audit_picture(self, audit_id: int) -> bytes | None:
        """The picture of an audit, or None when it cannot be had right now."""
        return self.made(("audit", audit_id), lambda: self.client.audit_picture(audit_id))

    def made(self, key: Hashable, make: Callable[[], bytes | None]) -> bytes | None:
        """Bytes that never change for their key, within the memory bound; the least used go first."""
        with self._lock:
            found = self._pictures.get(key)
            if found is not None:
                self._pictures.move_to_end(key)
                return found
            if self._down is not None and self._clock.monotonic() < self._down_until_s:
                return None
        made, _ = self._ask(lambda _client: make())
        if made is not None:
            with self._lock:
                if key not in self._pictures:
                    self._pictures[key] = made
                    self._picture_bytes += len(made)
                while self._picture_bytes > MAX_PICTURE_BYTES and len(self._pictures) > 1:
                    _, dropped = self._pictures.popitem(last=False)
                    self._picture_bytes -= len(dropped)
        return made


def _reading(kept: _Kept) -> Reading[_T]:
    return Reading(cast("_T | None", kept.value), kept.at, kept.error)
