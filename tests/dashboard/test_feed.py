# SPDX-License-Identifier: Apache-2.0
"""The feed: one question for many viewers, last known values when central is away, bounded memory."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from dashboard import feed as module
from dashboard.client import CentralClient, UnexpectedAnswerError, UnreachableError
from dashboard.feed import Feed
from tests.fakes.clock import FakeClock


class _Central:
    """Counts what it is asked; can be switched off."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.body: object = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if self.status == 0:
            raise httpx.ConnectError("away", request=request)
        if "/evidence/" in request.url.path:
            return httpx.Response(self.status, content=b"x" * 100)
        return httpx.Response(self.status, json=self.body)


@pytest.fixture(name="central")
def _central() -> _Central:
    return _Central()


@pytest.fixture(name="clock")
def _clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(name="feed")
def _feed(central: _Central, clock: FakeClock) -> Feed:
    return Feed(CentralClient("http://central", "t", transport=httpx.MockTransport(central)), clock)


def _stations() -> Callable[[CentralClient], object]:
    return lambda client: client.stations()


def test_two_viewers_cost_one_question(feed: Feed, central: _Central, clock: FakeClock) -> None:
    for _ in range(5):
        assert feed.get("stations", _stations(), 2.0).error is None
    assert central.asked == 1
    clock.advance(2.1)
    feed.get("stations", _stations(), 2.0)
    assert central.asked == 2


def test_slow_central_is_given_rest(feed: Feed, clock: FakeClock) -> None:
    asked: list[float] = []

    def slow(client: CentralClient) -> object:
        asked.append(clock.monotonic())
        clock.advance(3)
        return client.stations()

    for _ in range(12):
        feed.get("slow", slow, 1.0)
        clock.advance(1.1)
    assert len(asked) == 2


def test_last_known_value_stands_while_central_is_away(feed: Feed, central: _Central, clock: FakeClock) -> None:
    central.body = [{"station": "a/b/c", "sync": "IN_SYNC"}]
    known_at = clock.now()
    feed.get("stations", _stations(), 1.0)
    central.status = 0
    clock.advance(5)
    reading = feed.get("stations", _stations(), 1.0)
    assert isinstance(reading.error, UnreachableError)
    assert reading.or_else(()) != ()
    assert reading.at == known_at
    assert feed.last_answer_at == known_at


def test_central_away_is_asked_only_now_and_then(feed: Feed, central: _Central, clock: FakeClock) -> None:
    central.status = 0
    for key in range(20):
        assert feed.get(key, _stations(), 0.0).error is not None
    assert central.asked == 1
    clock.advance(module.RETRY_AFTER_S + 0.1)
    central.status = 200
    assert feed.get("stations", _stations(), 0.0).error is None
    assert feed.trouble is None


def test_refusal_of_one_question_leaves_the_others_alone(feed: Feed, central: _Central) -> None:
    central.body = {"not": "a list"}
    assert isinstance(feed.get("strange", _stations(), 5.0).error, UnexpectedAnswerError)
    central.body = []
    assert feed.get("good", _stations(), 5.0).error is None


def test_forgetting_asks_again_but_keeps_the_fallback(feed: Feed, central: _Central) -> None:
    central.body = [{"station": "a/b/c", "sync": "IN_SYNC"}]
    feed.get("stations", _stations(), 60.0)
    feed.forget()
    central.status = 0
    reading = feed.get("stations", _stations(), 60.0)
    assert central.asked == 2
    assert reading.or_else(()) != ()


def test_answers_are_bounded(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_ANSWERS", 10)
    for key in range(50):
        feed.get(key, _stations(), 60.0)
    assert len(feed._answers) == 10


def test_pictures_are_fetched_once_and_bounded(feed: Feed, central: _Central, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PICTURE_BYTES", 350)
    assert feed.picture("a" * 64) == feed.picture("a" * 64)
    assert central.asked == 1
    for name in "bcdefg":
        feed.picture(name * 64)
    assert feed._picture_bytes <= 350
    assert len(feed._pictures) == 3


def test_missing_picture_is_none_and_asked_for_again(feed: Feed, central: _Central) -> None:
    central.status = 404
    assert feed.picture("a" * 64) is None
    central.status = 200
    assert feed.picture("a" * 64) is not None
