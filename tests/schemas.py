# SPDX-License-Identifier: Apache-2.0
"""Write or check `docs/schemas`: the JSON Schema of every message that crosses a process boundary.

Run by `make schemas` (write) and `make check` (compare). Does not touch the network or any room but `contracts`.
"""

import argparse
import json
import sys
from pathlib import Path

from contracts.base import Message
from contracts.commands import AssignPackage, RejectSignal, ReportsCommitted, StationCommand, TriggerReceived
from contracts.frames import FrameHeader
from contracts.gating import GateJob, GateReport
from contracts.jobs import EvaluationReport, TrainingJob, TrainingProgress
from contracts.manifest import PackageManifest
from contracts.recipes import AssignRecipes
from contracts.reports import EvidenceOffered, InspectionsReported, PackageStatus, StationReported

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "schemas"
SHAPES: dict[str, type[Message] | type[FrameHeader]] = {
    "inspections-reported": InspectionsReported,
    "station-reported": StationReported,
    "package-status": PackageStatus,
    "evidence-offered": EvidenceOffered,
    "reports-committed": ReportsCommitted,
    "assign-package": AssignPackage,
    "assign-recipes": AssignRecipes,
    "station-command": StationCommand,
    "trigger-received": TriggerReceived,
    "reject-signal": RejectSignal,
    "frame-header": FrameHeader,
    "package-manifest": PackageManifest,
    "training-job": TrainingJob,
    "training-progress": TrainingProgress,
    "evaluation-report": EvaluationReport,
    "gate-job": GateJob,
    "gate-report": GateReport,
}


def render(name: str) -> str:
    """The schema of one message as stable text."""
    schema = SHAPES[name].model_json_schema()
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}, indent=1) + "\n"


def stale(folder: Path = FOLDER) -> list[str]:
    """Names of the files that are missing, outdated or no longer belong to a message."""
    found = {path.name.removesuffix(".json") for path in folder.glob("*.json")}
    differing = {
        name
        for name in SHAPES
        if name not in found or (folder / f"{name}.json").read_text(encoding="utf-8") != render(name)
    }
    return sorted(differing | (found - SHAPES.keys()))


def main() -> int:
    """Write with `--write`; otherwise compare and fail when they differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--write", action="store_true", help="write docs/schemas")
    mode.add_argument("--check", action="store_true", help="fail when docs/schemas differs from the contracts")
    if parser.parse_args().write:
        FOLDER.mkdir(parents=True, exist_ok=True)
        for path in FOLDER.glob("*.json"):
            path.unlink()
        for name in SHAPES:
            (FOLDER / f"{name}.json").write_text(render(name), encoding="utf-8")
        return 0
    names = stale()
    if names:
        sys.stderr.write(f"docs/schemas differs from contracts in: {', '.join(names)}. Run `make schemas`.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
