# SPDX-License-Identifier: Apache-2.0
"""`--tiles`: bad values get one line, small defects on large pictures are warned of, and memory stays bounded."""

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydantic import ValidationError

from contracts.jobs import TrainingJob, VariantMeasured
from contracts.tiles import MOST_TILES, Tiles
from contracts.vocabulary import Judgement, PartUse, Variant
from models.__main__ import main
from models.clock import SystemClock
from models.detectors.memory_bank import MemoryBank
from models.errors import CancelledError, InputError
from models.graphs.timing import SessionTime, noise_picture
from models.packages.reading import open_package
from models.settings import Settings
from models.training.fit_budget import run_within
from models.training.fit_memory import FEWEST_SOUND, room_for
from models.training.job import run_job
from models.training.tiling import fitting_tiles, golden_count, per_tile, read_tiles, told_shrunk
from tests.models.conftest import draw_part, make_job, unread_part, write_parts

MB = 1e6


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0x2", "expected from 1x1 to 64 tiles in all, got 0x2"),
        ("2x0", "got 2x0"),
        ("99x99", "got 99x99 (9801)"),
        ("8x9", "got 8x9 (72)"),
        ("x", "expected ROWSxCOLUMNS, such as 2x5, got 'x'"),
        ("2", "expected ROWSxCOLUMNS, such as 2x5, got '2'"),
        ("", "got ''"),
        ("2x", "got '2x'"),
        ("-1x2", "got '-1x2'"),
        ("2x3x4", "got '2x3x4'"),
        ("1.5x2", "got '1.5x2'"),
        ("1x20", "expected at most 4096 px a side, got 1x20 of 256 px (5120 × 256)"),
        ("9" * 100 + "x1", "expected ROWSxCOLUMNS"),
    ],
)
def test_wrong_tiles_get_one_clear_line_and_leave_nothing(
    text: str, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = folder(tmp_path / "set")
    out = tmp_path / "out"
    assert train(images, out, "--size", "256", f"--tiles={text}") == 2
    told = capsys.readouterr().err
    assert told.startswith("sightline-models: --tiles: ")
    assert words in told
    assert told.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "rows", "columns"), [("1x1", 1, 1), ("2x5", 2, 5), (" 8x8 ", 8, 8), ("4×5", 4, 5), ("1X2", 1, 2)]
)
def test_tiles_are_rows_then_columns(text: str, rows: int, columns: int) -> None:
    assert read_tiles(text, 256) == Tiles(rows=rows, columns=columns)
    assert read_tiles(text, 256).field_px(256) == (rows * 256, columns * 256)


def test_job_file_with_too_many_tiles_is_refused(tmp_path: Path) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 1, is_defective=False, use=PartUse.TRAIN)
    for tiles, words in (({"rows": 9, "columns": 8}, "at most 64 tiles"), ({"rows": 0}, "greater than or equal to 1")):
        with pytest.raises(ValidationError, match=words):
            make_job(tmp_path, images, tiles=tiles)
    with pytest.raises(ValidationError, match="at most 4096 px a side, got 2x8 of 1024 px"):
        make_job(tmp_path, images, size_px=1024, tiles={"rows": 2, "columns": 8})


def test_job_from_before_tiles_is_one_field(tmp_path: Path) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 1, is_defective=False, use=PartUse.TRAIN)
    told = json.loads(make_job(tmp_path, images).model_dump_json())
    del told["tiles"]
    assert TrainingJob.model_validate(told).tiles == Tiles()


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [
        (2048, 2448, 256, Tiles(rows=4, columns=5)),
        (460, 1130, 256, Tiles(rows=1, columns=3)),
        (512, 512, 256, Tiles()),
        (513, 512, 256, Tiles(rows=2, columns=1)),
        (8000, 8000, 256, Tiles(rows=8, columns=8)),
        (300, 60_000, 256, Tiles(rows=1, columns=16)),
    ],
)
def test_tiles_that_are_named_halve_the_picture_at_most(height: int, width: int, size: int, expected: Tiles) -> None:
    tiles = fitting_tiles(height, width, size)
    assert tiles == expected
    assert tiles.count <= MOST_TILES


def test_warning_names_the_shrink_and_tiles_that_fit() -> None:
    told = told_shrunk([(2048, 2448)] * 3, 256, Tiles())
    assert told is not None
    assert "2448 × 2048 px are shrunk 9.6 times" in told
    assert "a defect of 12 px becomes 1.3 px" in told
    assert "--tiles 4x5 (about 20 times the time and memory), or --size 1232 (about 23 times), or cut out" in told
    told = told_shrunk([(6000, 8000)], 256, Tiles())
    assert told is not None
    assert "--size" not in told, "of more px than a model may see"
    assert read_tiles("4x5", 256).count == 20


@pytest.mark.parametrize(
    ("sizes", "tiles"),
    [([(512, 512)], Tiles()), ([(2048, 2448)], Tiles(rows=1, columns=2)), ([], Tiles()), ([(300, 400)], Tiles())],
)
def test_no_warning_where_pictures_are_small_or_tiles_were_asked_for(
    sizes: list[tuple[int, int]], tiles: Tiles
) -> None:
    assert told_shrunk(sizes, 256, tiles) is None


def test_training_on_large_pictures_warns_in_log_and_report(
    tmp_path: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    for image in images:
        picture = cv2.imread(image.path)
        assert picture is not None
        assert cv2.imwrite(image.path, cv2.resize(picture, (400, 200)))
    images = [image.model_copy(update={"sha256": digest(image.path)}) for image in images]
    report = run_job(make_job(tmp_path, images, variants=[Variant.FP32]), settings, SystemClock())
    (note,) = (each for each in report.notes if each.startswith("tiles: "))
    assert "400 × 200 px are shrunk 4.2 times" in note
    assert "--tiles 2x3" in note
    assert note in caplog.text


@pytest.mark.parametrize(
    ("most", "has_looks", "sound", "said"),
    [
        (1330, True, 1000, []),
        (1329, False, 1000, ["further looks at pictures (300 given up)"]),
        (400, False, 370, ["further looks", "370 of 1000 sound training pictures are used"]),
        (FEWEST_SOUND + 30, False, FEWEST_SOUND, ["further looks", f"{FEWEST_SOUND} of 1000"]),
    ],
)
def test_less_memory_gives_up_looks_then_sound_pictures_and_says_it(
    most: int, has_looks: bool, sound: int, said: list[str]
) -> None:
    room = room_for(
        PARTS, looks=300, picture_bytes=MB, bank_bytes=MB, most_bytes=int(most * MB), tiles=Tiles(rows=4, columns=5)
    )
    assert room.has_looks is has_looks
    assert sum(not each.is_defective for each in room.parts) == sound
    assert sum(each.is_defective for each in room.parts) == 30
    assert all(text in note for text, note in zip(said, room.notes, strict=True))


def test_too_little_memory_is_refused_with_what_was_expected_came_and_helps() -> None:
    with pytest.raises(InputError) as caught:
        room_for(
            PARTS, looks=0, picture_bytes=50 * MB, bank_bytes=50 * MB, most_bytes=3_000_000_000,
            tiles=Tiles(rows=8, columns=8),
        )  # fmt: skip
    told = str(caught.value)
    for words in ("--tiles 8x8", "at least 80 training pictures", "3.0 GB", "room for 60 of 1030", "fewer tiles"):
        assert words in told


@pytest.mark.parametrize(("bank", "is_named"), [(37, True), (38, False), (50, False)])
def test_memory_bank_is_named_as_a_remedy_where_it_would_fit(bank: int, is_named: bool) -> None:
    with pytest.raises(InputError) as caught:
        room_for(
            PARTS, looks=0, picture_bytes=50 * MB, bank_bytes=bank * MB, most_bytes=3_000_000_000,
            tiles=Tiles(rows=8, columns=8),
        )  # fmt: skip
    assert ("give --detector memory-bank, fewer tiles" in str(caught.value)) is is_named


def test_one_field_is_never_thinned_for_memory() -> None:
    room = room_for(PARTS, looks=300, picture_bytes=MB, bank_bytes=MB, most_bytes=1, tiles=Tiles())
    assert room.parts == PARTS
    assert room.has_looks
    assert room.notes == []


def test_training_beyond_its_memory_is_refused_and_leaves_nothing(tmp_path: Path, settings: Settings) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    job = make_job(tmp_path, images, size_px=64, tiles=Tiles(rows=2, columns=2))
    tight = Settings(cache_dir=settings.cache_dir, is_offline=True, max_fit_bytes=1_000_000)
    with pytest.raises(InputError, match="room for"):
        run_job(job, tight, SystemClock())
    assert not (tmp_path / "out" / "package").exists()


def test_labels_give_up_their_looks_for_memory_before_pictures(tmp_path: Path, settings: Settings) -> None:
    rng = np.random.default_rng(0)
    images = write_parts(tmp_path, rng, 12, is_defective=False, use=PartUse.TRAIN)
    images += write_parts(tmp_path, rng, 8, is_defective=True, use=PartUse.TRAIN)
    job = make_job(tmp_path, images, size_px=64, tiles=Tiles(rows=2, columns=2), variants=[Variant.FP32])
    # 20 pictures of 128 channels in 16 × 16 cells, and no more.
    tight = Settings(cache_dir=settings.cache_dir, is_offline=True, max_fit_bytes=int(20.5 * 3.1 * 65_536))
    report = run_job(job, tight, SystemClock(), budget_s=600.0)
    assert (report.train_good, report.train_defective) == (12, 8)
    (note,) = (each for each in report.notes if each.startswith("memory: "))
    assert "no further looks at pictures (96 given up)" in note


def test_budget_measures_the_field_with_its_tiles(tmp_path: Path, settings: Settings) -> None:
    images = write_parts(tmp_path, np.random.default_rng(0), 12, is_defective=False, use=PartUse.TRAIN)
    job = make_job(tmp_path, images, size_px=80, tiles=Tiles(rows=1, columns=2), variants=[Variant.FP32])
    report = run_within(
        job, settings, SystemClock(), within_ms=7.0, measure=lambda _model, size_px, _threads: by_size(size_px)
    )
    (taken,) = (note for note in report.notes if "; taken" in note)
    assert taken.startswith("fit-budget: compact at 64 px, 1x2 tiles: fp32 6.40 ms")
    graph = open_package(tmp_path / "out" / "package").manifest.graph
    assert (graph.model_height_px, graph.model_width_px, graph.tiles.told) == (64, 128, "1x2")
    assert noise_picture(80, job.tiles).shape == (80, 160, 3)


def by_size(size_px: int) -> SessionTime:
    return SessionTime(size_px / 10, size_px / 10)


def test_steps_kept_of_other_tiles_are_not_taken_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGHTLINE_OFFLINE", "1")
    images, out = folder(tmp_path / "set"), tmp_path / "out"
    with monkeypatch.context() as context:
        context.setattr(MemoryBank, "fit", cancel)
        assert train(images, out, "--resume", "--tiles", "1x2") == 143
    assert train(images, out, "--resume", "--tiles", "2x1") == 0
    report = json.loads((out / "report.json").read_text())
    assert report["tiles"] == {"rows": 2, "columns": 1}
    assert any("of another training" in note for note in report["notes"])


@pytest.mark.parametrize(
    ("tiles", "expected"), [(Tiles(), 8), (Tiles(rows=2, columns=4), 8), (Tiles(rows=3, columns=3), 4)]
)
def test_packages_of_many_tiles_carry_fewer_golden_images(tiles: Tiles, expected: int) -> None:
    assert golden_count(tiles) == expected
    # Unpacked, the largest must be what a station takes.
    height, width = Tiles(rows=8, columns=8).field_px(512)
    assert golden_count(Tiles(rows=8, columns=8)) * height * width * 3 <= 256 * 1024 * 1024


def test_time_that_is_not_known_is_not_divided() -> None:
    measured = [VariantMeasured(variant=Variant.FP32, infer_p50_ms=ms, is_included=True) for ms in (None, 60.0)]
    assert [each.tile_p50_ms for each in per_tile(measured, Tiles(rows=2, columns=3))] == [None, 10.0]


PARTS = [unread_part(f"g{place}", Judgement.GOOD) for place in range(1000)]
PARTS += [unread_part(f"d{place}", Judgement.DEFECTIVE) for place in range(30)]


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def cancel(*_arguments: object, **_named: object) -> None:
    raise CancelledError


def folder(root: Path) -> Path:
    """12 sound parts to train on, 2 sound and 2 defective held out, in layout mvtec."""
    rng = np.random.default_rng(0)
    for name, count in (("train/good", 12), ("test/good", 2), ("test/speck", 2)):
        (root / name).mkdir(parents=True)
        for place in range(count):
            picture = draw_part(rng, is_defective=name.endswith("speck"))
            assert cv2.imwrite(str(root / name / f"{place:03}.png"), picture)
    return root


def train(images: Path, out: Path, *more: str) -> int:
    named = ["--product", "plate", "--size", "64", "--threads", "1", "--backbone", "compact"]
    return main(["--quiet", "train", "--images", str(images), "--layout", "mvtec", *named, "--out", str(out), *more])
