# SPDX-License-Identifier: Apache-2.0
import argparse
import contextlib
import errno
import os
import pty
import signal
import stat
import subprocess
import sys
from pathlib import Path

import cv2
import pytest

from edge_agent.__main__ import _parser, main
from edge_agent.clock import Clock, SystemClock
from edge_agent.commissioning.camera_check import TEST_PICTURE
from edge_agent.commissioning.finding_cameras import Offer, offers
from edge_agent.commissioning.findings import Level
from edge_agent.commissioning.init import Init, answer
from edge_agent.errors import DeviceError, SettingsError
from edge_agent.settings import load_settings
from tests.edge.commissioning.rig import StationFolder, scene
from tests.fakes.interrupting import hear_ctrl_c
from tests.fakes.waiting import wait_until


class Script:
    """A person who types these lines; afterwards there is nobody."""

    def __init__(self, *typed: str | type[BaseException]) -> None:
        self.typed = list(typed)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.secrets: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def ask(self, text: str, *, is_secret: bool = False) -> str:
        (self.secrets if is_secret else self.asked).append(text)
        if not self.typed:
            raise EOFError
        line = self.typed.pop(0)
        if isinstance(line, type):
            raise line
        return line


@pytest.fixture
def station(tmp_path: Path) -> StationFolder:
    return StationFolder(tmp_path / "station")


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SIGHTLINE_")]:
        monkeypatch.delenv(name)


def flags(station: StationFolder, *more: str) -> list[str]:
    """All that is needed, and no file yet."""
    (station.folder / "token").write_text("a-token\n")
    given = {
        "settings": station.folder / "station.toml",
        "site": "plant",
        "line": "line-1",
        "station": "st-1",
        "broker-url": "mqtt://127.0.0.1:1",
        "central-url": "http://127.0.0.1:1",
        "central-token-file": station.folder / "token",
        "source-kind": "replay",
        "source-url": station.pictures,
        "product": "ring",
    }
    return ["init", *(word for name, value in given.items() for word in (f"--{name}", str(value))), *more]


def parsed(*arguments: str) -> argparse.Namespace:
    return _parser().parse_args(list(arguments))


def left(station: StationFolder) -> set[str]:
    return {path.name for path in station.folder.iterdir()}


def test_flags_alone_make_a_file_that_loads_and_a_picture(station: StationFolder) -> None:
    assert main(flags(station, "--non-interactive", "--set", "page.port=0")) == 0
    path = station.folder / "station.toml"
    settings = load_settings(path, {})
    assert (str(settings.station), settings.central.token) == ("plant/line-1/st-1", "a-token")
    assert (settings.page.port, settings.recipes.of("ring").deadline_ms) == (0, 1000)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    picture = cv2.imread(str(station.folder / TEST_PICTURE))
    assert picture is not None
    assert (picture == scene()).all()


def test_settings_from_init_pass_check_settings_and_doctor_finds_no_fault_in_them(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(flags(station, "--non-interactive")) == 0
    path = str(station.folder / "station.toml")
    assert main(["check-settings", "--settings", path]) == 0
    capsys.readouterr()
    assert main(["doctor", "--settings", path]) == 2
    lines = capsys.readouterr().out.splitlines()
    failed = {line.split()[1].rstrip(":") for line in lines if line.startswith(Level.FAIL)}
    assert failed == {"broker", "central"}, lines


def test_file_that_is_there_is_refused_before_anything_is_asked(station: StationFolder) -> None:
    path = station.folder / "station.toml"
    path.write_text("mine")
    person = Script()
    code, lines = answer(parsed("init", "--settings", str(path)), person, SystemClock())
    assert code == 2
    assert "--force" in lines[0]
    assert person.asked == []
    assert main(flags(station, "--non-interactive", "--force")) == 0
    assert load_settings(path, {}).source.kind == "replay"


def test_missing_flags_are_named_all_at_once(station: StationFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", "--settings", str(station.folder / "station.toml"), "--non-interactive", "--site", "p"]) == 2
    told = capsys.readouterr().err
    for flag in ("--line", "--station", "--broker-url", "--central-url", "--central-token-file", "--source-kind"):
        assert flag in told
    assert "--site" not in told
    assert "station.toml" not in left(station)


def test_faults_of_flags_files_and_values_come_all_at_once_and_without_lines_of_a_file_that_is_not_there(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = [word.replace("plant", "Plänt A") for word in flags(station, "--non-interactive", "--set", "page.port")]
    wrong[wrong.index("--central-token-file") + 1] = str(station.folder / "nowhere")
    wrong[wrong.index("--source-kind") + 1] = "usb"
    place = wrong.index("--line")
    assert main([*wrong[:place], *wrong[place + 2 :]]) == 2
    said = capsys.readouterr().err
    for fault in (
        "--central-token-file: expected a file with the secret",
        "--set: expected KEY=VALUE, got 'page.port'",
        "--non-interactive needs also --line",
        "site: expected a-z, 0-9, _ and -",
        "source.kind: expected one of",
    ):
        assert said.count(fault) == 1, said
    assert "(line" not in said
    assert "line: expected" not in said
    assert not (station.folder / "station.toml").exists()


def test_picture_that_finds_no_room_is_said_and_the_settings_stay_whole(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    # A folder of that name: nothing can be renamed to it, whoever runs the test.
    (station.folder / TEST_PICTURE / "in-the-way").mkdir(parents=True)
    assert main(flags(station, "--non-interactive")) == 0
    said = capsys.readouterr()
    assert "no test picture: " in said.out
    assert "cannot be written" in said.out
    assert load_settings(station.folder / "station.toml", {}).station.station == "st-1"


def test_folder_that_may_not_be_looked_into_is_one_clear_text(
    station: StationFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = flags(station, "--non-interactive", "--no-picture")
    # Whatever the rights of who runs the test: nobody writes below a file, and looking is answered as to a stranger.
    (station.folder / "shut").write_text("")
    look = Path.stat

    def refused(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.parent.name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return look(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refused)
    words[words.index("--settings") + 1] = str(station.folder / "shut" / "station.toml")
    assert main(words) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_wrong_flag_value_and_wrong_set_leave_nothing(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(station) | {"token"}
    assert main(flags(station, "--non-interactive", "--set", "broker.keepalive_s=0")) == 2
    assert "broker.keepalive_s" in capsys.readouterr().err
    assert main(flags(station, "--non-interactive", "--set", "nothing")) == 2
    assert main(flags(station, "--non-interactive", "--broker-password-file", "/no/such/file")) == 2
    assert "--broker-password-file" in capsys.readouterr().err
    assert left(station) == before


def test_camera_that_gives_no_picture_leaves_nothing_unless_none_is_wanted(
    station: StationFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = left(station) | {"token"}
    station.show()
    assert main(flags(station, "--non-interactive")) == 1
    told = capsys.readouterr().err
    assert "no pictures" in told
    assert "--no-picture" in told
    assert left(station) == before
    assert main(flags(station, "--non-interactive", "--no-picture")) == 0
    assert left(station) - before == {"station.toml"}


def some_cameras(_clock: Clock) -> list[Offer]:
    return [
        Offer("opencv", "7", "USB camera 7"),
        Offer("replay", None, "a folder of pictures"),
        Offer("mqtt", "", "mqtt"),
    ]


def test_conversation_asks_again_what_is_wrong_and_takes_defaults(station: StationFolder) -> None:
    person = Script(
        *("Plant!", "plant", "", "st-1", ""),
        *("http://no", "mqtt://127.0.0.1:1", "user", "secret"),
        *("", "", "a-token"),
        *("", ""),
        *("9", "2", str(station.pictures)),
        *("Ring 1", "ring", ""),
    )
    Init(parsed("init", "--settings", str(station.folder / "station.toml")), person, SystemClock(), some_cameras).run()
    assert person.typed == []
    settings = load_settings(station.folder / "station.toml", {})
    assert (settings.station.site, settings.station.line) == ("plant", "line-1")
    assert (settings.broker.username, settings.broker.password) == ("user", "secret")
    assert settings.central.url == "http://localhost:8000"
    assert (settings.source.kind, settings.source.product) == ("replay", "ring")
    assert len(person.secrets) == 3, "password and token are typed unseen; the token was asked for twice"
    said = "\n".join(person.said)
    for wanted in (
        "expected a-z",
        "expected mqtt://",
        "an answer is needed",
        "expected a number 1 – 3",
        "light:",
        "focus:",
    ):
        assert wanted in said
    assert "secret" not in said
    assert "a-token" not in said


def test_camera_that_fails_can_be_tried_again_or_left_out(station: StationFolder) -> None:
    station.show()
    arguments = flags(station, "--data-dir", "data", "--broker-username", "", "--output", "mqtt")
    arguments += ["--trust-root", "root.json", "--assignment-key", "assignment.pub"]
    person = Script("t", "g")
    assert answer(parsed(*arguments), person, SystemClock())[0] == 0
    assert sum("no pictures" in line for line in person.said) == 2
    assert TEST_PICTURE not in left(station)
    (station.folder / "station.toml").unlink()
    assert answer(parsed(*arguments), Script("q"), SystemClock())[0] == 130
    assert "station.toml" not in left(station)


@pytest.mark.parametrize("ending", [KeyboardInterrupt, EOFError])
@pytest.mark.parametrize("after", [0, 3, 7])
def test_giving_up_at_any_question_leaves_nothing(
    station: StationFolder, ending: type[BaseException], after: int
) -> None:
    before = left(station)
    typed = ("plant", "line-1", "st-1", "data", "mqtt://b:1883", "", "http://c:8000")[:after]
    code, lines = answer(
        parsed("init", "--settings", str(station.folder / "station.toml")), Script(*typed, ending), SystemClock()
    )
    assert (code, lines[-1]) == (130, "nothing was written")
    assert left(station) == before


def test_key_that_only_one_kind_needs_is_asked_for_by_its_fault(station: StationFolder) -> None:
    arguments = flags(station, "--set", "page.host=0.0.0.0", "--no-picture", "--data-dir", "data")
    arguments += ["--broker-username", "", "--output", "mqtt", "--trust-root", "r", "--assignment-key", "a"]
    person = Script("a-token-of-sixteen-and-more")
    assert answer(parsed(*arguments), person, SystemClock())[0] == 0
    assert person.asked == ["page.token: "]
    assert load_settings(station.folder / "station.toml", {}).page.token == "a-token-of-sixteen-and-more"


def test_ctrl_c_on_a_real_terminal_leaves_nothing_and_no_traceback(station: StationFolder) -> None:
    before = left(station)
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "edge_agent", "init", "--settings", str(station.folder / "station.toml")],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        preexec_fn=hear_ctrl_c,  # noqa: PLW1509 - one call that takes no lock
    ) as process:
        os.close(follower)
        shown = b""

        def reads(wanted: bytes) -> bool:
            nonlocal shown
            try:
                shown += os.read(leader, 65536)
            except OSError:
                return True
            return wanted in shown

        wait_until(lambda: reads(b"Plant"), lambda: repr(shown))
        os.write(leader, b"plant-7\n")
        wait_until(lambda: reads(b"Production line"), lambda: repr(shown))

        def has_ended() -> bool:
            # Between the question and the wait for its answer a signal is only noted: people press again, and so do we.
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=2)
            return process.returncode is not None

        wait_until(has_ended, lambda: repr(shown), 60)
        assert process.returncode == 130
        wait_until(lambda: reads(b"nothing was written"), lambda: repr(shown))
    os.close(leader)
    assert b"Traceback" not in shown
    assert left(station) == before


def test_offers_name_every_kind_even_without_a_camera(tmp_path: Path) -> None:
    (tmp_path / "video987").touch()
    # Another GenICam camera may answer on this network at any time.
    found = [offer for offer in offers(SystemClock(), tmp_path) if offer.kind != "genicam"]
    assert [(offer.kind, offer.url) for offer in found] == [
        ("replay", None),
        ("opencv", None),
        ("mqtt", ""),
    ]


def test_errors_of_init_are_the_stations_own(station: StationFolder) -> None:
    (station.folder / "station.toml").write_text("")
    with pytest.raises(SettingsError):
        Init(parsed(*flags(station)), Script(), SystemClock()).run()
    (station.folder / "station.toml").unlink()
    station.show()
    with pytest.raises(DeviceError):
        Init(parsed(*flags(station, "--non-interactive")), Script(), SystemClock()).run()
