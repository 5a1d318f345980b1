# SPDX-License-Identifier: Apache-2.0
"""A full inbox lets reports go, which come again, and keeps the newest status of each station, which does not."""

import random

from central.messaging.gateway import Delivery
from central.services.inbox import MOST_STATE_BYTES, Inbox

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


def test_status_is_never_followed_by_an_older_one() -> None:
    # The second finds no room; the third does, while the second still waits; the fourth finds none again.
    posted = _full()
    posted.come(FIRST, b"2", is_state=True)
    assert [posted.inbox.take(0) is not None for _ in range(2)] == [True, True]
    posted.come(FIRST, b"3", is_state=True)
    posted.come(REPORT, b"report 2", is_state=False)
    posted.come(REPORT, b"report 3", is_state=False)
    posted.come(FIRST, b"4", is_state=True)
    assert [each for each in posted.taken() if not each.startswith(b"report")][-1] == b"4"


def test_newest_status_of_each_station_is_the_last_that_is_taken_whatever_the_order() -> None:
    rng = random.Random(5)
    for _ in range(300):
        posted, sent, taken = Posted(Inbox(3, 60)), {}, {}
        for number in range(60):
            topic = rng.choice((FIRST, SECOND, REPORT))
            payload = f"{number}".encode().ljust(rng.choice((4, 20)))
            if posted.come(topic, payload, is_state=topic != REPORT):
                sent[topic] = payload
            else:
                assert topic == REPORT
            for _ in range(rng.choice((0, 0, 1, 3))):
                if (delivery := posted.inbox.take(0)) is not None:
                    taken[delivery.topic] = delivery.payload
        while (delivery := posted.inbox.take(0)) is not None:
            taken[delivery.topic] = delivery.payload
        assert {topic: taken[topic] for topic in (FIRST, SECOND)} == {topic: sent[topic] for topic in (FIRST, SECOND)}


def test_want_of_bytes_costs_no_status() -> None:
    posted = Posted(Inbox(10, 1_000))
    assert posted.come(REPORT, b"x" * 900, is_state=False)
    assert posted.come(FIRST, b"1" * 200, is_state=True)
    assert posted.come(FIRST, b"2" * 300, is_state=True)
    assert not posted.come(REPORT, b"x" * 200, is_state=False)
    assert posted.taken() == [b"x" * 900, b"2" * 300]
    assert posted.acknowledged == [b"1" * 200]


def test_bytes_stay_bounded_whatever_comes() -> None:
    posted = Posted(Inbox(2, 1_000))
    assert posted.come(REPORT, b"x" * 900, is_state=False)
    assert not posted.come(FIRST, b"x" * (MOST_STATE_BYTES + 1), is_state=True)
    assert (posted.inbox.turned_away, posted.acknowledged) == (1, [])
    # One that is overtaken gives its bytes back.
    for _ in range(100):
        assert posted.come(FIRST, b"x" * MOST_STATE_BYTES, is_state=True)
    assert len(posted.taken()) == 2
    assert posted.come(REPORT, b"x" * 900, is_state=False)
