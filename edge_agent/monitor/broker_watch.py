# SPDX-License-Identifier: Apache-2.0
"""Says that the broker is away, and why, to whoever looks at the station itself.

Central and the dashboard cannot hear of it: for the station's own page, its metrics and its supervisor. Connects
nothing; the bus does, again and again. Built by the composition root, asked for every status.
"""

from collections.abc import Callable
from typing import Final

from contracts.reports import StationFault
from edge_agent.clock import Clock
from edge_agent.reporting.faults import FaultBook

# A reconnect after a hiccup is no news.
_PATIENCE_S: Final = 5.0
_CODE: Final = "broker-away"


class BrokerWatch:
    """See the module.

    Args:
        clock: the station's.
        where: host and port, for the text.
        is_connected: whether the link is up.
        refusal: what the broker said when it refused the login; "" when it did not.
    """

    def __init__(
        self, clock: Clock, where: str, *, is_connected: Callable[[], bool], refusal: Callable[[], str]
    ) -> None:
        self._clock = clock
        self._where = where
        self._is_connected = is_connected
        self._refusal = refusal
        self._faults = FaultBook(clock)
        self._seen_s = clock.monotonic()

    def faults(self) -> list[StationFault]:
        """The fault while it lasts."""
        now_s = self._clock.monotonic()
        if self._is_connected():
            self._seen_s = now_s
            self._faults.clear(_CODE)
        elif now_s - self._seen_s > _PATIENCE_S:
            waits = "reports and pictures wait on the disk"
            if refusal := self._refusal():
                message = f"the broker {self._where} refuses the login: {refusal}; {waits}"
                remedy = (
                    "correct broker.username and broker.password, or have the broker's administrator make this user"
                )
            else:
                message = f"the broker {self._where} cannot be reached; {waits}"
                remedy = "check broker.url, cable, network and the broker; `sightline-edge doctor` says which"
            self._faults.add(_CODE, message, remedy)
        return self._faults.current()
