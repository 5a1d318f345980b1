# SPDX-License-Identifier: Apache-2.0
"""The systemd unit with the paths of this machine filled in. Pure, but for reading the file that is shipped.

Installs nothing: a person puts it in its place, with rights that this program does not have. Called by
`commissioning.command`.
"""

from importlib import resources
from pathlib import Path
from typing import Final

UNIT_NAME: Final = "sightline-edge.service"
# What the unit's StateDirectory makes writable.
STATE_DIRECTORY: Final = Path("/var/lib/sightline")
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))


def render_unit(command: list[str], settings: Path, data_dir: Path, user: str) -> str:
    """The unit as text.

    Args:
        command: absolute path of `sightline-edge`, or of Python with `-m edge_agent`.
        settings: absolute path of the settings file.
        data_dir: absolute; made writable when it is not below /var/lib/sightline.
        user: who runs it.
    """
    started = " ".join(_quoted(word) for word in (*command, "run", "--settings", str(settings)))
    changes = {"ExecStart": started, "User": user}
    more: list[str] = []
    if not data_dir.is_relative_to(STATE_DIRECTORY):
        # A leading minus: systemd starts the unit even if the folder is not there yet, and the agent says so itself.
        more.append(f"ReadWritePaths=-{_quoted(str(data_dir))}")
        changes["WorkingDirectory"] = "-" + str(data_dir).replace("%", "%%")
    if any(path.is_relative_to(home) for path in (Path(command[0]), settings, data_dir) for home in _HOMES):
        changes["ProtectHome"] = "read-only"
    lines = []
    for line in resources.files("edge_agent.supervision").joinpath(UNIT_NAME).read_text(encoding="utf-8").splitlines():
        name = line.partition("=")[0]
        lines.append(f"{name}={changes[name]}" if name in changes and not line.startswith("#") else line)
        if name == "ExecStart":
            lines += more
    return "\n".join(lines) + "\n"


def _quoted(word: str) -> str:
    """A word of a unit's command line: percent signs and quotes mean something there."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"' if any(sign.isspace() or sign in "\"';" for sign in word) else word
