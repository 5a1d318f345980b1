# SPDX-License-Identifier: Apache-2.0
"""The page of the gate: every condition with its figures, where the two differ, and the word of a person."""

import base64

from streamlit.testing.v1 import AppTest

from dashboard import words
from dashboard.client import CentralClient
from dashboard.gate_shapes import Gate
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.gate_story import DATASET, DIFFERS
from tests.dashboard.learning_story import NEW, OLD, STATIONS
from tests.dashboard.stub_central import StubCentral

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_every_condition_stands_with_state_denominator_interval_and_margin(opened: Opener) -> None:
    shown = texts(opened("gates"))
    for word in (
        "recall of pit, test set",
        "recall of scratch, test set",
        "overkill, audited parts",
        "not enough evidence",
        "passed",
        "no good parts that both judged",
        words.percent(0.05),
        "an engineer may let it out",
        "they stand for 24",
    ):
        assert word in shown, word
    assert "not known" in shown


def test_where_the_two_differ_is_shown_and_names_are_escaped(opened: Opener, central: StubCentral) -> None:
    central.story.blobs[DIFFERS] = PNG
    app = opened("gates")
    assert "new escape" in texts(app)
    assert "p-&lt;7&gt;" in texts(app)
    assert f"GET /evidence/{DIFFERS}" in central.asked


def test_so_many_pictures_are_shown_and_no_more(opened: Opener, central: StubCentral) -> None:
    central.story.blobs[DIFFERS] = PNG
    shown = texts(opened("gates"))
    assert "12 of 14, new escapes first" in shown
    assert shown.count("<b>new escape</b>") == 12


def test_what_a_condition_found_is_escaped(opened: Opener) -> None:
    shown = texts(opened("gates"))
    assert "17 MiB, &lt;allowed&gt;" in shown
    assert "mem&lt;o&gt;ry" in shown
    assert "<allowed>" not in shown


def test_a_word_is_asked_of_a_package_that_is_held_back_and_of_no_other(opened: Opener) -> None:
    app = opened("gates", token="engineer-secret")
    assert [button.label for button in app.button].count("Let it out") == 1
    app.query_params["package"] = OLD
    promoted = app.run()
    assert promoted.selectbox[0].value == OLD
    assert "Let it out" not in [button.label for button in promoted.button]


def test_the_address_chooses_the_package_as_the_rollout_s_link_does(opened: Opener) -> None:
    assert f"gate?package={NEW}" in texts(opened("rollouts"))
    app = opened("gates")
    assert app.selectbox[0].value == NEW
    app.query_params["package"] = OLD
    assert app.run().selectbox[0].value == OLD


def _overrule(app: AppTest, reason: str) -> AppTest:
    app.text_input(key=f"overrule-{NEW}-reason").set_value(reason)
    return next(button for button in app.button if button.label == "Let it out").click().run()


def _said(central: StubCentral) -> str | None:
    return central.story.overruled_because


def test_an_engineer_overrules_with_a_reason_and_a_viewer_is_told_that_he_may_not(
    opened: Opener, central: StubCentral
) -> None:
    refused = _overrule(opened("gates"), "the line waits")
    assert "The gate was not overruled" in texts(refused)
    assert _said(central) is None
    done = _overrule(opened("gates", token="engineer-secret"), "the line waits")
    assert _said(central) == "the line waits"
    assert "overruled by anna (engineer)" in texts(done)


def test_the_file_is_central_s_own(central: StubCentral) -> None:
    with CentralClient(central.url, "viewer-secret") as client:
        assert [type(each) for each in client.gates()] == [Gate, Gate]
        assert client.gate_file(NEW) == b"evidence of the gate"


def test_a_station_s_page_says_whose_labels_taught_what_judges_there(opened: Opener, central: StubCentral) -> None:
    app = opened("lineage")
    shown = texts(app)
    for word in (
        f"lineage?dataset={DATASET}", "323 pictures of 320 parts taught, 138 were held out", "&lt;kim&gt; 262, anna 61",
        "audit 61", "pit 29", "t-2", f"gate?package={NEW}", f"{STATIONS[0]} (judges with it)",
        f"{STATIONS[1]} (has not said)",
    ):  # fmt: skip
        assert word in shown, word
    assert f"GET /lineage/stations/{STATIONS[0]}" in central.asked
    app.query_params["dataset"] = DATASET
    app.run()
    assert f"GET /lineage/datasets/{DATASET}" in central.asked
