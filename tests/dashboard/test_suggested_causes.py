# SPDX-License-Identifier: Apache-2.0
"""The likeliest cause on the alarms page, and the training that it holds back on the page of trainings."""

from central.api.schemas import SuggestedCause
from central.quality.cause import CAUSE_WORDS, REMEDY_WORDS, Cause, Remedy
from dashboard.pages import causes
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.stub_central import StubCentral

FOULED = SuggestedCause(
    cause=Cause.LENS_FOULING,
    station="plant/line-1/st-2",
    product=None,
    score=0.8,
    remedy=Remedy.CLEAN,
    evidence=["st-2, ring: blur <-160> from 400."],
)


def batch(score: float) -> SuggestedCause:
    return SuggestedCause(
        cause=Cause.MATERIAL_BATCH, station=None, product="ring", score=score, remedy=Remedy.HOLD_BATCH, evidence=[]
    )


def test_the_likeliest_cause_is_shown_with_place_remedy_and_evidence(opened: Opener, central: StubCentral) -> None:
    central.story.suggested = [FOULED, batch(0.3)]
    shown = texts(opened("alarms"))
    assert "dirty lens, plant/line-1/st-2" in shown
    assert "clean the lens." in shown
    assert "blur &lt;-160&gt; from 400." in shown
    assert "Right or second" not in shown
    assert "Same cause as" not in shown


def test_of_two_that_are_close_both_are_named(opened: Opener, central: StubCentral) -> None:
    central.story.suggested = [FOULED, batch(0.7)]
    central.story.same_cause_as = 3
    shown = texts(opened("alarms"))
    assert "Right or second: batch of material, ring" in shown
    assert "Same cause as alarm 3." in shown


def test_the_form_offers_the_likeliest_cause_first(opened: Opener, central: StubCentral) -> None:
    central.story.suggested = [batch(0.8), FOULED]
    app = opened("alarms")
    assert app.selectbox(key="cause-of-7").value == "MATERIAL_BATCH"
    (button,) = [each for each in app.button if each.label == "Confirm or correct"]
    button.click().run()
    said = central.story.alarm_cause
    assert said is not None
    assert said.cause is Cause.MATERIAL_BATCH


def test_a_training_that_is_held_back_is_told_where_trainings_are(opened: Opener, central: StubCentral) -> None:
    assert "is held back" not in texts(opened("packages"))
    central.story.training_held = "no: dirty lens at st-2 is likelier; clean the lens first"
    shown = texts(opened("packages"))
    assert "for alarm 7 is held back: no: dirty lens at st-2 is likelier; clean the lens first." in shown
    assert "An engineer may start one all the same." in shown


def test_words_are_centrals_own() -> None:
    assert {cause.value: word for cause, word in CAUSE_WORDS.items()} == causes.CAUSE_WORD
    assert {remedy.value: word for remedy, word in REMEDY_WORDS.items()} == causes.REMEDY_WORD
    assert set(REMEDY_WORDS) == set(Remedy)
    assert causes.remedy_word("CALL_HELP") == "call help"
