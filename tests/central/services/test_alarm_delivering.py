# SPDX-License-Identifier: Apache-2.0
"""The service with its threads against real servers: nothing waits for them, nothing is lost, nothing doubled."""

import dataclasses
import socket
from collections.abc import Callable

import pytest

from central.domain.alarm_routes import AlarmRoute, Target
from central.services.alarms.senders import AlarmSender
from central.settings import AlarmSettings
from central.store.database import Database
from contracts.vocabulary import AlarmKind, DeliveryState, RouteKind
from tests.central.conftest import StillClock
from tests.central.ingest.brokers import wait_until
from tests.central.services.routes import NoBroker, RouteBench
from tests.fakes.receivers import Hook, Mailbox, hook_server, mail_server, new_hook, new_mailbox

MAIL = AlarmRoute("mail", RouteKind.EMAIL, Target(addresses=("qa@plant.example",)))


def _hook(hook: Hook, name: str = "hook") -> AlarmRoute:
    return AlarmRoute(name, RouteKind.WEBHOOK, Target(url=hook.url))


def _bench(database: Database, clock: StillClock, mailbox: Mailbox, timeout_s: float = 60.0) -> RouteBench:
    settings = AlarmSettings(
        smtp_host="127.0.0.1",
        smtp_port=mailbox.port,
        smtp_security="none",
        smtp_from="sightline@plant.example",
        timeout_s=timeout_s,
    )
    return RouteBench(database, clock, AlarmSender(settings, NoBroker()))


def _until(bench: RouteBench, condition: Callable[[], object]) -> None:
    wait_until(condition, lambda: str([(row.route, row.state, row.last_error) for row in bench.rows()]))


def test_a_mail_server_that_hangs_holds_up_neither_the_tick_nor_other_routes(
    sqlite_database: Database, clock: StillClock
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, hook_server(new_hook()) as hook:
        bench = _bench(sqlite_database, clock, Mailbox(silent.getsockname()[1]))
        bench.set(MAIL, _hook(hook))
        bench.signal()
        bench.service.tick(clock.now())
        # The tick is over while the mail still waits for the server's first word.
        _until(bench, lambda: len(hook.posts) == 1)
        _until(bench, lambda: bench.service.sending == {"mail"})
        bench.signal(AlarmKind.DRIFT)
        clock.advance(3600)
        bench.service.tick(clock.now())
        _until(bench, lambda: len(hook.posts) == 2)
        _until(bench, lambda: bench.service.sending == {"mail"})
        connection, _ = silent.accept()
        connection.close()
        _until(bench, lambda: bench.service.sending == frozenset())
    assert bench.route("mail").failures == 1
    assert bench.route("hook").failing_since is None


def test_no_more_than_four_threads_send_at_once(sqlite_database: Database, clock: StillClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mailbox = Mailbox(silent.getsockname()[1])
        bench = _bench(sqlite_database, clock, mailbox)
        bench.set(*(dataclasses.replace(MAIL, name=f"mail-{number}") for number in range(7)))
        bench.signal()
        bench.service.tick(clock.now())
        assert len(bench.service.sending) == 4
        bench.service.tick(clock.now())
        assert len(bench.service.sending) == 4
        for _ in range(4):
            silent.accept()[0].close()
        _until(bench, lambda: bench.service.sending == frozenset())


@pytest.mark.parametrize("is_restarted", [False, True])
def test_servers_that_were_down_get_each_message_once_when_they_are_back(
    sqlite_database: Database, clock: StillClock, *, is_restarted: bool
) -> None:
    mailbox, hook = new_mailbox(), new_hook()
    bench = _bench(sqlite_database, clock, mailbox)
    bench.set(MAIL, _hook(hook))
    first = bench.signal()
    assert bench.round() == 0
    assert {row.state for row in bench.rows()} == {DeliveryState.WAITING}
    assert bench.route("mail").failing_since == clock.now()
    bench.close(first)
    ids = {row.route: row.message_id for row in bench.rows()}
    if is_restarted:
        bench.restart()
    with mail_server(mailbox), hook_server(hook):
        clock.advance(31)
        assert bench.round() == 4
        if is_restarted:
            bench.restart()
        clock.advance(3600)
        assert bench.round() == 0
    assert mailbox.mails[0]["message-id"] == f"<{ids['mail']}@plant.example>"
    assert hook.posts[0].headers["webhook-id"] == ids["hook"]
    assert [post.document["events"][0]["event"] for post in hook.posts] == ["RAISED", "CLOSED"]
    assert len({mail["message-id"] for mail in mailbox.mails}) == 2
    assert bench.route("mail").failing_since is None


def test_a_partly_refused_mail_is_sent_once_and_the_route_shows_who_did_not_get_it(
    sqlite_database: Database, clock: StillClock
) -> None:
    with mail_server(new_mailbox()) as mailbox:
        mailbox.refused = {"gone@plant.example"}
        bench = _bench(sqlite_database, clock, mailbox)
        bench.set(dataclasses.replace(MAIL, target=Target(addresses=("qa@plant.example", "gone@plant.example"))))
        bench.signal()
        assert bench.round() == 1
        clock.advance(3600)
        assert bench.round() == 0
    row = bench.route("mail")
    assert (row.failing_since, len(mailbox.mails)) == (None, 1)
    assert row.last_error is not None
    assert "gone@plant.example (550)" in row.last_error
