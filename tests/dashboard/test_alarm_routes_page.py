# SPDX-License-Identifier: Apache-2.0
"""The page of alarm routes: what is set and how it goes; made, changed, tested and ended by an administrator."""

import json

from contracts.vocabulary import RouteKind
from dashboard.pages import alarm_routes
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.stub_central import StubCentral

ADMIN = "admin-secret"


def test_a_failing_route_is_shown_with_its_error_and_a_good_one_without(opened: Opener) -> None:
    shown = texts(opened("alarm_routes", token="engineer-secret"))
    assert "mail server mail.example:587: &lt;refused&gt;" in shown
    assert ("failing" in shown, "works" in shown) == (True, True)
    # Of a route that nothing has gone over nobody knows whether it works.
    assert shown.count(">works<") == shown.count("not used yet") == 1
    assert "every day 22:00 to 06:00 (Europe/Berlin)" in shown
    assert "https://erp.example/hook signed" in shown


def test_who_may_not_see_routes_is_told_so(opened: Opener) -> None:
    assert "expected role ENGINEER, got VIEWER" in texts(opened("alarm_routes"))


def test_a_test_message_tells_its_outcome(opened: Opener, central: StubCentral) -> None:
    app = opened("alarm_routes", token=ADMIN).button(key="test-desk").click().run()
    assert central.story.actions == ["test desk"]
    assert "route desk: webhook erp.example answered 204" in texts(app)
    app = opened("alarm_routes", token="engineer-secret").button(key="test-desk").click().run()
    assert "desk was not tested: not allowed: expected role ADMIN, got ENGINEER" in texts(app)


def test_a_route_is_made_in_the_form(opened: Opener, central: StubCentral) -> None:
    app = opened("alarm_routes", token=ADMIN)
    assert app.button(key="new-make").disabled
    app.text_input(key="new-name").input("night")
    app.text_input(key="new-addresses").input("qa@plant.example, night@plant.example")
    app.checkbox(key="new-quiet").check()
    app.text_input(key="new-zone").input("Europe/Berlin")
    app.text_input(key="new-note").input("asked for")
    app = app.run()
    app = app.button(key="new-make").click().run()
    (said,) = central.story.actions
    assert said.startswith("set night {")
    assert said.endswith("} asked for anna")
    route = json.loads(said[len("set night ") : said.rindex("}") + 1])
    assert route["target"] == {"addresses": ["qa@plant.example", "night@plant.example"]}
    assert (route["kind"], route["time_zone"], len(route["quiet"])) == ("EMAIL", "Europe/Berlin", 1)
    assert "The route night is set. Send a test." in texts(app)


def test_a_route_that_cannot_work_is_told_in_centrals_words(opened: Opener, central: StubCentral) -> None:
    app = opened("alarm_routes", token=ADMIN)
    app.selectbox(key="new-kind").select(RouteKind.WEBHOOK)
    app.text_input(key="new-name").input("erp")
    app.text_input(key="new-note").input("asked for")
    app = app.run()
    app.text_input(key="new-url").input("ftp://erp")
    app = app.button(key="new-make").click().run()
    assert central.story.actions == []
    assert "The route was not made: bad body: Value error, url: expected http://HOST" in texts(app)


def test_a_route_is_changed_as_json_and_what_is_no_json_is_not_sent(opened: Opener, central: StubCentral) -> None:
    app = opened("alarm_routes", token=ADMIN)
    assert json.loads(app.text_area(key="json-night").value or "{}")["target"]["addresses"] == ["qa@plant.example"]
    app.text_area(key="json-night").input("{").run()
    app = app.button(key="save-night").click().run()
    assert "This is no JSON" in texts(app)
    assert central.story.actions == []
    route = {"kind": "MQTT", "target": {"is_retained": True}}
    app.text_area(key="json-night").input(json.dumps(route))
    app.text_input(key="why-night").input("no mail any more")
    app = app.button(key="save-night").click().run()
    (said,) = central.story.actions
    assert said == 'set night {"kind":"MQTT","target":{"is_retained":true}} no mail any more anna'


def test_a_route_is_ended(opened: Opener, central: StubCentral) -> None:
    app = opened("alarm_routes", token=ADMIN).button(key="end-night").click().run()
    assert central.story.actions == ["end night"]
    assert "The route night has ended." in texts(app)


def test_every_kind_has_a_word() -> None:
    assert set(alarm_routes.KIND_WORD) == set(RouteKind)
