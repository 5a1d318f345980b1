# SPDX-License-Identifier: Apache-2.0
"""The page of trainings says why nothing was trained since."""

from tests.dashboard.conftest import Opener, texts
from tests.dashboard.stub_central import StubCentral


def test_each_trigger_stands_with_its_answer_and_reason(opened: Opener) -> None:
    shown = texts(opened("packages"))
    rows = [row for row in shown.split("<tr>") if ">new labels<" in row or ">alarm on escapes<" in row]
    assert len(rows) == 2
    (labels,) = [row for row in rows if ">new labels<" in row]
    assert "57 of &lt;200&gt; new confirmed labels" in labels
    assert ">no<" in labels
    assert "ago" in labels
    (alarm,) = [row for row in rows if row is not labels]
    assert ">started<" in alarm


def test_before_any_answer_there_is_no_table(opened: Opener, central: StubCentral) -> None:
    central.story.has_stations = False
    assert "Trigger" not in texts(opened("packages"))
