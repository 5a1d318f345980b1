# SPDX-License-Identifier: Apache-2.0
"""The page Experiments, and what a picture taught on the page Lineage."""

from __future__ import annotations

from tests.dashboard.conftest import Opener, texts
from tests.dashboard.experiment_story import DATASET, PICTURE
from tests.dashboard.stub_central import StubCentral


def test_each_training_stands_with_its_labels_its_gate_and_where_it_errs(opened: Opener) -> None:
    shown = texts(opened("experiments"))
    for words in (
        "a &lt;new&gt; lamp", "&lt;pit&gt; 29 pictures of 20 parts", "overruled by &lt;anna&gt;",
        "&lt;pit&gt;: 1 of 12 missed (champion 9)", "no &lt;room&gt; left",
    ):  # fmt: skip
        assert words in shown, words
    assert "What differs" not in shown


def test_several_stand_side_by_side_with_what_differs_and_their_curves(opened: Opener, central: StubCentral) -> None:
    app = opened("experiments")
    app.multiselect(key="experiments_chosen").set_value(["t-2", "t-1"]).run()
    shown = texts(app)
    assert "GET /experiments/compare" in central.asked
    for words in (
        "parameters.size_px",
        "<td>256</td><td>128</td>",
        "0.9921",
        "on press-&lt;7&gt;, 8 cores",
        "torch 2.13.0",
    ):
        assert words in shown, words
    assert f"lineage?dataset={DATASET}" in shown
    assert app.selectbox(key="experiments_curve").value == "head loss"


def test_one_alone_is_told_without_a_comparison(opened: Opener, central: StubCentral) -> None:
    app = opened("experiments")
    app.multiselect(key="experiments_chosen").set_value(["t-2"]).run()
    assert not app.exception
    assert "GET /experiments/t-2" in central.asked
    assert "GET /experiments/compare" not in central.asked
    app.multiselect(key="experiments_chosen").set_value([]).run()
    assert not app.exception


def test_a_picture_tells_what_it_taught_and_what_it_only_tested(opened: Opener) -> None:
    app = opened("lineage")
    app.text_input(key="lineage_picture").set_value(PICTURE).run()
    shown = texts(app)
    for words in (
        "demo/line-1/st-1/2/7", "anna, &lt;kim&gt; (audit)", "p-&lt;7&gt;", "<td>taught</td>",
        "held out: tested, taught nothing", "Only the newest 200 of 231 dataset versions were read",
    ):  # fmt: skip
        assert words in shown, words


def test_a_picture_that_is_none_or_not_known_is_said(opened: Opener, central: StubCentral) -> None:
    app = opened("lineage")
    app.text_input(key="lineage_picture").set_value("<nonsense>").run()
    assert "64 letters and digits" in texts(app)
    assert not any(asked.startswith("GET /lineage/pictures") for asked in central.asked)
    app.text_input(key="lineage_picture").set_value("0" * 64).run()
    assert not app.exception
    assert "nobody judged it" in texts(app)
