# SPDX-License-Identifier: Apache-2.0
"""The page of audits says how many parts were asked for and why, and of a part only after its answer."""

from dashboard.client import CentralClient
from dashboard.pages import asked_panel
from dashboard.shapes import AuditSummary
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.stub_central import VIEWER, StubCentral

SUMMARY = AuditSummary(0, 3, 9, 0, {}, (), asked_budget=24, asked=5, asked_waiting={"UNCERTAIN": 2, "LATER<WORD>": 1})


def test_budget_and_reasons_stand_in_the_card() -> None:
    shown = asked_panel.asked(SUMMARY)
    assert "5 of 24 this shift" in shown
    assert "<dt>2</dt><dd>its score lies near the limit</dd>" in shown
    assert "later&lt;word&gt;" in shown
    assert "count in no rate" in shown


def test_the_page_shows_it_where_there_is_a_budget(opened: Opener, central: StubCentral) -> None:
    assert "Asked for, to learn from" not in texts(opened("audit"))
    told = central.story.audit_summary()
    asked = told.model_copy(update={"asked_budget": 24, "asked": 5, "asked_waiting": {"NOVEL": 2}})
    central.story.audit_summary = lambda: asked  # type: ignore[method-assign]
    with CentralClient(central.url, VIEWER) as client:
        assert client.audit_summary().asked_waiting == {"NOVEL": 2}
    shown = texts(opened("audit"))
    assert "5 of 24 this shift" in shown
    assert "it looks unlike what was judged" in shown
