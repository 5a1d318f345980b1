# SPDX-License-Identifier: Apache-2.0
"""Another batch of material changes the look of one product's parts, and nothing else."""

import numpy as np
import pytest

from plant.line.feed import DefectPlan, RenderedFeed
from plant.parts.catalogue import KINDS, PRODUCTS, Material
from plant.parts.renderer import PartRenderer
from plant.scenario import Scenario, ScenarioError, read_scenario

STORY = """
title = "a batch and a worse process"
takt_s = 0.01
size_px = 64
[[station]]
name = "st-1"
product = "ring"
[[step]]
at_part = 50
material = { product = "ring", tone = -0.1, grain = 0.5 }
[[step]]
at_part = 50
new_defect = { kind = "pit", rate = 0.5, product = "board" }
[[step]]
at_part = 100
changeover = "board"
"""


@pytest.fixture(name="scenario", scope="module")
def _scenario() -> Scenario:
    return read_scenario(STORY, "batch")


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize(
    ("material", "darker", "rougher"),
    [(Material(tone=-0.1), True, False), (Material(grain=0.6), False, True), (Material(), False, False)],
)
def test_each_quality_of_a_batch_does_what_it_says(
    product: str, material: Material, darker: bool, rougher: bool
) -> None:
    renderer = PartRenderer(product, 96, 3)
    usual = np.stack([renderer.render(number).pixels for number in range(12)]).astype(float)
    batch = np.stack([renderer.render(number, material=material).pixels for number in range(12)]).astype(float)
    assert (batch.mean() < usual.mean() * 0.97) == darker
    edges_before, edges_after = (np.abs(np.diff(pixels, axis=1)).mean() for pixels in (usual, batch))
    assert (edges_after > edges_before * 1.05) == rougher
    if not (darker or rougher):
        assert np.array_equal(usual, batch)


def test_what_is_not_the_part_stays_as_it_was() -> None:
    renderer = PartRenderer("ring", 96, 3)
    usual, batch = renderer.render(1).pixels, renderer.render(1, material=Material(tone=-0.3, tint=0.2)).pixels
    corner = np.s_[:8, :8]
    assert np.array_equal(usual[corner], batch[corner])
    assert not np.array_equal(usual, batch)


def test_a_batch_comes_at_its_part_to_its_product_and_not_to_commissioning(scenario: Scenario) -> None:
    plan = DefectPlan(scenario, "st-1", "ring")
    assert plan.material(49) is None
    assert plan.material(50) == Material(tone=-0.1, grain=0.5)
    assert plan.material(100) is None, "the board is made of what it was made of"
    feed = RenderedFeed(scenario, "st-1")
    before = np.mean([feed.part(number, "A", 0).pixels for number in range(20, 50)])
    after = np.mean([feed.part(number, "A", 0).pixels for number in range(50, 80)])
    sound = np.mean([part.pixels for part in feed.commissioning("ring", 30)])
    assert after < before - 3
    assert abs(sound - before) < abs(sound - after)


def test_more_defects_of_one_product_leave_the_other_alone(scenario: Scenario) -> None:
    plan = DefectPlan(scenario, "st-1", "ring")
    rng = np.random.default_rng(1)
    assert not any(plan.defect(60, KINDS["ring"], rng) for _ in range(200))
    assert sum(plan.defect(120, KINDS["board"], rng) is not None for _ in range(200)) > 70


def test_a_batch_of_a_product_that_nobody_makes_is_refused() -> None:
    with pytest.raises(ScenarioError, match=r"step\.0\.material\.product: expected one of ring, board, got 'nut'"):
        read_scenario(STORY.replace('product = "ring", tone', 'product = "nut", tone'), "batch")
