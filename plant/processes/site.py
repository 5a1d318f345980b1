# SPDX-License-Identifier: Apache-2.0
"""One plant on one machine: its data folder and its processes, from nothing to running and back.

Brings up broker, central, dashboard and stations in the order in which they need each other, and remembers
ports and tokens in the folder, so that a later start finds the same plant. Does not run the line and knows
no scenario steps. Used by `plant.run.demo` and `plant.run.up`.
"""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from contracts.ids import StationAddress
from contracts.vocabulary import Role
from plant.errors import ChildError, UsageError
from plant.processes.broker import (
    LOOPBACK,
    BrokerKind,
    BrokerPlan,
    free_port,
    plan_broker,
    require_free_port,
    wait_for_broker,
)
from plant.processes.relay import Relay
from plant.processes.rundir import FolderLock
from plant.processes.stations import Enrolment, child_name, single_threaded, write_station
from plant.processes.supervisor import ChildSpec, Printer, Supervisor
from plant.processes.toml_writer import toml_text
from plant.run.central_client import CentralClient

STATE_NAME: Final = "plant.json"
_START_TIMEOUT_S: Final = 60.0
_TOKENS: Final = {
    Role.ADMIN: "plant",
    Role.STATION: "stations",
    Role.INSPECTOR: "inspector",
    Role.ENGINEER: "dashboard",
}


@dataclass(frozen=True)
class SiteOptions:
    """What the person chose. A port of 0: the one used last on this folder, else any free one."""

    folder: Path
    broker: BrokerKind
    broker_port: int = 0
    central_port: int = 0
    dashboard_port: int = 0
    has_dashboard: bool = True
    # Sections of central.toml laid over central's defaults.
    central: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass
class SiteState:
    """What a folder remembers from one start to the next. `extra` belongs to `plant.run.up`."""

    broker_port: int
    central_port: int
    dashboard_port: int
    tokens: dict[str, str] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """State of a folder, or None when no plant was ever set up there.

        Raises:
            UsageError: the file is there but cannot be read.
        """
        path = folder / STATE_NAME
        if not path.exists():
            return None
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            msg = f"{path}: expected the state of a plant, got something else ({error}); use another folder"
            raise UsageError(msg) from error

    def write(self, folder: Path) -> None:
        """Write the state whole, readable by its owner alone: tokens stand in it."""
        path = folder / STATE_NAME
        temporary = path.with_suffix(".new")
        temporary.touch(mode=0o600)
        temporary.write_text(json.dumps(asdict(self), indent=2), encoding="utf-8")
        temporary.replace(path)


class Site:
    """The processes of one plant. `close` ends all of them."""

    def __init__(self, options: SiteOptions, *, printer: Printer | None = None) -> None:
        self.options = options
        self.folder = options.folder.resolve()
        self._lock = FolderLock(self.folder)
        try:
            self.state = self._prepare_state()
            self.supervisor = Supervisor(self.folder / "logs", printer=printer)
        except BaseException:
            self._lock.release()
            raise
        self.broker: BrokerPlan | None = None
        # By station: its ways to broker and central, where they can be cut.
        self._ways: dict[str, tuple[Relay, Relay]] = {}

    @property
    def central_url(self) -> str:
        """Where central listens."""
        return f"http://{LOOPBACK}:{self.state.central_port}"

    @property
    def dashboard_url(self) -> str:
        """Where the dashboard listens."""
        return f"http://{LOOPBACK}:{self.state.dashboard_port}"

    def client(self, role: Role = Role.ADMIN, *, patience_s: float = 45.0) -> CentralClient:
        """A client of central with the token of this role; `patience_s` is how long it waits for central."""
        return CentralClient(self.central_url, self.state.tokens[role.value], patience_s=patience_s)

    def start_broker(self) -> None:
        """Start the broker and wait until it answers."""
        self.broker = plan_broker(self.options.broker, self.state.broker_port, self.folder / "broker")
        self.supervisor.start(self.broker.spec)
        wait_for_broker(self.broker)

    def start_central(self) -> None:
        """Set central up where it is not yet, start it and wait until it is ready.

        Raises:
            ChildError: a command failed, or central did not become ready; its log says why.
        """
        if self.broker is None:
            raise ChildError("central needs the broker to be started first")
        folder = self.folder / "central"
        folder.mkdir(exist_ok=True)
        settings = folder / "central.toml"
        settings.touch(mode=0o600, exist_ok=True)
        broker = {"url": self.broker.url, "username": self.broker.username, "password": self.broker.password}
        base: dict[str, Any] = {
            "data_dir": folder,
            "host": LOOPBACK,
            "port": self.state.central_port,
            "broker": broker,
            "learning": {"command": [sys.executable, "-m", "models", "run-job"], "threads": 1},
        }
        for section, values in self.options.central.items():
            base[section] = {**base.get(section, {}), **values}
        settings.write_text(toml_text(base), encoding="utf-8")
        self._central("init", "--data", str(folder))
        if Role.ADMIN.value not in self.state.tokens:
            created = self._central(
                "token", "create", "--settings", str(settings), "--role", "ADMIN", "--name", "plant"
            )
            self.state.tokens[Role.ADMIN.value] = created
            self.state.write(self.folder)
        command = (sys.executable, "-m", "central", "run", "--settings", str(settings))
        self.supervisor.start(ChildSpec("central", command, environment=single_threaded()))
        self.wait_for_central()
        self._create_tokens()

    def wait_for_central(self) -> None:
        """Return when central reaches its database and the broker.

        Raises:
            ChildError: it did not within a minute.
        """
        client = self.client()
        self.wait_until(client.is_ready, "central did not become ready", "central")
        client.close()

    def start_station(
        self,
        address: StationAddress,
        camera_url: str,
        *,
        product: str | None,
        recipes: Mapping[str, Mapping[str, Any]],
        can_be_cut: bool = False,
    ) -> None:
        """Write a station's settings and start it. `can_be_cut`: see `cut`."""
        if self.broker is None:
            raise ChildError("stations need the broker to be started first")
        broker, central_url = self.broker, self.central_url
        if can_be_cut:
            way = self._ways[address.station] = (Relay(broker.port), Relay(self.state.central_port))
            broker, central_url = replace(broker, port=way[0].port), f"http://{LOOPBACK}:{way[1].port}"
        enrolment_folder = self.folder / "central" / "trust" / "enrolment"
        enrolment = Enrolment(
            central_url=central_url,
            token=self.state.tokens[Role.STATION.value],
            root_file=enrolment_folder / "root.json",
            assignment_key_file=enrolment_folder / "assignment.pub",
        )
        spec = write_station(
            self.folder / "stations" / address.station,
            address,
            broker=broker,
            enrolment=enrolment,
            camera_url=camera_url,
            product=product,
            # The plant shows rendered or replayed parts: whatever comes of them is marked as simulated.
            is_simulated=True,
            recipes=recipes,
        )
        self.supervisor.start(spec)

    def start_dashboard(self) -> None:
        """Start the dashboard with a token of its own; it is ready when it answers, which nobody waits for."""
        token_file = self.folder / "dashboard.token"
        token_file.touch(mode=0o600, exist_ok=True)
        token_file.write_text(self.state.tokens[Role.ENGINEER.value], encoding="utf-8")
        command = (
            *(sys.executable, "-m", "dashboard"),
            *("--central", self.central_url, "--token-file", str(token_file)),
            *("--address", LOOPBACK, "--port", str(self.state.dashboard_port)),
        )
        self.supervisor.start(ChildSpec("dashboard", command, environment=single_threaded()))

    def _create_tokens(self) -> None:
        """One token for each role that a process of the plant has, so that none can do more than it must."""
        missing = {role: name for role, name in _TOKENS.items() if role.value not in self.state.tokens}
        if not missing:
            return
        client = self.client()
        # A suffix: an earlier start may have been cut off between the making of a token and the writing down.
        for role, name in missing.items():
            self.state.tokens[role.value] = client.create_token(role, f"{name}-{secrets.token_hex(3)}")
        client.close()
        self.state.write(self.folder)

    def wait_until(self, condition: Any, failure: str, child: str, timeout_s: float = _START_TIMEOUT_S) -> None:
        """Poll a condition.

        Raises:
            ChildError: it did not come true in time, or a process of the plant was given up.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                log = self.folder / "logs" / f"{child}.log"
                last = self.supervisor.last_line(child) or "(none)"
                raise ChildError(f"{failure} within {timeout_s:.0f} s; its last words: {last}; see {log}")
            time.sleep(0.1)

    def check(self) -> None:
        """Raise when the plant cannot go on.

        Raises:
            ChildError: a process kept dying and was given up.
        """
        if self.supervisor.failure is not None:
            raise ChildError(self.supervisor.failure)

    def package_folder(self, package_id: str) -> Path:
        """Where central keeps the files of a published package."""
        return self.folder / "central" / "trust" / "tuf" / "targets" / package_id

    def cut(self, station: str) -> None:
        """From now on nothing passes between a station that can be cut and broker or central; nobody is told."""
        for relay in self._ways[station]:
            relay.cut()

    def mend(self, station: str) -> None:
        """The network of a station is back."""
        for relay in self._ways[station]:
            relay.mend()

    def import_package(self, folder: Path, *, by: str, note: str) -> None:
        """Bring in a package that was made outside central, as a person does.

        Raises:
            ChildError: central's command refused it.
        """
        settings = str(self.folder / "central" / "central.toml")
        self._central("package", "import", str(folder), "--settings", settings, "--by", by, "--note", note)

    def kill(self, target: str) -> int | None:
        """SIGKILL `broker`, `central` or `edge:STATION`, as a fault would. Returns the process id, None if down."""
        name = child_name(target.removeprefix("edge:")) if target.startswith("edge:") else target
        return self.supervisor.kill(name)

    def close(self) -> None:
        """End all processes and give the folder back. Safe to call twice."""
        self.supervisor.stop()
        for way in self._ways.values():
            for relay in way:
                relay.close()
        self._lock.release()

    def _prepare_state(self) -> SiteState:
        before, options = SiteState.read(self.folder), self.options
        state = before or SiteState(0, 0, 0)
        chosen: set[int] = set()
        for attribute, option in (
            ("broker_port", "--broker-port"),
            ("central_port", "--port"),
            ("dashboard_port", "--dashboard-port"),
        ):
            wanted = getattr(options, attribute) or getattr(state, attribute) or free_port(chosen)
            if wanted in chosen:
                msg = f"port {wanted} is wanted twice; give another one with {option}"
                raise UsageError(msg)
            chosen.add(wanted)
            setattr(state, attribute, require_free_port(wanted, option))
        state.write(self.folder)
        return state

    def _central(self, *arguments: str) -> str:
        command = [sys.executable, "-m", "central", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_START_TIMEOUT_S)
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip()[-2000:]
            raise ChildError(f"`sightline-central {arguments[0]}` ended with code {done.returncode}: {words}")
        return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""
