# SPDX-License-Identifier: Apache-2.0
"""Recipes from a person's hand to the retained message, on a real database; read by the station's own rules."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from securesystemslib.signer import CryptoSigner

from central.errors import ConflictError, InvalidError, NotFoundError
from central.services.recipe_sending import RecipeSending
from central.services.recipes import Deed, RecipeService
from central.store.database import Database
from central.store.repositories import recipes, stations
from contracts.commands import StationCommand, SwitchProduct
from contracts.ids import StationAddress
from contracts.recipes import ActiveRecipe, AssignRecipes
from contracts.reports import ActivePackage, StationReported
from contracts.topics import Channel, topic
from contracts.vocabulary import StationState, Variant
from edge_agent.recipes.from_central import open_recipes
from tests.central.conftest import PACKAGE, STATION, RememberingPublisher, StillClock

OTHER = StationAddress(site="plant", line="line-1", station="st-2")
_KEY = CryptoSigner.generate_ed25519()


@dataclass
class Plant:
    """Service and sending over one database, and what left for the broker."""

    database: Database
    publisher: RememberingPublisher
    clock: StillClock
    is_broker_there: bool = True
    service: RecipeService = field(init=False)
    sending: RecipeSending = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """New services over the same rows. A broker that still has everything is simulated by forgetting the wish."""
        self.service = RecipeService(self.database, self.publisher, lambda: self.is_broker_there)
        self.sending = RecipeSending(self.database, self.publisher, _KEY)

    def deed(self, note: str = "because") -> Deed:
        return Deed("anna", self.clock.now(), note)

    def hear(
        self, station: StationAddress = STATION, *, recipe: ActiveRecipe | None = None, is_connected: bool = True,
        packages: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        active = [
            ActivePackage(product=product, package_id=PACKAGE, variant=Variant.FP32, provider="CPUExecutionProvider")
            for product in packages
        ]
        status = StationReported(
            station=station, at=self.clock.now(), is_connected=is_connected, state=StationState.READY,
            recipe=recipe, active=active,
        )  # fmt: skip
        with self.database.begin() as session:
            stations.keep_status(session, status, self.clock.now())

    def store(self, based_on: int | None = None, *, product: str = "ring", **document: Any) -> int:
        station = document.pop("station", None)
        return self.service.store(product, document, based_on, self.deed(), station=station).version

    def tick(self) -> None:
        self.sending.tick(self.clock.now())

    def sent(self, station: StationAddress = STATION) -> list[AssignRecipes]:
        """What the station would take, oldest first."""
        to = topic(station, Channel.RECIPES)
        return [open_recipes(payload, _KEY.public_key)[0] for name, payload in self.publisher.sent if name == to]

    def versions(self, station: StationAddress = STATION) -> dict[str, int]:
        return {recipe.product: recipe.version for recipe in self.sent(station)[-1].recipes}


@pytest.fixture(name="plant")
def _plant(database: Database, publisher: RememberingPublisher, clock: StillClock) -> Plant:
    plant = Plant(database, publisher, clock)
    plant.hear()
    return plant


def test_new_version_leaves_signed_for_every_station_once(plant: Plant) -> None:
    plant.hear(OTHER)
    plant.store(deadline_ms=90)
    for _ in range(3):
        plant.tick()
    for station in (STATION, OTHER):
        (assigned,) = plant.sent(station)
        assert (assigned.station, assigned.number) == (station, 1)
        assert [(each.product, each.version, each.deadline_ms) for each in assigned.recipes] == [("ring", 1, 90)]


def test_recipes_are_retained_for_stations_that_are_away_and_switches_are_not(plant: Plant) -> None:
    flags: list[tuple[str, int, bool]] = []

    class Watching(RememberingPublisher):
        def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
            flags.append((topic.rsplit("/", maxsplit=1)[-1], qos, retain))
            return super().publish(topic, payload, qos=qos, retain=retain)

    plant.publisher = Watching()
    plant.restart()
    plant.store(deadline_ms=90)
    plant.tick()
    plant.hear(recipe=ActiveRecipe(number=1))
    plant.service.switch(str(STATION), "ring", plant.deed())
    assert flags == [("recipes", 1, True), ("command", 1, False)]


def test_nothing_leaves_for_a_plant_without_recipes(plant: Plant) -> None:
    plant.tick()
    assert plant.publisher.sent == []


def test_numbers_rise_over_changes_and_restarts(plant: Plant) -> None:
    for version in range(3):
        plant.store(version or None, deadline_ms=90 + version)
        plant.tick()
        plant.restart()
    assert sorted({each.number for each in plant.sent()}) == [1, 2, 3]
    assert plant.versions() == {"ring": 3}


def test_recipes_in_force_are_signed_anew_once_when_the_assignment_key_was_exchanged(plant: Plant) -> None:
    plant.store(deadline_ms=90)
    plant.tick()
    other = CryptoSigner.generate_ed25519()
    plant.sending = RecipeSending(plant.database, plant.publisher, other)
    for _ in range(3):
        plant.tick()
    (_, first), *later = plant.publisher.sent
    # The new process publishes what is in force once; by then it is signed by the new key.
    assert {open_recipes(payload, other.public_key)[0].number for _, payload in later} == {2}
    assert open_recipes(first, _KEY.public_key)[0].recipes == open_recipes(later[-1][1], other.public_key)[0].recipes


def test_publish_that_failed_is_made_up_for_with_the_same_number(plant: Plant) -> None:
    plant.tick()
    plant.publisher.is_full = True
    plant.store(deadline_ms=90)
    plant.tick()
    assert plant.sent() == []
    plant.publisher.is_full = False
    plant.tick()
    plant.tick()
    assert [each.number for each in plant.sent()] == [1]


def test_everything_in_force_is_published_again_after_a_connect(plant: Plant) -> None:
    plant.store(deadline_ms=90)
    plant.tick()
    plant.sending.publish_all_again()
    plant.tick()
    assert [each.number for each in plant.sent()] == [1, 1]
    plant.store(1, deadline_ms=80)
    plant.sending.publish_all_again()
    plant.tick()
    assert [each.number for each in plant.sent()] == [1, 1, 2]


def test_station_that_names_a_higher_number_is_sent_one_above_all_that_we_gave(plant: Plant) -> None:
    plant.hear(recipe=ActiveRecipe(number=7))
    plant.store(deadline_ms=90)
    plant.tick()
    # After a restored backup the clock is above them, and the number that the station names moves nothing.
    clock = plant.sent()[-1].number
    assert clock > 1_700_000_000
    for named in (12, clock, 2**53):
        plant.hear(recipe=ActiveRecipe(number=named))
        plant.tick()
    assert [each.number for each in plant.sent()] == [clock]


def test_station_heard_of_later_gets_what_is_in_force(plant: Plant) -> None:
    plant.store(deadline_ms=90)
    plant.tick()
    plant.hear(OTHER)
    plant.tick()
    assert plant.versions(OTHER) == {"ring": 1}
    assert len(plant.sent()) == 1


def test_recipe_of_one_station_reaches_it_alone_and_wins_there(plant: Plant) -> None:
    plant.hear(OTHER)
    plant.store(deadline_ms=90)
    assert plant.store(station=str(OTHER), deadline_ms=70) == 2
    plant.tick()
    assert (plant.versions(), plant.versions(OTHER)) == ({"ring": 1}, {"ring": 2})
    plant.store(1, deadline_ms=60)
    plant.tick()
    assert (plant.versions(), plant.versions(OTHER)) == ({"ring": 3}, {"ring": 2})


def test_pinned_station_stays_until_it_is_unpinned(plant: Plant) -> None:
    plant.hear(OTHER)
    plant.store(deadline_ms=90)
    plant.service.pin(str(STATION), "ring", 1, plant.deed("camera is being moved"))
    plant.store(1, deadline_ms=80)
    plant.tick()
    assert (plant.versions(), plant.versions(OTHER)) == ({"ring": 1}, {"ring": 2})
    plant.service.unpin(str(STATION), "ring", plant.deed("moved"))
    plant.tick()
    assert plant.versions() == {"ring": 2}
    with plant.database.read() as session:
        deeds = recipes.deeds_of(session, "ring", 10)
    assert [(deed.act.value, deed.by, deed.version, deed.note) for deed in deeds] == [
        ("UNPINNED", "anna", 1, "moved"),
        ("PINNED", "anna", 1, "camera is being moved"),
    ]


def test_pin_to_another_stations_version_is_refused(plant: Plant) -> None:
    plant.hear(OTHER)
    plant.store(station=str(OTHER), deadline_ms=90)
    with pytest.raises(InvalidError, match="is for plant/line-1/st-2 alone"):
        plant.service.pin(str(STATION), "ring", 1, plant.deed())
    with pytest.raises(NotFoundError, match="not pinned"):
        plant.service.unpin(str(STATION), "ring", plant.deed())


@pytest.mark.parametrize("based_on", [None, 1, 3])
def test_version_based_on_another_than_the_newest_is_refused(plant: Plant, based_on: int | None) -> None:
    plant.store(deadline_ms=90)
    plant.store(1, deadline_ms=80)
    with pytest.raises(ConflictError, match="there is version 2 by anna"):
        plant.store(based_on, deadline_ms=70)


def test_document_that_changes_nothing_makes_no_version(plant: Plant) -> None:
    plant.store(deadline_ms=90)
    with pytest.raises(InvalidError, match="says what version 1 says"):
        plant.store(1, deadline_ms=90.0)


def test_restoring_makes_a_new_version_with_the_old_document(plant: Plant) -> None:
    plant.store(deadline_ms=90)
    plant.store(1, deadline_ms=80)
    restored = plant.service.restore("ring", 1, plant.deed("80 was too short"))
    assert (restored.version, restored.restored_from, restored.note) == (3, 1, "80 was too short")
    plant.tick()
    assert plant.sent()[-1].recipes[0].deadline_ms == 90
    with pytest.raises(InvalidError, match="says what version 3 says"):
        plant.service.restore("ring", 3, plant.deed())


def test_sixty_fifth_product_is_refused_before_a_station_must_refuse_all(plant: Plant) -> None:
    for number in range(64):
        plant.store(product=f"p-{number}", deadline_ms=90)
    with pytest.raises(InvalidError, match="at most 64 recipes, this would be 65"):
        plant.store(product="p-64", deadline_ms=90)
    with pytest.raises(InvalidError, match="at most 64 recipes"):
        plant.store(product="p-64", station=str(STATION), deadline_ms=90)
    plant.tick()
    assert len(plant.sent()[-1].recipes) == 64


def test_superseded_envelopes_are_not_kept(plant: Plant) -> None:
    for version in range(3):
        plant.store(version or None, deadline_ms=90 + version)
        plant.tick()
    with plant.database.read() as session:
        kept = session.connection().exec_driver_sql("SELECT number FROM recipe_assignment WHERE sealed <> ''").all()
    assert [number for (number,) in kept] == [3]


def test_switch_is_asked_of_a_station_that_has_a_recipe_or_a_package(plant: Plant) -> None:
    plant.store(product="gear", deadline_ms=90)
    plant.tick()
    plant.hear(recipe=ActiveRecipe(number=1), packages=("ring",))
    assert plant.service.switch(str(STATION), "ring", plant.deed()) == []
    (warning,) = plant.service.switch(str(STATION), "gear", plant.deed("shift plan"))
    assert "no package for gear" in warning
    asked = [payload for name, payload in plant.publisher.sent if name == topic(STATION, Channel.COMMAND)]
    wanted = [StationCommand.model_validate_json(payload).command for payload in asked]
    assert wanted == [SwitchProduct(product="ring"), SwitchProduct(product="gear")]
    with plant.database.read() as session:
        (deed,) = recipes.deeds_of(session, "gear", 10)
    assert (deed.act.value, deed.by, deed.station, deed.note) == ("SWITCH_ASKED", "anna", str(STATION), "shift plan")


def test_package_family_counts_as_the_package_of_a_product(plant: Plant) -> None:
    plant.store(product="gear", package_family="ring")
    plant.tick()
    plant.hear(recipe=ActiveRecipe(number=1), packages=("ring",))
    assert plant.service.switch(str(STATION), "gear", plant.deed()) == []


def switch_refused(plant: Plant, product: str, said: str) -> None:
    before = len(plant.publisher.sent)
    with pytest.raises(ConflictError, match=said):
        plant.service.switch(str(STATION), product, plant.deed())
    assert [name for name, _ in plant.publisher.sent[before:]] == []
    with plant.database.read() as session:
        assert recipes.deeds_of(session, product, 10) == []


def test_switch_is_refused_when_it_cannot_take_place(plant: Plant) -> None:
    switch_refused(plant, "gear", "neither a recipe nor a package for gear; it has none")
    plant.store(product="gear", deadline_ms=90)
    plant.tick()
    switch_refused(plant, "gear", r"recipes \(number 1\) are on their way")
    plant.hear(recipe=ActiveRecipe(number=1), is_connected=False)
    switch_refused(plant, "gear", "it is offline")
    plant.hear(recipe=ActiveRecipe(number=1))
    plant.is_broker_there = False
    switch_refused(plant, "gear", "broker: expected to be connected")
    plant.is_broker_there = True
    plant.publisher.is_full = True
    switch_refused(plant, "gear", "the broker takes nothing right now")
    with pytest.raises(NotFoundError, match="never heard of"):
        plant.service.switch(str(OTHER), "gear", plant.deed())
