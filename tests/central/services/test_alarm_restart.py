# SPDX-License-Identifier: Apache-2.0
"""A whole central, killed while the mail server is away: the mail comes once it is back, and only once."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from central.services.alarms.rows import Signal, raise_alarm
from central.store.database import Database
from contracts.vocabulary import AlarmKind
from plant.processes.broker import BrokerKind, free_port, plan_broker
from tests.central.conftest import START
from tests.central.ingest.brokers import CentralProcess, wait_until
from tests.fakes.receivers import Mailbox, mail_server, new_mailbox

BODY = {
    "route": {"kind": "EMAIL", "target": {"addresses": ["qa@plant.example"]}},
    "by": "anna",
    "note": "for the night shift",
}


@pytest.fixture(name="mailbox")
def _mailbox(monkeypatch: pytest.MonkeyPatch) -> Mailbox:
    mailbox = new_mailbox()
    for name, value in (
        ("SMTP_HOST", "127.0.0.1"),
        ("SMTP_PORT", str(mailbox.port)),
        ("SMTP_SECURITY", "none"),
        ("SMTP_FROM", "sightline@plant.example"),
        ("PERIOD_S", "0.2"),
    ):
        monkeypatch.setenv(f"SIGHTLINE_CENTRAL_ALARMS_{name}", value)
    return mailbox


@pytest.fixture(name="central")
def _central(tmp_path: Path) -> Iterator[CentralProcess]:
    # Nobody listens there: alarms reach people without a broker, too.
    central = CentralProcess(tmp_path, plan_broker(BrokerKind.AMQTT, free_port(), tmp_path / "broker"))
    yield central
    central.kill()


@pytest.mark.slow
def test_an_alarm_survives_kill_9_and_a_mail_server_that_was_away_and_comes_once(
    mailbox: Mailbox, central: CentralProcess, tmp_path: Path
) -> None:
    headers = {"Authorization": f"Bearer {central.token('ADMIN')}"}

    def route() -> dict[str, object]:
        (found,) = httpx.get(f"{url}/api/v1/alarm-routes", headers=headers, timeout=60).json()
        return dict(found)

    def put() -> None:
        httpx.put(f"{url}/api/v1/alarm-routes/night", json=BODY, headers=headers, timeout=60).raise_for_status()

    url = central.start()
    put()
    database = Database(f"sqlite:///{tmp_path / 'central' / 'central.db'}")
    with database.begin() as session:
        raise_alarm(session, Signal(AlarmKind.ESCAPES, "escapes", "audit", is_simulated=False), START)
    database.close()
    wait_until(lambda: route()["is_failing"], lambda: str(route()))
    central.kill()

    with mail_server(mailbox):
        url = central.start()
        assert route()["waiting"] == 1
        # Not to wait for the half minute between two attempts.
        put()
        wait_until(lambda: mailbox.mails, lambda: str(route()))
        wait_until(lambda: route()["waiting"] == 0, lambda: str(route()))
        assert route()["is_failing"] is False
        central.kill()
        url = central.start()
        put()
        httpx.post(
            f"{url}/api/v1/alarms/1/acknowledge", json={"by": "bert"}, headers=headers, timeout=60
        ).raise_for_status()
        wait_until(lambda: len(mailbox.mails) >= 2, lambda: str(route()))
    assert [mail["subject"] for mail in mailbox.mails] == [
        "[Sightline] CRITICAL: Escapes, the whole plant (raised)",
        "[Sightline] CRITICAL: Escapes, the whole plant (acknowledged)",
    ]
