# SPDX-License-Identifier: Apache-2.0
"""`sightline-central`: init, run, migrate, token, recipe, package, report, keys, alarms, msa, exports.

Parses words, decides nothing. A mistake of the operator is one clear text on stderr and exit code 2; only a fault of
ours shows a traceback.
"""

import argparse
import json
import logging
import queue
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError
from sqlalchemy.exc import DBAPIError

from central.alarms_command import add_alarms_commands
from central.clock import SystemClock
from central.collecting import collect_seldom
from central.dataset_export import add_dataset_commands
from central.errors import CentralError, SettingsError, is_disk_full
from central.keys_command import add_keys_commands
from central.mlflow_export import add_mlflow_commands
from central.msa_report import add_msa_commands
from central.report_command import add_report_commands
from central.settings import CentralSettings, effective_values, load_settings
from central.store.database import Database
from central.store.repositories import tokens
from central.store.schema import migrate, require_current
from contracts.ids import Name, StationAddress
from contracts.vocabulary import Role

log = logging.getLogger("central")

_LOOK_UP_S: Final = 0.5
# Exit code of a command that a signal ended: this and the number of the signal.
_SIGNALLED: Final = 128


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.call(options))
    except CentralError as error:
        sys.stderr.write(f"sightline-central: {error}\n")
        return 2
    except EOFError:
        sys.stderr.write("sightline-central: expected an answer, got the end of the input; nothing more was done\n")
        return 2
    except (OSError, DBAPIError) as error:
        if not is_disk_full(error):
            raise
        where = getattr(error, "filename", None) or "the disk of the database or of a file to be written"
        sys.stderr.write(
            f"sightline-central: no room left on the disk ({where}); make room and give the command again: what was "
            "begun is finished or undone by it\n"
        )
        return 1
    except KeyboardInterrupt as error:
        sys.stderr.write("\nsightline-central: interrupted; what was begun is finished or undone by the next command\n")
        number = error.args[0] if error.args else signal.SIGINT
        return _SIGNALLED + int(number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline-central", description="API, ingest and decisions of a plant.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    init = commands.add_parser("init", help="make data folder, settings, keys and database where absent")
    init.add_argument("--data", type=Path, required=True, metavar="DIR")
    init.add_argument("--host")
    init.add_argument("--port", type=int)
    init.add_argument("--broker", metavar="URL", help="mqtt://host:1883 or mqtts://host:8883")
    init.add_argument("--database-url", metavar="URL", help="default: SQLite in the data folder")
    init.set_defaults(call=_init)

    run = commands.add_parser("run", help="API, ingest and workers in one process")
    run.set_defaults(call=_run)
    migration = commands.add_parser("migrate", help="bring the database to this version's shape")
    migration.set_defaults(call=_migrate)

    token = commands.add_parser("token", help="make, list and revoke API tokens").add_subparsers(
        required=True, metavar="ACTION"
    )
    create = token.add_parser("create", help="print a new secret, once")
    create.add_argument("--role", type=str.upper, choices=[role.value for role in Role], required=True)
    create.add_argument("--name", required=True)
    create.set_defaults(call=_token_create)
    listing = token.add_parser("list", help="names and roles")
    listing.set_defaults(call=_token_list)
    revoke = token.add_parser("revoke", help="end a token at once")
    revoke.add_argument("--name", required=True)
    revoke.set_defaults(call=_token_revoke)

    of_recipes, of_packages = _recipe_commands(commands), _package_commands(commands)
    reporting = add_report_commands(commands)
    for command in (run, migration, create, listing, revoke, *of_recipes, *of_packages, reporting):
        where = command.add_mutually_exclusive_group(required=True)
        where.add_argument("--settings", type=Path, metavar="FILE")
        where.add_argument("--data", type=Path, metavar="DIR", help="short for --settings DIR/central.toml")

    add_keys_commands(commands)
    add_alarms_commands(commands)
    add_msa_commands(commands)
    add_mlflow_commands(commands)
    add_dataset_commands(commands)

    export = commands.add_parser("export-openapi", help="print the API's OpenAPI document")
    export.add_argument("--out", type=Path, metavar="FILE")
    export.set_defaults(call=_export_openapi)
    return parser


def _recipe_commands(commands: Any) -> tuple[argparse.ArgumentParser, ...]:
    recipe = commands.add_parser("recipe", help="a product's recipe to a JSON file and back").add_subparsers(
        required=True, metavar="ACTION"
    )
    exporting = recipe.add_parser("export", help="write a version of a recipe to a file")
    exporting.add_argument("--version", type=int, metavar="N", help="default: the newest")
    exporting.set_defaults(call=_recipe_export)
    importing = recipe.add_parser("import", help="make the next version from a file")
    importing.add_argument("--note", required=True, help="why, for the history")
    importing.add_argument("--by", default="command-line", metavar="NAME", help="who, for the history")
    importing.set_defaults(call=_recipe_import)
    for command in (exporting, importing):
        command.add_argument("product", metavar="PRODUCT")
        command.add_argument("file", type=Path, metavar="FILE")
        command.add_argument("--station", metavar="SITE/LINE/STATION", help="made for this station alone")
    pinning = recipe.add_parser("pin", help="keep a station at one version")
    pinning.add_argument("--version", type=int, required=True, metavar="N")
    pinning.set_defaults(call=_recipe_pin)
    unpinning = recipe.add_parser("unpin", help="let a station use the newest version again")
    unpinning.set_defaults(call=_recipe_pin, version=None)
    for command in (pinning, unpinning):
        command.add_argument("product", metavar="PRODUCT")
        command.add_argument("--station", required=True, metavar="SITE/LINE/STATION")
        command.add_argument("--note", required=True, help="why, for the history")
        command.add_argument("--by", default="command-line", metavar="NAME", help="who, for the history")
    return exporting, importing, pinning, unpinning


def _package_commands(commands: Any) -> tuple[argparse.ArgumentParser, ...]:
    package = commands.add_parser("package", help="bring in a package that was made outside central").add_subparsers(
        required=True, metavar="ACTION"
    )
    bringing = package.add_parser("import", help="publish a package; a running central rolls it out, unless people do")
    bringing.add_argument(
        "folder", type=Path, metavar="FOLDER", help="of `sightline-models train`: OUT, or OUT/package"
    )
    bringing.add_argument("--note", required=True, help="why it may judge, for the history")
    bringing.add_argument("--by", required=True, metavar="NAME", help="who vouches for it, for the history")
    bringing.set_defaults(call=_package_import)
    return (bringing,)


def _settings(options: argparse.Namespace) -> CentralSettings:
    file: Path = options.settings or options.data / "central.toml"
    return load_settings(file)


def _init(options: argparse.Namespace) -> int:
    from central.initial import Wanted, initialise  # noqa: PLC0415 - as in `_run`

    wanted = Wanted(options.host, options.port, options.broker, options.database_url)
    done = initialise(options.data, wanted, SystemClock())
    state = "written" if done.is_new else "kept"
    print(f"settings  {done.settings_file} ({state})")  # noqa: T201 - the command's answer
    if done.unheeded:
        print(f"          {', '.join(done.unheeded)} not applied: change it in that file")  # noqa: T201 - as above
    print(f"enrolment {done.enrolment_dir} (root.json, assignment.pub: copy to each station)")  # noqa: T201 - as above
    if done.is_root_key_here:
        print("keys      all lie on this machine, the root key too; a plant takes that away: `keys ceremony`")  # noqa: T201 - as above
    return 0


def _run(options: argparse.Namespace) -> int:
    # Here and not above: the server's libraries take seconds to import, and `token create` needs none of them.
    from central.app import Central  # noqa: PLC0415 - see above

    settings = _settings(options)
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s %(message)s", stream=sys.stderr
    )
    for talkative in ("alembic", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    log.info("settings %s", json.dumps(effective_values(settings)))
    # No Event: a signal that comes while `wait` holds its lock would wait for it for ever. This put may interrupt.
    stopping: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: stopping.put(number))
    central = Central(settings, SystemClock())
    collect_seldom()
    central.start()
    # One line for whoever started us, with the port that was really taken.
    print(f"sightline-central ready {central.url}", flush=True)  # noqa: T201 - as above
    while True:
        try:
            stopping.get(timeout=_LOOK_UP_S)
        except queue.Empty:
            # A signal that comes just before the wait begins does not end it: its handler runs only out here.
            continue
        break
    central.stop()
    return 0


def _migrate(options: argparse.Namespace) -> int:
    database = Database(_settings(options).database_url)
    database.probe()
    migrate(database)
    require_current(database)
    print("database is current")  # noqa: T201 - as above
    return 0


def _opened(options: argparse.Namespace) -> Database:
    database = Database(_settings(options).database_url)
    database.probe()
    require_current(database)
    return database


def _token_create(options: argparse.Namespace) -> int:
    with _opened(options).begin() as session:
        secret = tokens.create(session, _token_name(options.name), Role(options.role), SystemClock().now())
    print(secret)  # noqa: T201 - as above
    return 0


def _token_list(options: argparse.Namespace) -> int:
    with _opened(options).read() as session:
        for token in tokens.list_all(session):
            state = "revoked" if token.revoked_at else "in force"
            print(f"{token.name:24} {token.role.value:10} {state:9} {token.created_at:%Y-%m-%d %H:%M}Z")  # noqa: T201 - as above
    return 0


def _token_revoke(options: argparse.Namespace) -> int:
    with _opened(options).begin() as session:
        tokens.revoke(session, options.name, SystemClock().now())
    return 0


def _recipe_export(options: argparse.Namespace) -> int:
    from central.recipe_files import export_recipe  # noqa: PLC0415 - as in `_run`

    product = _named("PRODUCT", options.product)
    version = export_recipe(_opened(options), product, options.file, station=_station(options), version=options.version)
    print(f"version {version} of {product} written to {options.file}")  # noqa: T201 - as above
    return 0


def _recipe_import(options: argparse.Namespace) -> int:
    from central.recipe_files import import_recipe  # noqa: PLC0415 - as in `_run`

    if not options.note.strip():
        raise SettingsError(["--note: expected why this version is made, got nothing"])
    product = _named("PRODUCT", options.product)
    row = import_recipe(
        _opened(options),
        SystemClock(),
        product,
        options.file,
        station=_station(options),
        by=_named("--by", options.by),
        note=options.note,
    )
    print(f"version {row.version} of {product} made")  # noqa: T201 - as above
    for warning in row.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


def _recipe_pin(options: argparse.Namespace) -> int:
    from central.recipe_files import pin_recipe  # noqa: PLC0415 - as in `_run`

    if not options.note.strip():
        raise SettingsError(["--note: expected why, got nothing"])
    product, station, by = _named("PRODUCT", options.product), _station(options) or "", _named("--by", options.by)
    pin_recipe(
        _opened(options), SystemClock(), product, station=station, version=options.version, by=by, note=options.note
    )
    done = "uses the newest version" if options.version is None else f"stays at version {options.version}"
    print(f"{station} {done} of {product}")  # noqa: T201 - as above
    return 0


def _package_import(options: argparse.Namespace) -> int:
    from central.package_files import import_package  # noqa: PLC0415 - as in `_run`
    from central.trust.enrolment import open_repository  # noqa: PLC0415 - as in `_run`

    if not options.note.strip():
        raise SettingsError(["--note: expected why this package may judge, got nothing"])
    settings = _settings(options)
    done = import_package(
        _opened(options),
        open_repository(settings.trust_dir),
        options.folder,
        SystemClock().now(),
        by=_named("--by", options.by),
        note=options.note.strip(),
    )
    kind = "simulated" if done.is_simulated else "real"
    if not done.is_new:
        print(f"package {done.package_id[:12]} of {done.product} is here already; nothing was changed")  # noqa: T201 - as above
        return 0
    print(f"package {done.package_id[:12]} of {done.product} ({kind} parts) published")  # noqa: T201 - as above
    if settings.rollout.is_automatic and not done.begins_by_itself:
        print(  # noqa: T201 - as above
            f"the policy of {done.product} leaves its rollouts to people: start it on the dashboard, or by "
            "POST /rollouts"
        )
    elif settings.rollout.is_automatic:
        print("a running central rolls it out to the stations of this product, canary first")  # noqa: T201 - as above
    else:
        print("rollout.is_automatic is off: start its rollout on the dashboard, or by POST /rollouts")  # noqa: T201 - as above
    return 0


def _station(options: argparse.Namespace) -> str | None:
    if options.station is None:
        return None
    try:
        return str(StationAddress.parse(options.station))
    except ValueError as error:
        raise SettingsError([f"--station: expected site/line/station, got {options.station!r}"]) from error


def _named(what: str, text: str) -> str:
    try:
        return TypeAdapter(Name).validate_python(text)
    except ValidationError as error:
        raise SettingsError([f"{what}: expected 1 … 63 of a-z 0-9 - _, got {text!r}"]) from error


def _token_name(text: str) -> str:
    allowed = "abcdefghijklmnopqrstuvwxyz0123456789-_"
    if not text or len(text) > 63 or any(letter not in allowed for letter in text) or not text[0].isalnum():
        raise SettingsError([f"--name: expected 1 … 63 of a-z 0-9 - _, got {text!r}"])
    return text


def _export_openapi(options: argparse.Namespace) -> int:
    from central.api.server import build_api  # noqa: PLC0415 - as in `_run`

    document = json.dumps(build_api(None).openapi(), indent=2, sort_keys=True) + "\n"
    if options.out is None:
        sys.stdout.write(document)
    else:
        options.out.write_text(document, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
