# SPDX-License-Identifier: Apache-2.0
"""One follower as a process of this machine: `python -m models.distributed.worker FOLDER RANK SIZE THREADS`.

Started by `local` alone, and ends with whoever started it, however that ends: their pipe closes.
"""

import os
import shutil
import signal
import sys
import threading
from pathlib import Path


def _end_with_leader(folder: Path) -> None:
    # Blocks until the leader's end of the pipe closes, which SIGKILL of the leader does too.
    sys.stdin.buffer.read()
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


def main(folder: Path, rank: int, size: int, threads: int) -> int:
    """Join the group and follow. Exit code 0: the leader said that it is over."""
    # They go to the whole process group; the leader answers them, and ends its followers.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_leader, args=(folder,), daemon=True).start()

    from models.distributed.following import follow  # noqa: PLC0415 -- seconds of import, the pipe is watched first
    from models.distributed.group import Group  # noqa: PLC0415
    from models.distributed.local import join  # noqa: PLC0415
    from models.errors import ModelsError  # noqa: PLC0415
    from models.settings import read_settings  # noqa: PLC0415

    try:
        join(folder, rank, size)
        follow(Group(), read_settings(), threads=threads)
    except ModelsError as error:
        sys.stderr.write(f"{' '.join(str(error).split())}\n")
        return 1
    return 0


if __name__ == "__main__":
    code = main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:5]))
    sys.stderr.flush()
    # At once: torch would wait for peers that may be gone.
    os._exit(code)
