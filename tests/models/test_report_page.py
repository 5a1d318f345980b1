# SPDX-License-Identifier: Apache-2.0
"""The report page: whole in one file, safe against what a file may be called, honest where nothing is known."""

import base64
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from contracts.jobs import EvaluationReport, HoldoutVerdict, QuantizationStep, TrainingJob
from contracts.vocabulary import DetectorKind, Judgement, Variant, Verdict
from models.packages.reading import OpenPackage, open_package
from models.reporting.curves import recall_curve, score_histogram, ticks
from models.reporting.page import render_page
from models.reporting.pictures import choose_worst, heated, outlined
from models.settings import Settings
from tests.models.conftest import Trained

Trainings = Callable[[DetectorKind], Trained]


class Page(HTMLParser):
    """What a browser would find: tags with their attributes, and the text."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self, alt: str) -> list[str]:
        return [told["src"] or "" for tag, told in self.tags if tag == "img" and (told["alt"] or "").startswith(alt)]


@pytest.fixture
def made(trained: Trainings) -> tuple[TrainingJob, EvaluationReport, OpenPackage]:
    done = trained(DetectorKind.MEMORY_BANK)
    return done.job, done.report, open_package(done.package)


def judged(report: EvaluationReport, **verdicts: Verdict) -> EvaluationReport:
    """The report with the first sound (`good`) or defective picture judged otherwise."""
    holdout = list(report.holdout)
    for kind, verdict in verdicts.items():
        place = next(place for place, each in enumerate(holdout) if each.judgement is Judgement(kind.upper()))
        holdout[place] = holdout[place].model_copy(update={"candidate_verdict": verdict})
    return report.model_copy(update={"holdout": holdout})


def test_page_is_whole_in_one_file(made: tuple[TrainingJob, EvaluationReport, OpenPackage]) -> None:
    page = Page(render_page(*made, Settings()))
    assert {"script", "link", "iframe", "object", "base"}.isdisjoint(tag for tag, _ in page.tags)
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert (attributes.get(name) or "data:image/jpeg;base64,").startswith("data:image/jpeg;base64,")
    assert any("default-src 'none'" in (told.get("content") or "") for _, told in page.tags)


def test_figures_come_with_denominator_and_interval(made: tuple[TrainingJob, EvaluationReport, OpenPackage]) -> None:
    job, report, package = made
    text = Page(render_page(job, judged(report, defective=Verdict.OK), package, Settings())).text
    defective = [verdict for verdict in report.holdout if verdict.judgement is Judgement.DEFECTIVE]
    escapes = 1 + sum(verdict.candidate_verdict is Verdict.OK for verdict in defective[1:])
    assert f"{escapes} of {len(defective)} defective pictures" in text
    assert re.search(r"95 % interval \d+\.\d – \d+\.\d %", text)
    assert str(report.train_good) in text
    assert package.package_id in text
    assert package.manifest.limits.rule in text


def test_every_parity_error_says_of_which_pictures_it_is(
    made: tuple[TrainingJob, EvaluationReport, OpenPackage],
) -> None:
    job, report, package = made
    step = QuantizationStep(
        variant=Variant.INT8_U8S8, step=1, float_nodes=1, of_nodes=9, parity_error=2.5, is_accepted=False,
        note="parity error 1.50 on sound golden images, at most 1.0 allowed",
    )  # fmt: skip
    told = Page(render_page(job, report.model_copy(update={"searched": [step]}), package, Settings())).text
    assert told.count("parity error, all golden images") == 2
    places = [told[found.end() :] for found in re.finditer("parity error", told)]
    said = ("s", ", all golden images", " 1.50 on sound golden images", " says which")
    assert len(places) == 4
    assert all(place.startswith(said) for place in places)


@pytest.mark.parametrize(
    ("parts", "pictures", "edge"), [(8, 1, "idle"), (160, 1, "good"), (8, 20, "idle"), (160, 2, "good")]
)
def test_none_of_a_few_parts_is_no_good_news_however_many_pictures_show_them(
    made: tuple[TrainingJob, EvaluationReport, OpenPackage], parts: int, pictures: int, edge: str
) -> None:
    job, report, package = made
    defective = [
        verdict(9, Judgement.DEFECTIVE, Verdict.NG).model_copy(update={"group": f"part {part}"})
        for part in range(parts)
        for _ in range(pictures)
    ]
    content = render_page(job, report.model_copy(update={"holdout": defective}), package, Settings())
    assert f'<div class="card {edge}"><div class="label">Escapes' in content
    assert (f"0 of {parts} parts" in content) == (pictures > 1)


def test_without_held_out_pictures_nothing_is_claimed(made: tuple[TrainingJob, EvaluationReport, OpenPackage]) -> None:
    job, report, package = made
    text = Page(render_page(job, report.model_copy(update={"holdout": []}), package, Settings())).text
    assert text.count("not known") >= 4
    assert "0.0 %" not in text
    sound = [verdict for verdict in report.holdout if verdict.judgement is Judgement.GOOD]
    text = Page(render_page(job, report.model_copy(update={"holdout": sound}), package, Settings())).text
    assert "no defective pictures were held out" in text
    assert f"0 of {len(sound)} sound pictures" in text or "of " in text


def test_text_from_outside_cannot_become_markup(made: tuple[TrainingJob, EvaluationReport, OpenPackage]) -> None:
    job, report, package = made
    evil = "<script>alert(1)</script>\"'&\u202e\x07"
    defective = next(verdict for verdict in report.holdout if verdict.judgement is Judgement.DEFECTIVE)
    spoilt = report.model_copy(
        update={
            "notes": [evil],
            "left_out": [evil],
            "product": evil,
            "backbone": evil,
            "holdout": [defective.model_copy(update={"defect_class": evil, "candidate_verdict": Verdict.OK})],
        }
    )
    content = render_page(job, spoilt, package, Settings())
    page = Page(content)
    assert "script" not in {tag for tag, _ in page.tags}
    assert "<script>alert(1)</script>" in page.text
    assert "\u202e" not in content
    assert "\\u202e\\x07" in content


def test_name_of_a_file_is_escaped_where_its_picture_is_shown(
    made: tuple[TrainingJob, EvaluationReport, OpenPackage], tmp_path: Path
) -> None:
    job, report, package = made
    verdict = next(each for each in report.holdout if each.judgement is Judgement.DEFECTIVE)
    name = "<img src=x onerror=alert(1)>.png"
    image = next(each for each in job.images if each.sha256 == verdict.sha256)
    (tmp_path / name).write_bytes(Path(image.path).read_bytes())
    moved = job.model_copy(update={"images": [image.model_copy(update={"path": str(tmp_path / name)})]})
    page = Page(render_page(moved, report.model_copy(update={"holdout": [verdict]}), package, Settings()))
    assert len(page.images(f"{tmp_path.parts[-2]}/{tmp_path.name}/{name}")) == 1
    assert all("onerror" not in attributes for _, attributes in page.tags)


def test_worst_pictures_stand_beside_their_heatmap_and_stay_small(
    made: tuple[TrainingJob, EvaluationReport, OpenPackage],
) -> None:
    job, report, package = made
    spoilt = judged(report, defective=Verdict.OK, good=Verdict.NG)
    page = Page(render_page(job, spoilt, package, Settings()))
    shown = [told for tag, told in page.tags if tag == "img"]
    assert len(shown) == 2 * sum(len(each) for each in vars(choose_worst(spoilt.holdout)).values())
    for attributes in shown:
        content = base64.b64decode((attributes["src"] or "").removeprefix("data:image/jpeg;base64,"))
        picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert max(picture.shape) <= 256
    plain, hot = page.images("")[:2]
    assert plain != hot


def test_picture_that_is_gone_costs_its_place_on_the_page_only(
    made: tuple[TrainingJob, EvaluationReport, OpenPackage],
) -> None:
    job, report, package = made
    gone = [image.model_copy(update={"path": "/nowhere/x.png"}) for image in job.images]
    text = Page(render_page(job.model_copy(update={"images": gone}), report, package, Settings())).text
    assert "cannot be read any more" in text


def test_picture_judged_as_of_another_group_is_shown(made: tuple[TrainingJob, EvaluationReport, OpenPackage]) -> None:
    job, report, package = made
    moved = [each.model_copy(update={"group": "one part for all"}) for each in report.holdout]
    page = render_page(job, report.model_copy(update={"holdout": moved}), package, Settings())
    assert "cannot be read any more" not in Page(page).text
    assert page.count("<figure>") == render_page(job, report, package, Settings()).count("<figure>") > 0


def verdict(score: float, judgement: Judgement, said: Verdict) -> HoldoutVerdict:
    return HoldoutVerdict(
        sha256="0" * 64, group="g", judgement=judgement, candidate_score=score, candidate_verdict=said
    )


def test_worst_is_the_farthest_on_the_wrong_side() -> None:
    defective = [verdict(score, Judgement.DEFECTIVE, Verdict.OK) for score in (0.3, 0.1, 0.2)]
    sound = [verdict(score, Judgement.GOOD, Verdict.NG) for score in (2.0, 9.0, 3.0)]
    worst = choose_worst([*defective, *sound, verdict(9, Judgement.DEFECTIVE, Verdict.NG)])
    assert [each.candidate_score for each in worst.escapes] == [0.1, 0.2, 0.3]
    assert [each.candidate_score for each in worst.overkills] == [9.0, 3.0, 2.0]
    assert worst.nearest_escapes == worst.nearest_overkills == []
    calm = choose_worst([verdict(score, Judgement.DEFECTIVE, Verdict.NG) for score in (5.0, 4.0)])
    assert [each.candidate_score for each in calm.nearest_escapes] == [4.0, 5.0]


def test_heat_leaves_cold_places_as_they_are() -> None:
    picture = np.full((20, 20, 3), 90, np.uint8)
    heat: NDArray[np.float32] = np.zeros((2, 2), np.float32)
    np.testing.assert_array_equal(heated(picture, heat), picture)
    heat[0, 0] = 1
    hot = heated(picture, heat)
    assert np.abs(hot[0, 0].astype(int) - 90).max() > 30
    np.testing.assert_array_equal(hot[-1, -1], picture[-1, -1])


def test_outline_goes_round_the_marked_place_only_and_never_loses_a_fine_one() -> None:
    picture = np.full((20, 40, 3), 90, np.uint8)
    mask = np.zeros((200, 400), np.uint8)
    mask[100, 205] = 1
    changed = (outlined(picture, mask) != picture).any(axis=2)
    assert changed[10, 20]
    assert changed.sum() <= 4
    np.testing.assert_array_equal(outlined(picture, 0 * mask), picture)


@pytest.mark.parametrize("spread", [1.0, 1e-6, 0.0])
@pytest.mark.parametrize(("sound", "defective"), [(40, 20), (40, 0), (0, 20), (1, 1)])
def test_curves_are_well_formed_whatever_the_scores(sound: int, defective: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    low, high = rng.normal(1, spread, sound), rng.normal(1 + spread, 100 * spread, defective)
    drawn = [score_histogram(low, high, ok_limit=1.0, ng_limit=1.0 + spread)]
    if sound and defective:
        scores = np.concatenate([low, high])
        is_defective = np.arange(len(scores)) >= sound
        drawn.append(recall_curve(scores, is_defective, ok_limit=1.0, ng_limit=1.0 + spread))
    for svg in drawn:
        root = ET.fromstring(svg)  # noqa: S314 -- our own text
        assert "nan" not in svg
        assert "inf" not in svg
        for element in root.iter():
            for name in ("width", "height"):
                assert float(element.get(name, "0")) >= 0


def test_every_score_is_in_a_bar_and_those_beyond_the_axis_are_counted() -> None:
    sound, defective = np.linspace(0, 1, 50), np.array([2.0, 500.0, 900.0])
    svg = score_histogram(sound, defective, ok_limit=1.0, ng_limit=1.5)
    assert "the last bar holds 2 beyond the axis" in svg


def test_curve_marks_what_the_limits_catch() -> None:
    scores = np.array([0.0, 1, 2, 3, 2.5, 4, 5, 6])
    is_defective = np.arange(8) >= 4
    svg = recall_curve(scores, is_defective, ok_limit=2.0, ng_limit=5.0)
    assert "not passed: 100 % of defective, 50.0 % of sound" in svg
    assert "rejected at once: 50 % of defective, 0.0 % of sound" in svg


def test_ticks_are_round_and_within() -> None:
    assert ticks(0, 10) == [0, 2, 4, 6, 8, 10]
    assert ticks(0.12, 0.31) == [0.15, 0.2, 0.25, 0.3]
    assert ticks(3, 3) == [3]
