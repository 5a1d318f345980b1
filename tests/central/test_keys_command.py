# SPDX-License-Identifier: Apache-2.0
"""`sightline-central keys` as an operator meets it; the whole road of `docs/key-runbook.md` among it."""

import io
import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from central.__main__ import main
from central.clock import SystemClock
from central.trust.keys import create_root_key

ALL = ("anna", "bo", "cem", "dora")


@pytest.fixture(name="initial", scope="module")
def _initial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("initial")
    assert main(["init", "--data", str(folder / "plant"), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 0
    return folder


class Operator:
    """Types commands; `said` is what came back."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys
        for name in ALL:
            (folder / name).mkdir()
            (folder / f"{name}.pw").write_text(f"the password of {name}\n")

    def __call__(self, *words: str, plant: bool = True) -> int:
        self._capsys.readouterr()
        where = ["--data", str(self.folder / "plant")] if plant else []
        code = main(["keys", *words, *where])
        told = self._capsys.readouterr()
        self.said, self.error = told.out, told.err
        assert "Traceback" not in self.error
        return code

    def ceremony(self, *names: str, threshold: int = 2) -> int:
        words = [word for name in names for word in ("--holder", f"{name}={self.folder / name}")]
        words += [word for name in names for word in ("--password-file", str(self.folder / f"{name}.pw"))]
        return self("ceremony", *words, "--threshold", str(threshold), "--why", "going live", "--yes")

    def by(self, *names: str) -> list[str]:
        """The words that sign for these holders."""
        found = []
        for name in names:
            found += ["--root-key", str(self.folder / name / f"root-{name}.pem")]
            found += ["--password-file", str(self.folder / f"{name}.pw")]
        return found

    def tree(self) -> dict[str, bytes]:
        trust = self.folder / "plant" / "trust"
        return {str(path): path.read_bytes() for path in trust.rglob("*") if path.is_file()}


@pytest.fixture(name="operator")
def _operator(initial: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    folder = Path(shutil.copytree(initial, tmp_path / "folder"))
    return Operator(folder, capsys)


def test_show_says_that_the_root_key_lies_here_until_the_ceremony(operator: Operator) -> None:
    assert operator("show") == 0
    assert "warning: the root key lies on this machine" in operator.said
    assert operator.ceremony("anna", "bo", "cem") == 0
    assert operator("show") == 0
    assert "warning" not in operator.said
    assert "2 of 3 keys" in operator.said
    assert all(name in operator.said for name in ("anna", "bo", "cem"))


def test_road_of_the_runbook(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo", "cem") == 0
    assert operator("rotate", "assignment", "--why", "yearly", "--yes", *operator.by("anna")) == 0
    assert "1 of the present holders" in operator.said
    carried = str(operator.folder / "carried.json")
    assert operator("sign", "--export", carried) == 0
    assert operator("sign", "--file", carried, *operator.by("bo"), plant=False) == 0
    assert operator("sign", "--import", carried) == 0
    assert "done: rotate assignment; 3 is the root's version" in operator.said
    words = ("--holder", "bo", "--replace-with", f"dora={operator.folder / 'dora'}", "--why", "lost", "--yes")
    assert operator("revoke", "root", *words, "--password-file", str(operator.folder / "dora.pw")) == 0
    assert operator("sign", *operator.by("anna", "cem")) == 0
    assert "done" in operator.said
    assert operator("show") == 0
    assert "dora" in operator.said
    assert " bo" not in operator.said


def test_nobody_holds_two_root_keys_but_a_holder_may_get_another_one(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo", "cem") == 0
    before = operator.tree()
    words = ["revoke", "root", "--holder", "bo", "--why", "lost", "--yes", "--password-file"]
    # In her folder lies her key already, in dora's none: it is the name that is refused.
    to_anna = (str(operator.folder / "anna.pw"), "--replace-with", f"anna={operator.folder / 'dora'}")
    assert operator(*words, *to_anna) == 2
    assert "expected somebody who holds no root key yet, got anna" in operator.error
    assert operator.tree() == before
    assert list((operator.folder / "dora").iterdir()) == []
    to_bo = (str(operator.folder / "bo.pw"), "--replace-with", f"bo={operator.folder / 'dora'}")
    assert operator(*words, *to_bo) == 0


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["rotate", "nonsense", "--why", "x"], "KEY: expected packaging, snapshot"),
        (["rotate", "root", "--why", "x"], "`keys ceremony`"),
        (["rotate", "product:ring", "--why", "x", "--yes"], "expected one that packages are published for"),
        (["rotate", "packaging", "--why", "x"], "expected --yes, or a terminal"),
        (["revoke", "root", "--why", "x"], "expected --holder NAME"),
        (["revoke", "packaging", "--holder", "bo", "--why", "x"], "expected only with root"),
        (
            ["revoke", "packaging", "--why", "x", "--withdraw", "0" * 64, "--yes"],
            "expected a package that is published",
        ),
        (["ceremony", "--holder", "anna", "--threshold", "1", "--why", "x"], "expected NAME=DIR"),
        (
            ["ceremony", "--holder", "anna=/nowhere", "--threshold", "1", "--why", "x"],
            "expected a folder that is there",
        ),
        (
            ["ceremony", "--holder", "anna={folder}/anna", "--threshold", "2", "--why", "x"],
            "--threshold: expected 1 … 1",
        ),
        (
            [
                "ceremony",
                "--holder",
                "anna={folder}/anna",
                "--holder",
                "anna={folder}/bo",
                "--threshold",
                "1",
                "--why",
                "x",
            ],
            "expected each holder once",
        ),
        (["sign"], "nothing is under way"),
        (["undo"], "nothing to undo"),
    ],
)
def test_mistake_is_one_clear_line_and_nothing_is_done(operator: Operator, words: list[str], expected: str) -> None:
    before = operator.tree()
    assert operator(*[word.format(folder=operator.folder) for word in words]) == 2
    assert expected in operator.error
    assert operator.error.count("\n") == 1
    assert operator.tree() == before


def test_password_that_is_wrong_or_short_is_said(operator: Operator) -> None:
    (operator.folder / "bo.pw").write_text("short")
    assert operator.ceremony("anna", "bo") == 2
    assert "at least 12 characters" in operator.error
    assert list((operator.folder / "anna").iterdir()) == []
    (operator.folder / "bo.pw").write_text("long enough for a key")
    assert operator.ceremony("anna", "bo") == 0
    (operator.folder / "bo.pw").write_text("another long password")
    assert operator("rotate", "snapshot", "--why", "x", "--yes") == 0
    assert operator("sign", *operator.by("bo")) == 2
    assert "does not open with this password" in operator.error


@pytest.mark.parametrize("words", [["rotate", "packaging"], ["revoke", "assignment"]])
def test_dry_run_says_what_would_be_done_and_does_nothing(operator: Operator, words: list[str]) -> None:
    before = operator.tree()
    assert operator(*words, "--why", "x", "--dry-run") == 0
    assert "make another key" in operator.said
    assert "nothing was done" in operator.said
    assert operator.tree() == before


def test_change_is_done_only_after_the_typed_answer(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    before = operator.tree()
    monkeypatch.setattr("sys.stdin", Terminal("yes\n"))
    assert operator("rotate", "packaging", "--why", "x") == 0
    assert operator.tree() == before
    monkeypatch.setattr("sys.stdin", Terminal("rotate packaging\n"))
    assert operator("rotate", "packaging", "--why", "x") == 0
    assert "done: rotate packaging" in operator.said


def test_undo_forgets_what_is_under_way(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    before = operator.tree()
    assert operator("rotate", "packaging", "--why", "x", "--yes") == 0
    assert operator("rotate", "snapshot", "--why", "x", "--yes") == 2
    assert "'rotate packaging'" in operator.error
    assert operator("undo", "--yes") == 0
    assert operator.tree() == before


def test_plan_that_was_damaged_is_told_and_can_be_forgotten(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    before = operator.tree()
    assert operator("rotate", "packaging", "--why", "x", "--yes") == 0
    (plan,) = (operator.folder / "plant").rglob("plan.json")
    plan.write_text("[]")
    assert operator("sign") == 2
    assert "forget the change with `keys undo`" in operator.error
    assert operator.error.count("\n") == 1
    assert operator("undo", "--yes") == 0
    assert operator.tree() == before


def test_damaged_plan_of_a_change_that_is_being_applied_is_not_forgotten(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    assert operator("rotate", "packaging", "--why", "x", "--yes") == 0
    (plan,) = (operator.folder / "plant").rglob("plan.json")
    plan.write_text("[]")
    (plan.parent / "applying").touch()
    before = operator.tree()
    assert operator("undo", "--yes") == 2
    assert "expected an object, got list" in operator.error
    assert operator.error.rstrip().endswith("restore it from a backup")
    assert operator.tree() == before


@pytest.mark.parametrize("action", ["ceremony", "show", "rotate", "revoke", "sign", "undo"])
def test_every_action_explains_itself(action: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["keys", action, "--help"])
    assert ended.value.code == 0
    assert "--data" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json"])
def test_missing_metadata_is_one_line_that_says_where_it_comes_from(operator: Operator, name: str) -> None:
    (metadata,) = (operator.folder / "plant" / "trust").rglob(name)
    metadata.unlink()
    assert operator("show") == 2
    assert "restore the folder from a backup" in operator.error
    assert operator.error.count("\n") == 1


def test_missing_key_is_not_said_to_be_made_anew_by_init(operator: Operator) -> None:
    shutil.rmtree(operator.folder / "plant" / "trust" / "keys")
    assert (
        main(["init", "--data", str(operator.folder / "plant"), "--port", "0", "--broker", "mqtt://127.0.0.1:1"]) == 2
    )
    assert operator("rotate", "packaging", "--why", "lost", "--yes") == 2
    assert "restore it from a backup" in operator.error
    assert "init" not in operator.error


@pytest.mark.parametrize("kind", ["absent", "folder"])
def test_carried_file_that_is_not_there_is_one_line(operator: Operator, kind: str) -> None:
    carried = operator.folder / "coming.json"
    if kind == "folder":
        carried.mkdir()
    operator.ceremony("anna", "bo")
    assert operator("sign", "--file", str(carried), *operator.by("anna"), plant=False) == 2
    assert "expected root metadata" in operator.error


def test_export_to_a_medium_that_is_not_there_makes_no_folder(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    assert operator("rotate", "assignment", "--why", "yearly", "--yes", *operator.by("anna")) == 0
    missing = operator.folder / "stick"
    assert operator("sign", "--export", str(missing / "coming.json")) == 2
    assert "is the medium in its place?" in operator.error
    assert not missing.exists()


@pytest.mark.parametrize(("end", "code"), [(EOFError, 2), (KeyboardInterrupt, 130)])
def test_end_of_the_input_and_ctrl_c_at_a_question_are_one_line_and_change_nothing(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, end: type[BaseException], code: int
) -> None:
    def ends(_prompt: str) -> str:
        raise end

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", ends)
    before = operator.tree()
    assert operator("rotate", "assignment", "--why", "a year has passed") == code
    assert operator.error.strip().startswith("sightline-central: ")
    assert operator.tree() == before


def test_two_holders_need_two_folders(operator: Operator) -> None:
    words = [word for name in ("anna", "bo") for word in ("--holder", f"{name}={operator.folder / 'anna'}")]
    assert operator("ceremony", *words, "--threshold", "2", "--why", "going live", "--dry-run") == 2
    assert "expected a folder of its own for each holder" in operator.error


def test_show_says_what_has_run_out_and_does_not_end_well(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    assert operator("show") == 0
    assert "ran out" not in operator.said

    class Later(SystemClock):
        def now(self) -> datetime:
            return super().now() + timedelta(days=20)

    monkeypatch.setattr("central.keys_command.SystemClock", Later)
    assert operator("show") == 1
    assert "warning: timestamp ran out on " in operator.said
    assert "warning: root ran out" not in operator.said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rotate", "product:nosuch"), "product nosuch: expected one that packages are published for"),
        (("revoke", "packaging", "--withdraw", "nosuch"), "expected a package that is published, got nosuch"),
        (("revoke", "root", "--holder", "eve"), "expected the name of a holder of a root key"),
    ],
)
def test_dry_run_refuses_what_the_real_one_would(operator: Operator, words: tuple[str, ...], said: str) -> None:
    for last in ("--dry-run", "--yes"):
        assert operator(*words, "--why", "x", last) == 2
        assert said in operator.error
        assert operator.said == ""


def test_stranger_is_told_before_the_file_is_carried_back(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    assert operator("rotate", "assignment", "--why", "yearly", "--yes", *operator.by("anna")) == 0
    carried = operator.folder / "coming.json"
    assert operator("sign", "--export", str(carried)) == 0
    stranger = create_root_key(operator.folder / "eve.pem", "the password of eve").public_key.keyid
    (operator.folder / "eve.pw").write_text("the password of eve")
    words = ("--root-key", str(operator.folder / "eve.pem"), "--password-file", str(operator.folder / "eve.pw"))
    before = carried.read_bytes()
    assert operator("sign", "--file", str(carried), *words, plant=False) == 2
    assert f"key {stranger[:16]} is no root key" in operator.error
    assert "expected that of anna, bo; nothing was signed" in operator.error
    assert carried.read_bytes() == before
    assert operator("sign", "--file", str(carried), *operator.by("bo"), plant=False) == 0
    assert operator("sign", "--import", str(carried)) == 0
    assert "done: rotate assignment" in operator.said


def test_holder_who_leaves_can_sign_a_carried_copy(operator: Operator) -> None:
    """The coming root does not name bo any more; the present one asks for two of anna and bo."""
    assert operator.ceremony("anna", "bo") == 0
    words = ("--holder", "bo", "--replace-with", f"dora={operator.folder / 'dora'}", "--why", "leaves", "--yes")
    passwords = ("--password-file", str(operator.folder / "dora.pw"))
    assert operator("revoke", "root", *words, *passwords) == 0
    carried = str(operator.folder / "coming.json")
    assert operator("sign", "--export", carried) == 0
    assert operator("sign", "--file", carried, *operator.by("anna", "bo"), plant=False) == 0
    assert operator("sign", "--import", carried) == 0
    assert "done: revoke root key of bo" in operator.said


def test_hint_in_a_carried_copy_lets_no_stranger_in(operator: Operator) -> None:
    assert operator.ceremony("anna", "bo") == 0
    assert operator("rotate", "assignment", "--why", "yearly", "--yes", *operator.by("anna")) == 0
    carried = operator.folder / "coming.json"
    assert operator("sign", "--export", str(carried)) == 0
    stranger = create_root_key(operator.folder / "eve.pem", "the password of eve").public_key.keyid
    (operator.folder / "eve.pw").write_text("the password of eve")
    copy = json.loads(carried.read_bytes())
    copy["x-sightline-signers"][stranger] = "bo"
    carried.write_text(json.dumps(copy))
    words = ("--root-key", str(operator.folder / "eve.pem"), "--password-file", str(operator.folder / "eve.pw"))
    assert operator("sign", "--file", str(carried), *words, plant=False) == 0
    assert operator("sign", "--import", str(carried)) == 0
    assert f"left out the signature of key {stranger[:16]}" in operator.said
    assert "0 new signatures taken over" in operator.said
    assert "1 of the present holders" in operator.said


@pytest.mark.parametrize("why", ["", "  ", "\t\n", "x" * 1001, "a\x1b[2Jb"])
@pytest.mark.parametrize(
    "words",
    [
        ["rotate", "packaging"],
        ["revoke", "packaging"],
        ["revoke", "root", "--holder", "anna"],
        ["ceremony", "--holder", "anna={folder}/anna", "--threshold", "1"],
    ],
)
def test_change_without_a_reason_is_not_begun(operator: Operator, words: list[str], why: str) -> None:
    before = operator.tree()
    assert operator(*[word.format(folder=operator.folder) for word in words], "--why", why, "--yes") == 2
    assert "--why: expected" in operator.error
    assert operator.error.count("\n") == 1
    assert operator.tree() == before
