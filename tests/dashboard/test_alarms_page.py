# SPDX-License-Identifier: Apache-2.0
"""The alarms page: people say what was behind an alarm."""

from central.api.schemas import SayCause
from central.quality.cause import Cause
from dashboard.pages import causes
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.stub_central import StubCentral


def test_a_person_says_the_cause_and_the_card_shows_who_said_what(opened: Opener, central: StubCentral) -> None:
    app = opened("alarms")
    assert "Cause:" not in texts(app)
    app.selectbox(key="cause-of-7").select("MODEL_WRONG")
    app.text_input(key="cause-note-7").input("<limits> of last week")
    (button,) = [each for each in app.button if each.label == "Confirm or correct"]
    app = button.click().run()
    said = central.story.alarm_cause
    assert said is not None
    assert (said.cause, said.note, said.by) == (Cause.MODEL_WRONG, "<limits> of last week", "anna")
    assert "model is wrong, says anna: &lt;limits&gt; of last week" in texts(app)


def test_every_cause_of_central_has_a_word_here() -> None:
    assert list(causes.CAUSE_WORD) == [cause.value for cause in Cause]


def test_a_cause_of_a_newer_central_is_shown_as_it_is_named() -> None:
    assert causes.cause_word("LINE_STOPPED") == "line stopped"


def test_refused_causes_are_told(opened: Opener, central: StubCentral) -> None:
    app = opened("alarms")
    central.broken = (403, b'{"error": "not allowed", "detail": "expected role INSPECTOR, got VIEWER"}')
    (button,) = [each for each in app.button if each.label == "Confirm or correct"]
    app = button.click().run()
    assert central.story.alarm_cause is None
    assert "The cause was not stored" in texts(app)


def test_a_said_cause_can_be_corrected(opened: Opener, central: StubCentral) -> None:
    central.story.alarm_cause = SayCause(cause=Cause.MODEL_WRONG, by="anna")
    app = opened("alarms")
    app.selectbox(key="cause-of-7").select("MATERIAL_BATCH")
    (button,) = [each for each in app.button if each.label == "Confirm or correct"]
    app = button.click().run()
    assert "batch of material, says anna" in texts(app)
