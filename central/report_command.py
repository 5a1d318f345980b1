# SPDX-License-Identifier: Apache-2.0
"""`sightline-central report shift FILE`: the shift report to a file, as PDF or CSV by the file's ending."""

import argparse
import getpass
import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

from central.clock import SystemClock
from central.errors import InvalidError, StoreError
from central.settings import load_settings
from central.store.database import Database
from central.store.schema import require_current

_ENDINGS: Final = (".pdf", ".csv")


def add_report_commands(commands: Any) -> argparse.ArgumentParser:
    """`report shift`; the caller adds where the settings are."""
    report = commands.add_parser("report", help="reports to be signed").add_subparsers(required=True, metavar="REPORT")
    shift: argparse.ArgumentParser = report.add_parser("shift", help="what a shift made, as PDF or CSV")
    shift.add_argument("file", type=Path, metavar="FILE", help="ends in .pdf or .csv")
    shift.add_argument("--at", metavar="SITE[/LINE[/STATION]]", help="default: every station")
    shift.add_argument("--product", metavar="NAME")
    shift.add_argument(
        "--day", metavar="YYYY-MM-DD", help="on which the shift begins; default: the one that ended last"
    )
    shift.add_argument("--shift", metavar="HH:MM", help="at which it begins")
    shift.add_argument("--since", metavar="TIME", help="ISO 8601 with its offset, instead of a shift")
    shift.add_argument("--until", metavar="TIME")
    shift.add_argument("--shifts", default="06:00,14:00,22:00", metavar="HH:MM,…", help="when shifts begin")
    shift.add_argument("--time-zone", default="UTC", metavar="ZONE", help="of the plant, e.g. Europe/Berlin")
    shift.add_argument("--by", metavar="NAME", help="who makes it; default: the user of this machine")
    shift.add_argument("--cost-of-part", type=float, metavar="NUMBER")
    shift.add_argument("--currency", default="")
    shift.set_defaults(call=_shift)
    return shift


def _shift(options: argparse.Namespace) -> int:
    # Here and not above: what computes and draws takes long to import, and other commands need none of it.
    from central.api.health import program_version  # noqa: PLC0415 - see above
    from central.reports.shift_content import Cost, gather  # noqa: PLC0415 - see above
    from central.reports.shift_csv import to_csv  # noqa: PLC0415 - see above
    from central.reports.shift_period import Asked  # noqa: PLC0415 - see above

    file: Path = options.file
    if file.suffix.lower() not in _ENDINGS:
        raise InvalidError(f"FILE: expected a name that ends in .pdf or .csv, got {file.name!r}")
    cost: float | None = options.cost_of_part
    if cost is not None and not (math.isfinite(cost) and cost >= 0):
        raise InvalidError(f"--cost-of-part: expected 0 or more, got {cost}")
    asked = Asked(
        options.at,
        options.product,
        _day(options.day),
        options.shift,
        _time("--since", options.since),
        _time("--until", options.until),
        options.shifts,
        options.time_zone,
    )
    database = Database(load_settings(options.settings or options.data / "central.toml").database_url)
    try:
        database.probe()
        require_current(database)
        with database.read() as session:
            report = gather(
                session,
                asked,
                SystemClock().now(),
                by=options.by or getpass.getuser(),
                version=program_version(),
                cost=Cost(cost, options.currency),
            )
    finally:
        database.close()
    if file.suffix.lower() == ".csv":
        made = to_csv(report)
    else:
        from central.reports.shift_pdf import to_pdf  # noqa: PLC0415 - see above

        made = to_pdf(report)
    try:
        file.write_bytes(made)
    except OSError as error:
        raise StoreError(f"{file}: cannot be written: {error}") from error
    state = " (preliminary: still under way)" if report.period.is_preliminary else ""
    print(f"shift {report.period.name}{state} written to {file}")  # noqa: T201 - the command's answer
    return 0


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InvalidError(f"--day: expected YYYY-MM-DD, got {text!r}") from error


def _time(name: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidError(f"{name}: expected a time as 2026-11-22T06:00+01:00, got {text!r}") from error
    if at.tzinfo is None:
        raise InvalidError(f"{name}: expected a time with its offset, such as {text}+00:00, got {text!r}")
    return at.astimezone(UTC)
