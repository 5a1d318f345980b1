# SPDX-License-Identifier: Apache-2.0
"""A full inbox lets reports go, which come again, and keeps the newest status of each station, which does not."""

from central.messaging.gateway import Delivery
from central.services.inbox import Inbox

REPORT, FIRST, SECOND = "root/a/b/c/report", "root/a/b/c/status", "root/a/b/d/status"


class Posted:
    """What came, and which of it was acknowledged."""

    def __init__(self, inbox: Inbox) -> None:
        self.inbox = inbox
        self.acknowledged: list[bytes] = []

    def come(self, topic: str, payload: bytes, *, is_state: bool) -> bool:
        delivery = Delivery(topic, payload, is_retained=False, acknowledge=lambda: self.acknowledged.append(payload))
        return self.inbox.put(delivery, is_state=is_state)

    def taken(self) -> list[bytes]:
        found = []
        while (delivery := self.inbox.take(0)) is not None:
            found.append(delivery.payload)
        return found


def _full() -> Posted:
    posted = Posted(Inbox(2, 1_000))
    assert posted.come(FIRST, b"0", is_state=True)
    assert posted.come(REPORT, b"report 1", is_state=False)
    return posted


def test_report_that_finds_no_room_is_let_go_and_not_acknowledged() -> None:
    posted = _full()
    assert not posted.come(REPORT, b"report 2", is_state=False)
    assert (posted.inbox.turned_away, posted.acknowledged) == (1, [])
    assert posted.taken() == [b"0", b"report 1"]


def test_of_statuses_that_find_no_room_the_newest_of_each_station_is_kept() -> None:
    posted = _full()
    for topic, payload in ((FIRST, b"1"), (SECOND, b"2"), (FIRST, b"3"), (FIRST, b"4")):
        assert posted.come(topic, payload, is_state=True)
    # Those overtaken are void; the broker need not keep them.
    assert (posted.inbox.overtaken, posted.acknowledged) == (2, [b"1", b"3"])
    assert posted.taken() == [b"0", b"report 1", b"4", b"2"]
    assert len(posted.inbox) == 0


def test_statuses_beside_the_places_take_none_from_reports() -> None:
    posted = _full()
    assert posted.come(SECOND, b"1", is_state=True)
    assert posted.inbox.take(0) is not None
    assert posted.come(REPORT, b"report 2", is_state=False)
    assert posted.taken() == [b"report 1", b"1", b"report 2"]


def test_bytes_stay_bounded_whatever_comes() -> None:
    posted = _full()
    assert not posted.come(SECOND, b"x" * 1_000, is_state=True)
    assert posted.inbox.turned_away == 1
    # One that is overtaken gives its bytes back: three of these at once would be too many.
    for size in (300, 400, 500):
        assert posted.come(FIRST, b"x" * size, is_state=True)
    assert posted.taken()[-1] == b"x" * 500
    assert posted.come(FIRST, b"x" * 1_000, is_state=True)
