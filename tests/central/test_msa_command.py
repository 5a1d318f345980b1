# SPDX-License-Identifier: Apache-2.0
import csv
import io
from pathlib import Path

import pytest
from pypdf import PdfReader

from central.__main__ import main

PARTS = [f"p{number:02}={'DEFECTIVE' if number % 3 == 0 else 'GOOD'}" for number in range(50)]


def _sheet(capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    words = ["msa", "plan", "--seed", "4"]
    for name in ("Kim", "Lee", "model"):
        words += ["--appraiser", name]
    for part in PARTS:
        words += ["--part", part]
    assert main(words) == 0
    return list(csv.DictReader(io.StringIO(capsys.readouterr().out)))


def _filled(rows: list[dict[str, str]], file: Path) -> None:
    """Kim misses every defective part in trial 1; Lee and the model are always right."""
    for row in rows:
        is_missed = row["appraiser"] == "Kim" and row["trial"] == "1"
        row["answer"] = "GOOD" if is_missed else row["reference"].lower()
    with file.open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_planned_and_filled_sheet_gives_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = _sheet(capsys)
    assert len(rows) == 450
    first = [row["part"] for row in rows[:50]]
    assert first != sorted(first)
    _filled(rows, tmp_path / "sheet.csv")
    assert main(["msa", "report", str(tmp_path / "sheet.csv")]) == 0
    text = capsys.readouterr().out
    assert "50 parts, 17 of them defective; 3 appraisers; 3 trials" in text
    kim = next(line for line in text.splitlines() if line.startswith("| Kim |"))
    assert "66.0% (" in kim
    assert "33.3% (" in kim
    assert "of 51 answers on defective parts" in kim
    assert "| Lee, model | 1.00 (" in text


def test_the_files_say_what_the_report_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _filled(_sheet(capsys), tmp_path / "sheet.csv")
    for ending in ("pdf", "csv"):
        out = str(tmp_path / f"study.{ending}")
        assert main(["msa", "report", str(tmp_path / "sheet.csv"), "--out", out, "--by", "Q. Manager"]) == 0
    (page,) = PdfReader(tmp_path / "study.pdf").pages
    text = " ".join(page.extract_text().split())
    assert "50 parts, 17 of them defective" in text
    assert "Q. Manager" in text
    kim, lee = text.index("Kim 66.0% ("), text.index("Lee 100.0% (")
    assert "33.3% (" in text[kim:lee]
    assert "51 answers" in text[kim:lee]
    rows = list(csv.DictReader(io.StringIO((tmp_path / "study.csv").read_bytes().decode(), newline="")))
    (missed,) = [row for row in rows if row["appraiser"] == "Kim" and row["figure"] == "miss_rate"]
    assert float(missed["estimate_share"]) == pytest.approx(1 / 3)
    assert missed["of_count"] == "51"
    assert [row["estimate_kappa"] for row in rows if row["other_appraiser"] == "model"][-1] == "1.0"


def test_a_study_goes_to_pdf_or_csv_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _filled(_sheet(capsys), tmp_path / "sheet.csv")
    for out, said in (("study.doc", "ends in .pdf or .csv"), ("nowhere/study.pdf", "cannot be written")):
        assert main(["msa", "report", str(tmp_path / "sheet.csv"), "--out", str(tmp_path / out)]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda rows: rows[7].update(answer="perhaps"), "line 9: expected GOOD or DEFECTIVE as answer"),
        (lambda rows: rows.pop(), "expected 450 answers, got 449"),
        (lambda rows: rows.append(rows[0]), "two answers"),
        (lambda rows: [row.pop("reference") for row in rows], "missing reference"),
        (lambda rows: [row.update(reference="GOOD") for row in rows], "one kind only"),
    ],
)
def test_a_sheet_that_cannot_be_read_says_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], spoil: object, message: str
) -> None:
    rows = _sheet(capsys)
    for row in rows:
        row["answer"] = row["reference"]
    assert callable(spoil)
    spoil(rows)
    with (tmp_path / "sheet.csv").open("w", encoding="utf-8", newline="") as target:
        writer = csv.DictWriter(target, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    assert main(["msa", "report", str(tmp_path / "sheet.csv")]) == 2
    assert message in capsys.readouterr().err


def test_a_plan_of_unknown_truth_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["msa", "plan", "--seed", "1", "--appraiser", "a", "--part", "p1"]) == 2
    assert "NAME=GOOD or NAME=DEFECTIVE" in capsys.readouterr().err
