# SPDX-License-Identifier: Apache-2.0
"""The audit page says how severely is audited and why, and a person goes on after sampling was discontinued."""

from streamlit.testing.v1 import AppTest

from dashboard.client import CentralClient
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.learning_story import STATIONS
from tests.dashboard.stub_central import VIEWER, StubCentral

_ENGINEER = "engineer-secret"


def _press(app: AppTest) -> AppTest:
    (button,) = [each for each in app.button if each.label == "Go on by samples, tightened"]
    return button.click().run()


def test_state_reason_and_plan_stand_on_the_page(opened: Opener) -> None:
    shown = texts(opened("audit"))
    assert "Sampling of" in shown
    assert "3 of 40 &lt;audits&gt; defective" in shown
    assert "12 of 48 planned, from 1\u202f200 accepted parts" in shown
    assert "12, from 1\u202f200 accepted parts" in shown
    assert shown.index(STATIONS[0]) >= 0


def test_an_engineer_resumes_with_the_cause(opened: Opener, central: StubCentral) -> None:
    app = opened("audit", token=_ENGINEER)
    app.text_input(key="resume-note-2").input(" new lamp ")
    app = _press(app)
    assert central.story.resumed == "new lamp"
    shown = texts(app)
    assert "resumed by anna: new lamp" in shown
    assert "Sampling of" not in shown


def test_nobody_resumes_without_saying_why_or_without_the_right(opened: Opener, central: StubCentral) -> None:
    app = _press(opened("audit", token=_ENGINEER))
    assert "say what removed the cause" in texts(app)
    assert not any(each.startswith("POST") for each in central.asked)
    app = opened("audit")
    app.text_input(key="resume-note-2").input("new lamp")
    app = _press(app)
    assert "expected role ENGINEER, got VIEWER" in texts(app)
    assert central.story.resumed == ""


def test_shifts_come_by_station(central: StubCentral) -> None:
    with CentralClient(central.url, VIEWER) as client:
        assert [each.station for each in client.audit_shifts()] == sorted(STATIONS[:2])


def test_a_plant_without_draws_says_so(opened: Opener, central: StubCentral) -> None:
    central.story.has_stations = False
    assert "No part was drawn yet" in texts(opened("audit"))
