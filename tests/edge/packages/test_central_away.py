# SPDX-License-Identifier: Apache-2.0
"""A central that refuses the station, or is away for long, is a fault that says what to do."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edge_agent.packages.roots import AssignmentKeys
from edge_agent.packages.rootwatch import HttpRootSource, RootWatch
from edge_agent.packages.trust import load_assignment_key
from tests.fakes.clock import FakeClock
from tests.fakes.package_server import TOKEN, PackageServer

PATIENCE_S = 900.0
Maker = Callable[[str], RootWatch]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def watching(server: PackageServer, clock: FakeClock, tmp_path: Path) -> Iterator[Maker]:
    with ExitStack() as closing:

        def make(token: str) -> RootWatch:
            keys = AssignmentKeys(server.root, load_assignment_key(server.assignment_key), tmp_path / "roots")
            source = HttpRootSource(server.url, token, clock=clock)
            closing.callback(source.close)
            return RootWatch(keys, source, clock, relays={})

        yield make


def codes(watch: RootWatch) -> list[str]:
    watch.look()
    return [fault.code for fault in watch.faults()]


def test_refused_token_is_told_at_once_and_never_repeated(watching: Maker) -> None:
    watch = watching("one-that-was-revoked")
    assert codes(watch) == ["central-refuses"]
    (fault,) = watch.faults()
    assert "HTTP 401" in fault.message
    assert "central.token" in fault.remedy
    assert "one-that-was-revoked" not in fault.message + fault.remedy


@pytest.mark.parametrize(("status", "setting"), [(403, "central.token"), (407, "central.proxy_password")])
def test_whoever_refuses_is_named(server: PackageServer, watching: Maker, status: int, setting: str) -> None:
    watch = watching(TOKEN)
    server.status["metadata/2.root.json"] = status
    assert codes(watch) == ["central-refuses"]
    assert setting in watch.faults()[0].remedy


def test_token_that_is_taken_again_ends_it(server: PackageServer, watching: Maker) -> None:
    watch = watching(TOKEN)
    server.status["metadata/2.root.json"] = 401
    assert codes(watch) == ["central-refuses"]
    del server.status["metadata/2.root.json"]
    assert codes(watch) == []


def test_central_that_is_away_for_long_is_told_with_what_waits(
    server: PackageServer, watching: Maker, clock: FakeClock
) -> None:
    watch = watching(TOKEN)
    assert codes(watch) == []
    server.is_reachable = False
    clock.advance(PATIENCE_S - 1)
    assert codes(watch) == []
    clock.advance(1)
    assert codes(watch) == ["central-away"]
    (fault,) = watch.faults()
    assert "new packages and pictures wait" in fault.message
    assert "central.url" in fault.remedy
    server.is_reachable = True
    assert codes(watch) == []
    # Its patience begins anew.
    server.is_reachable = False
    clock.advance(PATIENCE_S - 1)
    assert codes(watch) == []


def test_central_that_answers_with_an_error_counts_as_away(
    server: PackageServer, watching: Maker, clock: FakeClock
) -> None:
    watch = watching(TOKEN)
    server.status["metadata/2.root.json"] = 502
    clock.advance(PATIENCE_S)
    assert codes(watch) == ["central-away"]
    assert "got 502" in watch.faults()[0].message
    # What it refuses is another matter than that it is away.
    server.status["metadata/2.root.json"] = 401
    assert codes(watch) == ["central-refuses"]
