# SPDX-License-Identifier: Apache-2.0
"""An attribute study as PDF to be signed and as CSV: the figures of `central/msa_report.py`, nothing computed here."""

import csv
import io
from collections.abc import Iterator
from typing import Final

from central.msa_report import kappa_words
from central.quality.msa import AttributeStudy, Kappa
from central.quality.rates import Interval
from central.reports.pdf_page import Made, build, pairs, section, signature, small, table, title
from central.reports.shift_csv import safe

COLUMNS: Final = (
    "appraiser", "other_appraiser", "figure", "of_count", "of_what",
    "estimate_share", "low_share", "high_share", "estimate_kappa", "low_kappa", "high_kappa", "confidence_share",
)  # fmt: skip


def to_csv(study: AttributeStudy) -> bytes:
    """One figure a row; RFC 4180, UTF-8, disarmed as the shift report's."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    for row in _rows(study):
        writer.writerow(["" if cell is None else safe(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue().encode("utf-8")


def to_pdf(study: AttributeStudy, name: str, made: Made) -> bytes:
    """A4. `name`: of the sheet."""
    parts = f"{study.parts} parts"
    people = [
        (
            one.name,
            _share(one.effectiveness),
            _share(one.repeatability),
            f"{_share(one.miss_rate)}, {one.defective_answers} answers",
            f"{_share(one.false_alarm_rate)}, {one.good_answers} answers",
            kappa_words(one.kappa_to_reference),
        )
        for one in study.appraisers
    ]
    head = ("appraiser", "effectiveness", "repeatability", "miss rate", "false-alarm rate", "kappa to reference")
    story = [
        title("Attribute study"),
        pairs(
            (
                ("Sheet", name),
                ("Parts", f"{parts}, {study.defective_parts} of them defective"),
                ("Appraisers", ", ".join(one.name for one in study.appraisers)),
                ("Trials", str(study.trials)),
                ("Made by", made.by),
            )
        ),
        *section("Each appraiser beside the reference", [table(head, people, (60, 88, 88, 100, 100, 88))]),
        small(f"In brackets the {study.confidence:.0%} interval, each for itself. Effective: right in all trials."),
        small("Miss: GOOD said of a defective part. False alarm: DEFECTIVE said of a good part. Both count answers."),
        *section(
            "Appraisers beside each other",
            [
                table(
                    ("two appraisers", "Cohen's kappa"),
                    [(f"{pair.first}, {pair.second}", kappa_words(pair.kappa)) for pair in study.pairs],
                    (250, 250),
                ),
                pairs(
                    (
                        ("All answers", f"Fleiss' kappa {kappa_words(study.kappa_of_all)}"),
                        ("All right", f"{_share(study.all_right)} of {parts} were always judged as the reference does"),
                    )
                ),
            ],
        ),
        *signature("Seen and accepted:"),
    ]
    return build(story, title="Attribute study", head=f"Attribute study {name}", made=made)


def _rows(study: AttributeStudy) -> Iterator[tuple[str | int | float | None, ...]]:
    sure = study.confidence
    for one in study.appraisers:
        for figure, interval, count, what in (
            ("effectiveness", one.effectiveness, one.parts, "parts"),
            ("repeatability", one.repeatability, one.parts, "parts"),
            ("miss_rate", one.miss_rate, one.defective_answers, "answers on defective parts"),
            ("false_alarm_rate", one.false_alarm_rate, one.good_answers, "answers on good parts"),
        ):
            yield one.name, "", figure, count, what, *_ends(interval), None, None, None, sure
        yield one.name, "", "kappa_to_reference", None, "", None, None, None, *_ends(one.kappa_to_reference), sure
    for pair in study.pairs:
        yield pair.first, pair.second, "cohens_kappa", None, "", None, None, None, *_ends(pair.kappa), sure
    yield "", "", "fleiss_kappa", None, "", None, None, None, *_ends(study.kappa_of_all), sure
    yield "", "", "all_right", study.parts, "parts", *_ends(study.all_right), None, None, None, sure


def _ends(found: Interval | Kappa) -> tuple[float | None, float | None, float | None]:
    return (None, None, None) if found.estimate is None else (found.estimate, found.low, found.high)


def _share(interval: Interval) -> str:
    if interval.estimate is None:
        return "not known"
    return f"{interval.estimate:.1%} ({interval.low:.1%} to {interval.high:.1%})"
