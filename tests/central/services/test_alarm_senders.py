# SPDX-License-Identifier: Apache-2.0
"""One message to a real mail server, web server or broker: what arrives, and what is said when it does not."""

import base64
import dataclasses
import hashlib
import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from central.domain.alarm_routes import AlarmRoute, Target
from central.errors import RouteError
from central.messaging.gateway import Delivery, Gateway
from central.services.alarms.messages import Outgoing
from central.services.alarms.route_testing import send_test
from central.services.alarms.senders import AlarmSender, signed
from central.settings import AlarmSettings, BrokerSettings
from contracts.topics import Channel, alarm_topic
from contracts.vocabulary import RouteKind
from plant.processes.broker import BrokerKind, BrokerPlan, find_mosquitto
from tests.central.conftest import START
from tests.central.ingest.brokers import Process, start_broker, wait_until
from tests.central.services.routes import NoBroker, mqtt
from tests.fakes.certificates import CertificateFiles, make_certificates
from tests.fakes.receivers import PASSWORD, USER, Hook, Mailbox, hook_server, mail_server, new_hook, new_mailbox

MESSAGE = Outgoing(
    "f" * 32,
    START,
    "[Sightline] WARNING: Drift,\nst-1 – über 3 %",
    "Grüße\n",
    {"kind": "ALARM", "say": "über"},
    "alarm-7",
)
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


def _mail_route(*addresses: str) -> AlarmRoute:
    return AlarmRoute("mail", RouteKind.EMAIL, Target(addresses=addresses or ("qa@plant.example",)))


def _hook_route(hook: Hook, key: str = "") -> AlarmRoute:
    return AlarmRoute("hook", RouteKind.WEBHOOK, Target(url=hook.url, key=key))


def _settings(mailbox: Mailbox, **changes: Any) -> AlarmSettings:
    fixed = AlarmSettings(
        smtp_host="127.0.0.1", smtp_port=mailbox.port, smtp_security="none", smtp_from="sightline@plant.example"
    )
    return dataclasses.replace(fixed, **changes)


def _sender(settings: AlarmSettings) -> AlarmSender:
    return AlarmSender(settings, NoBroker())


@pytest.fixture(name="files", scope="module")
def _files(tmp_path_factory: pytest.TempPathFactory) -> CertificateFiles:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(name="tls")
def _tls(files: CertificateFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files.server, files.server_key)
    return context


def test_a_mail_carries_an_id_that_does_not_change_and_its_text_whole() -> None:
    with mail_server(new_mailbox()) as mailbox:
        sender = _sender(_settings(mailbox))
        for _ in range(2):
            sent = sender.send(_mail_route("qa@plant.example", "night@plant.example"), MESSAGE, START)
        assert not sent.is_partly
    first, again = mailbox.mails
    assert first["message-id"] == again["message-id"] == f"<{'f' * 32}@plant.example>"
    assert first["to"] == "qa@plant.example, night@plant.example"
    assert first["subject"] == "[Sightline] WARNING: Drift, st-1 – über 3 %"
    assert (first["references"], first["auto-submitted"]) == ("<alarm-7@plant.example>", "auto-generated")
    assert first.get_content().replace("\r\n", "\n") == "Grüße\n"
    assert first["date"].datetime == START.replace(microsecond=0)


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_mail_goes_through_tls_with_a_login(security: str, tls: ssl.SSLContext, files: CertificateFiles) -> None:
    with mail_server(new_mailbox(), security, tls) as mailbox:
        settings = _settings(
            mailbox, smtp_security=security, smtp_username=USER, smtp_password=PASSWORD, ca_file=files.authority
        )
        _sender(settings).send(_mail_route(), MESSAGE, START)
        assert (len(mailbox.mails), mailbox.logins) == (1, [USER])

        wrong = dataclasses.replace(settings, smtp_password="not the password")
        with pytest.raises(RouteError, match=r"refused the login \(535\)") as refused:
            _sender(wrong).send(_mail_route(), MESSAGE, START)
        assert "not the password" not in str(refused.value)

        # Of an authority that nobody named: nothing is said to it, least of all the password.
        mailbox.logins.clear()
        with pytest.raises(RouteError, match="certificate verify failed"):
            _sender(dataclasses.replace(settings, ca_file="")).send(_mail_route(), MESSAGE, START)
        assert mailbox.logins == []
    assert len(mailbox.mails) == 1


def test_a_server_that_offers_no_starttls_gets_nothing() -> None:
    with mail_server(new_mailbox()) as mailbox:
        with pytest.raises(RouteError, match="STARTTLS"):
            _sender(_settings(mailbox, smtp_security="starttls")).send(_mail_route(), MESSAGE, START)
        assert mailbox.mails == []


def test_refused_addresses_are_named_and_the_others_get_their_mail_once() -> None:
    with mail_server(new_mailbox()) as mailbox:
        mailbox.refused = {"gone@plant.example"}
        sender = _sender(_settings(mailbox))
        sent = sender.send(_mail_route("qa@plant.example", "gone@plant.example"), MESSAGE, START)
        assert sent.is_partly
        assert sent.text.endswith("but not for gone@plant.example (550)")
        assert len(mailbox.mails) == 1
        with pytest.raises(RouteError, match=r"refused every address: gone@plant.example \(550\)"):
            sender.send(_mail_route("gone@plant.example"), MESSAGE, START)
        mailbox.answer = "451 try later"
        with pytest.raises(RouteError, match="451"):
            sender.send(_mail_route(), MESSAGE, START)


def test_a_mail_server_that_is_away_or_silent_is_a_failure_in_bounded_time() -> None:
    with pytest.raises(RouteError, match=r"mail server 127.0.0.1:\d+: ConnectionRefusedError"):
        _sender(_settings(new_mailbox())).send(_mail_route(), MESSAGE, START)
    with pytest.raises(RouteError, match=r"set alarms.smtp_host"):
        _sender(AlarmSettings()).send(_mail_route(), MESSAGE, START)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mailbox = Mailbox(silent.getsockname()[1])
        with pytest.raises(RouteError, match="timed out"):
            _sender(_settings(mailbox, timeout_s=0.3)).send(_mail_route(), MESSAGE, START)


def test_a_webhook_gets_one_json_object_signed_as_standard_webhooks_lay_down() -> None:
    settings = AlarmSettings(webhook_keys=("erp=another secret of the plant", f"desk={SECRET}"))
    with hook_server(new_hook()) as hook:
        sent = _sender(settings).send(_hook_route(hook, "desk"), MESSAGE, START)
        assert sent.text == "webhook 127.0.0.1 answered 204"
    (post,) = hook.posts
    assert post.path == "/hook/token-in-the-path"
    assert post.document == {"kind": "ALARM", "say": "über"}
    assert post.headers["content-type"] == "application/json"
    assert (post.headers["webhook-id"], post.headers["webhook-timestamp"]) == ("f" * 32, str(int(START.timestamp())))
    to_sign = f"{'f' * 32}.{int(START.timestamp())}.".encode() + post.body
    digest = hmac.new(b"0123456789abcdef0123456789abcdef", to_sign, hashlib.sha256).digest()
    assert post.headers["webhook-signature"] == "v1," + base64.b64encode(digest).decode()


def test_the_signature_is_that_of_the_known_example() -> None:
    # Vector made with OpenSSL: printf 'msg_1.1772344830.{}' | openssl dgst -sha256 -hmac sixteen_letters!
    assert signed(b"sixteen_letters!", "msg_1", START, b"{}") == {
        "webhook-id": "msg_1",
        "webhook-timestamp": "1772344830",
        "webhook-signature": "v1,LaWA4BNJVu8dtxuQEPuRuAO30x4ZhGZoYU0G2vUH8eU=",
    }
    assert "webhook-signature" not in signed(None, "msg_1", START, b"{}")


@pytest.mark.parametrize(("status", "said"), [(500, "got 500"), (404, "got 404"), (302, "got 302")])
def test_an_answer_other_than_2xx_is_a_failure_and_no_redirect_is_followed(status: int, said: str) -> None:
    with hook_server(new_hook()) as elsewhere, hook_server(new_hook()) as hook:
        hook.status, hook.location = status, elsewhere.url
        with pytest.raises(RouteError, match=said) as refused:
            _sender(AlarmSettings()).send(_hook_route(hook), MESSAGE, START)
        assert "token-in-the-path" not in str(refused.value)
        assert (len(hook.posts), elsewhere.posts) == (1, [])


def test_a_webhook_that_is_away_silent_or_without_its_key_is_a_failure() -> None:
    with pytest.raises(RouteError, match=r"webhook 127\.0\.0\.1: ConnectError"):
        _sender(AlarmSettings()).send(_hook_route(new_hook()), MESSAGE, START)
    with pytest.raises(RouteError, match=r"key 'desk': expected a word of alarms.webhook_keys, got none"):
        _sender(AlarmSettings()).send(_hook_route(new_hook(), "desk"), MESSAGE, START)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        hook = Hook(silent.getsockname()[1])
        with pytest.raises(RouteError, match="ReadTimeout"):
            _sender(AlarmSettings(timeout_s=0.3)).send(_hook_route(hook), MESSAGE, START)


@pytest.fixture(name="broker")
def _broker(tmp_path: Path) -> Iterator[tuple[BrokerPlan, Process]]:
    if find_mosquitto() is None:
        pytest.skip("mosquitto is not installed")
    plan, process = start_broker(BrokerKind.MOSQUITTO, tmp_path)
    yield plan, process
    process.kill()


def _listen(plan: BrokerPlan, topics: list[str]) -> tuple[paho.Client, list[paho.MQTTMessage]]:
    got: list[paho.MQTTMessage] = []
    subscribed = threading.Event()
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="scada")
    client.username_pw_set(plan.username, plan.password)
    client.on_message = lambda _client, _data, message: got.append(message)
    client.on_subscribe = lambda *_words: subscribed.set()
    client.connect("127.0.0.1", plan.port)
    client.loop_start()
    client.subscribe([(name, 1) for name in topics])
    assert subscribed.wait(60)
    return client, got


@pytest.mark.broker
def test_mqtt_routes_publish_retained_or_not_and_know_that_the_broker_has_it(
    broker: tuple[BrokerPlan, Process],
) -> None:
    plan, process = broker
    gateway = Gateway(BrokerSettings(url=plan.url, username=plan.username, password=plan.password))
    sender = AlarmSender(AlarmSettings(), gateway)
    with pytest.raises(RouteError, match="broker is away"):
        sender.send(mqtt("stack-light"), MESSAGE, START)
    gateway.start()
    wait_until(lambda: gateway.is_connected, lambda: "not connected")
    sender.send(mqtt("stack-light"), MESSAGE, START)
    sender.send(dataclasses.replace(mqtt("board"), target=Target(is_retained=True)), MESSAGE, START)
    # Who comes later sees what was retained, and only that.
    client, got = _listen(plan, [alarm_topic("stack-light"), alarm_topic("board"), "sightline/v1/+/+/+/report"])
    sender.send(mqtt("stack-light"), MESSAGE, START)
    wait_until(lambda: len(got) >= 2, lambda: f"{len(got)} messages")
    assert sorted((one.topic, one.retain) for one in got) == [
        ("sightline/v1/alarms/board", True),
        ("sightline/v1/alarms/stack-light", False),
    ]
    assert [json.loads(one.payload) for one in got] == [MESSAGE.document] * 2
    client.disconnect()
    client.loop_stop()
    process.kill()
    wait_until(lambda: not gateway.is_connected, lambda: "still connected")
    with pytest.raises(RouteError, match="broker is away"):
        sender.send(mqtt("stack-light"), MESSAGE, START)
    gateway.stop()


@pytest.mark.broker
def test_a_gateway_that_reads_no_reports_takes_none_away_from_those_who_do(broker: tuple[BrokerPlan, Process]) -> None:
    plan, _ = broker
    settings = BrokerSettings(url=plan.url, username=plan.username, password=plan.password)
    reader, writer = Gateway(settings), Gateway(settings)
    got: list[bytes] = []
    settled = threading.Event()

    def read(delivery: Delivery) -> None:
        got.append(delivery.payload)
        delivery.acknowledge()

    reader.on(Channel.REPORT, read)
    reader.on_connected(settled.set)
    reader.start()
    assert settled.wait(60)
    assert reader.is_shared
    writer.start()
    wait_until(lambda: writer.is_connected, lambda: "not connected")
    for number in range(20):
        assert writer.publish_confirmed("sightline/v1/a/b/c/report", b"%d" % number, retain=False, timeout_s=60)
    wait_until(lambda: len(got) >= 20, lambda: f"{len(got)} of 20 reports")
    assert writer.counts.received == 0
    writer.stop()
    reader.stop()


def test_a_test_message_says_that_it_is_one_and_its_outcome_is_a_line() -> None:
    with hook_server(new_hook()) as hook:
        outcome = send_test(_sender(AlarmSettings()), _hook_route(hook), "anna", START)
        assert (outcome.has_arrived, outcome.text) == (True, "route hook: webhook 127.0.0.1 answered 204")
        assert (hook.posts[0].document["kind"], hook.posts[0].document["events"]) == ("TEST", [])
        hook.status = 503
        outcome = send_test(_sender(AlarmSettings()), _hook_route(hook), "anna", START)
    assert not outcome.has_arrived
    assert outcome.text == "route hook: not sent: webhook 127.0.0.1: expected an answer 2xx, got 503"
    assert "\n" not in outcome.text
