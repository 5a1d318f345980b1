# SPDX-License-Identifier: Apache-2.0
"""`sightline-central msa plan|report`: a sheet to fill in for an attribute study, and the report of a filled one.

Reads and writes CSV, prints Markdown or writes a PDF. Computes nothing itself (`quality/msa.py`), needs no database.
The model is an appraiser of its own: its answers are its verdicts on new captures of the same parts, REVIEW counted as
DEFECTIVE since such a part is not passed.
"""

import argparse
import csv
import getpass
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np

from central.clock import SystemClock
from central.errors import InvalidError, StoreError
from central.quality.msa import AttributeStudy, Kappa, attribute_study, plan
from central.quality.rates import Interval
from contracts.vocabulary import Judgement

COLUMNS: Final = ("appraiser", "trial", "place", "part", "reference", "answer")
_ANSWERS: Final = {Judgement.GOOD.value: False, Judgement.DEFECTIVE.value: True}


def add_msa_commands(commands: Any) -> None:
    """`msa plan` and `msa report`."""
    msa = commands.add_parser("msa", help="attribute study of inspectors and model").add_subparsers(
        required=True, metavar="ACTION"
    )
    planning = msa.add_parser("plan", help="print the sheet to fill in, as CSV")
    planning.add_argument("--appraiser", action="append", required=True, metavar="NAME", help="several times")
    planning.add_argument("--part", action="append", default=[], metavar="NAME=GOOD|DEFECTIVE", help="several times")
    planning.add_argument("--trials", type=int, default=3)
    planning.add_argument("--seed", type=int, required=True, help="of the order in which the parts are shown")
    planning.set_defaults(call=_plan)
    reporting = msa.add_parser("report", help="print the report of a filled sheet, as Markdown")
    reporting.add_argument("sheet", type=Path, metavar="CSV")
    reporting.add_argument("--confidence", type=float, default=0.95)
    reporting.add_argument("--out", type=Path, metavar="FILE", help="write it as .pdf or .csv instead")
    reporting.add_argument("--by", metavar="NAME", help="who makes the PDF; default: the user of this machine")
    reporting.set_defaults(call=_report)


def read_study(text: str, confidence: float) -> AttributeStudy:
    """Evaluate a filled sheet.

    Raises:
        InvalidError: columns or answers are missing or doubled, or the study cannot be evaluated; says which.
    """
    rows = list(csv.DictReader(text.splitlines()))
    missing = {"appraiser", "trial", "part", "reference", "answer"} - set(rows[0] if rows else ())
    if missing:
        raise InvalidError(f"sheet: expected the columns {', '.join(COLUMNS)}, missing {', '.join(sorted(missing))}")
    names, parts, trials = (list(dict.fromkeys(row[key] for row in rows)) for key in ("appraiser", "part", "trial"))
    reference = np.zeros(len(parts), dtype=np.bool_)
    answers: dict[tuple[int, int, int], bool] = {}
    truth: dict[str, str] = {}
    for line, row in enumerate(rows, start=2):
        if truth.setdefault(row["part"], row["reference"]) != row["reference"]:
            raise InvalidError(f"sheet, line {line}: part {row['part']} has two references; expected one")
        reference[parts.index(row["part"])] = _is_defective(row["reference"], "reference", line)
        cell = names.index(row["appraiser"]), parts.index(row["part"]), trials.index(row["trial"])
        if cell in answers:
            raise InvalidError(
                f"sheet, line {line}: {row['appraiser']} has two answers on part {row['part']} in trial {row['trial']}"
            )
        answers[cell] = _is_defective(row["answer"], "answer", line)
    wanted = len(names) * len(parts) * len(trials)
    if len(answers) != wanted:
        raise InvalidError(
            f"sheet: expected {wanted} answers, got {len(answers)}; everybody judges every part each time"
        )
    said = np.zeros((len(names), len(parts), len(trials)), dtype=np.bool_)
    for cell, is_defective in answers.items():
        said[cell] = is_defective
    try:
        return attribute_study(names, said, reference, confidence)
    except ValueError as error:
        raise InvalidError(str(error)) from error


def markdown(study: AttributeStudy) -> str:
    """The report. Every figure with its interval and denominator; kappa with its bounds."""
    percent = f"{study.confidence:.0%}"
    lines = [
        "# Attribute study",
        "",
        (
            f"{study.parts} parts, {study.defective_parts} of them defective; {len(study.appraisers)} appraisers; "
            f"{study.trials} trials. In brackets the {percent} interval, each for itself, and what it counts."
        ),
        "",
        (
            "| appraiser | effectiveness (right in all trials) | repeatability | miss rate | false-alarm rate "
            "| kappa to reference |"
        ),
        "|---|---|---|---|---|---|",
    ]
    for one in study.appraisers:
        figures = (
            _rate(one.effectiveness, f"{one.parts} parts"),
            _rate(one.repeatability, f"{one.parts} parts"),
            _rate(one.miss_rate, f"{one.defective_answers} answers on defective parts"),
            _rate(one.false_alarm_rate, f"{one.good_answers} answers on good parts"),
            kappa_words(one.kappa_to_reference),
        )
        lines.append(f"| {one.name} | {' | '.join(figures)} |")
    lines += ["", "| two appraisers | Cohen's kappa |", "|---|---|"]
    lines += [f"| {pair.first}, {pair.second} | {kappa_words(pair.kappa)} |" for pair in study.pairs]
    lines += [
        "",
        (
            f"All answers together: Fleiss' kappa {kappa_words(study.kappa_of_all)}. Parts that everybody always "
            f"judged as the reference does: {_rate(study.all_right, f'{study.parts} parts')}."
        ),
        "",
        (
            "A part counts as effective when every trial on it was right; other books count answers. Miss and "
            "false-alarm rates count answers; answers on one part resemble each other, and the intervals allow for it."
        ),
    ]
    return "\n".join(lines) + "\n"


def _plan(options: argparse.Namespace) -> int:
    parts = [text.rpartition("=") for text in options.part]
    if not parts or any(not name or truth not in _ANSWERS for name, _, truth in parts):
        raise InvalidError("--part: expected NAME=GOOD or NAME=DEFECTIVE for each part, 50 of them usually")
    if len({name for name, _, _ in parts}) < len(parts) or len(set(options.appraiser)) < len(options.appraiser):
        raise InvalidError("--part, --appraiser: expected each name once")
    try:
        order = plan(len(parts), len(options.appraiser), options.trials, np.random.default_rng(options.seed))
    except ValueError as error:
        raise InvalidError(str(error)) from error
    sheet = csv.writer(sys.stdout, lineterminator="\n")
    sheet.writerow(COLUMNS)
    for appraiser, trials in zip(options.appraiser, order, strict=True):
        for trial, shown in enumerate(trials, start=1):
            for place, index in enumerate(shown, start=1):
                name, _, truth = parts[int(index)]
                sheet.writerow((appraiser, trial, place, name, truth, ""))
    return 0


def _report(options: argparse.Namespace) -> int:
    if not 0.0 < options.confidence < 1.0:
        raise InvalidError(f"--confidence: expected a number between 0 and 1, got {options.confidence}")
    try:
        text = options.sheet.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidError(f"{options.sheet}: expected a sheet as CSV in UTF-8: {error}") from error
    study = read_study(text, options.confidence)
    if options.out is None:
        sys.stdout.write(markdown(study))
    else:
        _write(study, options.out, options.sheet.name, options.by or getpass.getuser())
    return 0


def _write(study: AttributeStudy, file: Path, sheet: str, by: str) -> None:
    # Here and not above: ReportLab and the API's words are needed for files alone.
    from central.api.health import program_version  # noqa: PLC0415 - see above
    from central.reports.msa_files import to_csv, to_pdf  # noqa: PLC0415 - see above
    from central.reports.pdf_page import Made  # noqa: PLC0415 - see above

    ending = file.suffix.lower()
    if ending not in {".pdf", ".csv"}:
        raise InvalidError(f"--out: expected a name that ends in .pdf or .csv, got {file.name!r}")
    made = Made(SystemClock().now(), by, program_version())
    content = to_csv(study) if ending == ".csv" else to_pdf(study, sheet, made)
    try:
        file.write_bytes(content)
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error}") from error


def _is_defective(word: str | None, column: str, line: int) -> bool:
    known = _ANSWERS.get((word or "").strip().upper())
    if known is None:
        raise InvalidError(f"sheet, line {line}: expected {' or '.join(_ANSWERS)} as {column}, got {word!r}")
    return known


def _rate(interval: Interval, of: str) -> str:
    if interval.estimate is None:
        return "not known"
    return f"{interval.estimate:.1%} ({interval.low:.1%} to {interval.high:.1%} of {of})"


def kappa_words(kappa: Kappa) -> str:
    """With its bounds, for people."""
    if kappa.estimate is None:
        return "not known (everybody always said the same)"
    return f"{kappa.estimate:.2f} ({kappa.low:.2f} to {kappa.high:.2f})"
