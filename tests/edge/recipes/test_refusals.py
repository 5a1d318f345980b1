# SPDX-License-Identifier: Apache-2.0
"""One recipe that a station cannot follow: it is refused alone, said with its reason, and never judged by another."""

import base64
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from contracts.recipes import LandmarkPattern, OutputRule, ProductRecipe, RegistrationRule
from contracts.vocabulary import Disposition, OutputKind, RegistrationMethod, VerdictCause
from edge_agent.actuators.base import LineTiming, OutputUse
from edge_agent.actuators.line import Wiring
from edge_agent.controller.settings import ControllerSettings
from edge_agent.frame_queue import QueuedFrame
from edge_agent.output_settings import LineOutputSettings, OutputSettings
from edge_agent.recipes.book import RecipeBook
from edge_agent.recipes.outputs import use_of
from edge_agent.recipes.recipe import RecipeRefused
from tests.edge.recipes.test_book import OWN, SIGNER, ring, sealed
from tests.edge.station_fakes import STATION, Bench, ScoreSession, frame_of, loaded
from tests.fakes.clock import FakeClock

CONTROLLER = ControllerSettings("modbus", "tcp://127.0.0.1:1502")


def registration(side_px: int, spread: int = 255) -> RegistrationRule:
    """By a landmark; one without spread is of one grey, which only OpenCV can tell."""
    pattern = np.random.default_rng(0).integers(0, spread, (side_px, side_px), dtype=np.uint8)
    png = base64.b64encode(cv2.imencode(".png", pattern)[1].tobytes()).decode()
    return RegistrationRule(method=RegistrationMethod.FIDUCIAL, landmarks=[LandmarkPattern(png=png, x_px=3, y_px=4)])


BLANK = registration(16, spread=1)


def product(name: str, version: int = 1, **changes: Any) -> ProductRecipe:
    return ProductRecipe(product=name, version=version, **changes)


def book_in(folder: Path, *, outputs: OutputSettings | None = None, clock: FakeClock | None = None) -> RecipeBook:
    """As after a restart, when the folder was used before."""
    return RecipeBook(
        folder, STATION, clock or FakeClock(), key=SIGNER.public_key, own=OWN, product="ring", outputs=outputs
    )


def test_landmark_that_shows_nothing_costs_its_own_recipe_and_no_other(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    assert book.take(sealed(1, ring(1, registration=BLANK), product("cap", 4, deadline_ms=250)))
    for again in range(2):
        assert (book.page.number, book.page.recipes.of("cap").deadline_ms, book.page.current.deadline_ms) == (
            1,
            250,
            100,
        )
        (refused,) = book.active().refused
        assert (refused.product, refused.version, refused.follows) == ("ring", 1, 0)
        assert "expected a landmark" in refused.reason
        (fault,) = book.faults()
        assert fault.code == "recipe-refused"
        assert "recipe of ring, version 1: expected a landmark" in fault.message
        assert "that of the settings is in force" in fault.message
        if not again:
            book = book_in(tmp_path)


def test_last_version_that_could_be_followed_stays_also_over_restarts_and_later_refusals(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    assert book.take(sealed(1, ring(2, deadline_ms=222), product("cap", 1)))
    for number, version in ((2, 3), (3, 4)):
        assert book.take(sealed(number, ring(version, registration=BLANK), product("cap", version)))
        for _ in range(2):
            assert (book.page.current.version, book.page.current.deadline_ms) == (2, 222)
            assert book.page.recipes.of("cap").version == version
            assert [(each.version, each.follows) for each in book.active().refused] == [(version, 2)]
            book = book_in(tmp_path)
    assert book.take(sealed(4, ring(5, deadline_ms=555)))
    assert (book.page.current.version, book.active().refused, book.faults()) == (5, [], [])
    assert json.loads((tmp_path / "assigned.json").read_text())["earlier"] == []


def test_what_stands_in_is_verified_again_at_the_next_start(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    assert book.take(sealed(1, ring(2, deadline_ms=222)))
    assert book.take(sealed(2, ring(3, registration=BLANK)))
    path = tmp_path / "assigned.json"
    kept = json.loads(path.read_text())
    envelope = json.loads(kept["earlier"][0]["envelope"])
    payload = base64.b64decode(envelope["payload"]).replace(b"222", b"999")
    envelope["payload"] = base64.b64encode(payload).decode()
    kept["earlier"][0]["envelope"] = json.dumps(envelope)
    path.write_text(json.dumps(kept))
    book = book_in(tmp_path)
    assert book.page.current.deadline_ms == 100
    assert [fault.code for fault in book.faults()] == ["recipes-refused"]


def test_product_without_any_recipe_that_can_be_followed_is_not_judged(tmp_path: Path) -> None:
    """Any other recipe, such as that of the whole frame, would be the wrong one."""
    bench = Bench()
    bench.activate(0.0)
    bench.slots.activate(loaded("bolt", ScoreSession(0.0)))
    book = book_in(tmp_path, clock=bench.clock)
    assert book.take(sealed(1, product("bolt", 1, registration=BLANK), ring(1)))
    assert book.active().refused[0].follows is None
    assert book.switch("bolt")
    bolt = book.bind(frame_of(1, bench.clock, product=None))
    assert book.switch("ring")
    good = book.bind(frame_of(2, bench.clock, product=None))
    reports = [bench.show(each.trigger_number, product=each.product, recipe=each.recipe) for each in (bolt, good)]
    assert [(each.product, each.cause, each.disposition) for each in reports] == [
        ("bolt", VerdictCause.NO_PACKAGE, Disposition.HELD),
        ("ring", VerdictCause.SCORE, Disposition.PASSED),
    ]


def test_repeat_of_an_assignment_with_a_refused_recipe_is_no_rollback(tmp_path: Path) -> None:
    book = book_in(tmp_path)
    assert book.take(sealed(3, ring(2, registration=BLANK)))
    page = book.page
    assert book.take(sealed(3, ring(2, registration=BLANK)))
    assert book.page is page
    assert [fault.code for fault in book.faults()] == ["recipe-refused"]


def line(distance_mm: float | None = None, speed_mm_s: float | None = None, **wiring: Any) -> OutputSettings:
    """A gate on a coil, and MQTT beside it."""
    return OutputSettings(
        ("modbus", "mqtt"),
        LineOutputSettings(CONTROLLER, Wiring(**{"address": "3", **wiring}), 10, distance_mm, speed_mm_s),
    )


def on_coil(**times: Any) -> list[OutputRule]:
    return [OutputRule(kind=OutputKind.MODBUS, **times)]


ENCODER: dict[str, Any] = {"encoder_address": "40", "distance_counts": 1000}


@pytest.mark.parametrize(
    ("rules", "station", "told"),
    [
        ([OutputRule(kind=OutputKind.OPCUA)], line(), "no output opcua, it has modbus, mqtt"),
        ([OutputRule(kind=OutputKind.MODBUS)], OutputSettings(("none",)), "no output modbus, it has none"),
        ([OutputRule(kind=OutputKind.MQTT)], line(), "expected modbus, which drives this station's gate"),
        (on_coil(distance_counts=900), line(), "no encoder"),
        (on_coil(delay_ms=90), line(**ENCODER), "an encoder tells this station"),
        (on_coil(speed_mm_s=90), line(), "have distance_mm to go with"),
        (on_coil(distance_mm=90), line(), "have speed_mm_s to go with"),
    ],
)
def test_recipe_for_outputs_that_this_station_does_not_have_is_refused(
    rules: list[OutputRule], station: OutputSettings, told: str
) -> None:
    with pytest.raises(RecipeRefused, match=told):
        use_of(rules, station)


@pytest.mark.parametrize(
    ("rules", "station", "timing"),
    [
        (on_coil(), line(pulse_s=0.3, delay_s=2), LineTiming(0.3, 2)),
        (on_coil(pulse_ms=40), line(delay_s=2), LineTiming(0.04, 2)),
        (on_coil(delay_ms=0), line(delay_s=2), LineTiming(0.1, 0)),
        (on_coil(distance_mm=600, speed_mm_s=200), line(delay_s=2), LineTiming(0.1, 3)),
        (on_coil(speed_mm_s=200), line(600, 300, delay_s=2), LineTiming(0.1, 3)),
        (on_coil(distance_mm=900), line(600, 300, delay_s=2), LineTiming(0.1, 3)),
        (on_coil(distance_counts=900), line(**ENCODER), LineTiming(0.1, 0, 900)),
    ],
)
def test_times_of_a_recipe_stand_in_place_of_the_stations(
    rules: list[OutputRule], station: OutputSettings, timing: LineTiming
) -> None:
    use = use_of(rules, station)
    assert use is not None
    assert use.kinds == {"modbus"}
    assert use.timing is not None
    assert (use.timing.pulse_s, use.timing.distance_counts) == (timing.pulse_s, timing.distance_counts)
    assert use.timing.delay_s == pytest.approx(timing.delay_s)


def test_recipe_that_says_nothing_of_outputs_uses_all_of_them_as_the_settings_say() -> None:
    assert use_of(None, line()) is None


def test_recipe_for_an_output_that_is_not_here_is_refused_alone_and_holds_once_the_station_has_it(
    tmp_path: Path,
) -> None:
    wanted = sealed(1, ring(3, outputs=on_coil(pulse_ms=40)), product("cap", 1, deadline_ms=250))
    book = book_in(tmp_path)
    assert book.take(wanted)
    assert "no output modbus, it has mqtt" in book.active().refused[0].reason
    assert (book.page.current.version, book.page.recipes.of("cap").deadline_ms) == (0, 250)
    book = book_in(tmp_path, outputs=line())
    assert (book.page.current.version, book.active().refused, book.faults()) == (3, [], [])
    assert book.page.current.outputs == OutputUse(frozenset({"modbus"}), LineTiming(pulse_s=0.04))


def test_times_of_the_output_change_with_the_recipe_part_by_part(tmp_path: Path) -> None:
    bench = Bench()
    bench.activate(0.0)
    book = book_in(tmp_path, outputs=line(), clock=bench.clock)
    slow = product("cap", 1, outputs=on_coil(pulse_ms=900), package_family="ring")
    assert book.take(sealed(1, ring(1, outputs=on_coil(pulse_ms=40)), slow))
    early = frame_of(1, bench.clock, product=None)
    bench.clock.advance(1)
    assert book.switch("cap")
    late = frame_of(2, bench.clock, product=None)
    # Out of the camera's buffer only after the switch.
    for each in (book.bind(early), book.bind(late)):
        bench.show(each.trigger_number, product=each.product, recipe=each.recipe)
    # One that passed unseen is held on time as well.
    unseen = frame_of(3, bench.clock, product="cap", recipe=book.page.current, pixels=None, is_missed=True)
    bench.loop.inspect(QueuedFrame(unseen, is_missed=True))
    assert [use and use.timing and use.timing.pulse_s for use in bench.output.uses] == [0.04, 0.9, 0.9]
