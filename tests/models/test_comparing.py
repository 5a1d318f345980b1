# SPDX-License-Identifier: Apache-2.0
"""`sightline-models compare`: what is counted as mended, by picture and by part, and how sure a difference is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.vocabulary import Variant, Verdict
from models.__main__ import main
from models.measuring.comparing import Judged, escapes, overkills
from tests.models.made_package import Plate, brightness_graph, made_package, plain_plates, write_plates


def compare(a: Path, b: Path, images: Path, *more: str, layout: str = "mvtec") -> dict[str, Any]:
    figures = images.parent / "figures.json"
    where = ["--images", str(images), "--layout", layout, "--json", str(figures)]
    assert main(["--quiet", "compare", str(a), str(b), *where, *more]) == 0
    told: dict[str, Any] = json.loads(figures.read_text())
    return told


def judged(before: str, after: str, groups: str, *, is_defective: bool) -> Judged:
    """Verdicts by letter, O, N or R, one picture each; all of one kind."""
    letters = {"O": Verdict.OK, "N": Verdict.NG, "R": Verdict.REVIEW}
    zeros = np.zeros(len(before), np.float32)
    return Judged(
        zeros, zeros, [letters[each] for each in before], [letters[each] for each in after],
        np.full(len(before), is_defective), list(groups), seed=0,
    )  # fmt: skip


def test_escape_is_mended_when_it_is_held_or_rejected_and_let_through_only_when_ok() -> None:
    told = escapes(judged("OOONRN", "NROOON", "abcdef", is_defective=True))
    assert (told["a"]["count"], told["b"]["count"], told["a"]["of"]) == (3, 3, 6)
    # e was held and is now OK; d was NG and is OK.
    assert told["by_picture"] | {"sign_test_p": None} == {
        "mended": 2, "newly_let_through": 2, "of": 6, "sign_test_p": None,
    }  # fmt: skip
    assert told["by_picture"]["sign_test_p"] == 1


def test_overkill_is_mended_when_it_is_held_or_passed() -> None:
    told = overkills(judged("NNNRO", "ORNNN", "abcde", is_defective=False))
    assert (told["by_picture"]["mended"], told["by_picture"]["new"]) == (2, 2)
    assert (told["a"]["count"], told["b"]["count"]) == (3, 3)


def test_many_pictures_of_one_part_are_one_change() -> None:
    told = escapes(judged("OOOOOONNO", "NNNNNNOON", "aaaaaabcd", is_defective=True))
    assert (told["by_picture"]["mended"], told["by_picture"]["newly_let_through"]) == (7, 2)
    assert (told["by_group"]["mended"], told["by_group"]["newly_let_through"], told["by_group"]["of"]) == (2, 2, 4)
    # Seven against two pictures may look like news; two against two parts is none.
    assert told["by_picture"]["sign_test_p"] == pytest.approx(0.1797, abs=1e-4)
    assert told["by_group"]["sign_test_p"] == 1


def test_part_whose_pictures_change_both_ways_alike_is_even() -> None:
    told = escapes(judged("ONON", "NONO", "aabb", is_defective=True))["by_group"]
    assert (told["mended"], told["newly_let_through"], told["even"], told["of"]) == (0, 0, 2, 2)
    assert told["sign_test_p"] is None


def test_sound_pictures_of_a_defective_part_are_not_counted_among_escapes() -> None:
    mixed = judged("OO", "NN", "aa", is_defective=True)
    mixed.is_defective[0] = False
    assert escapes(mixed)["by_picture"]["of"] == escapes(mixed)["by_picture"]["mended"] == 1
    assert overkills(mixed)["by_picture"]["new"] == 1


def test_changes_between_two_limits_are_counted_and_named(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", [*plain_plates(), Plate("test/good", "glare", base=180)])
    a = made_package(tmp_path / "a", ok_limit=155, ng_limit=160)
    b = made_package(tmp_path / "b", ok_limit=145, ng_limit=190)
    told = compare(a, b, images)
    assert (told["a"]["limits"]["ng_limit"], told["b"]["limits"]["ng_limit"]) == (160, 190)
    gone = told["escapes"]
    assert (gone["a"]["count"], gone["b"]["count"], gone["by_group"]["mended"]) == (4, 0, 4)
    assert gone["by_group"]["sign_test_p"] == pytest.approx(0.125)
    assert told["classes"]["scratch"]["escapes"]["by_picture"]["mended"] == 4
    assert told["classes"]["spot"]["escapes"]["by_picture"]["mended"] == 0
    assert (told["overkills"]["by_picture"]["mended"], told["overkills"]["by_picture"]["new"]) == (1, 0)
    assert told["held"]["sound"]["b"]["count"] == 1
    assert [Path(each["picture"]).stem for each in told["changed"]] == ["c0", "c1", "c2", "c3", "glare"]
    assert (told["changed"][0]["a"], told["changed"][0]["b"]) == ("OK", "REVIEW")
    # Limits do not move ranks.
    auroc = told["image_auroc"]
    assert (auroc["a"], auroc["difference"]) == (auroc["b"], 0)
    assert (auroc["difference_low"], auroc["difference_high"]) == (0, 0)


def test_difference_comes_with_an_interval_over_the_same_parts(tmp_path: Path) -> None:
    # B sees nothing of pictures brighter than 203.5: it gives no number there, and both are ranked on the rest.
    images = write_plates(tmp_path / "set", [*plain_plates(), Plate("test/good", "glare", base=180)])
    blind = {Variant.FP32: brightness_graph(is_broken_above=203.5)}
    told = compare(made_package(tmp_path / "a"), made_package(tmp_path / "b", blind), images)
    assert any(note.startswith("B gave no number for 2 pictures") for note in told["notes"])
    assert told["image_auroc"]["a"] == told["image_auroc"]["b"] == pytest.approx(1 - 4 / 88)
    assert told["image_auroc"]["resamples"] == 2000
    unscored = [each for each in told["changed"] if each["score_b"] is None]
    assert [each["b"] for each in unscored] == ["NO_DECISION", "NO_DECISION"]


def test_one_class_only_compares_verdicts_and_no_ranks(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates(spots=0, scratches=0))
    told = compare(made_package(tmp_path / "a"), made_package(tmp_path / "b", ok_limit=90, ng_limit=95), images)
    assert told["image_auroc"]["difference"] is told["image_auroc"]["difference_low"] is None
    assert told["overkills"]["by_picture"]["new"] == 10
    assert told["escapes"]["a"]["rate"] is None


def test_what_makes_the_two_hard_to_compare_is_said(tmp_path: Path) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    a = made_package(tmp_path / "a")
    both = {Variant.INT8_U8S8: brightness_graph(), Variant.FP32: brightness_graph()}
    b = made_package(tmp_path / "b", both, product="ring")
    notes = compare(a, b, images)["notes"]
    assert "A is for product plate, B for ring" in notes
    assert "A is judged by fp32, B by int8-u8s8" in notes
    assert any(note.startswith("the training pictures of A and B are not exactly") for note in notes)
    assert "A and B are the same package" in compare(a, a, images)["notes"]
    assert compare(a, b, images, "--variant", "fp32")["b"]["variant"] == "fp32"


def test_packages_of_two_splits_meet_on_what_neither_learned(tmp_path: Path) -> None:
    plates = [Plate("good", f"g{index}") for index in range(40)]
    plates += [Plate("spot", f"s{index}", 200, has_mask=False) for index in range(40)]
    images = write_plates(tmp_path / "set", plates)
    packages = [made_package(tmp_path / f"package-{seed}", seed=seed) for seed in (0, 3)]
    alone = [compare(each, each, images, layout="folder")["pictures"]["held_out"] for each in packages]
    told = compare(packages[0], packages[1], images, layout="folder")
    assert 0 < told["pictures"]["held_out"] < min(alone)
    assert told["pictures"]["split_seeds"] == [0, 3]
    assert any("held out by both" in note for note in told["notes"])


def test_table_for_people_tells_both_and_what_changed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write_plates(tmp_path / "set", plain_plates())
    for place in range(22):
        (images / "test/good" / f"empty-{place}.png").touch()
    a, b = made_package(tmp_path / "a", ok_limit=155), made_package(tmp_path / "b")
    assert main(["--quiet", "compare", str(a), str(b), "--images", str(images), "--layout", "mvtec"]) == 0
    told = capsys.readouterr().out
    for words in ("B − A", "escapes, by part", "sign test p", "scratch", "4 pictures changed verdict", "2 more, see"):
        assert words in told


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a": "none"}, "package none: expected a folder with manifest.json, got nothing"),
        ({"--images": "none"}, "images: no folder at none"),
        ({"--variant": "fp16"}, "expected preferred or one that both have, got 'fp16'; A has fp32"),
        ({"--layout": "folder", "--images": "set/test"}, "a folder `good`"),
    ],
)
def test_bad_input_is_named_with_its_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, changes: dict[str, str],
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write_plates(tmp_path / "set", plain_plates(sound=0))
    package = str(made_package(tmp_path / "package"))
    given = {"a": package, "b": package, "--images": "set", "--layout": "mvtec"} | changes
    words = [word for name, value in given.items() for word in ([name, value] if name.startswith("--") else [value])]
    assert main(["--quiet", "compare", *words]) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "Traceback" not in told
