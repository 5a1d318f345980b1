# SPDX-License-Identifier: Apache-2.0
"""`sightline-models evaluate`: what stands in its file, where a figure comes from, what is said instead of one."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.vocabulary import Variant, Verdict
from models.__main__ import main
from models.clock import SystemClock
from models.errors import InputError
from models.measuring.judging import Seen, judge, rate_of_parts
from models.packages.reading import OpenPackage
from models.reporting.console import Ticker, check_target, told_left_out
from tests.models.made_package import Plate, brightness_graph, made_package, plain_plates, write_plates


def evaluate(package: Path, images: Path, *more: str, layout: str = "mvtec") -> dict[str, Any]:
    figures = images.parent / "figures.json"
    where = ["--package", str(package), "--images", str(images), "--layout", layout, "--json", str(figures)]
    assert main(["--quiet", "evaluate", *where, *more]) == 0
    told: dict[str, Any] = json.loads(figures.read_text())
    return told


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["--quiet", *arguments]) == 2
    told = capsys.readouterr().err
    assert "Traceback" not in told
    return told


def test_figures_of_a_known_set_are_the_counted_ones(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", [*plain_plates(), Plate("test/good", "glare", base=180)])
    told = evaluate(made_package(tmp_path / "package"), images)
    assert told["product"] == "plate"
    assert (told["pictures"]["sound"], told["pictures"]["defective"]) == (11, 10)
    assert told["pictures"]["classes"] == {"scratch": 4, "spot": 6}
    assert (told["pictures"]["with_mask"], told["pictures"]["layout"]) == (10, "mvtec")
    fp32 = told["variants"]["fp32"]
    # The glare scores above the scratches and below the spots.
    assert fp32["image_auroc"] == pytest.approx(1 - 4 / 110)
    assert fp32["recall_at_1pct_overkill"] == pytest.approx(0.6)
    assert fp32["overkill_at_100pct_recall"] == pytest.approx(1 / 11)
    assert (fp32["escapes"]["count"], fp32["escapes"]["of"], fp32["escapes"]["rate"]) == (0, 10, 0)
    assert fp32["escapes"]["high"] == pytest.approx(0.3085, abs=1e-4)
    assert (fp32["overkills"]["count"], fp32["overkills"]["of"]) == (1, 11)
    assert fp32["held_for_review"] == fp32["held"]["defective"]["count"] == 4
    assert fp32["held"]["sound"]["count"] == fp32["no_decision"] == 0
    assert fp32["per_class"] == {"scratch": pytest.approx(10 / 11), "spot": pytest.approx(1)}
    assert fp32["classes"]["spot"]["caught"]["rate"] == 1
    assert fp32["classes"]["scratch"]["held"]["count"] == 4
    assert fp32["classes"]["scratch"]["overkill_at_95pct_recall"] == pytest.approx(1 / 11)
    # The map is the picture on 16 × 16 cells. Of the sound pixels (11 plates, and 4 less their scratch) the glare's
    # enter before the first scratch does.
    glare = 64 * 64 / (11 * 64 * 64 + 4 * (64 * 64 - 16 * 16))
    assert fp32["classes"]["scratch"]["au_pro"] == pytest.approx(1 - glare / 0.3, abs=0.002)
    assert fp32["classes"]["scratch"]["au_pro"] < fp32["au_pro"] < fp32["classes"]["spot"]["au_pro"]
    assert (fp32["regions"], fp32["classes"]["spot"]["regions"]) == (10, 6)
    assert fp32["unknown"] == {}


def test_keys_that_scripts_read_are_all_there(tmp_path: Path) -> None:
    told = evaluate(made_package(tmp_path / "package"), write_plates(tmp_path / "set", plain_plates()))
    assert {"package", "variants", "left_out", "notes", "pictures", "limits", "confidence"} <= set(told)
    ranks = {"image_auroc", "average_precision", "recall_at_1pct_overkill", "recall_at_5pct_overkill"}
    ranks |= {f"overkill_at_{recall}pct_recall" for recall in (95, 99, 100)}
    both = {*ranks, "pixel_auroc", "au_pro", "escapes"}
    fp32 = told["variants"]["fp32"]
    assert {*both, "overkills", "held_for_review", "infer_p50_ms", "infer_p99_ms", "per_class", "parity"} <= set(fp32)
    assert both <= set(fp32["classes"]["spot"])
    assert set(fp32["escapes"]) == {"count", "of", "rate", "low", "high"}
    assert set(fp32["latency"]) == {"p50_ms", "p99_ms", "runs", "warm_up_runs", "threads"}


def test_parity_is_told_in_ways_from_a_typical_sound_score_to_the_ng_limit(tmp_path: Path) -> None:
    graphs = {Variant.INT8_U8S8: brightness_graph(offset=15), Variant.FP32: brightness_graph()}
    plates = [*plain_plates(sound=9), *(Plate("test/good", f"x{index}", base=130) for index in range(2))]
    package = made_package(tmp_path / "package", graphs)
    told = evaluate(package, write_plates(tmp_path / "set", plates))
    parity = told["variants"]["int8-u8s8"]["parity"]
    # The median of 100 … 108, 130, 130 is 105, so the way is 55.
    assert parity["unit_in_scores"] == pytest.approx(55)
    assert parity["largest"] == pytest.approx(15 / 55)
    assert parity["p99"] == pytest.approx(15 / 55)
    # Two sound plates reach 145 and are held, four scratches reach 165 and are NG.
    assert (parity["verdicts_changed"]["count"], parity["verdicts_changed"]["of"]) == (6, 21)
    own = told["variants"]["fp32"]["parity"]
    assert (own["largest"], own["verdicts_changed"]["count"]) == (0, 0)
    alone = evaluate(package, tmp_path / "set", "--variant", "int8-u8s8")
    assert list(alone["variants"]) == ["int8-u8s8"]
    assert alone["variants"]["int8-u8s8"]["parity"] == parity


def test_variant_that_was_not_asked_for_is_scored_but_neither_timed_nor_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged: list[Variant] = []

    def note(package: OpenPackage, variant: Variant, *rest: Any) -> Seen:
        judged.append(variant)
        return judge(package, variant, *rest)

    monkeypatch.setattr("models.measuring.evaluating.judge", note)
    graphs = {Variant.INT8_U8S8: brightness_graph(offset=15), Variant.FP32: brightness_graph()}
    package = made_package(tmp_path / "package", graphs)
    told = evaluate(package, write_plates(tmp_path / "set", plain_plates()), "--variant", "int8-u8s8")
    assert judged == [Variant.INT8_U8S8]
    assert told["variants"]["int8-u8s8"]["parity"]["largest"] > 0


def test_parity_without_fp32_is_not_known(tmp_path: Path) -> None:
    package = made_package(tmp_path / "package", {Variant.FP16: brightness_graph()})
    told = evaluate(package, write_plates(tmp_path / "set", plain_plates()))["variants"]["fp16"]
    assert told["parity"] is None
    assert told["unknown"]["parity"] == "the package has no fp32 variant"


def test_latency_states_runs_threads_and_warm_up(tmp_path: Path) -> None:
    told = evaluate(
        made_package(tmp_path / "package"), write_plates(tmp_path / "set", plain_plates()), "--threads", "2"
    )
    latency = told["variants"]["fp32"]["latency"]
    # 20 pictures are too few for a 99th percentile, so they are gone over again.
    assert (latency["runs"], latency["threads"], latency["warm_up_runs"]) == (100, 2, 5)
    assert 0 < latency["p50_ms"] <= latency["p99_ms"]
    assert told["variants"]["fp32"]["infer_p50_ms"] == latency["p50_ms"]


def test_part_with_several_pictures_counts_once_and_by_its_worst_one() -> None:
    verdicts = [Verdict.OK, Verdict.NG, Verdict.OK, Verdict.OK, Verdict.NG, Verdict.NG, Verdict.OK]
    rows = np.array([1, 1, 1, 1, 1, 1, 0], np.bool_)
    told = rate_of_parts(verdicts, Verdict.OK, rows, ["a", "a", "b", "b", "c", "c", "d"])
    assert (told["count"], told["of"]) == (2, 3)


def test_without_masks_pixel_figures_are_null_and_say_why(tmp_path: Path) -> None:
    plates = [
        *plain_plates(spots=0, scratches=0),
        *(Plate("test/spot", f"s{i}", 200, has_mask=False) for i in range(3)),
    ]
    told = evaluate(made_package(tmp_path / "package"), write_plates(tmp_path / "set", plates))["variants"]["fp32"]
    assert (told["pixel_auroc"], told["au_pro"]) == (None, None)
    assert told["unknown"]["au_pro"] == "none of the 3 defective held-out pictures has a usable mask"
    assert told["image_auroc"] == 1


def test_pictures_without_their_mask_are_in_no_pixel_figure_and_counted(tmp_path: Path) -> None:
    plates = [*plain_plates(), Plate("test/spot", "bare", 100, has_mask=False)]
    told = evaluate(made_package(tmp_path / "package"), write_plates(tmp_path / "set", plates))
    assert told["variants"]["fp32"]["regions"] == 10
    assert any(note.startswith("1 of 11 defective pictures have no usable mask") for note in told["notes"])


@pytest.mark.parametrize(("sound", "spots", "missing"), [(4, 0, "all 4 are sound"), (0, 4, "all 4 are defective")])
def test_one_class_only_gives_rates_but_no_ranks_and_says_why(
    tmp_path: Path, sound: int, spots: int, missing: str
) -> None:
    plates = plain_plates(sound=sound, spots=spots, scratches=0)
    told = evaluate(made_package(tmp_path / "package"), write_plates(tmp_path / "set", plates))
    fp32 = told["variants"]["fp32"]
    assert fp32["image_auroc"] is fp32["average_precision"] is fp32["intervals"] is None
    assert missing in fp32["unknown"]["image_auroc"]
    assert fp32["escapes"]["of"] + fp32["overkills"]["of"] == 4
    assert (fp32["overkills"]["rate"] is None) is (sound == 0)
    assert any("held-out pictures: figures that need both kinds are null" in note for note in told["notes"])


def test_score_that_is_no_number_is_counted_and_in_no_rank(tmp_path: Path) -> None:
    package = made_package(tmp_path / "package", {Variant.FP32: brightness_graph(is_broken_above=203.5)})
    plates = [*plain_plates(), Plate("test/good", "glare", base=210)]
    told = evaluate(package, write_plates(tmp_path / "set", plates))["variants"]["fp32"]
    assert (told["no_decision"], told["classes"]["spot"]["no_decision"]) == (3, 2)
    assert told["unknown"]["scores"].startswith("3 pictures got no number")
    # Sorted as if it were high, the glare's NaN would stand above all defects.
    assert (told["image_auroc"], told["escapes"]["count"], told["held_for_review"]) == (1, 0, 4)


def test_ranks_come_with_intervals_by_part_and_the_same_ones_every_time(tmp_path: Path) -> None:
    package = made_package(tmp_path / "package")
    images = write_plates(tmp_path / "set", [*plain_plates(), Plate("test/good", "glare", base=180)])
    first, second = (evaluate(package, images)["variants"]["fp32"] for _ in range(2))
    assert first["intervals"] == second["intervals"]
    assert (first["intervals"]["by"], first["intervals"]["resamples"]) == ("part", 1000)
    for name in ("image_auroc", "recall_at_1pct_overkill", "overkill_at_100pct_recall"):
        assert first["intervals"][name]["low"] <= first[name] <= first["intervals"][name]["high"]
    # Draws without the glare find every defect, draws with it the six spots of about ten.
    recall = first["intervals"]["recall_at_1pct_overkill"]
    assert recall["high"] == 1
    assert 0.2 <= recall["low"] <= 0.4


def test_typical_sound_score_above_the_ng_limit_leaves_nothing_to_measure_parity_in(tmp_path: Path) -> None:
    package = made_package(tmp_path / "package", ok_limit=50, ng_limit=60)
    told = evaluate(package, write_plates(tmp_path / "set", plain_plates()))["variants"]["fp32"]
    assert told["parity"]["largest"] is None
    assert "typical sound score" in told["unknown"]["parity"]


def test_package_of_the_other_side_is_known_by_the_digest_of_its_pictures(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (images / "train" / "good").iterdir()]
    lines = sorted(f"{digest} GOOD " for digest in digests)
    package = made_package(tmp_path / "package", dataset_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest())
    told = evaluate(package, images)
    assert told["is_trained_on_the_other_side"] is True
    assert not any("make sure" in note for note in told["notes"])


def test_a_training_picture_that_cannot_be_read_raises_no_doubt(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    good = images / "train" / "good"
    digests = [hashlib.sha256(path.read_bytes()).hexdigest() for path in good.iterdir()]
    (good / "torn.png").write_bytes(next(good.iterdir()).read_bytes()[:60])
    lines = sorted(f"{digest} GOOD " for digest in digests)
    package = made_package(tmp_path / "package", dataset_sha256=hashlib.sha256("\n".join(lines).encode()).hexdigest())
    assert evaluate(package, images)["is_trained_on_the_other_side"] is True


def test_training_pictures_of_another_split_are_pointed_out(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    told = evaluate(made_package(tmp_path / "package"), images)
    assert told["is_trained_on_the_other_side"] is False
    assert any("make sure that it did not learn from the held-out ones" in note for note in told["notes"])


def test_split_by_name_is_that_of_the_packages_training(tmp_path: Path) -> None:
    plates = [Plate("good", f"g{index}") for index in range(30)]
    plates += [Plate("spot", f"s{index}", 200, has_mask=False) for index in range(30)]
    images = write_plates(tmp_path / "set", plates)
    counts = {}
    for seed in (0, 3):
        told = evaluate(made_package(tmp_path / f"package-{seed}", seed=seed), images, layout="folder")
        assert told["pictures"]["split_seeds"] == [seed]
        counts[seed] = told["pictures"]["sound"], told["pictures"]["defective"]
    asked = evaluate(tmp_path / "package-3", images, "--seed", "0", layout="folder")
    assert counts[0] != counts[3]
    assert (asked["pictures"]["sound"], asked["pictures"]["defective"]) == counts[0]


def test_labels_overrule_the_folders_as_they_do_in_training(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    labels = tmp_path / "labels.csv"
    rows = ["test/good/g0.png,defective,stain,one", "test/good/g1.png,defective,stain,one"]
    labels.write_text("\n".join(["path,judgement,defect_class,group", *rows]))
    told = evaluate(made_package(tmp_path / "package"), images, "--labels", str(labels))
    assert told["pictures"]["classes"] == {"scratch": 4, "spot": 6, "stain": 2}
    stain = told["variants"]["fp32"]["classes"]["stain"]
    assert (stain["escapes"]["count"], stain["escapes_by_part"]["count"], stain["escapes_by_part"]["of"]) == (2, 1, 1)
    assert any(note.startswith("12 defective pictures show 11 parts") for note in told["notes"])


def test_without_json_a_person_reads_a_table_and_a_script_reads_stdout(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    where = ["--package", str(made_package(tmp_path / "package")), "--images", str(images), "--layout", "mvtec"]
    assert main(["--quiet", "evaluate", *where]) == 0
    table = capsys.readouterr().out
    for words in ("image AUROC", "AU-PRO", "escapes", "0 of 10", "fp32 by defect class", "scratch", "1 thread,"):
        assert words in table
    assert main(["--quiet", "evaluate", *where, "--json", "-"]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["variants"]["fp32"]["image_auroc"] == 1
    # Nobody watches: no line of progress.
    assert told.err == ""


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class _StillClock(SystemClock):
    def monotonic_s(self) -> float:
        return 0.0


def test_progress_is_one_line_on_a_terminal_and_goes_when_the_work_ends() -> None:
    stream = _Terminal()
    with Ticker(_StillClock(), stream) as ticker:
        for count in range(1, 6):
            ticker.tell("fp32", count, 5)
    told = stream.getvalue()
    # The clock stands still, so only the first and the last line are due.
    assert told.count("\r") == 4
    assert "fp32 1/5" in told
    assert "fp32 5/5" in told
    assert told.endswith(" \r")
    assert "\n" not in told


def alter(package: Path) -> dict[str, str]:
    (package / "fp32.onnx").write_bytes(b"x" * (package / "fp32.onnx").stat().st_size)
    return {}


def remove(package: Path) -> dict[str, str]:
    (package / "fp32.onnx").unlink()
    return {}


def only_train(package: Path) -> dict[str, str]:
    plates = plain_plates(sound=0, spots=0, scratches=0)
    return {"--images": str(write_plates(package.parent / "train-only", plates))}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: {"--package": "none"}, "none: expected a folder with manifest.json, got nothing; check the path"),
        (lambda package: {"--package": str(package.parents[1] / "set")}, "give the folder `package` that a training"),
        (lambda package: {"--package": str(package.parent)}, "out: expected a folder with manifest.json, got none"),
        (lambda package: {"--package": str(package.parent)}, "out/package\n"),
        (lambda package: {"--package": str(package / "manifest.json")}, "got a file; check the path"),
        (alter, "fp32.onnx is not the file its manifest names; fetch it again"),
        (remove, "fp32.onnx cannot be read"),
        (lambda _: {"--images": "none"}, "images: no folder at none"),
        (lambda _: {"--variant": "int4"}, "expected all or one of the package's (fp32), got 'int4'"),
        (lambda _: {"--variant": "fp16"}, "expected all or one of the package's (fp32), got 'fp16'"),
        (lambda _: {"--layout": "mvtex"}, "expected one of mvtec"),
        (only_train, "(layout mvtec: test/good and test/<defect>), got none among 3 pictures; add some"),
        (lambda package: {"--json": str(package)}, "--json: expected a file to write, got the folder"),
        (lambda _: {"--json": "/dev/null/figures.json"}, "cannot be made a folder"),
        (lambda _: {"--labels": "none.csv"}, "none.csv"),
    ],
)
def test_bad_input_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: Callable[[Path], dict[str, str]], message: str
) -> None:
    package = made_package(tmp_path / "out" / "package")
    images = write_plates(tmp_path / "set", plain_plates())
    figures = tmp_path / "figures.json"
    given = {"--package": str(package), "--images": str(images), "--layout": "mvtec", "--json": str(figures)}
    given |= spoil(package)
    assert message in refusal(["evaluate", *(word for pair in given.items() for word in pair)], capsys)
    assert not figures.exists()


def test_place_that_takes_no_file_is_refused_before_anything_is_measured(tmp_path: Path) -> None:
    nowhere = Path("/proc/figures.json")
    if not nowhere.parent.is_dir():
        pytest.skip("no folder here that takes no file")
    with pytest.raises(InputError, match=r"/proc/figures\.json cannot be written .*; give another file"):
        check_target(nowhere)
    check_target(tmp_path / "new" / "figures.json")
    assert list((tmp_path / "new").iterdir()) == []


def test_left_out_pictures_beyond_the_first_are_counted() -> None:
    lines = [f"{place}.png: no" for place in range(23)]
    told = told_left_out(lines, "see --json")
    assert told[:20] == [f"left out: {line}" for line in lines[:20]]
    assert told[20:] == ["left out: 3 more, see --json"]
    assert told_left_out(lines[:20], "see --json") == told[:20]


def test_graph_that_cannot_be_opened_is_the_packages_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    package = made_package(tmp_path / "package", {Variant.FP32: b"no graph at all"})
    images = write_plates(tmp_path / "set", plain_plates())
    where = ["evaluate", "--package", str(package), "--images", str(images), "--layout", "mvtec"]
    assert "fp32: ONNX Runtime cannot open the graph" in refusal(where, capsys)
