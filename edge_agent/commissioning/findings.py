# SPDX-License-Identifier: Apache-2.0
"""What a check found, how bad that is, and how it is shown. Pure.

Runs no check; the modules beside it do, and `doctor` gathers. Addresses are shown without the password that may
stand in them.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from edge_agent.logins import without_login


class Level(StrEnum):
    """How bad a finding is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Finding:
    """One answer of a check.

    Args:
        check: what was looked at, a word or two.
        level: how bad it is.
        found: what was expected and what was found.
        remedy: what a person should do; empty when nothing.
    """

    check: str
    level: Level
    found: str
    remedy: str = ""


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, found)


def warn(check: str, found: str, remedy: str) -> Finding:
    """Parts are judged, but somebody should look."""
    return Finding(check, Level.WARN, found, remedy)


def fail(check: str, found: str, remedy: str) -> Finding:
    """The station cannot do its work like this."""
    return Finding(check, Level.FAIL, found, remedy)


def exit_code(findings: Iterable[Finding]) -> int:
    """0: all is well; 1: warnings only; 2: at least one failure."""
    levels = {finding.level for finding in findings}
    return 2 if Level.FAIL in levels else 1 if Level.WARN in levels else 0


def as_text(findings: Sequence[Finding]) -> str:
    """For a person: one line a finding, its remedy below, and the sum at the end."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.level:<4}  {finding.check}: {without_login(finding.found)}")
        if finding.remedy:
            lines.append(f"      → {without_login(finding.remedy)}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    lines.append(f"{counts[Level.FAIL]} failed, {counts[Level.WARN]} to look at, {counts[Level.OK]} fine")
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """For a program: `{"exit_code": …, "findings": [{"check", "level", "found", "remedy"}]}`."""
    rows = [
        {
            "check": finding.check,
            "level": finding.level.value,
            "found": without_login(finding.found),
            "remedy": without_login(finding.remedy),
        }
        for finding in findings
    ]
    return json.dumps({"exit_code": exit_code(findings), "findings": rows}, ensure_ascii=False, indent=2)
