# SPDX-License-Identifier: Apache-2.0
"""`sightline-edge init`: from a few answers and one picture to a settings file that works.

Asks on the terminal what no flag has said, checks each answer by the station's own reader, takes one picture through
the station's own frame source, and only then writes: until there, Ctrl-C leaves nothing. Called by `command`.
"""

import argparse
import getpass
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import cv2

from edge_agent.clock import Clock
from edge_agent.commissioning.camera_check import TEST_PICTURE
from edge_agent.commissioning.finding_cameras import Offer, offers
from edge_agent.commissioning.looking import look
from edge_agent.commissioning.picture_words import focus, light, measure_picture
from edge_agent.commissioning.questions import NEEDED, SOURCE_QUESTIONS, Question, later_questions, questions
from edge_agent.commissioning.station_file import faults_of, place, refusal, render, value_of
from edge_agent.errors import DeviceError, EdgeError, SettingsError
from edge_agent.logins import without_login
from edge_agent.packages.store import write_whole
from edge_agent.settings import Settings, settings_of

_PICTURE_WITHIN_S: Final = 8.0
_FRAMES: Final = 3
# More follow-up questions than any kind of camera or output has keys.
_MOST_EXTRA: Final = 20


class Terminal(Protocol):
    """The person who answers."""

    def say(self, text: str) -> None:
        """Show a line."""
        ...

    def ask(self, text: str, *, is_secret: bool = False) -> str:
        """One line from the person, without blanks around it.

        Raises:
            EOFError: nobody answers any more.
            KeyboardInterrupt: Ctrl-C.
        """
        ...


class RealTerminal:
    """Standard input and output."""

    def say(self, text: str) -> None:
        """Show a line."""
        print(text)  # noqa: T201 - a conversation

    def ask(self, text: str, *, is_secret: bool = False) -> str:
        """One line."""
        return (getpass.getpass(text) if is_secret else input(text)).strip()


class Init:
    """One run of the command.

    Args:
        options: the parsed command line.
        terminal: the person.
        clock: the station's clock.
        find: lists the cameras.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        terminal: Terminal,
        clock: Clock,
        find: Callable[[Clock], Sequence[Offer]] = offers,
    ) -> None:
        self._options = options
        self._terminal = terminal
        self._clock = clock
        self._find = find
        self._path: Path = options.settings.absolute()
        self._answers: dict[str, Any] = {}
        self._said: set[str] = set()
        self._faults: list[str] = []
        self._missing: list[str] = []

    def run(self) -> None:
        """Ask, look, write.

        Raises:
            SettingsError: a flag is wrong or missing, or there is a file already; nothing was written.
            DeviceError: no picture came and nobody could be asked, or the folder cannot be written.
            KeyboardInterrupt, EOFError: the person gave up; nothing was written.
        """
        if os.path.lexists(self._path) and not self._options.force:
            # Before anything is asked: twenty answers for nothing would be rude.
            raise SettingsError([refusal(self._path)])
        self._take_flags()
        if self._options.non_interactive:
            self._fill_in()
        elif not self._faults:
            self._converse()
        self._refuse()
        if product := self._answers.get("source.product"):
            # So that the file has a place for the region that is looked at, and the rest of its recipe.
            self._answers.setdefault(f"recipe.{product}.deadline_ms", 1000)
        text = render(self._answers, self._path)
        settings = settings_of(text.encode(), self._path, {})
        picture = None if self._options.no_picture else self._take_picture(settings)
        place(text, self._path, may_replace=self._options.force)
        self._terminal.say(f"written: {self._path} (readable by its owner alone; it holds the token)")
        if picture is not None:
            self._keep(picture)
        self._terminal.say(f"next: sightline-edge doctor --settings {self._path}")

    def _refuse(self) -> None:
        """Every fault at once. Without lines: they would be those of a file that is not there."""
        known = "\n".join(self._faults)
        found = faults_of(self._answers, self._path)
        more = [f"{key}: {text}" for key, text in found.items() if key not in self._missing and key not in known]
        if self._faults or more:
            raise SettingsError([*self._faults, *more])

    def _keep(self, picture: bytes) -> None:
        """The picture is for later comparison; the settings lie there already, and do without it."""
        path = self._path.with_name(TEST_PICTURE)
        try:
            write_whole(path, picture)
        except OSError as error:
            self._terminal.say(f"no test picture: {path} cannot be written: {error.strerror}; the settings are whole")
        else:
            self._terminal.say(f"test picture: {path}")

    def _take_flags(self) -> None:
        for question in (*questions(), *SOURCE_QUESTIONS, *later_questions()):
            given = getattr(self._options, question.option)
            if given is None:
                continue
            flag = f"--{question.flag}{'-file' if question.is_secret else ''}"
            try:
                value = given.read_text(encoding="utf-8").strip() if question.is_secret else given
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
                self._faults.append(f"{flag}: expected a file with the secret, got {given}: {why}")
                self._said.add(question.key)
                # Holds its place, so that the other faults are found as well.
                self._answers[question.key] = "?"
                continue
            # An empty one says that there is none: that is not asked again.
            self._said.add(question.key)
            if value or question.default is None:
                self._answers[question.key] = value
        for pair in self._options.set or ():
            key, is_pair, value = pair.partition("=")
            if not is_pair or not key.strip():
                self._faults.append(f"--set: expected KEY=VALUE, got {pair!r}")
                continue
            self._answers[key.strip()] = value_of(value.strip())

    def _fill_in(self) -> None:
        flags = {each.key: each for each in (*questions(), *SOURCE_QUESTIONS)}
        self._missing = [key for key in NEEDED if key not in self._answers]
        if self._missing:
            missing = [flags[key] for key in self._missing]
            wanted = ", ".join(f"--{each.flag}{'-file' if each.is_secret else ''}" for each in missing)
            self._faults.append(f"--non-interactive needs also {wanted}")
        for question in (*questions(), *later_questions()):
            if (
                question.default
                and question.key not in self._answers.keys() | self._said
                and question.is_asked(self._answers)
            ):
                self._answers[question.key] = question.default

    def _converse(self) -> None:
        self._terminal.say("Enter takes what stands in brackets; Ctrl-C ends and leaves nothing.")
        for question in questions():
            self._put(question)
        self._choose_camera()
        for question in later_questions():
            self._put(question)
        for _ in range(_MOST_EXTRA):
            # A kind of camera or output may need more than is asked of everybody.
            faults = faults_of(self._answers, self._path)
            if not faults:
                return
            key, fault = next(iter(faults.items()))
            self._terminal.say(f"{key}: {fault}")
            self._answers[key] = value_of(self._terminal.ask(f"{key}: "))

    def _put(self, question: Question) -> None:
        if question.key in self._answers or question.key in self._said:
            if question.key not in (faults := faults_of(self._answers, self._path)):
                return
            self._terminal.say(f"{question.key}: {faults[question.key]}")
        if not question.is_asked(self._answers):
            return
        offer = f" [{question.default}]" if question.default else ""
        while True:
            typed = self._terminal.ask(f"{question.text}{offer}: ", is_secret=question.is_secret)
            value = typed or question.default
            if not value:
                self._answers.pop(question.key, None)
                if question.default is not None:
                    return
                self._terminal.say("an answer is needed")
                continue
            self._answers[question.key] = value
            fault = faults_of(self._answers, self._path).get(question.key)
            if fault is None:
                return
            self._terminal.say(fault)

    def _choose_camera(self) -> None:
        kind, url = SOURCE_QUESTIONS
        if kind.key not in self._answers:
            self._terminal.say("Looking for cameras …")
            found = self._find(self._clock)
            for number, offer in enumerate(found, start=1):
                self._terminal.say(f"  {number}  {offer.text}")
            chosen = found[self._number("Camera", len(found)) - 1]
            self._answers[kind.key] = chosen.kind
            if chosen.url is not None:
                self._answers[url.key] = chosen.url
        self._put(kind)
        if self._answers[kind.key] != "mqtt":
            self._put(url)

    def _number(self, text: str, highest: int) -> int:
        while True:
            typed = self._terminal.ask(f"{text}, 1 – {highest} [1]: ") or "1"
            if typed.isascii() and typed.isdigit() and 1 <= int(typed) <= highest:
                return int(typed)
            self._terminal.say(f"expected a number 1 – {highest}, got {typed!r}")

    def _take_picture(self, settings: Settings) -> bytes | None:
        """PNG of what the camera sees; None when the person goes on without."""
        while True:
            self._terminal.say(f"Taking a picture ({settings.source.kind}) …")
            try:
                return self._picture_of(settings)
            except DeviceError as error:
                if self._options.non_interactive:
                    raise
                self._terminal.say(without_login(str(error)))
            answer = self._terminal.ask("Try again, go on without a picture, or quit? (t/g/q) [t]: ").lower() or "t"
            if answer.startswith("q"):
                raise KeyboardInterrupt
            if answer.startswith("g"):
                return None

    def _picture_of(self, settings: Settings) -> bytes:
        seen = look(settings, self._clock, within_s=_PICTURE_WITHIN_S, wanted=_FRAMES)
        frame = next((frame for frame in reversed(seen.frames) if frame.pixels is not None), None)
        if frame is None or frame.pixels is None:
            why = (
                seen.error.message
                if seen.error is not None
                else (seen.frames[-1].fault if seen.frames else f"no frame came within {_PICTURE_WITHIN_S:.0f} s")
            )
            remedy = (seen.error.remedy if seen.error is not None else "") or "check camera, trigger and source.url"
            msg = f"no picture: {why}"
            raise DeviceError(msg, remedy=f"{remedy}; --no-picture writes the settings without one")
        measures = measure_picture(frame.pixels)
        self._terminal.say(f"{frame.pixels.shape[1]} × {frame.pixels.shape[0]} px")
        for finding in (light(measures), focus(measures)):
            self._terminal.say(f"{finding.check}: {finding.found}{f' → {finding.remedy}' if finding.remedy else ''}")
        is_done, content = cv2.imencode(".png", frame.pixels)
        if not is_done:
            msg = "the picture cannot be written as PNG"
            raise DeviceError(msg)
        return content.tobytes()


def answer(options: argparse.Namespace, terminal: Terminal, clock: Clock) -> tuple[int, list[str]]:
    """Run it. Returns the exit code and what to say; the codes stand in the help of `command`."""
    try:
        Init(options, terminal, clock).run()
    except SettingsError as error:
        return 2, [*(f"settings: {fault}" for fault in error.faults), "nothing was written"]
    except EdgeError as error:
        return 1, [without_login(str(error)), "nothing was written"]
    except (KeyboardInterrupt, EOFError):
        return 130, ["", "nothing was written"]
    return 0, []
