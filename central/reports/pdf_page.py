# SPDX-License-Identifier: Apache-2.0
"""Pages of a report: A4, numbered, with sections, tables, pairs of words and figures, and a line for the signature.

Made by ReportLab, which fetches nothing here: no picture and no link is ever put in. Knows no report.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import CondPageBreak, Flowable, KeepTogether, SimpleDocTemplate, Spacer, Table, TableStyle

from central.reports.pdf_text import fonts, paragraph, style

_MARGIN: Final = 16 * mm
# Paragraphs keep 6 points from each side of their frame; tables and drawings are as wide as they.
WIDTH: Final = A4[0] - 2 * _MARGIN - 12
_MUTED: Final = colors.HexColor("#5b6675")
_RULE: Final = colors.HexColor("#d5dbe3")
_HEAD: Final = colors.HexColor("#eef2f6")


@dataclass(frozen=True)
class Made:
    """When, by whom, by which version of the software."""

    at: datetime
    by: str
    version: str


def build(story: Sequence[Flowable], *, title: str, head: str, made: Made) -> bytes:
    """The file. The same story made at the same moment gives the same bytes. `head` stands on every page."""
    out = io.BytesIO()
    document = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=_MARGIN,
        rightMargin=_MARGIN,
        topMargin=18 * mm,
        bottomMargin=18 * mm,
        title=title,
        author=made.by,
        creator=f"Sightline {made.version}",
        invariant=1,
    )
    foot = f"Sightline {made.version}; made {made.at:%Y-%m-%d %H:%M:%S} UTC"
    document.build(list(story), canvasmaker=_numbered(head, foot))
    return out.getvalue()


def title(text: str) -> Flowable:
    """At the top of the first page."""
    return paragraph(text, style(15, bold=True, after=4))


def _numbered(head: str, foot: str) -> type[Canvas]:
    """A canvas that knows how many pages there are, and says on each what it belongs to."""

    class Numbered(Canvas):  # type: ignore[misc]  # ReportLab has no types
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - ReportLab's name
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for number, state in enumerate(self._pages, start=1):
                self.__dict__.update(state)
                self.setFont(fonts().plain, 7)
                self.setFillColor(_MUTED)
                self.drawString(_MARGIN, A4[1] - 11 * mm, head)
                self.drawString(_MARGIN, 10 * mm, foot)
                self.drawRightString(A4[0] - _MARGIN, 10 * mm, f"page {number} of {len(self._pages)}")
                super().showPage()
            super().save()

    return Numbered


def signature(said: str) -> Iterator[Flowable]:
    """Name, date and signature below some words."""
    line = Table(
        [["", "", "", "", ""], ["name", "", "date", "", "signature"]],
        colWidths=(170, 12, 90, 12, WIDTH - 284),
        rowHeights=(30, 12),
    )
    line.setStyle(
        TableStyle(
            [
                ("LINEBELOW", (0, 0), (0, 0), 0.6, colors.black),
                ("LINEBELOW", (2, 0), (2, 0), 0.6, colors.black),
                ("LINEBELOW", (4, 0), (4, 0), 0.6, colors.black),
                ("FONT", (0, 0), (-1, -1), fonts().plain, 7),
                ("TEXTCOLOR", (0, 0), (-1, -1), _MUTED),
            ]
        )
    )
    yield Spacer(1, 10)
    yield KeepTogether([paragraph(said, style(9)), line])


def section(heading: str, body: Sequence[Flowable]) -> Iterator[Flowable]:
    """A heading and what belongs to it; nothing when that is empty."""
    if body:
        yield Spacer(1, 7)
        yield CondPageBreak(30 * mm)
        yield paragraph(heading, style(10.5, bold=True, after=3))
        yield from body


def pairs(rows: Iterable[tuple[str, str]]) -> Table:
    """What, and what it is."""
    cells = [(paragraph(name, style(colour=_MUTED)), paragraph(text, style())) for name, text in rows]
    made = Table(cells, colWidths=(100, WIDTH - 100))
    made.setStyle(TableStyle([*_CLOSE, ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE)]))
    return made


def table(head: Sequence[str], rows: Sequence[Sequence[Any]], widths: Sequence[float]) -> Table:
    """A head and rows of words or drawings; `widths` in any unit. Goes on over pages, its head with it."""
    look, room = style(7.2), sum(widths)
    cells = [[each if isinstance(each, Flowable) else paragraph(str(each), look) for each in row] for row in rows]
    above = [paragraph(name, style(7.2, bold=True)) for name in head]
    made = Table([above, *cells], colWidths=[WIDTH * width / room for width in widths], repeatRows=1)
    made.setStyle(
        TableStyle([*_CLOSE, ("BACKGROUND", (0, 0), (-1, 0), _HEAD), ("LINEBELOW", (0, 0), (-1, -1), 0.3, _RULE)])
    )
    return made


_CLOSE: Final = [
    ("TOPPADDING", (0, 0), (-1, -1), 1.5),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 2),
    ("LEFTPADDING", (0, 0), (-1, -1), 3),
    ("RIGHTPADDING", (0, 0), (-1, -1), 3),
    ("VALIGN", (0, 0), (-1, -1), "TOP"),
]


def small(text: str) -> Flowable:
    """A remark."""
    return paragraph(text, style(7.5, colour=_MUTED, after=2))
