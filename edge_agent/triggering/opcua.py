# SPDX-License-Identifier: Apache-2.0
"""A variable of an OPC UA server as a trigger: the server tells of every change.

A Boolean triggers when it goes on, anything else with every new value. The value at the beginning is what holds, not
a trigger. Used by `triggering.controller`, on whose thread number and name are read.
"""

import queue
import threading
from datetime import UTC, datetime
from typing import Any, Final

from edge_agent.clock import Clock
from edge_agent.controller.opcua import OpcUaLink
from edge_agent.triggering.controller import PartReader
from edge_agent.triggering.source import TriggerBuffer

_WAITING_MAX: Final = 256
_KEEP_ALIVE_S: Final = 1.0


class SubscribedVariable:
    """See the module.

    Args:
        link: to the server.
        address: the variable.
        part: reads number and name.
        buffer: where triggers go.
        clock: the station's clock.
        interval_s: how often the server looks at the variable and tells of it.
        is_number: the variable is the trigger number itself.
    """

    def __init__(
        self,
        link: OpcUaLink,
        address: str,
        part: PartReader,
        buffer: TriggerBuffer,
        clock: Clock,
        *,
        interval_s: float,
        is_number: bool = False,
    ) -> None:
        self._link = link
        self._address = address
        self._part = part
        self._buffer = buffer
        self._clock = clock
        self._interval_ms = 1000 * interval_s
        self._is_number = is_number
        self._changes: queue.Queue[tuple[float, datetime | None, int | None]] = queue.Queue(_WAITING_MAX)
        self._has_begun = False
        self._last: Any = None

    def begin(self) -> None:
        """Subscribe."""
        self._part.prove()
        self._has_begun = False
        self._link.ask(f"subscribe {self._address}", self._subscribe)

    def step(self, stopping: threading.Event) -> None:
        """Announce the next change; without one, look whether the server is still there."""
        del stopping
        try:
            at_s, at, number = self._changes.get(timeout=_KEEP_ALIVE_S)
        except queue.Empty:
            self._link.read_text(self._address)
            return
        self._part.announce(self._buffer, at_s, at, number=number)

    def datachange_notification(self, _node: Any, value: Any, data: Any) -> None:
        """Called by asyncua, on the link's thread."""
        last, self._last = self._last, value
        if not self._has_begun:
            self._has_begun = True
            return
        if value == last or value is False:
            return
        stamp = data.monitored_item.Value.SourceTimestamp
        # Read afterwards, the number could be that of the next part already.
        number = value if self._is_number and isinstance(value, int) and value >= 0 else None
        change = (self._clock.monotonic(), None if stamp is None else stamp.replace(tzinfo=UTC), number)
        try:
            self._changes.put_nowait(change)
        except queue.Full:
            # Without its name, but not unseen.
            self._buffer.put(number=number, at_s=change[0], at=change[1])

    async def _subscribe(self, client: Any) -> None:
        subscription = await client.create_subscription(self._interval_ms, self)
        node = client.get_node(self._address)
        # A queue at the server: changes between two messages must not fold into one.
        await subscription.subscribe_data_change(node, queuesize=_WAITING_MAX, sampling_interval=self._interval_ms)
