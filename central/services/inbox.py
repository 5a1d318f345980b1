# SPDX-License-Identifier: Apache-2.0
"""The bounded queue between the network thread and the writer of `services/ingest.py`.

When it is full a message's bytes are let go and its acknowledgement is held back: the broker's window closes (that
is the backpressure), and the station sends the reports again because it got no receipt. Held acknowledgements are
given once there is room. Reads no message.

A status has no receipt and is not sent again, so neither want of places nor of bytes costs it: beside those that wait
already one more of each topic may, the newest, in the place of the one before. As long as one of a topic has such a
place, whatever comes on that topic takes it, room or no room: a newer one that took the place of an older must not be
followed by one in between. Only a status larger than any station sends is let go for want of bytes.
"""

import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from central.messaging.gateway import Delivery

# A station's status with everything it may list.
MOST_STATE_BYTES: Final = 256 * 1024


class Inbox:
    """Bounded by messages and by bytes, one reader; states beside the places by `MOST_STATE_BYTES` a topic."""

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages: Final = max_messages
        self._max_bytes: Final = max_bytes
        # A topic stands for the newest delivery on it, in `_newest`.
        self._waiting: Final[deque[Delivery | str]] = deque()
        self._newest: Final[dict[str, Delivery]] = {}
        self._held: list[Callable[[], None]] = []
        self._bytes = 0
        self._is_closed = False
        self._changed: Final = threading.Condition()
        self.turned_away = 0
        self.overtaken = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, delivery: Delivery, *, is_state: bool = False) -> bool:
        """Queue a delivery; False: no room, see the module. `is_state`: the next one on its topic makes it void."""
        with self._changed:
            is_full = len(self._waiting) - len(self._newest) >= self._max_messages
            is_heavy = self._bytes + len(delivery.payload) > self._max_bytes and len(self._waiting) > 0
            has_place = is_state and len(delivery.payload) <= MOST_STATE_BYTES and not self._is_closed
            if has_place and (is_full or is_heavy or delivery.topic in self._newest):
                overtaken = self._put_newest(delivery)
            elif is_full or is_heavy or self._is_closed:
                # Lossy on purpose: the bytes go, the station still has them until a receipt says otherwise.
                self.turned_away += 1
                self._held.append(delivery.acknowledge)
                return False
            else:
                self._waiting.append(delivery)
                overtaken = None
            self._bytes += len(delivery.payload)
            self._changed.notify()
        if overtaken is not None:
            # What it said is not true any more: nobody needs it to be durable.
            overtaken.acknowledge()
        return True

    def _put_newest(self, delivery: Delivery) -> Delivery | None:
        """Take the place of the one on the same topic that found no room either; that one, if there was one."""
        before = self._newest.get(delivery.topic)
        self._newest[delivery.topic] = delivery
        if before is None:
            self._waiting.append(delivery.topic)
            return None
        self._bytes -= len(before.payload)
        self.overtaken += 1
        return before

    def take(self, wait_s: float) -> Delivery | None:
        """The oldest delivery, waiting up to `wait_s`; None: nothing came."""
        with self._changed:
            if not self._waiting and not self._is_closed:
                self._changed.wait(wait_s)
            if not self._waiting:
                return None
            first = self._waiting.popleft()
            delivery = self._newest.pop(first) if isinstance(first, str) else first
            self._bytes -= len(delivery.payload)
            return delivery

    def release_held(self) -> int:
        """Give held acknowledgements if the queue is at most half full; how many."""
        with self._changed:
            if (
                not self._held
                or len(self._waiting) - len(self._newest) > self._max_messages // 2
                or self._bytes > self._max_bytes // 2
            ):
                return 0
            held, self._held = self._held, []
        for acknowledge in held:
            acknowledge()
        return len(held)

    def close(self) -> None:
        """Take nothing more and wake the reader."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
