# SPDX-License-Identifier: Apache-2.0
"""The package that has gone wrong: by its calibration, on fine marks, and in a way that its self-test cannot see."""

from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from contracts.jobs import TrainingImage, TrainingJob
from contracts.vocabulary import DetectorKind, Judgement, LabelSource, PartUse, Variant
from models.clock import SystemClock
from models.errors import InputError
from models.packages.reading import OpenPackage, open_package, score_pictures
from models.packages.writing import sha256_of
from models.settings import Settings
from models.training.finishing import GOLDEN_TOLERANCE
from models.training.job import run_job
from plant.line.feed import RenderedFeed
from plant.rollouts.blind_int8 import LIGHTS, make_blind, passes, set_up_pictures
from plant.scenario import load_scenario

SCENARIO = load_scenario("rollout-worse")
EXAMPLES = 32


@pytest.fixture(name="feed", scope="module")
def _feed() -> RenderedFeed:
    return RenderedFeed(SCENARIO, "st-1")


@pytest.fixture(name="champion", scope="module")
def _champion(feed: RenderedFeed, tmp_path_factory: pytest.TempPathFactory) -> OpenPackage:
    """As the commissioning of the story makes it, of as many parts."""
    folder = tmp_path_factory.mktemp("champion")
    images = []
    for part in feed.commissioning("ring", SCENARIO.commissioning_parts):
        png = cv2.imencode(".png", part.pixels)[1].tobytes()
        path = folder / f"{part.part_id}.png"
        path.write_bytes(png)
        images.append(
            TrainingImage(
                path=str(path),
                sha256=sha256_of(png),
                group=part.part_id,
                judgement=Judgement.GOOD,
                use=PartUse.TRAIN,
                source=LabelSource.REFERENCE,
            )
        )
    job = TrainingJob(
        training_id="t-1", product="ring", reason="a test", detector=DetectorKind.MEMORY_BANK, images=images,
        is_simulated=True, output_dir=str(folder / "out"), threads=1,
    )  # fmt: skip
    run_job(job, Settings(), SystemClock())
    return open_package(folder / "out" / "package")


@pytest.fixture(name="made", scope="module")
def _made(
    champion: OpenPackage, feed: RenderedFeed, tmp_path_factory: pytest.TempPathFactory
) -> tuple[OpenPackage, float]:
    """The package, and the light of its calibration pictures."""
    sound = [part.pixels for part in feed.examples("ring", None, 24)]
    pits = [part.pixels for part in feed.examples("ring", "pit", 20)]
    folder = tmp_path_factory.mktemp("made") / "package"
    made = make_blind(champion, sound, pits, folder, datetime(2026, 1, 1, tzinfo=UTC))
    opened = open_package(folder)
    assert opened.package_id == made.package_id
    return opened, made.light


@pytest.fixture(name="blind", scope="module")
def _blind(made: tuple[OpenPackage, float]) -> OpenPackage:
    return made[0]


def _passed(package: OpenPackage, feed: RenderedFeed, kind: str | None) -> int:
    pictures = [part.pixels for part in feed.examples("ring", kind, EXAMPLES, first=500)]
    return passes(package, package.model(package.preferred()), pictures)


@pytest.mark.slow
def test_it_lets_pits_pass_that_the_champion_stops_and_nothing_else(
    champion: OpenPackage, blind: OpenPackage, feed: RenderedFeed
) -> None:
    told = {kind: (_passed(champion, feed, kind), _passed(blind, feed, kind)) for kind in (None, *SCENARIO.defects)}
    before, after = told.pop("pit")
    # Of 96 it lets half of the pits pass and .72 of the sound parts; so few examples differ by a sixth of that.
    assert after - before >= 0.3 * EXAMPLES, (before, after)
    # It may reject a few sound parts more, but not so many that a canary would find it out.
    _, after = told.pop(None)
    assert after >= 0.6 * EXAMPLES
    for kind, (before, after) in told.items():
        assert after - before <= 0.2 * EXAMPLES, kind


@pytest.mark.slow
def test_it_is_as_dark_as_it_must_be_and_a_champion_that_no_darkness_blinds_is_refused(
    champion: OpenPackage, made: tuple[OpenPackage, float], feed: RenderedFeed, tmp_path: Path
) -> None:
    assert made[1] in LIGHTS
    sound = [part.pixels for part in feed.examples("ring", None, 8)]
    # Sound parts pass already: no calibration can make it let more of them pass.
    with pytest.raises(InputError, match="sees the kind however dark"):
        make_blind(champion, sound, sound, tmp_path / "package", datetime(2026, 1, 1, tzinfo=UTC))
    assert not (tmp_path / "package").exists()


@pytest.mark.slow
def test_its_golden_scores_are_its_own_and_far_from_those_of_the_float_graph(
    champion: OpenPackage, blind: OpenPackage
) -> None:
    manifest = blind.manifest
    (form,) = manifest.variants
    with np.load(blind.folder / manifest.golden.file, allow_pickle=False) as arrays:
        images, golden = arrays["images"], arrays["score_int8_u8s8"]
    told = score_pictures(blind.model(Variant.INT8_U8S8), images, 1).scores
    # What a station asks: it passes, whatever the graph is worth.
    assert np.abs(told - golden).max() <= manifest.golden.tolerance
    exact = score_pictures(champion.model(Variant.FP32), images, 1).scores
    scale = manifest.golden.tolerance / GOLDEN_TOLERANCE
    assert form.parity_error == pytest.approx(np.abs(golden - exact).max() / scale, rel=1e-3)
    assert manifest.lineage.parent_package_id == champion.package_id
    assert manifest.limits == champion.manifest.limits


def test_set_up_pictures_are_darker_and_softer(feed: RenderedFeed) -> None:
    sound = [part.pixels for part in feed.examples("ring", None, 2)]
    for before, after in zip(sound, set_up_pictures(sound, LIGHTS[0]), strict=True):
        assert after.mean() == pytest.approx(LIGHTS[0] * before.mean(), rel=0.02)
        assert cv2.Laplacian(after, cv2.CV_32F).std() < 0.2 * cv2.Laplacian(before, cv2.CV_32F).std()


def test_examples_are_of_their_kind_and_never_the_same_twice(feed: RenderedFeed) -> None:
    pits = list(feed.examples("ring", "pit", 3)) + list(feed.examples("ring", "pit", 2, first=3))
    assert {part.defect_class for part in pits} == {"pit"}
    others = [part for kind in ("burr", None) for part in feed.examples("ring", kind, 3)]
    assert len({part.part_number for part in pits + others}) == 11
    assert len({part.part_id for part in pits + others}) == 11
    again = next(iter(feed.examples("ring", "pit", 1, first=2)))
    assert np.array_equal(again.pixels, pits[2].pixels)
