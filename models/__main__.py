# SPDX-License-Identifier: Apache-2.0
"""`sightline-models`: run-job, run-gate, train, clean, import-onnx, quantize, export, evaluate, compare and others.

Thin: parses, builds, calls. Exit code 0 done, 2 bad input (one line on stderr), 1 a crash, 143 asked to stop.
Heavy imports happen in the commands, so that `--help` is quick.
"""

from models.starting import EXIT_STOPPED, STOPPED, catch_early

if __name__ == "__main__":
    # Before the imports below: somebody may press Ctrl-C while they take their time.
    catch_early()

import argparse
import contextlib
import errno
import json
import logging
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import NoReturn

from models.errors import CancelledError, InputError, ask_to_stop, forget_requests, was_asked_to_stop
from models.stdout import say, settle

_EXIT_CRASH = 1
_EXIT_INPUT = 2
# As `contracts.jobs` has them, which would cost `--help` a second to import; a test holds them together.
_MOST_THREADS = 256
_MOST_WORKERS = 12
_HALVES = (0, 1, 2)
# A path that may not be used, wherever it comes up: a person allows it or names another one.
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG})


def main(argv: Sequence[str] | None = None, *, is_process: bool = False) -> int:
    """Run one command; returns the exit code. A process of its own ignores requests to stop from the end on."""
    try:
        arguments = _parser().parse_args(argv)
    except SystemExit:
        # It was --help or a wrong argument; what argparse had to say may find no room.
        settle()
        raise
    logging.basicConfig(
        level=logging.WARNING if arguments.quiet else logging.INFO,
        # On a terminal a line of progress may stand where the next line begins.
        format=("\r\x1b[K" if sys.stderr.isatty() else "") + "%(asctime)s %(levelname)s %(message)s",
        stream=sys.stderr,
    )
    # A flag would be seen late inside long native calls; an exception between them is seen at once.
    before = {number: signal.signal(number, _stop) for number in (signal.SIGTERM, signal.SIGINT)}
    command: Callable[[argparse.Namespace], None] = arguments.command
    try:
        command(arguments)
    except (Exception, CancelledError) as error:
        if was_asked_to_stop(error):
            _complain(STOPPED)
            return EXIT_STOPPED
        if isinstance(error, InputError):
            _complain(str(error))
            return _EXIT_INPUT
        if isinstance(error, OSError) and error.errno in _REFUSED and error.filename is not None:
            _complain(f"{error.filename}: {error.strerror}; allow it, or give another path")
            return _EXIT_INPUT
        logging.getLogger(__name__).exception("crash")
        return _EXIT_CRASH
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_process else handler)
        forget_requests()
    return 0


def _complain(text: str) -> None:
    # One line, whatever a library had to say; and where nobody listens any more there is nothing left to tell.
    with contextlib.suppress(OSError):
        sys.stderr.write(f"sightline-models: {' '.join(text.splitlines())}\n")


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    # Once is enough: a second signal must not interrupt the sweeping.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ask_to_stop()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sightline-models", description="Train, measure and package detectors.")
    parser.add_argument("--quiet", action="store_true", help="warnings only")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run-job", help="run a training job file (contracts.jobs.TrainingJob)")
    _add_run_job(run)

    gate = commands.add_parser("run-gate", help="measure a challenger beside its champion (contracts.gating.GateJob)")
    gate.add_argument("job", type=_path)
    gate.set_defaults(command=_measuring("run_gate"))

    train = commands.add_parser("train", help="train on a folder of pictures")
    train.add_argument("--images", type=_path, required=True, help="folder of pictures")
    train.add_argument("--layout", default="folder", help="mvtec, magnetic-tile, bsdata or folder (default)")
    train.add_argument(
        "--half", type=int, choices=_HALVES, help="magnetic-tile: defective tiles that train (default none)"
    )
    train.add_argument("--labels", type=_path, metavar="FILE", help="CSV of path, judgement: overrules the layout")
    train.add_argument("--product", required=True, help="name of the product")
    train.add_argument("--detector", default="auto", help="auto (default), memory-bank, mixed or classifier")
    train.add_argument(
        "--backbone",
        default="auto",
        help="auto (default), compact, mobilenet_v2, squeezenet1_1, resnet18, resnet50 or resnet50v2 (ONNX)",
    )
    train.add_argument("--weights", type=_path, help="weights file: .safetensors, .pt, .pth or .onnx")
    _add_field(train)
    train.add_argument("--seed", type=_seed, default=0, help="0 or more (default 0): the same one, the same graphs")
    train.add_argument(
        "--threads", type=_threads, help=f"1 … {_MOST_THREADS} (default 2, with --fit-budget-ms 1: it is measured so)"
    )
    train.add_argument(
        "--workers", type=_workers, default=1,
        help=f"processes that learn together, each with its share of the threads, 1 … {_MOST_WORKERS} (default 1)",
    )  # fmt: skip
    train.add_argument(
        "--variants", default="int8-u8s8,fp32", metavar="V,…",
        help="forms of the graph: int8-u8s8, int8-s8s8, fp16, or all; fp32 is always made (default int8-u8s8,fp32)",
    )  # fmt: skip
    train.add_argument(
        "--budget-minutes", type=float, metavar="M", help="how long it may take; what is given up for it is said"
    )
    train.add_argument(
        "--resume", action="store_true", help="keep the steps that are done until the end, and go on from those kept"
    )
    train.add_argument(
        "--fit-budget-ms",
        type=float,
        metavar="MS",
        help="the most accurate package whose session takes no longer for one picture here, of the weights at hand",
    )
    train.add_argument(
        "--out", type=_path, required=True, help="folder for package/, evaluation.json, report.json, report.html"
    )
    train.set_defaults(command=_train)

    _add_clean(commands.add_parser("clean", help="list pictures and labels to look at again before they teach"))

    _add_import(commands.add_parser("import-onnx", help="make a package of an ONNX file that was learnt elsewhere"))

    _add_quantize(commands.add_parser("quantize", help="further variants of a package, by the rules of a training"))
    _add_export(commands.add_parser("export", help="one variant of a package as a bare ONNX file, for use elsewhere"))

    evaluate = commands.add_parser("evaluate", help="measure a package on the held-out pictures of a folder")
    evaluate.add_argument("--package", type=_path, required=True, help="folder of the package")
    evaluate.add_argument("--variant", default="all", help="all (default) or one of the package's variants")
    _add_held_out(evaluate)
    evaluate.set_defaults(command=_measuring("evaluate"))

    compare = commands.add_parser("compare", help="two packages on the same held-out pictures, what B would change")
    compare.add_argument("a", type=_path, metavar="A", help="folder of the package that runs")
    compare.add_argument("b", type=_path, metavar="B", help="folder of the package that might replace it")
    compare.add_argument(
        "--variant", default="preferred", help="preferred (default: what a CPU station runs) or one that both have"
    )
    _add_held_out(compare)
    compare.set_defaults(command=_measuring("compare"))

    inspect = commands.add_parser("inspect", help="say what a package is and check the digest of every file")
    inspect.add_argument("package", type=_path, help="folder of the package")
    inspect.add_argument("--json", type=_path, metavar="FILE", help="write there instead of a table; - is stdout")
    inspect.set_defaults(command=_measuring("inspect"))

    _add_distil(commands.add_parser("distil", help="make the shipped compact trunk again from a teacher (ONNX)"))
    return parser


def _add_run_job(run: argparse.ArgumentParser) -> None:
    run.add_argument("job", type=_path)
    run.add_argument(
        "--on", choices=("processes", "ray"), default="processes",
        help="where the workers run that a job asks for: here (default), or on the Ray cluster that this is a job of",
    )  # fmt: skip
    run.add_argument("--worker-cpus", type=_amount, default=1.0, help="of the cluster for each worker (default 1)")
    run.add_argument("--worker-gpus", type=_amount, default=0.0, help="of the cluster for each worker (default 0)")
    run.add_argument("--worker-memory-mb", type=_amount, default=0.0, help="of the cluster for each worker (default 0)")
    run.add_argument("--worker-resource", default="", metavar="NAME", help="one of these for each worker")
    run.set_defaults(command=_run_job)


def _add_distil(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--teacher", type=_path, required=True, help="ONNX with outputs stride8 and stride16")
    parser.add_argument("--out", type=_path, required=True, help=".safetensors to write")
    parser.add_argument("--start-from", type=_path, help="weights to go on from")
    parser.add_argument("--minutes", type=float, default=15.0)
    parser.add_argument("--threads", type=_threads, default=2)
    parser.add_argument("--seed", type=_seed, default=0)
    parser.set_defaults(command=_distil)


def _add_field(parser: argparse.ArgumentParser) -> None:
    """What the model sees of a picture."""
    parser.add_argument("--size", type=int, default=256, help="px a side that the model sees (default 256)")
    parser.add_argument(
        "--tiles", default="1x1", metavar="RxC",
        help="rows x columns of such fields over one picture, for small defects on large parts (default 1x1)",
    )  # fmt: skip


def _threads(text: str, most: int = _MOST_THREADS) -> int:
    if text.isdecimal() and 1 <= int(text) <= most:
        return int(text)
    raise argparse.ArgumentTypeError(f"expected 1 … {most}, got {text!r}")


def _workers(text: str) -> int:
    return _threads(text, _MOST_WORKERS)


def _amount(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0 <= (amount := float(text)) < float("inf"):
            return amount
    raise argparse.ArgumentTypeError(f"expected a number, 0 or more, got {text!r}")


def _path(text: str) -> Path:
    # `Path("")` is the current folder, which nobody who left a variable of a script empty means.
    if not text:
        raise argparse.ArgumentTypeError("expected a path, got an empty one")
    return Path(text)


def _seed(text: str) -> int:
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a whole number, 0 or more, got {text!r}")


def _add_held_out(parser: argparse.ArgumentParser) -> None:
    """What commands that measure on held-out pictures have in common."""
    parser.add_argument("--images", type=_path, required=True, help="folder of pictures")
    parser.add_argument("--layout", default="folder", help="mvtec, magnetic-tile, bsdata or folder (default)")
    parser.add_argument("--half", type=int, choices=_HALVES, help="magnetic-tile: the defective tiles that trained")
    parser.add_argument(
        "--threads", type=_threads, default=1, help=f"threads of the session, 1 … {_MOST_THREADS} (default 1)"
    )
    parser.add_argument("--labels", type=_path, help="file of judgements that overrule the folders, as for train")
    parser.add_argument("--seed", type=_seed, help="of the split by name (default: that of the package's training)")
    parser.add_argument("--json", type=_path, metavar="FILE", help="write there instead of a table; - is stdout")


def _add_clean(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--images", type=_path, required=True, help="folder of pictures")
    parser.add_argument("--layout", default="folder", help="mvtec, magnetic-tile, bsdata or folder (default)")
    parser.add_argument("--half", type=int, choices=_HALVES, help="magnetic-tile: as for train; both sides are cleaned")
    parser.add_argument("--labels", type=_path, metavar="FILE", help="CSV of path, judgement: overrules the layout")
    parser.add_argument(
        "--labelled-by", choices=("picture", "part"), default="picture",
        help="what one label was given to: each picture (default), or all pictures of a part at once",
    )  # fmt: skip
    parser.add_argument(
        "--suggest", type=float, default=0.1, metavar="SHARE", help="so many labels are listed, of all (default 0.1)"
    )
    parser.add_argument("--backbone", default="compact", help="as for train (default compact, the shipped one)")
    parser.add_argument("--weights", type=_path, help="weights file: .safetensors, .pt, .pth or .onnx")
    parser.add_argument("--seed", type=_seed, default=0, help="of the folds (default 0)")
    parser.add_argument("--threads", type=_threads, default=1, help=f"1 … {_MOST_THREADS} (default 1)")
    parser.add_argument("--out", type=_path, required=True, metavar="FILE.json", help="where to write the list")
    parser.set_defaults(command=_clean)


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=_path, help="the ONNX file; weights beside it are taken from its own folder only")
    parser.add_argument("--product", required=True, help="name of the product")
    parser.add_argument("--images", type=_path, required=True, help="folder of pictures; limits stand on what trains")
    parser.add_argument("--layout", default="folder", help="mvtec, magnetic-tile, bsdata or folder (default)")
    parser.add_argument(
        "--half", type=int, choices=_HALVES, help="magnetic-tile: defective tiles for the limits (default none)"
    )
    parser.add_argument("--labels", type=_path, metavar="FILE", help="CSV of path, judgement: overrules the layout")
    parser.add_argument("--kind", default="auto", help="auto (default), scores (number and map) or boxes (YOLO)")
    parser.add_argument(
        "--score", metavar="NAME", help="output with the score, NAME:COLUMN of several (default: by name and shape)"
    )
    parser.add_argument("--heatmap", metavar="NAME", help="output with the heatmap (default: by name and shape)")
    parser.add_argument(
        "--sign", choices=("+1", "-1"), default="+1", help="-1: the score falls with suspicion (default +1: it rises)"
    )
    parser.add_argument("--size", metavar="PX", help="px it sees, 256 or 640x480 (default: what its input says)")
    parser.add_argument(
        "--fit", choices=("stretch", "border"), default="stretch",
        help="into its size: stretched (default), or in its proportions with a grey border, as YOLO learns",
    )  # fmt: skip
    parser.add_argument("--colour", choices=("rgb", "bgr"), default="rgb", help="order of the colours (default rgb)")
    parser.add_argument("--scale", type=float, default=255.0, help="pixels are divided by it (default 255: 0 … 1)")
    parser.add_argument("--mean", default="0", help="then this is taken away: a number or R,G,B (default 0)")
    parser.add_argument("--std", default="1", help="then they are divided by it: a number or R,G,B (default 1)")
    parser.add_argument("--seed", type=_seed, default=0, help="of the split by name (default 0)")
    parser.add_argument("--threads", type=_threads, default=2, help=f"1 … {_MOST_THREADS} (default 2)")
    parser.add_argument("--out", type=_path, required=True, help="folder for package/, evaluation.json and report.json")
    parser.set_defaults(command=_import_onnx)


def _add_quantize(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--package", type=_path, required=True, help="folder of the package; it stays as it is")
    parser.add_argument(
        "--images", type=_path, required=True, help="folder that it learnt from: calibrates by what trains, then judges"
    )
    parser.add_argument("--layout", default="folder", help="mvtec, magnetic-tile, bsdata or folder (default)")
    parser.add_argument("--half", type=int, choices=_HALVES, help="magnetic-tile: the defective tiles that trained")
    parser.add_argument("--labels", type=_path, metavar="FILE", help="CSV of path, judgement: overrules the layout")
    parser.add_argument("--seed", type=_seed, help="of the split by name (default: that of the package's training)")
    parser.add_argument(
        "--variants", default="int8-u8s8", metavar="V,…", help="int8-u8s8 (default), int8-s8s8, fp16, or all"
    )
    parser.add_argument("--threads", type=_threads, default=2, help=f"1 … {_MOST_THREADS} (default 2)")
    parser.add_argument("--out", type=_path, required=True, help="folder for package/, evaluation.json and report.json")
    parser.set_defaults(command=_quantize)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--package", type=_path, required=True, help="folder of the package")
    parser.add_argument("--variant", required=True, help="one that the package has, such as fp32")
    parser.add_argument("--out", type=_path, required=True, metavar="FILE", help=".onnx to write, a .json beside it")
    parser.set_defaults(command=_export)


def _measuring(name: str) -> Callable[[argparse.Namespace], None]:
    """A command of the room that measures, imported when it is called."""

    def call(arguments: argparse.Namespace) -> None:
        from models.measuring import commands  # noqa: PLC0415 -- each command imports what it needs

        getattr(commands, name)(arguments)

    return call


def _run_job(arguments: argparse.Namespace) -> None:
    from models.job_command import run_job_file  # noqa: PLC0415 -- each command imports what it needs

    run_job_file(arguments)


def _train(arguments: argparse.Namespace) -> None:
    from models.training.commands import train  # noqa: PLC0415 -- each command imports what it needs

    train(arguments)


def _clean(arguments: argparse.Namespace) -> None:
    from models.cleaning.command import clean  # noqa: PLC0415 -- each command imports what it needs

    clean(arguments)


def _import_onnx(arguments: argparse.Namespace) -> None:
    from models.training.import_command import import_onnx  # noqa: PLC0415 -- each command imports what it needs

    import_onnx(arguments)


def _quantize(arguments: argparse.Namespace) -> None:
    from models.training.quantize_command import quantize  # noqa: PLC0415 -- each command imports what it needs

    quantize(arguments)


def _export(arguments: argparse.Namespace) -> None:
    from models.packages.exporting import export  # noqa: PLC0415 -- each command imports what it needs

    export(arguments.package, arguments.variant, arguments.out)


def _distil(arguments: argparse.Namespace) -> None:
    from models.graphs.distil import DistilSettings, distil, save_half  # noqa: PLC0415 -- torch

    if not 0 < arguments.minutes < float("inf"):
        raise InputError(f"--minutes: expected more than 0, got {arguments.minutes}")
    for path in (arguments.teacher, arguments.start_from):
        if path is not None and not path.is_file():
            raise InputError(f"distil: no file at {path}")
    student, measured = distil(
        DistilSettings(
            teacher=arguments.teacher, start_from=arguments.start_from, keep_at=arguments.out,
            budget_s=60 * arguments.minutes, threads=arguments.threads, seed=arguments.seed,
        )
    )  # fmt: skip
    save_half(student, arguments.out)
    say(json.dumps(measured) + "\n")


def run() -> int:
    """`main` as a process of its own: what it came to is not changed by a signal while the process winds down."""
    return main(is_process=True)


if __name__ == "__main__":
    sys.exit(run())
