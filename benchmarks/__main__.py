# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks NAME…|all`: runs benchmarks and prints one JSON line each.

A line holds the name, the machine, the versions and the figures, so that it can be kept and compared. A
benchmark is a module of this folder with `run() -> dict`; its docstring says which choice it settles. One that has
`SIZES` has `run(size) -> dict` instead, and gives a line for each of them, or of those in `--sizes`. Judges nothing
and fails on no figure: machines differ. Started by `make bench`.
"""

import argparse
import importlib
import json
import pkgutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import benchmarks
from plant.findings.outcome import machine, versions

# Run by themselves these are rows of the first; with `all` they would run twice.
_WITHIN: Final = {"quality_drift": "quality", "quality_rates": "quality"}


def names() -> list[str]:
    """Benchmarks of this folder."""
    return sorted(
        module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")
    )


def run_one(name: str, sizes: Sequence[int] = ()) -> Iterator[dict[str, Any]]:
    """Run one benchmark, with what its figures rest on. `sizes`: of one that grows; none: as it says itself."""
    module = importlib.import_module(f"benchmarks.{name}")
    own_sizes: Sequence[int] = getattr(module, "SIZES", ())
    runs: list[Callable[[], dict[str, Any]]] = (
        [partial(module.run, size) for size in sizes or own_sizes] if own_sizes else [module.run]
    )
    for run in runs:
        began = time.monotonic()
        figures = run()
        yield {
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
    parser.add_argument("--sizes", type=int, nargs="+", default=[], metavar="N", help="of benchmarks that grow (fleet)")
    given = parser.parse_args(arguments)
    wanted = [name for name in names() if name not in _WITHIN] if given.names == ["all"] else given.names
    unknown = sorted(set(wanted) - set(names()))
    if unknown:
        parser.error(f"unknown benchmark {', '.join(unknown)}; expected all, or of: {', '.join(names())}")
    for name in wanted:
        for line in run_one(name, given.sizes):
            print(json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
