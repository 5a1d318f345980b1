# SPDX-License-Identifier: Apache-2.0
"""`sightline-central export-mlflow`: the history of trainings as runs of an MLflow tracking server.

May be given again at any time: a training that is there already and says the same is passed over, one that went on is
brought up to date, one that a kill cut short is finished. Deletes nothing there and reads nothing back but what is
there. Two exports at the same time to the same server may each make a run of the same training.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from central.errors import SettingsError
from central.mlflow_client import MlflowClient, MlflowError
from central.mlflow_runs import DIGEST_TAG, TRAINING_TAG, MlflowRun, run_of
from central.services.trainings.experiments import count_experiments, list_experiments
from central.settings import load_settings
from central.store.database import Database
from central.store.schema import require_current
from contracts.base import UtcTime
from contracts.ids import Name

_AT_ONCE: Final = 100
_TOLD_EVERY_S: Final = 5.0
# Told how many are done.
Watch = Callable[[int], None]


@dataclass
class Exported:
    """Runs by what was done about them."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0


@dataclass(frozen=True)
class _There:
    """A run of ours on the server, with the names of its parameters; nothing more, since there may be many."""

    run_id: str
    digest: str
    params: frozenset[str]


def add_mlflow_commands(commands: Any) -> None:
    """`export-mlflow` beside the other commands."""
    command = commands.add_parser("export-mlflow", help="trainings as runs of an MLflow tracking server")
    where = command.add_mutually_exclusive_group(required=True)
    where.add_argument("--settings", type=Path, metavar="FILE")
    where.add_argument("--data", type=Path, metavar="DIR", help="short for --settings DIR/central.toml")
    command.add_argument("--to", required=True, metavar="URL", help="http://HOST:PORT of the tracking server")
    command.add_argument(
        "--token-file", type=Path, metavar="FILE", help="a bearer token, where the server asks for one"
    )
    command.add_argument("--product", metavar="PRODUCT", help="of this one alone")
    command.add_argument("--since", metavar="TIME", help="asked for then or later, such as 2026-01-31T22:00:00Z")
    command.add_argument("--dry-run", action="store_true", help="say what would be done, and write nothing")
    command.set_defaults(call=_export)


def _export(options: argparse.Namespace) -> int:
    product, since = _product(options.product), _since(options.since)
    with MlflowClient(options.to, token=_token(options.token_file)) as client:
        settings = load_settings(options.settings or options.data / "central.toml")
        database = Database(settings.database_url)
        database.probe()
        require_current(database)
        with database.read() as session:
            of = count_experiments(session, product, since)
        done, runs = Exported(), runs_of(database, product, since)
        try:
            export(client, runs, done, is_dry=options.dry_run, watch=_told(of))
        except MlflowError as error:
            ahead = f"{done.new + done.updated + done.unchanged} of {of} are there"
            raise MlflowError(f"{error}. {ahead}; give the command again, it goes on") from error
    would, handled = "would be " if options.dry_run else "", done.new + done.updated + done.unchanged
    told = f"{done.new} {would}new, {done.updated} {would}updated, {done.unchanged} unchanged"
    print(f"{client.url}: {handled} trainings: {told}")  # noqa: T201 - the command's answer
    return 0


def runs_of(database: Database, product: str | None, since: datetime | None) -> Iterator[MlflowRun]:
    """Of all trainings, newest first, some at a time."""
    before: str | None = None
    while True:
        with database.read() as session:
            found = list_experiments(session, product, since, before, _AT_ONCE)
        yield from (run_of(each) for each in found)
        if len(found) < _AT_ONCE:
            return
        before = found[-1].training.training_id


def export(
    client: MlflowClient, runs: Iterable[MlflowRun], done: Exported, *, is_dry: bool = False, watch: Watch | None = None
) -> None:
    """Bring the server up to date; `done` is counted up as it goes, so that it holds after an error too.

    Raises:
        MlflowError: the server cannot be used; what was exported stays.
    """
    places: dict[str, tuple[str, dict[str, _There]]] = {}
    for handled, run in enumerate(runs, 1):
        if run.experiment not in places:
            places[run.experiment] = _place(client, run.experiment, is_dry=is_dry)
        experiment_id, known = places[run.experiment]
        _bring(client, experiment_id, run, known.get(run.training_id), done, is_dry=is_dry)
        if watch is not None:
            watch(handled)


def _place(client: MlflowClient, name: str, *, is_dry: bool) -> tuple[str, dict[str, _There]]:
    """An experiment's id, made where it is absent (empty in a dry run), and our runs that are there, by training."""
    experiment_id = client.find_experiment(name)
    if experiment_id is None:
        return "" if is_dry else client.create_experiment(name), {}
    known = {}
    for run in client.find_runs(experiment_id, TRAINING_TAG):
        tags, params = _words(run, "tags"), _words(run, "params")
        known[tags.get(TRAINING_TAG, "")] = _There(
            str(run["info"]["run_id"]), tags.get(DIGEST_TAG, ""), frozenset(params)
        )
    return experiment_id, known


def _bring(
    client: MlflowClient, experiment_id: str, run: MlflowRun, there: _There | None, done: Exported, *, is_dry: bool
) -> None:
    if there is not None and there.digest == run.digest:
        done.unchanged += 1
        return
    if not is_dry:
        run_id = (
            there.run_id
            if there is not None
            else client.create_run(experiment_id, run.training_id, run.start_ms, run.tags)
        )
        # MLflow never changes a parameter: what it has stays.
        fresh = {name: value for name, value in run.params.items() if there is None or name not in there.params}
        client.log(run_id, fresh, run.metrics, run.tags)
        client.update_run(run_id, run.status, run.end_ms)
        client.log(run_id, {}, (), {DIGEST_TAG: run.digest})
    done.new += there is None
    done.updated += there is not None


def _words(run: dict[str, Any], kind: str) -> dict[str, str]:
    return {each["key"]: each.get("value", "") for each in run.get("data", {}).get(kind, [])}


def _told(of: int) -> Watch:
    """A line every few seconds, for people who wait."""
    last_s = time.monotonic()

    def tell(handled: int) -> None:
        nonlocal last_s
        if time.monotonic() - last_s >= _TOLD_EVERY_S and handled < of:
            last_s = time.monotonic()
            sys.stderr.write(f"{handled} of {of} trainings\n")

    return tell


def _product(text: str | None) -> str | None:
    try:
        return None if text is None else TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        raise SettingsError([f"--product: expected 1 … 63 of a-z 0-9 - _, got {text!r}"]) from error


def _since(text: str | None) -> datetime | None:
    expected = "--since: expected a date and time with its offset, such as 2026-01-31T22:00:00Z"
    try:
        return None if text is None else TypeAdapter(UtcTime).validate_python(datetime.fromisoformat(text))
    except ValueError as error:
        raise SettingsError([f"{expected}, got {text!r}"]) from error


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError([f"--token-file: cannot read {path} ({error})"]) from error
    if not text or any(letter.isspace() for letter in text):
        raise SettingsError([f"--token-file: expected one token in {path}, got {len(text.split())} words"])
    return text
