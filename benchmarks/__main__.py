# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks NAME…|all`: runs benchmarks and prints one JSON line each.

A line holds the name, the machine, the versions and the figures, so that it can be kept and compared. A
benchmark is a module of this folder with `run() -> dict`; its docstring says which choice it settles. Judges
nothing and fails on no figure: machines differ. Started by `make bench`.
"""

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Sequence
from typing import Any

import benchmarks
from plant.findings.outcome import machine, versions


def names() -> list[str]:
    """Benchmarks of this folder."""
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )


def run_one(name: str) -> dict[str, Any]:
    """Run one benchmark, with what its figures rest on."""
    began = time.monotonic()
    figures = importlib.import_module(f"benchmarks.{name}").run()
    return {
        "benchmark": name,
        "figures": figures,
        "seconds": round(time.monotonic() - began, 1),
        "machine": machine(),
        "versions": versions(),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Run benchmarks, one JSON line each.")
    parser.add_argument("names", nargs="*", default=["all"], metavar="NAME", help=f"all, or of: {', '.join(names())}")
    given = parser.parse_args(arguments)
    wanted = names() if given.names == ["all"] else given.names
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; expected all, or of: {', '.join(names())}")
    for name in wanted:
        print(json.dumps(run_one(name)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
