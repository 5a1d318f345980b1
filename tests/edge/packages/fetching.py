# SPDX-License-Identifier: Apache-2.0
"""One station's fetcher, its disk and what is published for it. Used by the tests of downloads."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from contracts.vocabulary import Variant
from edge_agent.clock import Clock, SystemClock
from edge_agent.packages.download import Transfer
from edge_agent.packages.fetch import TufPackageFetcher
from tests.fakes.package_server import TOKEN, PackageServer
from tests.fakes.packages import BuiltPackage, build_package, weighted_graph

RNG = np.random.default_rng(11)
TRUNK = RNG.normal(size=(64, 1000)).astype(np.float32)
BANK_BYTES = 100 * 400 * 4


def bank() -> NDArray[np.float32]:
    return RNG.normal(size=(100, 400)).astype(np.float32)


class Rig:
    """A station's disk and what is published for it."""

    def __init__(self, folder: Path, server: PackageServer) -> None:
        self.server = server
        self.folder = folder
        self.into = folder / "into"
        self.into.mkdir()
        self.transfer = Transfer()

    def build(self, name: str, tensors: dict[str, NDArray[Any]] | None = None, **more: Any) -> BuiltPackage:
        tensors = tensors or {"trunk": TRUNK, "bank": bank()}
        package = build_package(self.folder / "built" / name, graphs={Variant.FP32: weighted_graph(tensors)}, **more)
        self.server.publish(package)
        return package

    def fetch(
        self,
        package: BuiltPackage,
        *,
        clock: Clock | None = None,
        have: Sequence[Path] = (),
        is_called_off: Callable[[], bool] = lambda: False,
        is_urgent: bool = False,
        url: str | None = None,
        **more: Any,
    ) -> Path:
        fetcher = TufPackageFetcher(
            url or self.server.url,
            TOKEN,
            root=self.server.root,
            metadata_dir=self.folder / "tuf",
            clock=clock or SystemClock(),
            max_package_bytes=4 * 1024 * 1024,
            **more,
        )

        def noted(transfer: Transfer) -> None:
            self.transfer = transfer

        try:
            fetcher.fetch(
                package.package_id,
                "ring",
                self.into,
                lambda _: [Variant.FP32],
                is_called_off,
                have=have,
                is_urgent=is_urgent,
                on_progress=noted,
            )
        finally:
            fetcher.close()
        return self.into

    def graph(self, package: BuiltPackage) -> str:
        return f"targets/{package.package_id}/fp32.onnx"

    def asked(self, package: BuiltPackage) -> list[str]:
        """Range headers of the requests for the graph; empty ones are for all of it."""
        return [told for path, told in self.server.ranges.asked if path == self.graph(package)]

    def is_right(self, package: BuiltPackage) -> bool:
        """The same files as those published, and nothing else."""
        found = {path.name: path.read_bytes() for path in self.into.iterdir()}
        return found == {path.name: path.read_bytes() for path in package.folder.iterdir()}
