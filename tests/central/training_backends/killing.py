# SPDX-License-Identifier: Apache-2.0
"""A central in a process of its own with one training to do, on either backend; what its rows and files say."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from sqlmodel import col, select

from central.services.trainings.usage import attempts_of
from central.store.blobs import Blobs
from central.store.database import Database
from central.store.learning_tables import Package, Promotion, Training
from central.store.repositories import audits
from central.store.tables import LabelledPicture
from central.store.training_tables import TrainingAttempt
from central.training_backends.seam import Attempt
from central.trust.enrolment import open_repository
from contracts import codec
from contracts.manifest import MANIFEST_NAME, PackageManifest
from contracts.trust import product_role, target_path
from contracts.vocabulary import Judgement, LabelSource, TrainingState
from plant.processes.broker import free_port
from tests.central.conftest import START
from tests.central.services.trainers import trainer

LAUNCHER = Path(__file__).with_name("central_that_dies.py")
PRODUCT = "ring"


class KilledCentral:
    """`start(point)`, `wait_for_death`, `start()` again; `training()` and the rest read what it left."""

    def __init__(self, data: Path, mode: str, ray_address: str | None = None) -> None:
        self.data = data
        self.shared = data.parent / "shared"
        self._environment = {
            "SIGHTLINE_CENTRAL_BROKER_URL": f"mqtt://127.0.0.1:{free_port()}",
            "SIGHTLINE_CENTRAL_PORT": "0",
            "SIGHTLINE_CENTRAL_LEARNING_PERIOD_S": "0.05",
            "SIGHTLINE_CENTRAL_LEARNING_MIN_GOOD_LABELS": "10",
            "SIGHTLINE_CENTRAL_LEARNING_IS_AUTOMATIC": "false",
            "SIGHTLINE_CENTRAL_LEARNING_COMMAND": " ".join(trainer(mode)),
        }
        if ray_address is not None:
            self._environment |= {
                "SIGHTLINE_CENTRAL_LEARNING_BACKEND": "ray",
                "SIGHTLINE_CENTRAL_RAY_ADDRESS": ray_address,
                "SIGHTLINE_CENTRAL_RAY_FOLDER": str(self.shared),
                "SIGHTLINE_CENTRAL_RAY_COMMAND": " ".join(trainer(mode)),
                "SIGHTLINE_CENTRAL_RAY_CPUS": "0.5",
                "SIGHTLINE_CENTRAL_RAY_ANSWER_TIMEOUT_S": "60",
            }
        self.is_on_ray = ray_address is not None
        self.database = Database(f"sqlite:///{data / 'central.db'}")
        self._process: subprocess.Popen[bytes] | None = None

    def add_references(self, good: int, defective: int, product: str = PRODUCT) -> None:
        blobs = Blobs((self.data / "blobs").as_uri(), self.data / "uploads")
        with self.database.begin() as session:
            for index in range(good + defective):
                picture = LabelledPicture(
                    product=product,
                    sha256=blobs.put(f"picture {index} of {product}".encode()),
                    judgement=Judgement.GOOD if index < good else Judgement.DEFECTIVE,
                    part_id=f"{product}-{index}",
                    source=LabelSource.REFERENCE,
                    added_at=START,
                    is_simulated=True,
                )
                audits.keep_label(session, picture)

    def start(self, point: str | None = None) -> None:
        self.stop()
        program = [str(LAUNCHER), point] if point else ["-m", "central"]
        with (self.data.parent / "central.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, *program, "run", "--data", str(self.data)],
                env={**os.environ, **self._environment},
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
            )

    def wait_for_death(self) -> int:
        """The code it died with; negative: by a signal."""
        assert self._process is not None
        self.until(lambda: self._process is None or self._process.poll() is not None, "central did not die")
        return self._process.wait()

    def stop(self) -> None:
        """SIGKILL: it is never asked."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def until(self, is_so: Callable[[], object], words: str) -> None:
        deadline = time.monotonic() + 240
        while not is_so():
            assert time.monotonic() < deadline, f"{words}\n{self.log()[-6000:]}"
            time.sleep(0.05)

    def until_state(self, *states: TrainingState) -> None:
        self.until(lambda: self.training().state in states, f"never {states}")

    def log(self) -> str:
        return (self.data.parent / "central.log").read_text(errors="replace")

    # What it left

    def training(self) -> Training:
        with self.database.read() as session:
            return session.exec(select(Training)).one()

    def training_of(self, product: str) -> Training:
        """The one of this product, where there are several."""
        with self.database.read() as session:
            return session.exec(select(Training).where(Training.product == product)).one()

    def attempts_of(self, product: str) -> list[TrainingAttempt]:
        with self.database.read() as session:
            return attempts_of(session, self.training_of(product).training_id)

    def packages(self) -> list[Package]:
        with self.database.read() as session:
            return list(session.exec(select(Package).order_by(col(Package.package_id))).all())

    def promotions(self) -> list[Promotion]:
        with self.database.read() as session:
            return list(session.exec(select(Promotion)).all())

    def attempt(self) -> Attempt:
        row = self.training()
        return Attempt(row.training_id, row.starts, self.data / "trainings" / row.training_id, row.handle)

    def trainer_folder(self, training_id: str | None = None) -> Path:
        """As the trainer sees it."""
        training_id = training_id or self.training().training_id
        return self.shared / training_id if self.is_on_ray else self.data / "trainings" / training_id

    def pids(self, training_id: str | None = None) -> list[int]:
        """Of every trainer that was ever run."""
        try:
            return [int(word) for word in (self.trainer_folder(training_id) / "runs").read_text().split()]
        except FileNotFoundError:
            return []

    def signed(self, product: str = PRODUCT) -> set[str]:
        """Packages of a product that the signed targets name."""
        state = open_repository(self.data / "trust").state()
        role = product_role(product)
        return {path.split("/")[1] for path in state.listed(role)} if role in state.products else set()

    def check_registry(self) -> None:
        """Whatever is registered is signed; whatever is signed is there whole, by its digests."""
        assert {package.package_id for package in self.packages()} <= self.signed()
        targets, listed = self.data / "trust" / "tuf" / "targets", self.signed()
        for package_id in listed:
            folder = targets / package_id
            content = (folder / MANIFEST_NAME).read_bytes()
            assert hashlib.sha256(content).hexdigest() == package_id
            assert target_path(PRODUCT, package_id, MANIFEST_NAME)
            for file in codec.decode(PackageManifest, content).files:
                assert hashlib.sha256((folder / file.name).read_bytes()).hexdigest() == file.sha256
