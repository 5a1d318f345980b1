# SPDX-License-Identifier: Apache-2.0
"""The disk: full, cut from its power, damaged."""

import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from contracts import codec
from contracts.commands import RejectSignal
from contracts.reports import StationReported
from contracts.topics import Channel, topic
from contracts.vocabulary import Disposition, StationState
from edge_agent.reporting.bus import PahoBus
from tests.edge.station_fakes import STATION
from tests.edge.test_process import wait_until
from tests.faults.disks import Disk
from tests.faults.line import Line

MakeDisk = Callable[[int], Disk]

pytestmark = [pytest.mark.broker, pytest.mark.slow]


class Gate:
    """What the gate and a person see: signals and statuses."""

    def __init__(self, line: Line) -> None:
        assert line.plan is not None
        self.signals: list[RejectSignal] = []
        self.statuses: list[StationReported] = []
        self.bus = PahoBus(line.plan.url, "gate", line.plan.username, line.plan.password)
        self.bus.subscribe(topic(STATION, Channel.REJECT), self._on_signal)
        self.bus.subscribe(topic(STATION, Channel.STATUS), self._on_status)
        self.bus.start()
        wait_until(lambda: self.bus.is_connected, "gate connected")

    def dispositions(self, after: int) -> list[Disposition]:
        """Of the signals on parts beyond this number."""
        return [signal.disposition for signal in self.signals if (signal.trigger_number or 0) > after]

    def faults(self) -> set[str]:
        """Codes of the newest status."""
        return {fault.code for fault in self.statuses[-1].faults} if self.statuses else set()

    def _on_signal(self, _topic: str, payload: bytes) -> None:
        self.signals.append(codec.decode(RejectSignal, payload))

    def _on_status(self, _topic: str, payload: bytes) -> None:
        self.statuses.append(codec.decode(StationReported, payload))


def pictures(line: Line) -> list[int]:
    """Sequence numbers, oldest first, of the pictures in the ring."""
    return sorted(int(path.name.split("-")[1]) for path in (line.data / "evidence" / "pictures").glob("*-crop.*"))


def is_behind(line: Line, gate: Gate, hog: Path) -> bool:
    """Fill the disk to its last byte, let some parts pass, look whether the station has noticed."""
    with hog.open("ab", buffering=0) as file, suppress(OSError):
        while True:
            file.write(b"\1" * 4096)
    line.pass_parts(5)
    return "outbox-behind" in gate.faults()


@pytest.mark.parametrize("answer", ["fail-safe", "halt"])
def test_full_disk_drops_pictures_first_then_holds_every_part_and_loses_no_verdict(
    line: Line, make_disk: MakeDisk, answer: str
) -> None:
    disk = make_disk(24)
    line.data = disk.folder / "data"
    gate = Gate(line)
    line.enrol(on_full_disk=answer, outbox_behind_after_s=1.0)
    line.start()
    line.wait_for_camera()
    # So many that the log of the outbox has its full size.
    line.pass_parts(400)
    wait_until(lambda: len(pictures(line)) == 400, "pictures kept")
    # Central is away from here on, so that nothing leaves the outbox; somebody else fills the disk.
    assert line.central is not None
    line.central.kill()
    hog = disk.folder / "hog"
    free = shutil.disk_usage(disk.folder).free
    with hog.open("wb") as file:
        file.write(b"\1" * max(0, free - 2**20 + 2**16))
    began = line.passed
    line.pass_parts(100)
    # Each look counts: on a busy machine the log may take so much that all of them are gone at the last.
    looks: list[list[int]] = []

    def is_room_made() -> bool:
        looks.append(pictures(line))
        return len(line.rows()) >= 100 and looks[-1][:1] != [1]

    wait_until(is_room_made, "the oldest pictures went")
    for kept in looks:
        old = [number for number in kept if number <= began]
        assert old == list(range(began + 1 - len(old), began + 1)), "oldest first"
    assert {signal.disposition for signal in gate.signals} == {Disposition.PASSED}
    assert len(line.rows()) >= 99, "verdicts went on reaching the disk"
    # Now to the last byte, and again whenever something gave way.
    wait_until(lambda: is_behind(line, gate, hog), "the station is behind")
    assert gate.statuses[-1].state is StationState.FAULT
    assert {"outbox-behind", "outbox-disk"} <= gate.faults()
    assert pictures(line) == []
    held_from = line.passed
    line.pass_parts(50)
    wait_until(lambda: len(gate.dispositions(held_from)) == 50, "signals go on")
    assert set(gate.dispositions(held_from)) == {Disposition.HELD}
    verdicts = {signal.verdict.value for signal in gate.signals if (signal.trigger_number or 0) > held_from}
    assert verdicts == ({"OK"} if answer == "fail-safe" else {"NO_DECISION"})
    # A person frees the disk.
    hog.unlink()
    wait_until(lambda: "outbox-behind" not in gate.faults(), "durable again")
    freed = line.passed
    line.pass_parts(20)
    wait_until(lambda: len(gate.dispositions(freed)) == 20, "signals")
    assert set(gate.dispositions(freed)) == {Disposition.PASSED}
    line.central.start()
    account = line.account()
    account.tell(f"disk full ({answer})", passed_when_full=held_from - began, held=50)
    gate.bus.stop()
    assert account.is_clean(), account
    assert line.stop() == 0


def test_what_central_never_saw_of_a_killed_station_with_a_full_disk_was_held(line: Line, make_disk: MakeDisk) -> None:
    disk = make_disk(24)
    line.data = disk.folder / "data"
    gate = Gate(line)
    line.enrol(outbox_behind_after_s=0.5)
    line.start()
    line.wait_for_camera()
    line.pass_parts(20)
    wait_until(lambda: not line.rows(), "receipts")
    hog = disk.folder / "hog"
    wait_until(lambda: is_behind(line, gate, hog), "the station is behind")
    before = line.passed
    line.pass_parts(100)
    wait_until(lambda: len(gate.dispositions(before)) == 100, "signals go on")
    line.kill()
    hog.unlink()
    line.start()
    line.wait_for_camera()
    line.pass_parts(5)
    account = line.account()
    crashed = {
        number
        for (number,) in line.ask_central("SELECT trigger_number FROM inspection WHERE cause = 'SESSION_CRASHED'")
    }
    passed = {signal.trigger_number for signal in gate.signals if signal.disposition is Disposition.PASSED}
    account.tell("disk full, then SIGKILL", passed_and_unrecorded=len(crashed & passed))
    gate.bus.stop()
    assert account.is_clean(), account
    assert len(crashed) >= 100
    # Those of the stated time before the outbox is behind, at the pace of this line, and no more.
    assert len(crashed & passed) <= 60
    line.stop()


def test_power_cut_keeps_every_verdict_whose_commit_had_returned(line: Line, make_disk: MakeDisk) -> None:
    cuts = 8
    moments = random.Random(5)
    disk = make_disk(32)
    line.data = disk.folder / "data"
    assert line.broker is not None
    line.broker.kill()
    line.enrol()
    line.start()
    line.wait_for_camera()
    promised: set[tuple[int, int]] = set()
    on_disk: set[tuple[int, int]] = set()
    for _ in range(cuts):
        line.pass_parts(moments.randrange(5, 60), takt_s=0.004)
        # Seen by a second reader: their commit has returned, so they are promised.
        promised = set(line.rows())
        content = disk.cut()
        line.kill()
        disk.restore(content)
        on_disk = set(line.rows())
        assert not promised - on_disk
        line.start()
        line.wait_for_camera()
    line.pass_parts(5)
    line.start_broker()
    account = line.account()
    account.tell("power cut", cuts=cuts, promised=len(promised), of_those_gone=len(promised - on_disk))
    assert account.is_clean(), account
    line.stop()


def test_damaged_outbox_gives_up_what_can_be_read_says_what_is_gone_and_judges_on(line: Line) -> None:
    damage = random.Random(3)
    assert line.broker is not None
    line.broker.kill()
    line.enrol()
    line.start()
    line.wait_for_camera()
    line.pass_parts(400, takt_s=0.005)
    wait_until(lambda: len(line.rows()) == 400, "recorded")
    assert line.stop() == 0
    path = line.data / "outbox.db"
    pages = path.stat().st_size // 4096
    with path.open("r+b") as file:
        file.seek(damage.randrange(pages // 3, pages // 2) * 4096)
        file.write(damage.randbytes(4096))
    gate_sees = "outbox damaged"
    line.start()
    assert gate_sees in line.log()
    line.wait_for_camera()
    line.pass_parts(20)
    line.start_broker()
    gate = Gate(line)
    wait_until(lambda: "outbox-damaged" in gate.faults(), "the person is told")
    (told,) = [fault.message for fault in gate.statuses[-1].faults if fault.code == "outbox-damaged"]
    gate.bus.stop()
    wait_until(lambda: not line.rows(), "all that is left was sent")
    account = line.account(settle_s=1)
    account.tell("damaged outbox page", told=repr(told))
    assert account.duplicated == 0
    assert account.lost < 40, "one page holds a few reports"
    assert f"{400 - account.lost} report(s) saved" in told
    assert f"{account.lost} gone" in told
    line.stop()
