# SPDX-License-Identifier: Apache-2.0
"""`sightline-central keys`: ceremony, show, rotate, revoke, sign, undo. Words, questions and answers of it.

Decides nothing: `central/key_plans.py` does, `central/trust/changes.py` makes it hold. Every command that changes
something shows first what it will do, and does it after `--yes` or a typed answer. The steps for people are in
`docs/key-runbook.md`. Called by `central.__main__`.
"""

import argparse
import getpass
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

from tuf.api.metadata import Root

from central.clock import SystemClock
from central.errors import DISK_IS_FULL
from central.key_plans import EXCHANGED, PRODUCT_PREFIX, Holder, KeyPlans
from central.package_uses import uses_of
from central.settings import load_settings
from central.trust.changes import KeyChangeError, LostKeyError, read_root, sign_root
from central.trust.keys import KeyName, has_key, load_root_key, load_signer, write_whole
from central.trust.roots import assigner_of, holder_of, root_keys, signers_of, to_carry
from central.trust.state import metadata_bytes
from contracts.trust import product_role

_MOST_WHY: Final = 1000
# Ctrl-C is an exception by itself; one that the shell ignores (`nohup`) stays ignored.
_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
_KEYS_HELP: Final = "packaging, snapshot, timestamp, assignment or product:NAME"


def add_keys_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `keys` and its actions."""
    keys = commands.add_parser(
        "keys", help="signing keys: ceremony, show, rotate, revoke, sign, undo (docs/key-runbook.md)"
    ).add_subparsers(required=True, metavar="ACTION")

    ceremony = keys.add_parser("ceremony", help="give the root of trust to people: k of n keys, off this machine")
    ceremony.add_argument("--holder", action="append", required=True, metavar="NAME=DIR", help="a folder of each, once")
    ceremony.add_argument("--threshold", type=int, required=True, metavar="K", help="so many of them sign a root")
    ceremony.set_defaults(call=partial(_tidily, _ceremony))

    show = keys.add_parser("show", help="who signs what, where the keys lie, until when, and what is under way")
    show.set_defaults(call=partial(_tidily, _show))

    rotate = keys.add_parser("rotate", help="exchange a key of this machine")
    rotate.add_argument("key", metavar="KEY", help=_KEYS_HELP)
    rotate.set_defaults(call=partial(_tidily, _rotate))

    revoke = keys.add_parser("revoke", help="a key was stolen or lost: it ends, another takes its place")
    revoke.add_argument("key", metavar="KEY", help=f"root, {_KEYS_HELP}")
    revoke.add_argument("--holder", metavar="NAME", help="of root: whose key ends")
    revoke.add_argument("--replace-with", metavar="NAME=DIR", help="of root: who takes the place")
    revoke.add_argument("--withdraw", action="append", default=[], metavar="PACKAGE", help="what the thief published")
    revoke.set_defaults(call=partial(_tidily, _revoke))

    sign = keys.add_parser("sign", help="add a holder's signature to what is under way; it holds with the last one")
    sign.add_argument("--file", type=Path, metavar="FILE", help="sign a copy that was carried to this machine")
    sign.add_argument("--export", type=Path, metavar="FILE", help="write a copy to carry to a holder")
    sign.add_argument("--import", type=Path, dest="carried", metavar="FILE", help="take over a copy that came back")
    sign.set_defaults(call=partial(_tidily, _sign))

    undo = keys.add_parser("undo", help="forget a change that has no effect yet")
    undo.set_defaults(call=partial(_tidily, _undo))

    for command in (ceremony, rotate, revoke):
        command.add_argument("--why", required=True, help="for the record")
        command.add_argument("--dry-run", action="store_true", help="say what would be done and do nothing")
    for command in (ceremony, rotate, revoke, sign, undo):
        command.add_argument("--yes", action="store_true", help="do not ask")
    for command in (rotate, revoke, sign):
        command.add_argument("--root-key", action="append", type=Path, default=[], metavar="FILE", help="of a holder")
    for command in (ceremony, rotate, revoke, sign):
        command.add_argument(
            "--password-file",
            action="append",
            type=Path,
            default=[],
            metavar="FILE",
            help="in the order of the keys; without it the password is asked for",
        )
    for command in (ceremony, show, rotate, revoke, sign, undo):
        where = command.add_mutually_exclusive_group()
        where.add_argument("--settings", type=Path, metavar="FILE")
        where.add_argument("--data", type=Path, metavar="DIR", help="short for --settings DIR/central.toml")


def _tidily(command: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """A command that SIGTERM and the end of a terminal interrupt as Ctrl-C does, so that it takes its keys with it.

    By default these end a process on the spot. What SIGKILL leaves, the next command or start of central removes.
    """
    if threading.current_thread() is not threading.main_thread():
        return command(options)

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    numbers = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, interrupt)
    try:
        return command(options)
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


def _ceremony(options: argparse.Namespace) -> int:
    plans, holders = _plans(options), [_holder("--holder", text) for text in options.holder]
    plans.check_ceremony(holders, options.threshold)
    say = [
        f"make the root key of {each.name} in {each.folder}, encrypted with {each.name}'s password" for each in holders
    ]
    say.append(f"from then on {options.threshold} of {len(holders)} of them sign every root")
    if plans.is_root_here():
        say.append("remove the root key from this machine")
    else:
        say.append("wait for the signatures of the present holders")
    if not _is_wanted(options, "ceremony", say):
        return 0
    plans.ceremony(holders, options.threshold, options.why, _passwords(options))
    return _finish(plans)


def _rotate(options: argparse.Namespace) -> int:
    if options.key == KeyName.ROOT:
        raise KeyChangeError("root: exchange its keys with `keys ceremony`, or one of them with `keys revoke root`")
    return _exchange(options, "rotate", [])


def _revoke(options: argparse.Namespace) -> int:
    if options.key != KeyName.ROOT:
        if options.holder or options.replace_with:
            raise KeyChangeError(f"--holder, --replace-with: expected only with root, got them with {options.key}")
        return _exchange(options, "revoke", options.withdraw)
    plans = _plans(options)
    if not options.holder:
        raise KeyChangeError("revoke root: expected --holder NAME, got none; `keys show` names the holders")
    by = _holder("--replace-with", options.replace_with) if options.replace_with else None
    say = [f"end the root key of {options.holder}"]
    plans.check_revocation(options.holder, by)
    say += [f"make the root key of {by.name} in {by.folder}"] if by is not None else ["leave the others, one key fewer"]
    if not _is_wanted(options, "revoke root", say):
        return 0
    ask = _passwords(options)
    plans.revoke_holder(options.holder, by, options.why, ask)
    return _sign_by(plans, options, ask)


def _exchange(options: argparse.Namespace, verb: str, withdraws: list[str]) -> int:
    if options.key not in EXCHANGED and not options.key.startswith(PRODUCT_PREFIX):
        raise KeyChangeError(f"KEY: expected {_KEYS_HELP}, got {options.key!r}")
    plans = _plans(options)
    plans.check_exchange(options.key, withdraws)
    say = [f"make another key for {options.key}; the present one ends"]
    settings = options.settings or options.data / "central.toml"

    def is_gone(each: str) -> bool:
        return each in withdraws or plans.repository.is_withdrawn(each)

    for package_id in withdraws:
        say += [
            f"withdraw package {package_id}",
            *uses_of(settings, package_id, is_gone),
        ]
    if options.key.startswith(PRODUCT_PREFIX):
        say.append("the packaging key signs that; no root key is needed")
    elif plans.is_root_here():
        say.append("sign the root with the root key of this machine")
    else:
        say.append(f"wait for {plans.repository.root().signed.roles[Root.type].threshold} holders of root keys to sign")
    if options.key == KeyName.ASSIGNMENT:
        say.append("all assignments and recipes are signed anew by a running central")
    if not _is_wanted(options, f"{verb} {options.key}", say):
        return 0
    plans.exchange(options.key, options.why, withdraws, verb)
    return _sign_by(plans, options, _passwords(options))


def _sign(options: argparse.Namespace) -> int:
    ask = _passwords(options)
    if options.file is not None:
        if not options.root_key:
            raise KeyChangeError("--file: expected the holder's --root-key too")
        carried = read_root(options.file)
        for path in options.root_key:
            sign_root(carried, None, load_root_key(path, ask(str(path))))
        _write_copy("--file", options.file, metadata_bytes(carried))
        _say(f"signed {options.file}; carry it back and run `keys sign --import {options.file.name}`")
        return 0
    plans = _plans(options)
    if plans.changes.pending() is None:
        raise KeyChangeError("nothing is under way: there is nothing to sign")
    if options.export is not None:
        coming = plans.changes.root()
        if coming is None:
            raise KeyChangeError("the change under way needs no signature of a root key; run `keys sign` without one")
        _write_copy("--export", options.export, metadata_bytes(to_carry(coming, plans.repository.root().signed)))
        _say(f"written {options.export}")
        return 0
    if options.carried is not None:
        carried = read_root(options.carried)
        coming = plans.changes.root()
        may = signers_of(coming, plans.repository.root().signed) if coming is not None else {}
        for keyid in [keyid for keyid in carried.signatures if keyid not in may]:
            _say(
                f"left out the signature of key {keyid[:16]}: it is no root key, of the present root or the coming one"
            )
        taken = plans.changes.take_over(carried)
        known = "" if taken else ": what the file holds was here already, or is by keys that no root names"
        _say(f"{taken} new signatures taken over{known}")
    return _sign_by(plans, options, ask)


def _write_copy(option: str, path: Path, content: bytes) -> None:
    """Only in place of a plain file or of nothing: what is renamed over a device is gone from the machine.

    Raises:
        KeyChangeError: no folder there, something that is no file, or nothing can be written there.
        OSError: the disk is full.
    """
    try:
        if not path.parent.is_dir():
            raise KeyChangeError(f"{path}: expected a folder that is there, is the medium in its place?")
        if os.path.lexists(path) and not path.is_file():
            raise KeyChangeError(f"{option}: expected the name of a file, got {path}, which is no plain file")
        write_whole(path, content)
    except OSError as error:
        if error.errno in DISK_IS_FULL:
            raise
        raise KeyChangeError(f"{option}: cannot write {path}: {error.strerror}; choose another place") from error


def _undo(options: argparse.Namespace) -> int:
    try:
        plans = _plans(options)
    except LostKeyError as error:
        # The only command that may go on: it is one of the ways out.
        _say(str(error))
        plans = _plans(options, is_recovering=False)
    try:
        pending = plans.changes.pending()
    except KeyChangeError as error:
        _say(str(error))
        what = "the change whose plan cannot be read"
    else:
        if pending is None:
            raise KeyChangeError("nothing is under way: there is nothing to undo")
        what = f"'{pending.what}' of {pending.begun_at}"
    if _is_wanted(options, "undo", [f"forget {what} and its new keys"]):
        plans.changes.undo()
        _say(f"forgotten: {what}")
    return 0


def _show(options: argparse.Namespace) -> int:
    plans = _plans(options)
    root, state, folder = plans.repository.root().signed, plans.repository.state(), plans.repository.keys_dir
    is_here = plans.is_root_here()
    threshold = root.roles[Root.type].threshold
    _say(f"root        version {root.version}, {threshold} of {len(root_keys(root))} keys, until {_day(root.expires)}")
    for keyid, key in sorted(root_keys(root).items()):
        _say(f"            {keyid[:16]}  {holder_of(key) or ('on this machine' if is_here else 'no name')}")
    expiries = state.expiries()
    for name, role in (("packaging", "targets"), ("snapshot", "snapshot"), ("timestamp", "timestamp")):
        where = "on this machine" if has_key(folder, name) else "NOT on this machine"
        if has_key(folder, name) and load_signer(folder, name).public_key.keyid not in root.roles[role].keyids:
            where = f"ANOTHER one on this machine: run `keys rotate {name}`"
        _say(f"{name:11} {root.roles[role].keyids[0][:16]}  {where}, signed until {_day(expiries[role])}")
    named = assigner_of(root) or ""
    known = "named by the root" if named else "NOT named by the root: run `sightline-central init`, or a ceremony"
    _say(f"assignment  {load_signer(folder, KeyName.ASSIGNMENT).public_key.keyid[:16]}  on this machine, {known}")
    delegations = state.targets.signed.delegations
    for product in plans.products():
        keyid = delegations.roles[product_role(product)].keyids[0] if delegations and delegations.roles else ""
        own = "a key of its own" if has_key(folder, product_role(product)) else "the packaging key"
        _say(f"product     {keyid[:16]}  {product}: {own}, signed until {_day(expiries[product_role(product)])}")
    if is_here:
        _say("warning: the root key lies on this machine; whoever takes the machine takes the plant. For a plant run")
        _say("         `sightline-central keys ceremony` (docs/key-runbook.md)")
    if (pending := plans.changes.pending()) is not None:
        missing = ", ".join(f"{count} of the {whose} holders" for whose, count in plans.changes.missing().items())
        _say(f"under way   {pending.what}, since {pending.begun_at}, because: {pending.why}")
        _say(f"            signatures missing: {missing or 'none: run `keys sign` to finish it'}")
    run_out = plans.run_out()
    for role, expires in sorted(run_out.items()):
        renewed = (
            "by a ceremony or `keys revoke root`" if role == Root.type else "by a running central that has its key"
        )
        _say(f"warning: {role} ran out on {_day(expires)}: stations take nothing new; it is renewed {renewed}")
    return 1 if run_out else 0


def _sign_by(plans: KeyPlans, options: argparse.Namespace, ask: Callable[[str], str]) -> int:
    for path in options.root_key:
        plans.changes.sign(load_root_key(path, ask(str(path))))
    return _finish(plans)


def _finish(plans: KeyPlans) -> int:
    plan = plans.changes.pending()
    if plans.changes.finish(SystemClock().now()):
        _say(f"done: {plan.what if plan else ''}; {plans.repository.root().signed.version} is the root's version")
        return 0
    missing = ", ".join(f"{count} of the {whose} holders" for whose, count in plans.changes.missing().items())
    _say(f"under way: signatures missing: {missing}; each signs with `keys sign --root-key FILE`")
    return 0


def _plans(options: argparse.Namespace, *, is_recovering: bool = True) -> KeyPlans:
    if options.settings is None and options.data is None:
        raise KeyChangeError("expected --data DIR or --settings FILE, got neither")
    if "why" in options:
        options.why = _reason(options.why)
    now = SystemClock().now()
    plans = KeyPlans(load_settings(options.settings or options.data / "central.toml").trust_dir, now)
    if is_recovering and plans.changes.recover(now):
        _say("a change of keys that was cut short has been finished")
    return plans


def _reason(text: str) -> str:
    """One line: it is logged, and shown by `keys show`."""
    said = " ".join(text.split())
    if not said:
        raise KeyChangeError(f"--why: expected a reason in words, for those who ask later, got {text[:20]!r}")
    if len(said) > _MOST_WHY or not said.isprintable():
        raise KeyChangeError(
            f"--why: expected at most {_MOST_WHY} letters of plain text, got {len(said)}: {said[:20]!r}"
        )
    return said


def _holder(option: str, text: str) -> Holder:
    name, _, folder = text.partition("=")
    if not name or not folder or not name.replace("-", "").isalnum() or not name.isascii() or name != name.lower():
        raise KeyChangeError(f"{option}: expected NAME=DIR with a name of a-z 0-9 -, got {text!r}")
    return Holder(name, Path(folder))


def _passwords(options: argparse.Namespace) -> Callable[[str], str]:
    files: list[Path] = list(options.password_file)

    def ask(what: str) -> str:
        if files:
            path = files.pop(0)
            try:
                return path.read_text(encoding="utf-8").rstrip("\r\n")
            except (OSError, UnicodeDecodeError) as error:
                raise KeyChangeError(f"--password-file: expected a text file, got {path}: {error}") from error
        if not sys.stdin.isatty():
            raise KeyChangeError(f"password for {what}: expected --password-file, or a terminal to ask at")
        password = getpass.getpass(f"password for {what}: ")
        if what.startswith("new ") and getpass.getpass("the same again: ") != password:
            raise KeyChangeError(f"password for {what}: expected the same twice, got two")
        return password

    return ask


def _is_wanted(options: argparse.Namespace, word: str, steps: list[str]) -> bool:
    for step in steps:
        _say(f"- {step}")
    if getattr(options, "dry_run", False):
        _say("nothing was done (--dry-run)")
        return False
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise KeyChangeError("expected --yes, or a terminal to ask at; nothing was done")
    if input(f"type '{word}' to go on: ").strip() == word:
        return True
    _say("nothing was done")
    return False


def _day(when: datetime) -> str:
    return f"{when:%Y-%m-%d}"


def _say(text: str) -> None:
    print(text)  # noqa: T201 - the command's answer
