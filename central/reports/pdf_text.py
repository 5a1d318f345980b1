# SPDX-License-Identifier: Apache-2.0
"""Text of any script in a PDF, whatever fonts the machine has. People's words can neither break nor style a page.

DejaVu Sans is embedded where the system has it, else the Vera that comes with ReportLab. Chinese, Japanese and Korean
use fonts that PDF readers bring themselves. A sign that neither has is written as its number, so that it can be seen
that one is missing.
"""

import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import escape

from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.platypus import Paragraph

_DEJAVU: Final = Path("/usr/share/fonts/truetype/dejavu")
_LATIN: Final = (("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"), ("Vera.ttf", "VeraBd.ttf"))
_KOREAN, _JAPANESE, _CHINESE = "HYSMyeongJo-Medium", "HeiseiMin-W3", "STSong-Light"
_MOST_SIGNS: Final = 600


@dataclass(frozen=True)
class Fonts:
    """Names of the registered fonts, and which signs the plain one has."""

    plain: str
    bold: str
    signs: frozenset[int]


@cache
def fonts() -> Fonts:
    """Register them, once a process."""
    plain_file, bold_file = _LATIN[0] if all((_DEJAVU / name).is_file() for name in _LATIN[0]) else _LATIN[1]
    folder = _DEJAVU if plain_file == _LATIN[0][0] else Path()
    plain = TTFont("Report", str(folder / plain_file))
    pdfmetrics.registerFont(plain)
    pdfmetrics.registerFont(TTFont("Report-Bold", str(folder / bold_file)))
    pdfmetrics.registerFontFamily("Report", normal="Report", bold="Report-Bold")
    for name in (_KOREAN, _JAPANESE, _CHINESE):
        pdfmetrics.registerFont(UnicodeCIDFont(name))
    return Fonts("Report", "Report-Bold", frozenset(plain.face.charToGlyph))


def style(size: float = 8.5, *, bold: bool = False, colour: Any = None, after: float = 0.0) -> ParagraphStyle:
    """A paragraph's look."""
    made = ParagraphStyle(
        "s", fontName=fonts().bold if bold else fonts().plain, fontSize=size, leading=1.3 * size, spaceAfter=after
    )
    # A digest or an address without a blank must not run out of its cell.
    made.splitLongWords = 1
    if colour is not None:
        made.textColor = colour
    return made


def paragraph(text: str, look: ParagraphStyle) -> Paragraph:
    """Anybody's words as one paragraph."""
    return Paragraph(markup(text), look)


def markup(text: str) -> str:
    """ReportLab's markup for a text: nothing in it is taken for markup, each sign in a font that has it."""
    short = text if len(text) <= _MOST_SIGNS else f"{text[:_MOST_SIGNS]} …"
    runs = []
    for font, signs in groupby(unicodedata.normalize("NFC", short), _font_of):
        run = "".join(signs)
        if font is None:
            run = "".join(
                " " if sign.isspace() or unicodedata.category(sign) == "Cc" else f"[U+{ord(sign):04X}]" for sign in run
            )
        runs.append(escape(run) if font in {None, ""} else f'<font name="{font}">{escape(run)}</font>')
    return "".join(runs)


def _font_of(sign: str) -> str | None:
    """Font of a sign: "" for the usual one, None for no font at all."""
    code = ord(sign)
    if sign.isspace() or unicodedata.category(sign) in {"Cc", "Cs"}:
        return "" if sign == " " else None
    if code in fonts().signs:
        return ""
    name = unicodedata.name(sign, "")
    if name.startswith("HANGUL"):
        return _KOREAN
    if name.startswith(("HIRAGANA", "KATAKANA")):
        return _JAPANESE
    if name.startswith(("CJK UNIFIED", "IDEOGRAPHIC", "FULLWIDTH")) and code <= 0xFFFF:
        return _CHINESE
    return None
