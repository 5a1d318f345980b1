# SPDX-License-Identifier: Apache-2.0
import base64
import json
import threading
from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from pydantic import ValidationError
from securesystemslib.dsse import Envelope
from securesystemslib.signer import CryptoSigner

from contracts import codec
from contracts.commands import ASSIGNMENT_PAYLOAD_TYPE, StationCommand, SwitchProduct
from contracts.recipes import (
    RECIPES_PAYLOAD_TYPE,
    AssignRecipes,
    GuardRule,
    LandmarkPattern,
    ProductRecipe,
    RecipeLimits,
    Region,
    RegistrationRule,
)
from contracts.reports import ActivePackage
from contracts.vocabulary import RegistrationMethod, Stage, Variant
from edge_agent.recipes.book import RecipeBook, lapsed_limits
from edge_agent.recipes.recipe import Recipe, Recipes
from edge_agent.vision.roi import Roi
from tests.edge.station_fakes import DIGEST, START, STATION, frame_of
from tests.fakes.clock import FakeClock

SIGNER = CryptoSigner.generate_ed25519()
OWN = Recipes(MappingProxyType({"ring": Recipe(deadline_ms=100), "cap": Recipe(deadline_ms=300)}))


def sealed(
    number: int,
    *recipes: ProductRecipe,
    signer: CryptoSigner = SIGNER,
    payload_type: str = RECIPES_PAYLOAD_TYPE,
    **changes: Any,
) -> bytes:
    message = AssignRecipes(
        **{"station": STATION, "number": number, "issued_at": START, "recipes": list(recipes), **changes}
    )
    envelope = Envelope(codec.encode(message), payload_type, {})
    envelope.sign(signer)
    return json.dumps(envelope.to_dict()).encode()


class World:
    """A book in a folder, with a clock that a test moves."""

    def __init__(self, folder: Path, packages: Sequence[str] = ()) -> None:
        self.folder = folder
        self.clock = FakeClock()
        self.packages = packages
        self.book = self.start()

    def start(self) -> RecipeBook:
        """As after a restart."""
        self.book = RecipeBook(
            self.folder / "recipes",
            STATION,
            self.clock,
            key=SIGNER.public_key,
            own=OWN,
            product="ring",
            packages=lambda: self.packages,
        )
        return self.book

    def codes(self) -> list[str]:
        return [fault.code for fault in self.book.faults()]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ring(version: int, **changes: Any) -> ProductRecipe:
    return ProductRecipe(product="ring", version=version, **changes)


def test_recipe_of_central_replaces_that_of_the_settings_and_survives_a_restart(world: World) -> None:
    assert world.book.page.current.deadline_ms == 100
    assert world.book.take(sealed(1, ring(4, deadline_ms=250)))
    for _ in range(2):
        page = world.book.page
        assert (page.current.version, page.current.deadline_ms, page.number) == (4, 250, 1)
        assert page.recipes.of("cap").deadline_ms == 300
        world.start()
    assert world.book.take(sealed(2))
    assert world.book.page.current.deadline_ms == 100


def test_everything_in_a_recipe_arrives(world: World) -> None:
    pattern = np.random.default_rng(0).integers(0, 255, (16, 20), dtype=np.uint8)
    png = base64.b64encode(cv2.imencode(".png", pattern)[1].tobytes()).decode()
    rule = RegistrationRule(
        method=RegistrationMethod.TEMPLATE, landmarks=[LandmarkPattern(png=png, x_px=3, y_px=4)], max_shift_px=7
    )
    given = ring(
        2, region=Region(polygon=[(0, 0), (50, 0), (50, 40)]), registration=rule, guard=GuardRule(min_sharpness=9),
        exposure_us=800, gain_db=2, limits=RecipeLimits(package_id=DIGEST, ok_limit=0.1, ng_limit=0.2),
        package_family="rings", budgets_ms={Stage.INFER: 12}, pass_review=True,
    )  # fmt: skip
    assert world.book.take(sealed(1, given))
    recipe = world.book.page.current
    assert recipe.roi == Roi(0, 0, 51, 41, ((0, 0), (50, 0), (50, 40)))
    assert recipe.registration is not None
    assert np.array_equal(recipe.registration.landmarks[0].pattern, pattern)
    assert (recipe.guard.min_sharpness, recipe.exposure_us, recipe.gain_db) == (9, 800, 2)
    assert (recipe.package_family, recipe.budgets_ms, recipe.pass_review) == ("rings", {Stage.INFER: 12}, True)
    assert recipe.limits == given.limits


@pytest.mark.parametrize(
    "bad",
    [
        sealed(5, ring(1), signer=CryptoSigner.generate_ed25519()),
        sealed(5, ring(1), payload_type=ASSIGNMENT_PAYLOAD_TYPE),
        sealed(5, ring(1), station=STATION.model_copy(update={"station": "st-2"})),
        sealed(2, ring(9)),
        sealed(3, ring(9)),
        b"{}",
        b"\xff\xfe",
        sealed(5, ring(1))[:-20],
    ],
    ids=["stranger's key", "assignment", "other station", "older", "same number", "no envelope", "garbage", "torn"],
)
def test_recipes_that_are_not_for_this_station_now_change_nothing_and_are_told(world: World, bad: bytes) -> None:
    assert world.book.take(sealed(3, ring(2, deadline_ms=250)))
    before = world.book.page
    assert not world.book.take(bad)
    assert world.book.page is before
    assert world.codes() == ["recipes-refused"]
    assert world.start().page.current.version == 2


def test_repeat_of_what_the_broker_retains_is_no_fault_and_no_switch(world: World) -> None:
    message = sealed(3, ring(2))
    assert world.book.take(message)
    page = world.book.page
    assert world.book.take(message)
    assert world.start().take(message)
    assert world.book.take(sealed(3, ring(2)))
    assert (world.book.page.number, world.codes(), page.number) == (3, [], 3)


def test_part_belongs_to_what_held_when_it_was_captured(world: World) -> None:
    early = frame_of(1, world.clock, product=None)
    world.clock.advance(1)
    assert world.book.switch("cap")
    late = frame_of(2, world.clock, product=None)
    bound = [world.book.bind(each) for each in (late, early)]
    assert [each.product for each in bound] == ["cap", "ring"]
    assert [each.recipe.deadline_ms for each in bound if each.recipe is not None] == [300, 100]
    named = world.book.bind(frame_of(3, world.clock, product="ring"))
    assert named.recipe is not None
    assert (named.product, named.recipe.deadline_ms) == ("ring", 100)


def test_part_in_the_cameras_buffers_keeps_its_product_over_several_changes(world: World) -> None:
    """A line's controller may name none, and another, before the part comes out."""
    early = frame_of(1, world.clock, product=None)
    for product, why in ((None, "says 0"), ("cap", ""), (None, "says 0"), ("ring", "")):
        world.clock.advance(1)
        world.book.follow(product, world.clock.monotonic(), why=why)
    middle = frame_of(2, world.clock, product=None, captured_monotonic=world.clock.monotonic() - 2)
    bound = [world.book.bind(each) for each in (early, middle)]
    assert [each.product for each in bound] == ["ring", "cap"]
    for number in range(100):
        world.clock.advance(1)
        world.book.follow("cap" if number % 2 else "ring", world.clock.monotonic())
    page, pages = world.book.page, 0
    while page.before is not None:
        page, pages = page.before, pages + 1
    assert pages <= 16


def test_controllers_word_holds_from_when_it_was_asked_and_not_from_when_it_was_kept(world: World) -> None:
    before_s = world.clock.monotonic()
    world.clock.advance(1)
    asked_s = world.clock.monotonic()
    world.clock.advance(1)
    world.book.follow("cap", asked_s)
    frames = [frame_of(1, world.clock, product=None, captured_monotonic=at_s) for at_s in (before_s, asked_s + 0.5)]
    assert [world.book.bind(each).product for each in frames] == ["ring", "cap"]


def test_product_survives_a_restart_and_one_nobody_knows_is_refused(world: World) -> None:
    assert world.book.switch("cap")
    assert world.start().active().product == "cap"
    assert not world.book.switch("bolt")
    assert (world.book.active().product, world.codes()) == ("cap", ["product-unknown"])
    world.packages = ["bolt"]
    assert world.book.switch("bolt")
    assert world.codes() == []


def test_station_that_was_told_no_product_makes_that_of_its_only_package(tmp_path: Path) -> None:
    clock = FakeClock()
    held = ["bolt"]
    book = RecipeBook(tmp_path, STATION, clock, key=SIGNER.public_key, own=OWN, packages=lambda: held)
    assert book.bind(frame_of(1, clock, product=None)).product == "bolt"
    held.append("ring")
    assert book.bind(frame_of(2, clock, product=None)).product is None


def test_what_cannot_be_kept_does_not_hold(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path, _content: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge_agent.recipes.book.write_whole", full)
    assert not world.book.switch("cap")
    assert not world.book.take(sealed(1, ring(2)))
    assert (world.book.active().product, world.book.page.number, world.codes()) == ("ring", 0, ["recipes-disk"])


def test_damaged_file_costs_the_recipes_but_never_lets_an_older_number_in(world: World) -> None:
    assert world.book.take(sealed(7, ring(2, deadline_ms=250)))
    path = world.folder / "recipes" / "assigned.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "envelope": content["envelope"][:-30]}))
    assert world.start().page.current.deadline_ms == 100
    assert world.codes() == ["recipes-refused"]
    assert not world.book.take(sealed(6, ring(1)))
    # What central retains is the very same assignment: it mends the file.
    assert world.book.take(sealed(7, ring(2, deadline_ms=250)))
    assert (world.book.page.current.deadline_ms, world.codes()) == (250, [])


def test_no_part_sees_a_mixture_while_recipes_and_products_change(world: World) -> None:
    """Each page pairs a deadline with a version; whatever a part is bound to must be such a pair."""
    stop = threading.Event()
    mixed: list[tuple[int, float]] = []

    def grab() -> None:
        while not stop.is_set():
            recipe = world.book.bind(frame_of(1, world.clock, product=None)).recipe
            if recipe is not None and recipe.version and recipe.deadline_ms != 1000 + recipe.version:
                mixed.append((recipe.version, recipe.deadline_ms))

    thread = threading.Thread(target=grab)
    thread.start()
    for number in range(1, 60):
        assert world.book.take(sealed(number, ring(number, deadline_ms=1000 + number)))
        assert world.book.switch("cap" if number % 2 else "ring")
    stop.set()
    thread.join()
    assert mixed == []


def test_limits_for_another_package_than_the_one_that_judges_are_told(world: World) -> None:
    limits = RecipeLimits(package_id=DIGEST, ok_limit=0.1, ng_limit=0.2)
    assert world.book.take(sealed(1, ring(1, limits=limits)))
    running = ActivePackage(product="ring", package_id=DIGEST, variant=Variant.FP32, provider="CPUExecutionProvider")
    now = world.clock.now()
    assert lapsed_limits(world.book.page, [running], now) == []
    other = running.model_copy(update={"package_id": "cd" * 32})
    (fault,) = lapsed_limits(world.book.page, [other], now)
    assert (fault.code, "its own limits are in force" in fault.message) == ("recipe-limits-lapsed", True)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"region": {"xywh": [0, 0, 64, 64], "polygon": [[0, 0], [64, 0], [0, 64]]}}, "either xywh or polygon"),
        ({"region": {"xywh": [0, 0, 64, 31]}}, "≥ 32 px, got 64 × 31"),
        ({"limits": {"package_id": DIGEST, "ok_limit": 2, "ng_limit": 1}}, "ok_limit ≤ ng_limit"),
        ({"version": 0}, "greater than or equal to 1"),
        ({"registration": {"method": "TEMPLATE", "landmarks": [{"png": "xx", "x_px": 0, "y_px": 0}]}}, "PNG"),
    ],
)
def test_contract_refuses_a_recipe_that_cannot_be_followed(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ProductRecipe.model_validate({"product": "ring", "version": 1, **changes})


def test_command_to_switch_travels() -> None:
    command = StationCommand(issued_at=START, command=SwitchProduct(product="cap"))
    read = codec.decode(StationCommand, codec.encode(command))
    assert read.command == SwitchProduct(product="cap")
