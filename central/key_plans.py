# SPDX-License-Identifier: Apache-2.0
"""What the `keys` commands do, without their words: plans a ceremony, an exchange or a revocation, and begins it.

Asks nobody; passwords and holders come from the caller. Called by `central/keys_command.py`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from securesystemslib.signer import CryptoSigner, Key
from tuf.api.metadata import Metadata, Root

from central.trust.changes import KeyChangeError, KeyChanges, Plan, sign_root
from central.trust.enrolment import KEYS_FOLDER, open_repository
from central.trust.keys import KeyName, create_root_key, has_key, load_signer
from central.trust.roots import held, holder_of, next_root, replace_key, replace_root_keys, root_keys
from contracts.trust import product_role

PRODUCT_PREFIX: Final = "product:"
EXCHANGED: Final = (KeyName.PACKAGING, KeyName.SNAPSHOT, KeyName.TIMESTAMP, KeyName.ASSIGNMENT)
# Of a file name and the holder's name: the password for it.
AskPassword = Callable[[str], str]


@dataclass(frozen=True)
class Holder:
    """Who keeps a root key, and in which folder (a stick, as a rule) it is made."""

    name: str
    folder: Path

    @property
    def path(self) -> Path:
        """Where the encrypted private half lies."""
        return self.folder / f"root-{self.name}.pem"


class KeyPlans:
    """One trust folder."""

    def __init__(self, trust_dir: Path, now: datetime) -> None:
        self._now = now
        self._keys_dir = trust_dir / KEYS_FOLDER
        self.repository = open_repository(trust_dir)
        self.changes = KeyChanges(trust_dir)

    def run_out(self) -> dict[str, datetime]:
        """Roles whose signed metadata has run out, and when: stations take nothing new until it is renewed."""
        expiries = {**self.repository.state().expiries(), Root.type: self.repository.root().signed.expires}
        return {role: expires for role, expires in expiries.items() if expires <= self._now}

    def is_root_here(self) -> bool:
        """Whether this machine can sign roots by itself."""
        return has_key(self._keys_dir, KeyName.ROOT)

    def check_ceremony(self, holders: Sequence[Holder], threshold: int) -> None:
        """Everything that can be wrong before a key is made.

        Raises:
            KeyChangeError: a folder that is not there, a holder or a folder named twice, or a key that lies there.
        """
        names = [holder.name for holder in holders]
        if len(set(names)) != len(names):
            raise KeyChangeError(f"--holder: expected each holder once, got {', '.join(names)}")
        folders = [str(holder.folder.resolve()) for holder in holders]
        if len(set(folders)) != len(folders):
            raise KeyChangeError(f"--holder: expected a folder of its own for each holder, got {', '.join(folders)}")
        if not 1 <= threshold <= len(names):
            raise KeyChangeError(f"--threshold: expected 1 … {len(names)} for {len(names)} holders, got {threshold}")
        for holder in holders:
            if not holder.folder.is_dir():
                raise KeyChangeError(f"--holder {holder.name}: expected a folder that is there, got {holder.folder}")
            self._check_stick(holder)
            if holder.path.exists():
                raise KeyChangeError(
                    f"--holder {holder.name}: {holder.path} exists already; if it is left of a ceremony that was cut "
                    "short, and `keys show` does not name it, remove it"
                )
        if (other := self.changes.pending()) is not None:
            raise KeyChangeError(f"'{other.what}' of {other.begun_at} is under way; sign it to its end, or undo it")

    def _check_stick(self, holder: Holder) -> None:
        trust, folder = self._keys_dir.parent.resolve(), holder.folder.resolve()
        if folder == trust or trust in folder.parents:
            raise KeyChangeError(
                f"--holder {holder.name}: expected a folder off this machine's keys, got {holder.folder} in {trust}: "
                "whoever takes the machine would take the root key too; name a stick"
            )
        try:
            # Written to, not asked of: rights say nothing of a medium that is read-only, or of /proc.
            with tempfile.TemporaryFile(dir=holder.folder):
                pass
        except OSError as error:
            raise KeyChangeError(
                f"--holder {holder.name}: expected a folder that can be written, got {holder.folder}: "
                f"{error.strerror}; is the medium in its place?"
            ) from error

    def ceremony(self, holders: Sequence[Holder], threshold: int, why: str, ask: AskPassword) -> None:
        """Make the holders' root keys where they said and begin the root that they will sign from then on.

        A root key on this machine signs it too and goes; if there is none, the present holders must sign.
        """
        self.check_ceremony(holders, threshold)
        coming = next_root(self.repository.root(), self._now)
        signers = self._make(holders, ask)
        try:
            replace_root_keys(coming.signed, _public(holders, signers), threshold)
            removes = [KeyName.ROOT.value] if self.is_root_here() else []
            self._begin(
                f"root keys of {', '.join(each.name for each in holders)}", why, coming, signers, removes=removes
            )
        except BaseException:
            self._remove_unless_begun(holders, signers)
            raise

    def check_exchange(self, what: str, withdraws: Sequence[str]) -> None:
        """Everything that can be wrong before a key is exchanged, but for a change under way.

        Raises:
            KeyChangeError: no package of that id or no such product is published.
        """
        for package_id in withdraws:
            if not self.repository.has(package_id):
                raise KeyChangeError(f"--withdraw: expected a package that is published, got {package_id}")
        product = what.removeprefix(PRODUCT_PREFIX)
        if product != what and product_role(product) not in self.repository.state().products:
            known = ", ".join(sorted(self.products())) or "none"
            raise KeyChangeError(f"product {product}: expected one that packages are published for, got: {known}")

    def exchange(self, what: str, why: str, withdraws: Sequence[str] = (), verb: str = "rotate") -> None:
        """Begin the exchange of a key that lies on this machine: one of `EXCHANGED`, or `product:NAME`.

        Raises:
            KeyChangeError: no such key, or another change is under way.
        """
        self.check_exchange(what, withdraws)
        withdrawn = list(withdraws)
        signer = CryptoSigner.generate_ed25519()
        if what.startswith(PRODUCT_PREFIX):
            name = product_role(what.removeprefix(PRODUCT_PREFIX))
            plan = self._plan(f"{verb} {what}", why, [name], [], withdrawn)
            self.changes.begin(plan, {name: signer}, None)
            return
        coming = next_root(self.repository.root(), self._now)
        replace_key(coming.signed, what, signer.public_key)
        self._begin(f"{verb} {what}", why, coming, [], installs={what: signer}, withdraws=withdrawn)

    def revoke_holder(self, name: str, by: Holder | None, why: str, ask: AskPassword) -> None:
        """Begin a root without one holder's key, with another's in its place or with one key fewer.

        Raises:
            KeyChangeError: no such holder, or too few would be left.
        """
        keys, threshold = self.check_revocation(name, by)
        holders = [] if by is None else [by]
        coming = next_root(self.repository.root(), self._now)
        signers = self._make(holders, ask)
        try:
            replace_root_keys(coming.signed, [*keys.values(), *_public(holders, signers)], threshold)
            self._begin(f"revoke root key of {name}", why, coming, signers)
        except BaseException:
            self._remove_unless_begun(holders, signers)
            raise

    def check_revocation(self, name: str, by: Holder | None) -> tuple[dict[str, Key], int]:
        """The root keys that stay, and the threshold.

        Raises:
            KeyChangeError: no such holder, too few would be left, the successor holds a key, or theirs cannot be made.
        """
        present = self.repository.root().signed
        keys = {keyid: key for keyid, key in root_keys(present).items() if holder_of(key) != name}
        if len(keys) == len(root_keys(present)):
            known = ", ".join(sorted(holder_of(key) or "no name" for key in root_keys(present).values()))
            raise KeyChangeError(f"--holder: expected the name of a holder of a root key ({known}), got {name}")
        threshold = present.roles[Root.type].threshold
        if by is None and len(keys) < threshold:
            msg = f"without {name} there would be {len(keys)} root keys for a threshold of {threshold}"
            raise KeyChangeError(f"{msg}; name a successor with --replace-with")
        if by is not None:
            self.check_ceremony([by], 1)
            # k of n persons must stay k of n persons: two keys of one would sign for two.
            if by.name in {holder_of(key) for key in keys.values()}:
                msg = f"--replace-with: expected somebody who holds no root key yet, got {by.name}, who does"
                raise KeyChangeError(f"{msg}; `keys show` names the holders")
        return keys, threshold

    def products(self) -> list[str]:
        """Products with a role of their own."""
        return sorted(role.removeprefix(product_role("")) for role in self.repository.state().products)

    def _make(self, holders: Sequence[Holder], ask: AskPassword) -> list[CryptoSigner]:
        signers: list[CryptoSigner] = []
        made: list[Holder] = []
        try:
            for holder in holders:
                password = ask(f"new root key of {holder.name} ({holder.path})")
                if not holder.path.exists():
                    # Before it is: a signal may come between the file and the next line. Another's key is left alone.
                    made.append(holder)
                signers.append(create_root_key(holder.path, password))
        except BaseException:
            _remove(made)
            raise
        return signers

    def _remove_unless_begun(self, holders: Sequence[Holder], signers: Sequence[CryptoSigner]) -> None:
        """Keys of a change that did not come about. If a signal came when it was written down, they are its keys."""
        try:
            coming = self.changes.root()
        except KeyChangeError:
            # Not to be read, so it cannot be told: better a key too many.
            return
        named = root_keys(coming.signed) if coming is not None else {}
        if all(signer.public_key.keyid not in named for signer in signers):
            _remove(holders)

    def _begin(
        self,
        what: str,
        why: str,
        coming: Metadata[Root],
        signers: Sequence[CryptoSigner],
        *,
        installs: dict[str, CryptoSigner] | None = None,
        removes: Sequence[str] = (),
        withdraws: Sequence[str] = (),
    ) -> None:
        # Said for a root of before roots named it, so that a ceremony upgrades as well.
        if KeyName.ASSIGNMENT not in (installs or {}):
            replace_key(coming.signed, KeyName.ASSIGNMENT, load_signer(self._keys_dir, KeyName.ASSIGNMENT).public_key)
        for signer in signers:
            coming.sign(signer, append=True)
        if self.is_root_here():
            sign_root(coming, self.repository.root().signed, load_signer(self._keys_dir, KeyName.ROOT))
        plan = self._plan(what, why, list(installs or {}), list(removes), list(withdraws))
        self.changes.begin(plan, installs or {}, coming)

    def _plan(self, what: str, why: str, installs: list[str], removes: list[str], withdraws: list[str]) -> Plan:
        return Plan(what, why, self._now.isoformat(timespec="seconds"), installs, removes, withdraws)


def _public(holders: Sequence[Holder], signers: Sequence[CryptoSigner]) -> list[Key]:
    return [held(signer.public_key, holder.name) for holder, signer in zip(holders, signers, strict=True)]


def _remove(holders: Sequence[Holder]) -> None:
    """Keys that no root will name: made a moment ago by this ceremony."""
    for holder in holders:
        holder.path.unlink(missing_ok=True)
