# SPDX-License-Identifier: Apache-2.0
"""What `init` asks, in which order, and with which default. Data, and the flags that follow from it.

Asks nobody itself. Used by `init` and `command`.
"""

import argparse
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from edge_agent.output_settings import OUTPUT_KINDS

Answers = Mapping[str, Any]


def _always(_answers: Answers) -> bool:
    return True


def _has_tls(key: str) -> Callable[[Answers], bool]:
    return lambda answers: urlsplit(str(answers.get(key, ""))).scheme in ("mqtts", "https")


@dataclass(frozen=True)
class Question:
    """One setting.

    Args:
        key: full dotted name.
        flag: of the command line; secrets have `-file` behind it.
        text: what is asked.
        default: offered in brackets; None: there is none, an answer is needed.
        is_secret: typed unseen, never shown, taken from a file instead of the command line.
        is_asked: whether it matters, given the answers before it.
    """

    key: str
    flag: str
    text: str
    default: str | None = ""
    is_secret: bool = False
    is_asked: Callable[[Answers], bool] = _always

    @property
    def option(self) -> str:
        """Name in the parsed command line."""
        return self.flag.replace("-", "_")


def questions() -> list[Question]:
    """All of them but the camera's, which `init` asks by what it finds."""
    host = socket.gethostname().lower().split(".")[0]
    return [
        Question("site", "site", "Plant (a-z, 0-9, _ and -)", "plant"),
        Question("line", "line", "Production line", "line-1"),
        Question("station", "station", "Name of this station", host or "station-1"),
        Question("data_dir", "data-dir", "Folder for records and pictures", "data"),
        Question("broker.url", "broker-url", "Broker: mqtt://host:1883, or mqtts:// with TLS", "mqtt://localhost:1883"),
        Question("broker.username", "broker-username", "User at the broker (empty: none)"),
        Question(
            "broker.password",
            "broker-password",
            "Password at the broker",
            is_secret=True,
            is_asked=lambda answers: bool(answers.get("broker.username")),
        ),
        Question(
            "broker.ca_file",
            "broker-ca-file",
            "Certificates to trust for the broker (PEM; empty: the system's)",
            is_asked=_has_tls("broker.url"),
        ),
        Question("central.url", "central-url", "Central: http://host:8000, or https://", "http://localhost:8000"),
        Question("central.token", "central-token", "Token of this station, from central", None, is_secret=True),
        Question(
            "central.ca_file",
            "central-ca-file",
            "Certificates to trust for central (PEM; empty: the system's)",
            is_asked=_has_tls("central.url"),
        ),
        Question("trust.root", "trust-root", "Trust root from central's enrolment", "root.json"),
        Question("trust.assignment_key", "assignment-key", "Assignment key from central's enrolment", "assignment.pub"),
    ]


def later_questions() -> list[Question]:
    """What is asked after the camera."""
    return [
        Question("source.product", "product", "Product made here (empty: the camera or the package says)"),
        Question("output.kind", "output", f"Reject output: {', '.join(OUTPUT_KINDS)}", OUTPUT_KINDS[0]),
    ]


SOURCE_QUESTIONS: Final = (
    Question("source.kind", "source-kind", "Kind of camera", None),
    Question("source.url", "source-url", "Its folder, number or address", None),
)
# Without these nobody but a person could say what is meant.
NEEDED: Final = ("site", "line", "station", "broker.url", "central.url", "central.token", "source.kind")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """One flag for each question."""
    for question in (*questions(), *SOURCE_QUESTIONS, *later_questions()):
        if question.is_secret:
            text = f"{question.text}: file that holds it (a secret on the command line could be read by others)"
            parser.add_argument(f"--{question.flag}-file", type=Path, metavar="FILE", dest=question.option, help=text)
        else:
            parser.add_argument(f"--{question.flag}", metavar="TEXT", dest=question.option, help=question.text)
