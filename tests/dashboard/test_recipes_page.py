# SPDX-License-Identifier: Apache-2.0
"""The recipes page without a browser, and the picture with its region."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from contracts.recipes import ProductRecipe
from dashboard import pictures
from tests.dashboard.conftest import Opener, texts
from tests.dashboard.learning_story import PRODUCT, STATIONS
from tests.dashboard.plant_story import png
from tests.dashboard.recipe_story import LOOSER, OTHER
from tests.dashboard.stub_central import StubCentral

KEY = f"recipe-{PRODUCT}-every station-2"


def of_ring(opened: Opener) -> AppTest:
    return opened("recipes", token="engineer-secret").selectbox(key="recipe_product").select(PRODUCT).run()


def made(central: StubCentral, product: str = PRODUCT) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(central.story.rows_of(product)[0].document)
    return document


def test_history_shows_what_each_version_changed_and_its_warnings(opened: Opener) -> None:
    shown = texts(of_ring(opened))
    assert "120.0 → 90.0" in shown
    assert "guard.min_sharpness" in shown
    assert "blurred pictures came through" in shown
    assert "against a recipe of defaults" in shown
    assert LOOSER.replace("'", "&#x27;") in shown


def test_station_that_judges_by_another_version_than_it_should_stands_out(opened: Opener) -> None:
    shown = texts(of_ring(opened))
    assert 'title="It should use version 2.">version 1</span>' in shown
    assert ">version 2</span>" not in shown


def test_station_that_makes_another_product_says_nothing_of_this_one(opened: Opener) -> None:
    assert "not known" in texts(opened("recipes").selectbox(key="recipe_product").select(OTHER).run())


def test_changeover_is_asked_for_once_confirmed(opened: Opener, central: StubCentral) -> None:
    app = opened("recipes", token="engineer-secret").selectbox(key="recipe_product").select(OTHER).run()
    after = app.button(key=f"switch-{STATIONS[0]}").click().run()
    assert central.story.actions == [f"/stations/{STATIONS[0]}/product {OTHER}"]
    shown = texts(after)
    assert "its next status confirms" in shown
    assert "no package for it judges there" in shown


def test_station_that_makes_the_product_already_has_no_changeover(opened: Opener) -> None:
    keys = [button.key for button in of_ring(opened).button]
    assert not [key for key in keys if key and key.startswith("switch-")]


def test_changeover_says_no_to_a_viewers_token(opened: Opener, central: StubCentral) -> None:
    app = opened("recipes").selectbox(key="recipe_product").select(OTHER).run()
    after = app.button(key=f"switch-{STATIONS[0]}").click().run()
    assert central.story.actions == []
    assert "expected role ENGINEER, got VIEWER" in texts(after)


def test_form_makes_the_next_version_and_keeps_what_it_does_not_show(opened: Opener, central: StubCentral) -> None:
    before = made(central)
    app = of_ring(opened)
    app.number_input(key=f"{KEY}-deadline").set_value(75.0)
    app.number_input(key=f"{KEY}-min_brightness").set_value(12.0)
    app.number_input(key=f"{KEY}-width").set_value(150)
    app.text_input(key=f"{KEY}-note").input("faster line")
    after = app.button(key=f"{KEY}-make").click().run()
    assert "Version 3 was made." in texts(after)
    wanted = before | {"version": 3, "deadline_ms": 75.0}
    wanted["guard"] = before["guard"] | {"min_brightness": 12.0}
    wanted["region"] = {"xywh": [10, 20, 150, 192], "polygon": None}
    assert made(central) == wanted
    row = central.story.rows_of(PRODUCT)[0]
    assert (row.created_by, row.note) == ("anna", "faster line")


def test_first_version_of_a_product_begins_with_the_defaults(opened: Opener, central: StubCentral) -> None:
    central.story.recipe_rows = []
    app = opened("recipes", token="engineer-secret")
    assert "No recipe for ring yet" in texts(app)
    key = KEY.removesuffix("2") + "0"
    app.text_input(key=f"{key}-note").input("first")
    app.number_input(key=f"{key}-deadline").set_value(80.0)
    app.button(key=f"{key}-make").click().run()
    assert made(central) == ProductRecipe(product=PRODUCT, version=1, deadline_ms=80).model_dump(mode="json")


def test_region_can_be_given_up_for_the_whole_frame(opened: Opener, central: StubCentral) -> None:
    app = of_ring(opened)
    app = app.selectbox(key=f"{KEY}-region").select("whole frame").run()
    app.text_input(key=f"{KEY}-note").input("all of it")
    app.button(key=f"{KEY}-make").click().run()
    assert made(central)["region"] is None


def test_refusal_of_central_is_shown_in_its_words(opened: Opener, central: StubCentral) -> None:
    app = of_ring(opened)
    central.story.recipe_rows += [central.story._recipe(PRODUCT, 3, {"deadline_ms": 60}, "meanwhile")]
    app.text_input(key=f"{KEY}-note").input("too late")
    after = app.button(key=f"{KEY}-make").click().run()
    assert "No version was made: conflict: based_on: read it again" in texts(after)


def test_older_version_can_be_restored(opened: Opener, central: StubCentral) -> None:
    app = of_ring(opened)
    app.text_input(key=f"restore-{PRODUCT}-1-note").input("it was better")
    app.button(key=f"restore-{PRODUCT}-1").click().run()
    assert (made(central)["deadline_ms"], made(central)["version"]) == (120, 3)


def test_newest_picture_says_where_in_the_frame_it_lies(opened: Opener) -> None:
    shown = texts(of_ring(opened))
    assert "region of version 2, from x 10, y 20" in shown
    assert "drawn in yellow" in shown


def test_picture_of_the_stations_own_settings_bears_no_region(opened: Opener, central: StubCentral) -> None:
    central.story.recipe_rows = [central.story._recipe(PRODUCT, 7, {"region": {"xywh": [10, 20, 64, 64]}}, "newer")]
    shown = texts(of_ring(opened))
    assert "where it lies in the frame is not known here" in shown
    assert "drawn in yellow" not in shown


def pixels(encoded: bytes | None) -> np.ndarray[Any, Any]:
    assert encoded is not None
    return np.asarray(Image.open(io.BytesIO(encoded)).convert("RGB"))


@pytest.mark.parametrize(
    ("xywh", "size_hw", "corner_yx"),
    [
        pytest.param((110, 220, 40, 30), (80, 100), (20, 10), id="inside"),
        pytest.param((90, 220, 60, 30), (80, 110), (20, 0), id="beyond the left edge"),
        pytest.param((110, 220, 40, 90), (110, 100), (20, 10), id="beyond the lower edge"),
    ],
)
def test_region_is_drawn_where_it_lies_in_the_frame(
    xywh: tuple[int, int, int, int], size_hw: tuple[int, int], corner_yx: tuple[int, int]
) -> None:
    crop = png(np.full((80, 100, 3), 40, np.uint8))
    shown = pixels(pictures.with_region(crop, (100, 200), xywh))
    assert shown.shape[:2] == size_hw
    yellow = (shown == (221, 155, 0)).all(axis=-1)
    rows, columns = np.nonzero(yellow)
    assert (rows.min(), columns.min()) == corner_yx
    assert (rows.max() - rows.min() + 1, columns.max() - columns.min() + 1) == (xywh[3], xywh[2])


def test_region_far_away_makes_no_picture_without_end() -> None:
    crop = png(np.full((80, 100, 3), 40, np.uint8))
    assert max(pixels(pictures.with_region(crop, (0, 0), (60_000, 60_000, 64, 64))).shape) <= pictures.MAX_SIDE_PX
    assert pictures.with_region(b"no picture", (0, 0), (0, 0, 64, 64)) is None


PIN = f"pin-{PRODUCT}-{STATIONS[0]}"


def test_station_is_pinned_with_a_reason_and_unpinned_with_another(opened: Opener, central: StubCentral) -> None:
    app = of_ring(opened)
    assert f"un{PIN}" not in {button.key for button in app.button}
    app.selectbox(key=f"{PIN}-version").set_value(1)
    app.text_input(key=f"{PIN}-note").input("the camera is being moved")
    after = app.button(key=PIN).click().run()
    assert "stays at version 1 of ring" in texts(after)
    assert ">pinned</span>" in texts(after)
    after.text_input(key=f"un{PIN}-note").input("it stands again")
    after = after.button(key=f"un{PIN}").click().run()
    assert "uses the newest version of ring again" in texts(after)
    assert ">pinned</span>" not in texts(after)
    assert central.story.actions == [
        f"pin {STATIONS[0]} {PRODUCT} 1: the camera is being moved, anna",
        f"unpin {STATIONS[0]} {PRODUCT}: it stands again, anna",
    ]


def test_pin_without_a_reason_is_refused_in_centrals_words(opened: Opener, central: StubCentral) -> None:
    after = of_ring(opened).button(key=PIN).click().run()
    assert "was not pinned: bad body" in texts(after)
    assert central.story.pins == {}


def test_only_versions_that_a_station_may_use_are_offered_for_it(opened: Opener, central: StubCentral) -> None:
    of_other = central.story._recipe(PRODUCT, 3, {"deadline_ms": 60}, "for the other camera")
    of_other.station = STATIONS[1]
    central.story.recipe_rows.append(of_other)
    app = of_ring(opened)
    offered = {index: app.selectbox(key=f"pin-{PRODUCT}-{STATIONS[index]}-version").options for index in (0, 1)}
    assert [len(options) for options in offered.values()] == [2, 3]


def test_recipe_that_a_station_refuses_is_shown_with_its_reason(opened: Opener, central: StubCentral) -> None:
    central.story.refusals[STATIONS[0], PRODUCT] = (2, "outputs: this station has no output <opcua>")
    shown = texts(of_ring(opened))
    assert "refuses version 2: outputs: this station has no output &lt;opcua&gt;" in shown


def test_station_led_by_its_lines_controller_is_offered_no_changeover(opened: Opener, central: StubCentral) -> None:
    central.story.is_led = True
    app = opened("recipes", token="engineer-secret").selectbox(key="recipe_product").select(OTHER).run()
    assert not [button.key for button in app.button if str(button.key).startswith("switch-")]
    assert "as the line's controller says" in texts(app)
