# SPDX-License-Identifier: Apache-2.0
"""Tiles inside the graph: small defects on large parts are seen, found where they are, in every variant and report."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.jobs import TrainingImage
from contracts.manifest import GraphSignature
from contracts.tiles import Tiles
from contracts.vocabulary import DetectorKind, PartUse, Variant, Verdict
from edge_agent.reporting.pictures import encode_heatmap
from models.__main__ import main
from models.clock import SystemClock
from models.data.looks import mask_on_grid
from models.detectors.base import Detector, TrainingSet
from models.detectors.cells import at_once
from models.detectors.classifier import Classifier
from models.detectors.head import HeadSettings
from models.detectors.memory_bank import MemoryBank
from models.detectors.mixed import Mixed
from models.detectors.nearest_cells import MemoryBankSettings
from models.graphs.features import INPUT_NAME, FeatureExtractor, build_front, open_session
from models.graphs.trunks import resolve
from models.graphs.writer import FLOAT, GraphWriter
from models.measuring.pixel_figures import brought_to
from models.packages.reading import OpenPackage, open_package
from models.reporting.page import render_page
from models.reporting.pictures import heated
from models.settings import Settings
from models.training.job import run_job
from tests.models.conftest import Trained, make_job, write_pictures

# Pictures of 2 × 3 tiles, pixel for pixel.
TILE_PX, TILES = 64, Tiles(rows=2, columns=3)
HEIGHT_PX, WIDTH_PX = TILES.field_px(TILE_PX)
CHANNELS, ROWS, COLUMNS = 12, 8, 12
VARIANTS = [Variant.INT8_U8S8, Variant.FP16, Variant.FP32]
TRAINED = [DetectorKind.MEMORY_BANK, DetectorKind.MIXED]
KINDS = [DetectorKind.MEMORY_BANK, DetectorKind.MIXED, DetectorKind.CLASSIFIER]
Picture = NDArray[np.uint8]


def draw(rng: np.random.Generator, dent: tuple[int, int] | None = None) -> Picture:
    """A wide plate with grain; a dent at row, column is ridged so finely that its mean is the plate's."""
    grain = np.asarray(cv2.GaussianBlur(rng.standard_normal((HEIGHT_PX, WIDTH_PX)), (0, 0), 1.0), np.float64)
    plate = 120 + 28 * grain
    if dent is not None:
        row, column = dent
        plate[row - 4 : row + 4, column - 4 : column + 4] += 60 * (-1.0) ** np.arange(8)
    return np.repeat(np.clip(plate, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def dented(rng: np.random.Generator) -> Picture:
    return draw(rng, (int(rng.integers(8, HEIGHT_PX - 8)), int(rng.integers(8, WIDTH_PX - 8))))


def images(folder: Path) -> list[TrainingImage]:
    rng = np.random.default_rng(5)
    found = write_pictures(folder, [draw(rng) for _ in range(18)], use=PartUse.TRAIN)
    found += write_pictures(folder, [dented(rng) for _ in range(10)], use=PartUse.TRAIN, defect_class="dent")
    found += write_pictures(folder, [draw(rng) for _ in range(6)], use=PartUse.HOLDOUT)
    return found + write_pictures(folder, [dented(rng) for _ in range(6)], use=PartUse.HOLDOUT, defect_class="dent")


@pytest.fixture(scope="module")
def tiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[DetectorKind], Trained]:
    """One training on 2 × 3 tiles for each detector, in three variants."""
    done: dict[DetectorKind, Trained] = {}

    def get(kind: DetectorKind) -> Trained:
        if kind not in done:
            folder = tmp_path_factory.mktemp(kind)
            job = make_job(folder, images(folder), detector=kind, size_px=TILE_PX, tiles=TILES, variants=VARIANTS)
            report = run_job(job, Settings(cache_dir=folder / "cache", is_offline=True), SystemClock())
            done[kind] = Trained(job, report)
        return done[kind]

    return get


def opened(done: Trained) -> OpenPackage:
    return open_package(done.package)


@pytest.mark.parametrize("kind", TRAINED)
def test_every_variant_with_tiles_scores_the_golden_images_again(
    kind: DetectorKind, tiled: Callable[[DetectorKind], Trained]
) -> None:
    package = opened(tiled(kind))
    golden = np.load(package.folder / package.manifest.golden.file, allow_pickle=False)
    assert golden["images"].shape == (8, HEIGHT_PX, WIDTH_PX, 3)
    variants = {entry.variant for entry in package.manifest.variants}
    assert variants == set(VARIANTS)
    for variant in variants:
        told = open_session(package.model(variant), 1).run(["score"], {INPUT_NAME: golden["images"]})[0]
        np.testing.assert_allclose(
            told, golden[f"score_{variant.replace('-', '_')}"], atol=package.manifest.golden.tolerance
        )


@pytest.mark.parametrize("kind", TRAINED)
def test_manifest_and_report_carry_the_tiles_and_what_each_costs(
    kind: DetectorKind, tiled: Callable[[DetectorKind], Trained]
) -> None:
    done = tiled(kind)
    graph = opened(done).manifest.graph
    assert graph.tiles == done.report.tiles == TILES
    assert (graph.model_height_px, graph.model_width_px) == (HEIGHT_PX, WIDTH_PX)
    cells = 8 if kind is not DetectorKind.MEMORY_BANK else 4
    assert (graph.heatmap_height_px, graph.heatmap_width_px) == (2 * cells, 3 * cells)
    for each in done.report.variants:
        assert each.infer_p50_ms is not None
        assert each.tile_p50_ms == pytest.approx(each.infer_p50_ms / 6)


@pytest.mark.parametrize("kind", TRAINED)
@pytest.mark.parametrize("dent", [(20, 170), (100, 24), (60, 100)])
def test_heatmap_shows_a_defect_where_it_is_in_the_picture(
    kind: DetectorKind, dent: tuple[int, int], tiled: Callable[[DetectorKind], Trained]
) -> None:
    picture = draw(np.random.default_rng(77))
    cv2.circle(picture, dent[::-1], 6, (225, 225, 225), -1)
    # As a camera may deliver it: other proportions than the field.
    picture = np.asarray(cv2.resize(picture, (2 * WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA), np.uint8)
    package = opened(tiled(kind))
    (maps,) = open_session(package.model(Variant.INT8_U8S8), 1).run(["heatmap"], {INPUT_NAME: picture[None]})
    expected = np.array(dent) * (1, 2)
    ng_limit = package.manifest.limits.ng_limit
    grey = cv2.imdecode(
        np.frombuffer(encode_heatmap(maps[0], picture.shape[:2], ng_limit * 10), np.uint8), cv2.IMREAD_GRAYSCALE
    )
    assert grey is not None
    shown = heated(np.zeros_like(picture), ((maps[0] - maps[0].min()) / np.ptp(maps[0])).astype(np.float32))
    for where in (brought_to(maps[0], *picture.shape[:2]), grey, shown.sum(2)):
        assert where.shape == picture.shape[:2]
        place = np.array(np.unravel_index(int(where.argmax()), where.shape))
        assert (np.abs(place - expected) <= (24, 48)).all()


def test_defect_that_one_field_is_blind_to_is_seen_with_tiles(
    tmp_path: Path, settings: Settings, tiled: Callable[[DetectorKind], Trained]
) -> None:
    with_tiles = tiled(DetectorKind.MEMORY_BANK)
    job = with_tiles.job.model_copy(
        update={"tiles": Tiles(), "output_dir": str(tmp_path / "one"), "variants": [Variant.FP32]}
    )
    one = run_job(job, settings, SystemClock())
    seen, blind = (report.variants[0].image_auroc for report in (with_tiles.report, one))
    assert seen is not None
    assert blind is not None
    assert seen == 1.0
    assert blind < 0.8


def test_field_of_tiles_has_no_seams(settings: Settings) -> None:
    trunk = resolve(settings, "compact", None, [])
    rng = np.random.default_rng(0)
    # The same everywhere, so that any difference between cells away from the border is a seam.
    period = np.tile(rng.integers(90, 150, (8, 8, 3)).astype(np.uint8), (64, 64, 1))
    front = build_front(trunk, size_px=256, grid=32, tiles=Tiles(rows=2, columns=2))
    features = FeatureExtractor(front, threads=1).extract([period], 1)[0].astype(np.float32)
    inner = features[:, 24:40, 24:40]
    spread = np.abs(inner - inner[:, :2, :2].mean((1, 2), keepdims=True)).max()
    assert features.shape[1:] == (64, 64)
    assert spread < 0.02 * np.abs(inner).max()


def test_report_page_and_inspect_tell_of_tiles(
    tiled: Callable[[DetectorKind], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    done = tiled(DetectorKind.MEMORY_BANK)
    page = render_page(done.job, done.report, opened(done), Settings())
    assert "192 × 128 px, 2 rows × 3 columns of tiles of 64 px" in page
    assert "ms a tile" in page
    first = done.report.variants[0]
    assert first.tile_p50_ms is not None
    assert f"<td>{first.tile_p50_ms:.2f}</td>" in page
    assert main(["inspect", str(done.package)]) == 0
    assert "sees 192 × 128 px in 2x3 tiles of 64 px, heatmap 12 × 8" in capsys.readouterr().out


def test_page_and_inspect_of_one_field_speak_of_no_tiles(
    trained: Callable[[DetectorKind], Trained], capsys: pytest.CaptureFixture[str]
) -> None:
    done = trained(DetectorKind.MEMORY_BANK)
    page = render_page(done.job, done.report, opened(done), Settings())
    assert "tiles of" not in page
    assert "a tile" not in page
    assert main(["inspect", str(done.package)]) == 0
    assert "tiles" not in capsys.readouterr().out


def test_pixel_figures_of_tiles_find_the_place(tmp_path: Path, settings: Settings) -> None:
    rng = np.random.default_rng(6)
    sound = write_pictures(tmp_path, [draw(rng) for _ in range(20)], use=PartUse.TRAIN)
    sound += write_pictures(tmp_path, [draw(rng) for _ in range(5)], use=PartUse.HOLDOUT)
    defective = []
    for number in range(6):
        row, column = int(rng.integers(16, HEIGHT_PX - 16)), int(rng.integers(16, WIDTH_PX - 16))
        mask = np.zeros((HEIGHT_PX, WIDTH_PX), np.uint8)
        mask[row - 4 : row + 4, column - 4 : column + 4] = 255
        path = tmp_path / f"mask-{number}.png"
        assert cv2.imwrite(str(path), mask)
        (image,) = write_pictures(tmp_path, [draw(rng, (row, column))], use=PartUse.HOLDOUT, defect_class="dent")
        defective.append(image.model_copy(update={"mask_path": str(path)}))
    job = make_job(tmp_path, sound + defective, size_px=TILE_PX, tiles=TILES, variants=[Variant.FP32])
    (measured,) = run_job(job, settings, SystemClock()).variants
    assert measured.au_pro is not None
    assert measured.au_pro > 0.8


def make_detector(kind: DetectorKind) -> Detector:
    bank = MemoryBank(MemoryBankSettings(cells=60))
    if kind is DetectorKind.CLASSIFIER:
        return Classifier(HeadSettings(steps=40))
    return bank if kind is DetectorKind.MEMORY_BANK else Mixed(bank, HeadSettings(steps=40))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("has_masks", [True, False])
def test_detectors_judge_maps_that_are_not_square_alike_in_numpy_and_graph(kind: DetectorKind, has_masks: bool) -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(0, 1, (60, CHANNELS, ROWS, COLUMNS)).astype(np.float16)
    features[40:, :3, 1:3, 9:11] += 4
    mask = np.zeros((ROWS, COLUMNS), np.float32)
    mask[1:3, 9:11] = 1
    training = TrainingSet(
        features, np.arange(60) >= 40, [str(row) for row in range(60)],
        masks=dict.fromkeys(range(40, 60), mask) if has_masks else {},
    )  # fmt: skip
    detector = make_detector(kind)
    detector.fit(training, seed=0, check=lambda _share: None)
    writer = GraphWriter()
    score, maps = detector.write(writer, writer.input("features", FLOAT, ["n", CHANNELS, ROWS, COLUMNS]))
    writer.output("score", score, ["n"])
    writer.output("heatmap", maps, ["n", "h", "w"])
    session = open_session(writer.model("detector"), 1)
    expected_scores, expected_maps = detector.score(features)
    told_scores, told_maps = session.run(["score", "heatmap"], {"features": features.astype(np.float32)})
    assert expected_maps.shape[2] * ROWS == expected_maps.shape[1] * COLUMNS
    np.testing.assert_allclose(told_scores, expected_scores, atol=2e-2)
    np.testing.assert_allclose(told_maps, expected_maps, atol=2e-2)


@pytest.mark.parametrize(("side", "expected"), [(8, 32), (16, 32), (32, 8), (128, 1), (512, 1)])
def test_larger_maps_are_worked_on_fewer_at_once(side: int, expected: int) -> None:
    assert at_once(np.zeros((1, 1, side, side), np.float16), 32) == expected


def test_mask_keeps_its_place_on_a_grid_that_is_not_square() -> None:
    mask = np.zeros((100, 300), np.uint8)
    mask[0:50, 200:300] = 255
    np.testing.assert_array_equal(mask_on_grid(mask, 2, 6), [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])


def test_package_and_messages_from_before_tiles_are_one_field() -> None:
    graph = GraphSignature.model_validate_json(
        '{"model_height_px": 256, "model_width_px": 256, "heatmap_height_px": 16, "heatmap_width_px": 16, '
        '"embedding_length": 128}'
    )
    assert graph.tiles == Tiles()
    assert graph.tiles.count == 1


def test_verdicts_with_tiles_are_of_the_package_itself(tiled: Callable[[DetectorKind], Trained]) -> None:
    done = tiled(DetectorKind.MIXED)
    escapes = [each for each in done.report.holdout if each.defect_class and each.candidate_verdict is Verdict.OK]
    assert escapes == []
