# SPDX-License-Identifier: Apache-2.0
"""Writes a whole, commented settings file from a few answers: every key that counts, with its unit and its default.

What is rendered has been read back by the station's own reader before it lies anywhere. The file appears whole,
readable by its owner alone (it holds the token), and never in place of another one unless that is asked for. Asks
nobody; `init` does.
"""

import json
import os
import re
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from edge_agent.commissioning.key_words import SECTIONS, word_of
from edge_agent.errors import DeviceError, SettingsError
from edge_agent.settings import Settings, settings_of
from edge_agent.settings_reader import EffectiveValue

_LINE: Final = re.compile(r" \((in \[[^\]]*\], )?line \d+\)$")
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]+")
_HEAD: Final = """\
# Settings of a Sightline station. After a change: `sightline-edge check-settings --settings {name}`, then restart.
# A line that begins with `# key =` shows the default; take the # away to set another value.
# A variable SIGHTLINE_EDGE_<SECTION>_<KEY> wins over this file.
# This file holds secrets: leave it readable by the station's user alone.
"""


def faults_of(answers: Mapping[str, Any], path: Path) -> dict[str, str]:
    """Faults by key of a file that holds these answers and nothing else; the lines in it mean nothing to a person."""
    try:
        settings_of(_bare(answers).encode(), path, {})
    except SettingsError as error:
        found: dict[str, str] = {}
        for fault in error.faults:
            key, _, text = fault.partition(": ")
            found.setdefault(key, _LINE.sub("", text))
        return found
    return {}


def render(answers: Mapping[str, Any], path: Path) -> str:
    """The whole file as text.

    Args:
        answers: values by full dotted name.
        path: where it will stand.

    Raises:
        SettingsError: the answers do not make settings; every fault at once.
    """
    settings = settings_of(_bare(answers).encode(), path, {})
    tables: dict[str, list[tuple[str, str]]] = {"": []}
    for value in settings.effective:
        if value.key not in answers and not _may_be_given(value, answers, path):
            # It belongs to another kind of camera or output: its line would be a fault as soon as the # went.
            continue
        table, name = _place(value.key)
        line = f"{name} = {_literal(answers[value.key])}" if value.key in answers else f"# {name} = {value.shown}"
        tables.setdefault(table, []).append((value.key, line))
    text = _HEAD.format(name=path.name)
    for table, lines in tables.items():
        text += f"\n# {SECTIONS.get(table.partition('.')[0], '')}\n".replace("# \n", "")
        text += f"[{table}]\n" if table else ""
        has_roi = any(key.endswith(".roi_xywh") for key, _ in lines)
        if table.startswith("recipe.") and not has_roi:
            lines.insert(0, (f"{table}.roi_xywh", "# roi_xywh = [0, 0, 640, 480]"))
        for key, line in lines:
            words = [word_of(key)]
            if key in answers and (default := _default(key, answers, path)) is not None:
                words.append(f"default {default}")
            text += f"{line}  # {'; '.join(filter(None, words))}\n" if any(words) else f"{line}\n"
    # A fault here would be ours; it must not come to lie on a disk.
    written = settings_of(text.encode(), path, {})
    if _values(written) != _values(settings):
        msg = "the rendered settings do not say what was answered"
        raise SettingsError([msg])
    return text


def place(text: str, path: Path, *, may_replace: bool) -> None:
    """Let the file appear, whole, mode 0600.

    Raises:
        SettingsError: there is one already, and it may not be replaced.
        DeviceError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            if may_replace:
                Path(temporary).replace(path)
            else:
                # Unlike a rename, a link does not take the place of a file that came meanwhile.
                path.hardlink_to(temporary)
        finally:
            Path(temporary).unlink(missing_ok=True)
    except OSError as error:
        if isinstance(error, FileExistsError) and os.path.lexists(path):
            raise SettingsError([refusal(path)]) from error
        msg = f"{path}: cannot be written: {error.strerror}"
        raise DeviceError(msg, remedy="choose another folder by --settings, or get the right to write there") from error


def refusal(path: Path) -> str:
    """What is said when there is a file already."""
    return f"{path} is there already; pass --force to replace it, or --settings FILE for another one"


def value_of(text: str) -> Any:
    """A value as somebody types it: a TOML value if it is one, else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text


def _may_be_given(value: EffectiveValue, answers: Mapping[str, Any], path: Path) -> bool:
    try:
        settings_of(f"{_bare(answers)}{_dotted(value.key)} = {value.shown}\n".encode(), path, {})
    except SettingsError:
        return False
    return True


def _default(key: str, answers: Mapping[str, Any], path: Path) -> str | None:
    """What would count without this answer; None: it is needed."""
    others = {name: value for name, value in answers.items() if name != key}
    try:
        settings = settings_of(_bare(others).encode(), path, {})
    except SettingsError:
        return None
    return next((value.shown for value in settings.effective if value.key == key), None)


def _bare(answers: Mapping[str, Any]) -> str:
    return "".join(f"{_dotted(key)} = {_literal(value)}\n" for key, value in answers.items())


def _dotted(key: str) -> str:
    return ".".join(part if _BARE_KEY.fullmatch(part) else json.dumps(part) for part in key.split("."))


def _literal(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(name)} = {_literal(each)}" for name, each in value.items()) + " }"
    # JSON's texts, numbers, lists and flags are TOML's.
    return json.dumps(value, ensure_ascii=False)


def _place(key: str) -> tuple[str, str]:
    """Table and name of a key; a product's recipe is a table of its own."""
    parts = key.split(".")
    depth = 2 if parts[0] == "recipe" and len(parts) > 2 else min(1, len(parts) - 1)
    return ".".join(parts[:depth]), ".".join(parts[depth:])


def _values(settings: Settings) -> list[tuple[str, str]]:
    return [(value.key, value.shown) for value in settings.effective]
