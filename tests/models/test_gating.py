# SPDX-License-Identifier: Apache-2.0
"""`run-gate` on packages made by hand: what each graph says of each picture, times, memory and golden images."""

import hashlib
from pathlib import Path

import cv2
import pytest

from contracts.codec import encode
from contracts.gating import GATE_REPORT_NAME, GateJob, GatePicture, GateReport
from contracts.vocabulary import Judgement, Variant, Verdict
from models.__main__ import main
from models.clock import SystemClock
from models.measuring.gating import FEWEST_TIMED_RUNS, run_gate
from models.packages.reading import open_package
from models.settings import Settings
from tests.models.made_package import Plate, brightness_graph, draw, made_package


def plate(folder: Path, name: str, square: int | None, **changes: object) -> GatePicture:
    picture, _ = draw(Plate("gate", name, square))
    path = folder / f"{name}.png"
    assert cv2.imwrite(str(path), picture)
    values: dict[str, object] = {
        "path": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "group": name, "is_test": True,
        "judgement": Judgement.DEFECTIVE if square else Judgement.GOOD,
    }  # fmt: skip
    return GatePicture.model_validate({**values, **changes})


def job(tmp_path: Path, pictures: list[GatePicture], *, offset: float = 0.0, is_first: bool = False) -> GateJob:
    """A challenger whose int8 form is darker by `offset`, beside a champion that sees all of it."""
    graphs = {Variant.INT8_U8S8: brightness_graph(offset=-offset), Variant.FP32: brightness_graph()}
    new = open_package(made_package(tmp_path / "new/package", graphs))
    old = open_package(made_package(tmp_path / "old/package", ok_limit=120, ng_limit=130))
    return GateJob(
        package_id=new.package_id,
        package_dir=str(new.folder),
        champion_package_id=None if is_first else old.package_id,
        champion_dir=None if is_first else str(old.folder),
        product="plate",
        is_simulated=True,
        pictures=pictures,
        output_dir=str(tmp_path / "output"),
    )


def measured(gate: GateJob) -> GateReport:
    return run_gate(gate, Settings(), SystemClock())


def test_each_graph_judges_the_same_pictures_at_its_own_package_s_limits(tmp_path: Path) -> None:
    pictures = [plate(tmp_path, "sound", None), plate(tmp_path, "faint", 135), plate(tmp_path, "spot", 200)]
    told = {each.sha256: each for each in measured(job(tmp_path, pictures, offset=50.0)).pictures}
    said = [(told[p.sha256].verdict, told[p.sha256].exact_verdict, told[p.sha256].champion_verdict) for p in pictures]
    assert said == [
        (Verdict.OK, Verdict.OK, Verdict.OK),
        (Verdict.OK, Verdict.OK, Verdict.NG),
        (Verdict.REVIEW, Verdict.NG, Verdict.NG),
    ]


def test_times_rest_on_pictures_enough_and_memory_is_told(tmp_path: Path) -> None:
    report = measured(job(tmp_path, [plate(tmp_path, "sound", None)]))
    assert report.timed is not None
    assert report.champion_timed is not None
    assert (report.timed.runs, report.champion_timed.runs) == (FEWEST_TIMED_RUNS, FEWEST_TIMED_RUNS)
    assert 0 < report.timed.p50_ms <= report.timed.p99_ms
    assert report.memory_mb is not None
    assert 0 <= report.memory_mb < 500


def test_golden_images_are_held_against_what_the_package_promised(tmp_path: Path) -> None:
    golden = {each.variant: each for each in measured(job(tmp_path, [], offset=7.0)).golden}
    # Black golden images promised as 0; the int8 form says -7.
    assert golden[Variant.INT8_U8S8].worst_error == pytest.approx(7.0)
    assert golden[Variant.FP32].worst_error == pytest.approx(0.0)


def test_without_a_champion_only_the_challenger_is_asked(tmp_path: Path) -> None:
    report = measured(job(tmp_path, [plate(tmp_path, "spot", 200)], is_first=True))
    assert report.champion_package_id is None
    assert (report.champion_timed, report.pictures[0].champion_verdict) == (None, None)


def test_a_picture_that_is_not_the_judged_one_is_left_out_by_name(tmp_path: Path) -> None:
    altered = plate(tmp_path, "altered", None, sha256="0" * 64)
    report = measured(job(tmp_path, [altered, plate(tmp_path, "sound", None)]))
    assert len(report.pictures) == 1
    assert "altered.png" in report.left_out[0]


def test_a_graph_that_says_no_number_decides_nothing(tmp_path: Path) -> None:
    new = open_package(made_package(tmp_path / "n/package", {Variant.FP32: brightness_graph(is_broken_above=150)}))
    gate = GateJob(
        package_id=new.package_id, package_dir=str(new.folder), product="plate", is_simulated=True,
        pictures=[plate(tmp_path, "spot", 200)], output_dir=str(tmp_path),
    )  # fmt: skip
    (told,) = measured(gate).pictures
    assert (told.score, told.verdict, told.exact_verdict) == (None, Verdict.NO_DECISION, None)


def test_the_command_leaves_its_report_whole(tmp_path: Path) -> None:
    gate = job(tmp_path, [plate(tmp_path, "spot", 200)])
    path = tmp_path / "job.json"
    path.write_bytes(encode(gate))
    assert main(["run-gate", str(path)]) == 0
    report = GateReport.model_validate_json((tmp_path / "output" / GATE_REPORT_NAME).read_bytes())
    assert report.package_id == gate.package_id


def test_a_package_that_is_not_the_one_named_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "job.json"
    path.write_bytes(encode(job(tmp_path, []).model_copy(update={"package_id": "f" * 64})))
    assert main(["run-gate", str(path)]) == 2
    assert "expected package ffffffffffff" in capsys.readouterr().err
    path.write_text("{}")
    assert main(["run-gate", str(path)]) == 2
